"""The index of a large recording is kept, used again, and ignored once the file changed."""

import os

import numpy as np
import pytest
from making import make_events

import eventkit as ek
from eventkit.formats import _index_cache
from eventkit.formats.prophesee import _read

EVENTS = make_events(400_000, (640, 480))
MIDDLE = int(EVENTS.t[200_000])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_index_cache, "SMALLEST", 1000)
    _read._index.cache_clear()
    yield tmp_path / "cache/eventkit/indexes"
    _read._index.cache_clear()


@pytest.fixture
def path(tmp_path):
    ek.write(tmp_path / "a.raw", EVENTS, "evt3")
    return tmp_path / "a.raw"


@pytest.fixture
def passes(monkeypatch):
    """The passes over all words that were made."""
    made: list[object] = []
    save = _index_cache.save
    monkeypatch.setattr(_index_cache, "save", lambda *a: (made.append(a), save(*a)))
    return made


def window(path):
    found = ek.read(path, clock=(MIDDLE, MIDDLE + 1000))
    assert found == EVENTS.between(MIDDLE, MIDDLE + 1000)
    _read._index.cache_clear()  # as another process would begin


def test_the_second_process_makes_no_pass(path, cache, passes):
    window(path)
    window(path)
    assert len(passes) == 1
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("change", ["time", "bytes", "words"])
def test_a_file_that_changed_is_indexed_again(path, cache, passes, change):
    window(path)
    status = path.stat()
    if change == "time":
        os.utime(path, ns=(0, 0))
    elif change == "bytes":
        path.write_bytes(path.read_bytes() + b"\x00\x00")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-200] + bytes(200))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    window(path)
    assert len(passes) == 2


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_index_is_made_again(path, cache, passes, damage):
    window(path)
    (index,) = cache.iterdir()
    data = bytearray(index.read_bytes())
    data[len(data) // 2] ^= 1 if damage == "flip" else 0
    index.write_bytes({"cut": data[:-3], "flip": data, "empty": b""}[damage])
    window(path)
    assert len(passes) == 2


def test_without_a_folder_everything_works(path, cache, passes, monkeypatch):
    monkeypatch.setenv("EVENTKIT_INDEX", "0")
    window(path)
    assert not cache.exists()
    monkeypatch.delenv("EVENTKIT_INDEX")
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    window(path)


def test_the_oldest_indexes_are_removed(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(_index_cache, "MOST", 3000)
    for number in range(5):
        file = tmp_path / str(number)
        file.write_bytes(bytes(2000))
        with file.open("rb") as opened:
            _index_cache.save(opened.fileno(), [b"a"], [np.zeros(100, np.int64)])
    assert sum(path.stat().st_size for path in cache.iterdir()) <= 3000
    with file.open("rb") as opened:
        kept = _index_cache.load(opened.fileno(), [b"a"], [np.dtype(np.int64)])
        assert kept is not None
        assert len(kept[0]) == 100
        assert _index_cache.load(opened.fileno(), [b"b"], [np.dtype(np.int64)]) is None


def test_a_window_decodes_little_more_than_it_returns(path, cache, monkeypatch):
    decoded = 0
    chosen = _read._chosen

    def counting(file, rows):
        nonlocal decoded
        rows = list(rows)
        decoded += sum(int(row["n"]) for row in rows)
        return chosen(file, rows)

    monkeypatch.setattr(_read, "_chosen", counting)
    found = ek.read(path, clock=(MIDDLE, None))
    assert len(found) == 200_000
    assert decoded <= 2 * len(found)
