"""Upload of a store to the Hub: what is sent in which order, against a fake of the Hub's API."""

import fnmatch
import json
from pathlib import Path

import pytest
from making import link_tree, make_events, put

import eventkit as ek
from eventkit.conversion import convert
from eventkit.errors import OptionError, StoreDamaged, StoreError
from eventkit.store.push import card, push
from eventkit.store.verify import verify

ADDRESS = "hf://ali/digits"


class Hub:
    """Repositories in memory, with the methods of huggingface_hub.HfApi that are used.

    Every upload is one commit; `fails` raises before the commit of that number.
    """

    def __init__(self, folder, fails=None):
        self.folder, self.fails = folder, fails
        self.files, self.commits, self.private = {}, [], None

    def create_repo(self, repo_id, *, repo_type, private, exist_ok):
        assert (repo_id, repo_type, exist_ok) == ("ali/digits", "dataset", True)
        self.private = private

    def list_repo_files(self, repo_id, *, repo_type):
        return list(self.files)

    def hf_hub_download(self, repo_id, filename, *, repo_type):
        path = self.folder / "downloaded"
        path.write_bytes(self.files[filename])
        return str(path)

    def upload_folder(self, *, folder_path, path_in_repo, ignore_patterns, delete_patterns, **more):
        self._commit(more)
        root = Path(folder_path)
        sent = {}
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            if path.is_file() and not any(fnmatch.fnmatch(name, p) for p in ignore_patterns):
                sent[f"{path_in_repo}/{name}"] = path.read_bytes()
        for old in list(self.files):
            below = old.removeprefix(f"{path_in_repo}/")
            if below != old and any(fnmatch.fnmatch(below, p) for p in delete_patterns):
                del self.files[old]
        self.files |= sent
        self.commits.append(sorted(sent))

    def upload_file(self, *, path_or_fileobj, path_in_repo, **more):
        self._commit(more)
        data = path_or_fileobj
        self.files[path_in_repo] = data if isinstance(data, bytes) else Path(data).read_bytes()
        self.commits.append([path_in_repo])

    def _commit(self, more):
        assert more.keys() == {"repo_id", "repo_type", "commit_message"}
        if len(self.commits) == self.fails:
            raise OSError("401 Client Error\nmore")

    def download(self, name, target):
        """What a user of the repository has of the store."""
        for path, data in self.files.items():
            if path.startswith(f"{name}/"):
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                (target / path).write_bytes(data)
        return target / name


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("push")
    for split in ("train", "test"):
        for name in ("a|b", "c"):
            (root / "mine" / split / name).mkdir(parents=True)
            ek.write(root / "mine" / split / name / "1.bin", make_events(50))
    convert(root / "mine", frames=2, out=root / "mine.zarr")
    return root / "mine.zarr"


def test_the_root_document_comes_last_and_all_of_it_is_a_store(store, tmp_path):
    hub = Hub(tmp_path)
    made = push(store, ADDRESS, private=True, api=hub)
    assert hub.private is True
    files, readme, root = hub.commits
    assert (readme, root) == (["README.md"], ["mine.zarr/zarr.json"])
    on_disk = {f"mine.zarr/{p.relative_to(store)}" for p in store.rglob("*") if p.is_file()}
    assert {*files, *root} == on_disk
    assert made["files"] == len(on_disk)
    there = hub.download("mine.zarr", tmp_path)
    assert not verify(there)
    assert ek.open(there).attributes["digest"] == ek.open(store).attributes["digest"]


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_an_interrupted_upload_is_no_store_and_continues(fails, store, tmp_path):
    hub = Hub(tmp_path, fails)
    with pytest.raises(StoreError, match=r"the Hub refused .*\(401 Client Error\); log in"):
        push(store, ADDRESS, api=hub)
    assert "mine.zarr/zarr.json" not in hub.files
    hub.fails = None
    assert push(store, ADDRESS, api=hub)["note"] == ""
    assert hub.commits[-1] == ["mine.zarr/zarr.json"]
    before = len(hub.commits)
    assert "already there" in push(store, ADDRESS, api=hub)["note"]
    assert len(hub.commits) == before


def test_another_store_is_replaced_only_on_request(store, tmp_path):
    hub = Hub(tmp_path)
    hub.files = {
        "mine.zarr/zarr.json": b'{"attributes": {"eventkit": {"digest": "0"}}}',
        "mine.zarr/old/c.0": b"old",
        "other.zarr/zarr.json": b"{}",
    }
    with pytest.raises(StoreError, match=r"has another store mine\.zarr; overwrite=True replaces"):
        push(store, ADDRESS, api=hub)
    assert not hub.commits
    push(store, ADDRESS, overwrite=True, api=hub)
    assert "mine.zarr/old/c.0" not in hub.files
    assert hub.files["other.zarr/zarr.json"] == b"{}"


def test_the_old_root_goes_before_new_files_are_complete(store, tmp_path):
    hub = Hub(tmp_path, fails=1)
    hub.files = {"mine.zarr/zarr.json": b"{}"}
    with pytest.raises(StoreError, match="refused"):
        push(store, ADDRESS, overwrite=True, api=hub)
    assert "mine.zarr/zarr.json" not in hub.files


def test_a_damaged_store_is_not_sent(store, tmp_path):
    copy = link_tree(store, tmp_path / "mine.zarr")
    shard = next((copy / "train" / "frames").rglob("c.*"))
    put(shard, shard.read_bytes()[:-1] + b"\0")
    hub = Hub(tmp_path)
    with pytest.raises(StoreDamaged, match=r"damaged files, the first .*repair it first"):
        push(copy, ADDRESS, api=hub)
    assert not hub.commits


@pytest.mark.parametrize("address", ["digits", "hf://digits", "s3://a/b", "hf://models/a/b/c"])
def test_another_address_is_refused(address, store, tmp_path):
    with pytest.raises(OptionError, match="expected hf://OWNER/NAME"):
        push(store, address, api=Hub(tmp_path))


def test_the_card_says_what_the_store_holds_and_is_safe(store):
    text = card(ek.open(store), "ali/digits", "mine.zarr")
    head = text.split("---")[1]
    assert "license: unknown" in head
    assert json.loads(head.partition("pretty_name: ")[2].partition("\n")[0]) == "mine"
    assert "| train | 2 |" in text
    assert "0 a&#124;b; 1 c" in text
    assert 'snapshot_download("ali/digits", repo_type="dataset")' in text
    assert ek.open(store).attributes["digest"] in text


def test_the_command(store, run, monkeypatch):
    code, shown, _ = run("push", store, ADDRESS, "--dry-run")
    assert (code, "pretty_name" in shown, "not uploaded" in shown) == (0, True, True)
    code, _, error = run("push", store, "hf://x")
    assert (code, "expected hf://OWNER/NAME" in error) == (1, True)
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    code, _, error = run("push", store, ADDRESS)
    assert (code, "pip install 'eventkit-dvs[hub]'" in error) == (1, True)
