"""What a repaired copy may hold: events of the original, in their order, and nothing else."""

from pathlib import Path

import numpy as np
import pytest

from eventkit import Events, FormatError
from eventkit.doctor import examine, repair
from eventkit.doctor.foreign import foreign
from eventkit.formats import FORMATS, read, write

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


OURS = [name for name, fmt in FORMATS.items() if fmt.write]
SENTENCES = {
    "bytes": "none found; all bytes are valid",
    "blocks": "changed bytes go undetected",
    "nothing": "changed or missing bytes may go undetected",
}
SEAM = 1  # events of AEDAT 3 put together of two halves, where a gap ends in another packet
SIZES = (1000, 4096, 16384, 65536)


def law(what, name, tmp_path, sizes, places):
    """Zeroed and cut: only events of the original. Removed: so too, or the doctor says why not."""
    fmt, out, path = FORMATS[name], tmp_path / "copy.aedat4", tmp_path / "a"
    path = path.with_suffix(fmt.suffixes[0])
    write(path, events := recording(20_000, (128, 128)), name, t0="first")
    original = Events(events.t - events.t[0], events.x, events.y, events.p, events.size)
    rows = {*zip(*(getattr(original, c).tolist() for c in "txyp"), strict=True)}
    how = {"format": name, **({} if fmt.sized else {"size": "128x128"})}
    sound = examine(path, **how)
    assert (sound["level"], sound["damage"], sound["foreign"]) != ("damage", None, 0)
    assert SENTENCES[fmt.reveals] in str(sound["findings"][0])
    whole, rng = path.read_bytes(), np.random.default_rng(2)
    for n in sizes:
        if n > len(whole) // 2:
            continue
        for k, at in enumerate(rng.integers(len(whole) // 8, len(whole) - n, places).tolist()):
            at = at if k % 2 else at // 4096 * 4096
            path.write_bytes(damaged(whole, what, at, n))
            try:
                ledger = repair(path, out, to="aedat4", overwrite=True, **how)
            except FormatError:  # nothing can be read of it
                continue
            found = read(out)
            whole_still = found == original  # zeros where nothing was, as HDF5 has them
            assert what != "zeroed" or ledger["before"]["level"] == "damage" or whole_still
            copied = zip(*(getattr(found, c).tolist() for c in "txyp"), strict=True)
            false = sum(row not in rows for row in copied)
            if what != "removed" or fmt.reveals != "nothing":
                assert not false, (n, at)
            elif name == "aedat3":
                assert false <= SEAM, (n, at)
            if false and ledger["before"]["damage"]:
                assert any("may be false" in note for note in ledger["notes"])
            elif false:
                assert SENTENCES["nothing"] in str(ledger["before"]["findings"])


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("what", BLOCKS)
def test_a_repaired_copy_is_a_part_of_the_original_or_the_doctor_does_not_promise_it(
    what, name, tmp_path
):
    law(what, name, tmp_path, (4096,), 2 if name == "text" else 4)


@pytest.mark.slow
@pytest.mark.attack
@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("what", BLOCKS)
def test_blocks_of_every_size_leave_only_events_of_the_original(what, name, tmp_path):
    law(what, name, tmp_path, SIZES, 12)


@pytest.mark.parametrize("name", ["aedat2", "dat", "atis", "spif"])
def test_noise_is_found_and_its_copy_is_not_called_clean(name, tmp_path):
    """Noise may make a clock of few bits wrap, which moves all later times."""
    fmt, out = FORMATS[name], tmp_path / "copy.aedat4"
    path = tmp_path / f"a{fmt.suffixes[0]}"
    write(path, recording(30_000, (128, 128)), name, t0="first")
    whole, noise = bytearray(path.read_bytes()), np.random.default_rng(3).bytes(4096)
    at = len(whole) // 2
    whole[at : at + 4096] = noise
    path.write_bytes(whole)
    how = {"format": name, **({} if fmt.sized else {"size": "128x128"})}
    ledger = repair(path, out, to="aedat4", overwrite=True, **how)
    assert ledger["before"]["level"] == "damage"
    assert ledger["before"]["noise"] >= 8
    assert not ledger["clean"]
    assert "the copy is not clean" in ledger["notes"][-1]


def test_clocks_that_are_set_back_and_recordings_without_order_are_not_foreign():
    rng = np.random.default_rng(0)
    n = 20_000
    back = np.concatenate([np.arange(1000) * 100 + 10**7] * 20)
    for t in (back, rng.permutation(n) * 10**4, np.repeat(np.arange(n // 16), 16)):
        x, y, p = rng.integers(0, 99, n), rng.integers(0, 99, n), rng.integers(0, 2, n)
        assert not foreign(Events(t, x, y, p, (99, 99)))[0].any()
