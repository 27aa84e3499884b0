"""Is it worth reading recordings inside their archive? python benchmarks/archives.py FOLDER

Packs the .bin files of a folder (as N-MNIST's) into a deflated zip and compares, per recording:
unpacking it once as `eventkit fetch` does, reading it then, and reading it out of the archive each
time (inflated into memory, then decoded).
"""

import argparse
import os
import statistics
import tempfile
import time
import zipfile
from pathlib import Path

import eventkit as ek
from eventkit.fetch.unpack import unpack


def read_unpacked(folder: Path) -> None:
    for file in sorted(folder.rglob("*.bin")):
        ek.read(file, format="atis", size="34x34")


def read_inside(archive: Path) -> None:
    handle = os.memfd_create("recording")
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            os.ftruncate(handle, 0)
            os.pwrite(handle, zipped.read(info), 0)
            ek.read(f"/proc/self/fd/{handle}", format="atis", size="34x34")
    os.close(handle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    files = sorted(parser.parse_args().folder.rglob("*.bin"))
    with tempfile.TemporaryDirectory() as place:
        archive = Path(place, "all.zip")
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for number, file in enumerate(files):
                zipped.write(file, f"{number}.bin")
        times: dict[str, list[float]] = {"unpack once": [], "read": [], "read inside": []}
        for turn in range(6):  # the first compiles
            out = Path(place, f"out{turn}")
            for name, work in (
                ("unpack once", lambda out=out: unpack(archive, out)),
                ("read", lambda out=out: read_unpacked(out)),
                ("read inside", lambda: read_inside(archive)),
            ):
                started = time.perf_counter()
                work()
                times[name].append(time.perf_counter() - started)
        share = archive.stat().st_size / sum(file.stat().st_size for file in files)
    print(f"{len(files):,} recordings, the archive has {share:.0%} of their bytes")
    for name, found in times.items():
        print(f"{name:<12} {statistics.median(found[1:]) / len(files) * 1e3:.3f} ms a recording")


if __name__ == "__main__":
    main()
