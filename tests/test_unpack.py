"""Untrusted archives: valid ones are unpacked, malicious ones are refused entirely."""

import bz2
import gzip
import io
import lzma
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile

import pytest
from making import ROOT

from eventkit.errors import FetchError, FetchFailed
from eventkit.fetch import unpack as module
from eventkit.fetch.unpack import unpack

FILES = {"a/1.bin": b"one", "a/2.bin": bytes(1000), "b/c/3.bin": b""}


def tar(path, members, mode="w:gz"):
    """A tar of (TarInfo or name, bytes) pairs."""
    with tarfile.open(path, mode) as archive:
        for info, data in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path, members, compression=zipfile.ZIP_DEFLATED):
    """A zip of (ZipInfo or name, bytes) pairs."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for info, data in members:
            archive.writestr(info, data)
    return path


def special(kind, name="a/x", link="../../etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def refused(archive, match, **options):
    """Nothing of the archive is left, in the folder or beside it."""
    before = {p: p.stat().st_size for p in archive.parent.rglob("*")}
    with pytest.raises(FetchFailed, match=match) as error:
        unpack(archive, archive.parent / "out", **options)
    assert {p: p.stat().st_size for p in archive.parent.rglob("*")} == before
    assert str(archive) in str(error.value)
    return error.value


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_comes_out_as_it_is(mode, tmp_path):
    archive = tar(tmp_path / "a.tar", FILES.items(), mode)
    told = unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == FILES
    assert (told.files, told.bytes) == (3, 1003)


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]
)
def test_a_zip_comes_out_as_it_is(compression, tmp_path):
    archive = zipped(tmp_path / "a.zip", [("empty/", b""), *FILES.items()], compression)
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


def test_dots_and_clutter_are_left_out(tmp_path):
    members = [("./a/1.bin", b"one"), ("__MACOSX/a/._1.bin", b"?"), ("a/.DS_Store", b"?")]
    told = unpack(tar(tmp_path / "a.tar", members), tmp_path / "out")
    assert contents(tmp_path / "out") == {"a/1.bin": b"one"}
    assert told.left_out == 2


def test_permissions_are_not_those_of_the_archive(tmp_path):
    info = tarfile.TarInfo("a/run")
    info.mode, info.uid = 0o6777, 0
    unpack(tar(tmp_path / "a.tar", [(info, b"")]), tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out/a/run").stat().st_mode) & 0o6111 == 0


def test_archives_in_it_are_unpacked_where_asked(tmp_path):
    (tmp_path / "in").mkdir()
    inner = zipped(tmp_path / "in/one.zip", FILES.items()).read_bytes()
    archive = zipped(tmp_path / "a.zip", [("top/one.zip", inner)])
    unpack(archive, tmp_path / "kept")
    assert list(contents(tmp_path / "kept")) == ["top/one.zip"]
    unpack(archive, tmp_path / "here", nested="here")
    assert contents(tmp_path / "here") == {f"top/{name}": data for name, data in FILES.items()}
    unpack(archive, tmp_path / "folder", nested="folder")
    assert contents(tmp_path / "folder") == {f"top/one/{n}": data for n, data in FILES.items()}


def test_npz_is_no_archive_to_unpack(tmp_path):
    inner = zipped(tmp_path / "x.npz", [("t.npy", b"1")]).read_bytes()
    unpack(zipped(tmp_path / "a.zip", [("a/x.npz", inner)]), tmp_path / "out", nested="here")
    assert list(contents(tmp_path / "out")) == ["a/x.npz"]


NAMES = ["../up", "a/../../up", "/etc/x", "C:/x", "c:x", "a\\..\\..\\x", "a\nb", "\x1b[2Jx"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_out_are_refused(name, tmp_path):
    match = "may lead outside the folder"
    refused(tar(tmp_path / "a.tar", [("fine", b"1"), (name, b"2")]), match)
    refused(zipped(tmp_path / "a.zip", [("fine", b"1"), (name, b"2")]), match)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "the link"),
        (tarfile.LNKTYPE, "the link"),
        (tarfile.CHRTYPE, "the device"),
        (tarfile.BLKTYPE, "the device"),
        (tarfile.FIFOTYPE, "the device"),
        (tarfile.GNUTYPE_SPARSE, "."),
    ],
)
def test_links_and_devices_are_refused(kind, what, tmp_path):
    refused(tar(tmp_path / "a.tar", [("fine", b"1"), (special(kind), b"")]), what)


def test_a_link_and_a_file_through_it_are_refused(tmp_path):
    link = special(tarfile.SYMTYPE, "a", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    refused(tar(tmp_path / "a.tar", [(link, b""), ("a/x", b"mine")]), "the link")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_in_a_zip_are_refused(mode, tmp_path):
    info = zipfile.ZipInfo("a/x")
    info.create_system, info.external_attr = 3, (mode | 0o777) << 16
    refused(zipped(tmp_path / "a.zip", [("fine", b"1"), (info, b"/etc/passwd")]), "the link|device")


@pytest.mark.parametrize(
    "names",
    [("a", "a"), ("a", "./a"), ("A/x", "a/X"), ("\u00e9", "e\u0301"), ("a", "a/b"), ("a/b", "A")],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_names_for_one_file_are_refused(names, tmp_path):
    members = [(name, b"1") for name in names]
    refused(tar(tmp_path / "a.tar", members), "twice, or two names")
    refused(zipped(tmp_path / "a.zip", members), "twice, or two names")


def test_a_bomb_by_ratio_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FREE", 1 << 20)
    members = [("zeros", bytes(8 << 20))]
    refused(zipped(tmp_path / "a.zip", members), "possibly an archive bomb")
    refused(tar(tmp_path / "a.tar", members), "possibly an archive bomb")


def test_a_bomb_within_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FREE", 1 << 20)
    inner = zipped(tmp_path / "in.zip", [("zeros", bytes(8 << 20))]).read_bytes()
    refused(zipped(tmp_path / "a.zip", [("in.zip", inner)]), "archive bomb", nested="here")


def test_a_bomb_by_number_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MEMBERS", 50)
    monkeypatch.setattr(module.Limits, "__init__", _limited(module.Limits.__init__))
    members = [(f"{i}", b"") for i in range(51)]
    refused(tar(tmp_path / "a.tar", members), "more than 50 files")
    refused(zipped(tmp_path / "a.zip", members), "more than 50 files")


def _limited(init):
    return lambda self, max_bytes: init(self, max_bytes, max_files=50)


def test_the_entries_of_a_zip_are_counted_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module.Limits, "__init__", _limited(module.Limits.__init__))
    archive = zipped(tmp_path / "a.zip", [(f"{i}", b"") for i in range(51)])
    monkeypatch.setattr(zipfile, "ZipFile", None)
    refused(archive, "more than 50 files")


def test_a_tar_header_cannot_fill_the_memory(tmp_path):
    """A pax header that claims, and has, 300 MB of zeros: tar would keep all of it."""
    path = tmp_path / "a.tar.gz"
    head = tarfile.TarInfo("pax")
    head.type, head.size = tarfile.XHDTYPE, 300 << 20
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head.tobuf())
        for _ in range(300):
            file.write(bytes(1 << 20))
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from eventkit.fetch.unpack import unpack\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: unpack(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except Exception as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    command = [sys.executable, "-c", program, str(path), str(tmp_path / "out")]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    reason, grown = told.splitlines()
    assert "a tar header is larger than" in reason
    assert int(grown) < 50_000  # kB


def lying(path, claimed):
    """A zip whose one file has 1000 bytes and claims another size in both its headers."""
    zipped(path, [("x", b"ab" * 500)])
    data = bytearray(path.read_bytes())
    local, central = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, local + 22, claimed)
    struct.pack_into("<I", data, central + 24, claimed)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("claimed", [10, 999, 1001, 5000])
def test_lying_sizes_are_refused(claimed, tmp_path):
    refused(lying(tmp_path / "a.zip", claimed), "declares|damaged")


def test_a_size_of_terabytes_is_refused(tmp_path):
    refused(lying(tmp_path / "a.zip", 0xFFFFFFF0), "bomb|bytes are free")
    info = tarfile.TarInfo("x")
    info.size = 1 << 60
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.fileobj.write(info.tobuf())
    refused(tmp_path / "a.tar", "bomb|bytes are free")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_every_cut_is_refused(pack, tmp_path):
    plain = tar(tmp_path / "a.tar", FILES.items(), "w").read_bytes()
    data = pack(plain)
    path = tmp_path / "cut"
    for end in range(20, len(data) - 20, max(1, len(data) // 15)):
        path.write_bytes(data[:end])
        refused(path, ".")


def test_every_changed_byte_of_a_zip_is_refused_or_harmless(tmp_path):
    data = zipped(tmp_path / "a.zip", FILES.items()).read_bytes()
    path = tmp_path / "changed.zip"
    for at in range(0, len(data), 3):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :])
        out = tmp_path / "out"
        try:
            unpack(path, out)
        except FetchFailed:
            assert not out.exists()
            continue
        assert set(contents(out).values()) | {b""} == set(FILES.values())
        for file in out.rglob("*"):
            assert out in file.resolve().parents
        subprocess.run(["rm", "-r", out], check=True)


def test_encrypted_files_are_refused(tmp_path):
    data = bytearray(zipped(tmp_path / "a.zip", [("x", b"1")]).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    refused(
        tmp_path / "a.zip",
        "is encrypted; unpack the archive with its password",
    )


def test_rar_is_for_another_tool(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"Rar!\x1a\x07\x01\x00" + bytes(100))
    with pytest.raises(FetchError, match="unpack it with unrar and run eventkit adopt"):
        unpack(tmp_path / "a.rar", tmp_path / "out")


def test_no_archive_is_said(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html>" + bytes(1000))
    refused(tmp_path / "a.zip", "is not an archive; expected zip or tar")
