"""What a repaired copy may hold: events of the original, in their order, and nothing else."""

from pathlib import Path

import numpy as np
import pytest

from eventkit import Events
from eventkit.doctor import repair
from eventkit.formats import read, write

BLOCKS = ("zeroed", "removed", "cut")


def recording(n: int = 20_000, size: tuple[int, int] = (346, 260)) -> Events:
    """Events of which no two are equal, in order of time, some of the same time."""
    rng = np.random.default_rng(0)
    t = np.cumsum(rng.integers(0, 4, n)) + 1_000_000
    x, y = (rng.integers(0, side, n) for side in size)
    _, first = np.unique(np.stack([t, x, y]), axis=1, return_index=True)
    first.sort()
    return Events(t[first], x[first], y[first], rng.integers(0, 2, n)[first], size)


def damaged(whole: bytes, what: str, at: int, n: int) -> bytes:
    """A block of n bytes zeroed or removed, or everything from there on."""
    if what == "zeroed":
        return whole[:at] + bytes(len(whole[at : at + n])) + whole[at + n :]
    return whole[:at] + (whole[at + n :] if what == "removed" else b"")


def is_part(found: Events, of: Events) -> bool:
    """Whether events are a sub-sequence of others."""
    rows, others = (
        zip(*(getattr(e, c).tolist() for c in "txyp"), strict=True) for e in (found, of)
    )
    return all(row in others for row in rows)


def without_table(path: Path) -> bytes:
    """An AEDAT 4 file as it is while it is being recorded."""
    whole = bytearray(path.read_bytes())
    at = whole.index(b"IOHE") + 28  # of the place of the table
    end = int.from_bytes(whole[at : at + 8], "little")
    whole[at : at + 8] = b"\xff" * 8
    return bytes(whole[:end])


@pytest.mark.parametrize("table", [True, False], ids=["table", "no table"])
@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
@pytest.mark.parametrize("what", BLOCKS)
def test_a_repaired_aedat4_has_only_events_of_the_original(what, compression, table, tmp_path):
    events, path, out = recording(), tmp_path / "a.aedat4", tmp_path / "b.aedat4"
    write(path, events, compression=compression, packet=700)
    whole = path.read_bytes() if table else without_table(path)
    found_damage = 0
    rng = np.random.default_rng(1)
    for n in (512, 4096, 30_000):
        for at in rng.integers(1500, len(whole), 12):
            path.write_bytes(damaged(whole, what, int(at), n))
            ledger = repair(path, out, overwrite=True)
            assert ledger["clean"]
            assert is_part(read(out), events)
            found_damage += ledger["before"]["damage"] is not None
            if what != "cut":
                assert ledger["written"] > len(events) // 4
    assert found_damage >= 34
