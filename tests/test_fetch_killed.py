"""fetch, unpack and adopt killed at every change of a file: the same command again ends it."""

import hashlib
import shutil
import zipfile

import pytest
from killing import kills
from making import tree_hash
from serving import serving, whole
from test_fetch import archive, described

from eventkit.errors import FetchFailed
from eventkit.fetch import adopt, fetch


def left(root):
    """What is in a dataset's folder beside the data."""
    return sorted(p.name for p in (root / ".fetch").iterdir() if p.suffix != ".lock")


def test_fetch_killed_anywhere_is_ended_by_the_same_command(tmp_path):
    tree, packed = archive(tmp_path)
    root = tmp_path / "data"
    with serving(whole(packed.read_bytes())) as server:
        toml = described(tmp_path, server.url, packed)
        done = 0
        for n in kills(lambda: fetch(toml, root=root), lambda: fetch(toml, root=root)):
            assert tree_hash(root / "Train") == tree_hash(tree / "Train"), n
            assert fetch(toml, root=root)["samples"] == {"train": 2, "test": 2}, n
            assert left(root) == ["receipt.json"], n
            assert sorted(p.name for p in root.iterdir()) == [".fetch", "Test", "Train"], n
            shutil.rmtree(root)
            done = n
    assert done > 10


def test_fetch_that_keeps_the_archive_killed_anywhere(tmp_path):
    tree, packed = archive(tmp_path)
    root = tmp_path / "data"

    def run():
        return fetch(toml, root=root, keep=True)

    with serving(whole(packed.read_bytes())) as server:
        toml = described(tmp_path, server.url, packed)
        for n in kills(run, run):
            assert tree_hash(root / "Train") == tree_hash(tree / "Train"), n
            assert (root / "digits.zip").read_bytes() == packed.read_bytes(), n
            assert left(root) == ["receipt.json"], n
            shutil.rmtree(root)


def test_adopting_an_archive_killed_anywhere(tmp_path):
    tree, packed = archive(tmp_path)
    toml, root = described(tmp_path, None, packed), tmp_path / "data"

    def run():
        return adopt(toml, [packed], root=root)

    for n in kills(run, run):
        assert tree_hash(root / "Train") == tree_hash(tree / "Train"), n
        assert left(root) == ["receipt.json"], n
        assert packed.is_file()
        shutil.rmtree(root)


def test_adopting_a_folder_killed_anywhere(tmp_path):
    tree, packed = archive(tmp_path)
    toml = described(tmp_path, None, packed)
    before = tree_hash(tree)
    for copy in (False, True):
        home = tmp_path / f"home{copy}"

        def run(home=home, copy=copy):
            return adopt(toml, [tree], root=home / "data", copy=copy)

        for n in kills(run, run):
            assert tree_hash(home / "data") == tree_hash(tree) == before, n
            assert [p.name for p in home.iterdir()] == ["data"], n
            if copy:
                shutil.rmtree(home)
            else:
                (home / "data").unlink()
                home.rmdir()


def test_a_folder_filled_in_part_is_not_taken_for_the_dataset(tmp_path, run):
    """A killed fetch has moved Test and not Train: neither convert nor fetch may take that."""
    _, packed = archive(tmp_path)
    toml, root = described(tmp_path, None, packed), tmp_path / "data"
    halves = 0

    def convert():
        return run("convert", toml, "--root", root, "--frames", 2, "--out", tmp_path / "s.zarr")

    def again():
        nonlocal halves
        if (root / "Test").exists() and not (root / "Train").exists():
            halves += 1
            code, _, error = convert()
            assert code == 4
            assert "to get it:" in error.lower()
        adopt(toml, [packed], root=root)

    for _ in kills(lambda: adopt(toml, [packed], root=root), again):
        shutil.rmtree(root)
    assert halves
    adopt(toml, [packed], root=root)
    assert convert()[0] == 0


def test_a_file_with_other_bytes_of_the_same_length_is_not_kept_as_new(tmp_path):
    tree, packed = archive(tmp_path)
    toml, root = described(tmp_path, None, packed), tmp_path / "data"
    adopt(toml, [packed], root=root)
    changed = root / "Train/0/00001.bin"
    changed.write_bytes(bytes(len(changed.read_bytes())))
    with pytest.raises(FetchFailed, match="already exists with different content"):
        adopt(toml, [packed], root=root)
    changed.unlink()
    adopt(toml, [packed], root=root)
    assert tree_hash(root / "Train") == tree_hash(tree / "Train")


def test_an_archive_damaged_after_it_was_checked_is_fetched_again(tmp_path):
    """As by a power failure: the name is there, the bytes are not."""
    _, packed = archive(tmp_path)
    root = tmp_path / "data"
    with serving(whole(packed.read_bytes())) as server:
        toml = described(tmp_path, server.url, packed)
        (root / ".fetch").mkdir(parents=True)
        (root / ".fetch/digits.zip").write_bytes(packed.read_bytes()[:100])
        assert fetch(toml, root=root)["samples"] == {"train": 2, "test": 2}


def test_several_files_into_folders_with_archives_in_them_killed_anywhere(tmp_path):
    """Two files: one holds an archive, one is none; each goes into a folder of its own."""
    tree, packed = archive(tmp_path)
    outer, plain = tmp_path / "outer.zip", tmp_path / "labels.bin"
    with zipfile.ZipFile(outer, "w") as zipped:
        zipped.write(packed, "digits.zip")
    plain.write_bytes(b"plain" * 100)
    sums = {path: hashlib.md5(path.read_bytes()).hexdigest() for path in (outer, plain)}
    toml, root = tmp_path / "two.toml", tmp_path / "data"
    toml.write_text(
        'size = [34, 34]\nformat = "atis"\nclasses = ["0", "7"]\n'
        f'[[files]]\nname = "outer.zip"\nmd5 = "{sums[outer]}"\nnested = "here"\n'
        f'[[files]]\nname = "labels.bin"\nmd5 = "{sums[plain]}"\ninto = "more/labels"\n'
        '[layout]\nkind = "class_folders"\nsplits = { train = "Train", test = "Test" }\n'
    )

    def run():
        return adopt(toml, [outer, plain], root=root)

    for n in kills(run, run):
        assert tree_hash(root / "Train") == tree_hash(tree / "Train"), n
        assert (root / "more/labels/labels.bin").read_bytes() == plain.read_bytes(), n
        assert left(root) == ["receipt.json"], n
        assert fetch(toml, root=root)["note"] == "nothing to do", n
        shutil.rmtree(root)
