"""Recordings packed as .gz and .zst: read, cut off, damaged, or made to fill the disk."""

import gzip
import tempfile

import numpy as np
import pytest
import zstandard
from test_format_laws import example, written

from eventkit import Events, FormatError, OptionError
from eventkit.doctor import mend
from eventkit.formats import FORMATS, Report, _limits, guess, info, read, stream, write

PACK = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor(write_checksum=True).compress}
each_kind = pytest.mark.parametrize("kind", PACK)


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files, which is empty in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())


def packed(path, kind):
    """A packed copy of a file."""
    out = path.with_name(path.name + kind)
    out.write_bytes(PACK[kind](path.read_bytes()))
    return out


@each_kind
@pytest.mark.parametrize("name", ["text", "npz", "hdf5", "aedat4", "evt3", "dat", "es"])
def test_what_is_packed_is_read_as_if_it_were_not(name, kind, tmp_path):
    plain = written(name, tmp_path)
    path = packed(plain, kind)
    whole, report = read(plain), Report()
    assert guess(path).name == name
    assert read(path, report=report) == whole == example(name)
    assert report.crc32c is None
    assert read(path, clock=(900, 2000)) == whole.between(900, 2000)
    assert Events.concat([part.copy() for part in stream(path, 7)]) == whole
    facts, expected = info(path), info(plain)
    assert facts == {**expected, "path": str(path), "bytes": path.stat().st_size}


@each_kind
def test_the_format_is_that_of_the_suffix_within(kind, tmp_path):
    path = tmp_path / "file.bs2"
    path.write_bytes(np.random.default_rng(0).bytes(50))
    assert guess(packed(path, kind)).name == "bs2"
    other = tmp_path / f"file.txt{kind}"
    other.write_bytes(b"7 10 3 1\n8 1 2 0\n")  # only its name says that it is packed
    assert len(read(other)) == 2


@each_kind
def test_a_cut_or_damaged_file_is_refused_or_read_as_far_as_it_is_sound(kind, tmp_path):
    plain = tmp_path / "file.csv"
    rng = np.random.default_rng(1)
    rows = np.stack([np.arange(40_000), *rng.integers(0, 99, (2, 40_000)), np.arange(40_000) % 2])
    np.savetxt(plain, rows.T, "%d", delimiter=",", header="t,x,y,p", comments="")
    path, whole = packed(plain, kind), read(plain)
    data = path.read_bytes()
    for n in (len(data) - 3, len(data) // 2):
        path.write_bytes(data[:n])
        with pytest.raises(FormatError, match=r"cut off after [\d,]+ unpacked bytes.*strict=False"):
            read(path)
        report = Report()
        found = read(path, strict=False, report=report, size="99x99")
        assert 1000 < len(found) <= 40_000
        assert np.array_equal(found.t[:-1], whole.t[: len(found) - 1])
        assert "damaged or cut off" in report.notes[0]
    changed = bytearray(data)
    changed[len(data) // 2] ^= 4
    path.write_bytes(changed)
    with pytest.raises(FormatError, match="damaged or cut off"):
        read(path)


@each_kind
def test_several_packed_parts_are_one_file(kind, tmp_path):
    path = tmp_path / f"file.csv{kind}"
    path.write_bytes(PACK[kind](b"t,x,y,p\n1,2,3,1\n") + PACK[kind](b"2,2,3,0\n"))
    assert read(path).t.tolist() == [1, 2]


@each_kind
def test_a_small_file_that_unpacks_to_much_is_read_on_request_only(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(_limits, "ALWAYS", 100_000)
    path = tmp_path / f"file.csv{kind}"
    path.write_bytes(PACK[kind](b"t,x,y,p\n" + b"1,2,3,1\n" * 1_000_000))
    with pytest.raises(FormatError, match=r"more than 100 times .* expansion=\d+ reads it"):
        read(path)
    assert len(read(path, expansion=100_000, size="9x9")) == 1_000_000
    with pytest.raises(OptionError, match=r"gz: expansion is|zst: expansion is"):
        read(path, expansion="much")


@each_kind
def test_an_error_names_the_packed_file_and_what_is_wrong_in_it(kind, tmp_path):
    path = tmp_path / "file.csv"
    path.write_text("t,x,y,p\n1,2,3,1\n1,2,3\n")
    with pytest.raises(FormatError, match=rf"{kind}: line 3 .*at byte 16 of what is packed"):
        read(packed(path, kind))
    path.write_bytes(b"nothing known")
    with pytest.raises(FormatError, match="no known format: starts with b'nothing"):
        read(packed(path.rename(tmp_path / "file.xyz"), kind))


@each_kind
def test_class_folders_may_hold_packed_files(kind, tmp_path):
    from eventkit.conversion import convert

    for name in ("a", "b"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        packed(written("text", folder), kind)
        (folder / "file.csv").unlink()
    convert(tmp_path / "data", represent="frames:n=2", out=tmp_path / "out.zarr")
    assert FORMATS["text"] is guess(tmp_path / "data" / "a" / f"file.csv{kind}")


@each_kind
def test_packed_files_are_not_written(kind, tmp_path):
    out = tmp_path / f"out.csv{kind}"
    with pytest.raises(OptionError, match=f"read but not written; leave out {kind}"):
        write(out, example("text"))
    path = packed(written("text", tmp_path), kind)
    with pytest.raises(OptionError, match="read but not written"):
        mend.repair(path, out)
