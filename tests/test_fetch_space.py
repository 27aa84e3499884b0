"""How much a dataset needs on the disk is compared with what is free before a download begins."""

import pytest

from eventkit import datasets
from eventkit.datasets import SourceFile
from eventkit.errors import FetchFailed
from eventkit.fetch import fetch, room
from eventkit.fetch.files import DatasetFiles

GB = 10**9
TOML = """
title = "Two"
[[files]]
name = "a.zip"
urls = ["https://127.0.0.1:9/a.zip"]
about = 3_000_000_000
unpacked = 5_000_000_000
[[files]]
name = "b.zip"
urls = ["https://127.0.0.1:9/b.zip"]
bytes = 4_000_000_000
[layout]
kind = "class_folders"
splits = { train = "Train" }
"""


@pytest.mark.parametrize(
    ("sizes", "keep", "expected"),
    [
        ([(3, 5)], False, 8),  # archive and contents at once, then contents only
        ([(3, 5), (4, 1)], False, 10),  # 5 are left, then 4 + 1
        ([(3, 5), (1, 1)], False, 8),
        ([(3, 5), (4, 1)], True, 13),
        ([(3, None), (4, None)], False, 7),  # no archives
        ([(None, None)], False, 0),
    ],
)
def test_the_most_that_is_on_the_disk_at_once(sizes, keep, expected, tmp_path):
    files = [
        SourceFile(f"{i}.zip", ("https://x",), about=size, unpacked=unpacked)
        for i, (size, unpacked) in enumerate(sizes)
    ]
    assert room(DatasetFiles(tmp_path), files, keep) == expected


def test_what_is_there_already_is_not_counted(tmp_path):
    data = DatasetFiles(tmp_path)
    files = [SourceFile("a.zip", ("https://x",), bytes=100, unpacked=50), SourceFile("b", bytes=30)]
    data.create()
    (data.folder / "a.zip.part").write_bytes(bytes(40))
    assert room(data, files[:1]) == 60 + 50
    (tmp_path / "a.zip").write_bytes(bytes(100))
    assert room(data, files[:1]) == 50


def test_a_dataset_that_does_not_fit_is_not_begun(tmp_path, monkeypatch):
    (tmp_path / "two.toml").write_text(TOML)
    monkeypatch.setattr(DatasetFiles, "free", lambda self: 9 * GB)
    match = r"9,000,000,000 bytes are free, about 9,000,000,000 are needed for two; free some"
    with pytest.raises(FetchFailed, match=match):
        fetch(tmp_path / "two.toml", root=tmp_path / "data")
    assert not (tmp_path / "data").exists()
    plan = fetch(tmp_path / "two.toml", root=tmp_path / "data", dry_run=True)
    assert plan["needed_bytes"] == 9 * GB


def test_every_known_dataset_has_a_plan(tmp_path):
    for name in datasets.names():
        assert room(DatasetFiles(tmp_path), list(datasets.load(name).files)) >= 0
