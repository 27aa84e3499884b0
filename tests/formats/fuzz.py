"""Every reader on damaged files, in processes of their own, for as long as is given: `make fuzz`.

Mutants are made from small files of every kind of each format, and from the begin of real
recordings: bits and parts changed anywhere, numbers (sizes, counts, offsets) replaced by odd ones,
lines and parts moved, files cut and joined. A reader must refuse a mutant with a FormatError, or
give events that are the same strict or tolerant, whole or in chunks or windows, with one thread or
several. It fails with any other exception, where it takes more than LIMIT of processor time, or
where the process dies, hangs or takes more than LARGEST of memory; of these, a few are allowed to
the libraries of HDF5 and ROS, which can do all that before they find the damage. Half of the
mutants are read with all indices of kernels checked.
"""

import argparse
import inspect
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np
from test_evt4 import HEAD, HIGH, OFF, ON, OTHER, TRIGGER, VECTOR_OFF, VECTOR_ON, word
from test_format_laws import example, holds, joined, mutant, tolerant

from eventkit import FormatError, OptionError
from eventkit.formats import FORMATS, guess, read, write

ROOT = Path(__file__).parents[2]
LIMIT, DEAD = 2.0, 30  # s of processor time that a mutant may take; s after which a process hangs
LARGEST = 1 << 30  # bytes of memory that a process may come to
LIBRARY = {
    "hdf5": 0.01,
    "hdf5_groups": 0.01,
    "rosbag": 0.01,
}  # the share of mutants on which a process may die
MANY = 10  # failures after which a format is given up
SAMPLE = 2000  # bytes of a real recording
VARIANTS = {
    "aedat2": [{}],
    "aedat4": [{"compression": c, "packet": 8} for c in ("none", "lz4", "zstd")],
    "dat": [{"version": 1}, {"version": 2}],
    "evt21": [{"order": "little"}, {"order": "legacy"}],
    "npz": [{"compress": False}, {"compress": True}],
    "text": [{}, {"unit": "s", "separator": "space", "header": False}],
}


def made(name: str, folder: Path) -> None:
    """Small files of a format."""
    entry, rng = FORMATS[name], np.random.default_rng(0)
    path = folder / f"source-0{entry.suffixes[0]}"
    if name in ("hdf5", "mat", "packets", "evimo2", "hdf5_groups"):
        import_module(f"test_{name}").sources(folder)
    elif name == "rosbag":
        for version in (1, 2):
            import_module("test_rosbag").sources(folder, version)
    elif entry.write is not None:
        for number, options in enumerate(VARIANTS.get(name, [holds(name).writing])):
            path = folder / f"source-{number}{entry.suffixes[0]}"
            write(path, example(name, 60), format=name, **options)
    elif name == "evt4":
        kinds = (ON, OFF, VECTOR_ON, VECTOR_OFF, OTHER, TRIGGER)
        words = [HIGH << 28 | 3]
        for _ in range(100):
            kind = kinds[rng.integers(len(kinds))]
            words.append(word(kind, *(int(rng.integers(n)) for n in (64, 1280, 720))))
            if kind in (VECTOR_ON, VECTOR_OFF):
                words.append(int(rng.integers(1 << 32)))
        path.write_bytes(HEAD + struct.pack(f"<{len(words)}I", *words))
    elif name == "aedat1":
        times = np.cumsum(rng.integers(0, 50, 60)).tolist()
        path.write_bytes(b"".join(struct.pack(">Hi", rng.integers(1 << 15), t) for t in times))
    else:  # bs1 and bs3: any bytes are events
        path.write_bytes(rng.bytes(420))


def sources(name: str, folder: Path) -> list[bytes]:
    """Whole files, made and real, of a format."""
    made(name, folder)
    found = [path.read_bytes() for path in sorted(folder.glob("source*"))]
    samples = Path(os.environ.get("EVENTKIT_SAMPLES", ROOT.parent / "shared" / "data"))
    for path in sorted((samples / "recordings").rglob("*")):
        try:
            if path.is_file() and name not in LIBRARY and guess(path).name == name:
                found.append(path.read_bytes()[:SAMPLE])
        except FormatError:
            continue
    return found


def mutate(wholes: list[bytes], seed: int) -> bytes:
    """One of the files, damaged."""
    rng = np.random.default_rng(seed)
    data = wholes[int(rng.integers(len(wholes)))]
    match int(rng.integers(6)):
        case 0:
            return data[: rng.integers(1, len(data))]
        case 1:
            other = wholes[int(rng.integers(len(wholes)))]
            return data[: rng.integers(1, len(data))] + other[rng.integers(len(other)) :]
        case 2 | 3:
            return odd(data, rng)
        case 4:
            return odd(mutant(data, rng), rng)
        case _:
            return mutant(data, rng)


def odd(data: bytes, rng: np.random.Generator) -> bytes:
    """Numbers replaced by odd ones, or a little greater or less; most of them near the begin."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        form = "bhiq"[rng.integers(4)]
        width = struct.calcsize(form)
        reach = len(data) - width if rng.random() < 0.5 else min(len(data) - width, 400)
        if reach < 1:
            break
        form, at = "<>"[rng.integers(2)] + form, int(rng.integers(reach))
        (value,) = struct.unpack_from(form, changed, at)
        top = 1 << 8 * width - 1
        values = (0, 1, -1, top - 1, -top, len(data), value + 1, value - 1, 2 * value, -value)
        struct.pack_into(form, changed, at, (values[rng.integers(10)] + top) % (2 * top) - top)
    return bytes(changed)


def examine(name: str, path: Path, seed: int) -> bool:
    """Whether a reader gives events; AssertionError where it contradicts itself."""
    entry, options = FORMATS[name], {"format": name, **holds(name).options}
    for look in (entry.header, entry.bound, *entry.extras.values()):
        try:
            if look is not None:
                look(path)
        except (FormatError, OptionError):
            pass
    try:
        strict = read(path, **options)
    except (FormatError, OptionError):
        strict = None
    try:
        whole, _ = tolerant(name, path)
    except (FormatError, OptionError):
        assert strict is None, "strict=True reads what strict=False refuses"
        return False
    assert strict is None or strict == whole, "strict=True reads other events"
    assert whole.p.max(initial=0) <= 1, "polarity is not 0 or 1"
    assert joined(path, name, (7, 60, 1000)[seed % 3], strict=False) == whole, "chunks differ"
    if name == "hdf5":  # a window is found by the index in the file, which may be what is damaged
        return True
    ends = np.sort(whole.t[[seed % len(whole), seed // 7 % len(whole)]]) if len(whole) else (5, 9)
    window, _ = tolerant(name, path, clock=(int(ends[0]), int(ends[1])))
    assert window == whole.between(int(ends[0]), int(ends[1])), "a window differs"
    if "threads" in inspect.signature(entry.stream).parameters and seed % 4 == 0:
        assert tolerant(name, path, threads=2)[0] == whole, "several threads read other events"
    return True


def work(name: str, first: int, seconds: float) -> None:
    """Examine mutants from a seed on; a line for each: seed, s, outcome."""
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wholes = sources(name, folder)
        path = folder / f"mutant{next(folder.glob('source*')).suffix}"
        seed, failures = first, 0
        while failures < MANY and (seed == first or time.monotonic() < end):
            path.write_bytes(mutate(wholes, seed))
            sys.stdout.write(f"{seed} ")
            sys.stdout.flush()
            for _ in range(2):  # again if it was slow, as a kernel may have been compiled
                signal.alarm(DEAD)
                begin = time.process_time()
                try:
                    outcome = "sound" if examine(name, path, seed) else "refused"
                except Exception as error:
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    outcome = f"{type(error).__name__} {error} ({where.name}, line {where.lineno})"
                took = time.process_time() - begin
                signal.alarm(0)
                if took < LIMIT:
                    break
            if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10 > LARGEST:
                os.kill(os.getpid(), signal.SIGKILL)  # a fresh process goes on
            failures += outcome not in ("sound", "refused")
            sys.stdout.write(f"{took:.4f} {' '.join(outcome.split())}\n")
            seed += 1
    sys.stdout.flush()


@dataclass
class Tally:
    """What became of the mutants of a format."""

    sound: int = 0
    refused: int = 0
    slowest: float = 0.0
    dead: list[int] = field(default_factory=list)  # seeds at which the process died
    failures: list[str] = field(default_factory=list)

    @property
    def mutants(self) -> int:
        return self.sound + self.refused + len(self.dead) + len(self.failures)


def run(name: str, checked: bool, seconds: float, folder: Path) -> Tally:
    """Examine mutants in processes of their own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if checked:
        environment |= {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(folder)}
    tally, end = Tally(), time.monotonic() + seconds
    seed = 1_000_000_000 if checked else 0
    while (left := end - time.monotonic()) > 0 or not tally.mutants:
        command = [sys.executable, __file__, "--work", name, str(seed), str(left)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            seed, took, outcome = (*line.split(maxsplit=2), "", "")[:3]
            count(tally, int(seed), float(took or 0), outcome)
        seed = int(seed) + 1
        if done.returncode > 0 or not done.stdout:
            tally.failures.append(done.stderr[-2000:])
        if done.returncode >= 0:
            break
    return tally


def count(tally: Tally, seed: int, took: float, outcome: str) -> None:
    tally.slowest = max(tally.slowest, took)
    if not outcome:
        tally.dead.append(seed)
    elif outcome not in ("sound", "refused"):
        tally.failures.append(f"seed {seed}: {outcome}")
    elif took > LIMIT:
        tally.failures.append(f"seed {seed}: took {took:.1f} s")
    elif outcome == "sound":
        tally.sound += 1
    else:
        tally.refused += 1


def main(names: list[str], seconds: float) -> int:
    """Print a table of all formats; 1 if a reader failed."""
    workers = os.cpu_count() or 1
    share = seconds * workers / (2 * len(names))
    bad = False
    say(f"{'format':8}  checked  mutants  FormatError    sound  died  failed  slowest")
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(workers) as pool:
        jobs = [(name, checked) for name in names for checked in (False, True)]
        tasks = [pool.submit(run, *job, share, Path(cache)) for job in jobs]
        for (name, checked), task in zip(jobs, tasks, strict=True):
            tally = task.result()
            say(
                f"{name:8}  {'yes' if checked else 'no':7}  {tally.mutants:7,}  "
                f"{tally.refused:11,}  {tally.sound:7,}  {len(tally.dead):4}  "
                f"{len(tally.failures):6}  {tally.slowest:5.2f} s"
            )
            fatal = len(tally.dead) > LIBRARY.get(name, 0) * tally.mutants
            for line in [
                *tally.failures,
                *(f"seed {s}: died, hung or took over 1 GiB" for s in tally.dead),
            ]:
                say(f"    {line}")
            bad |= fatal or bool(tally.failures)
    return int(bad)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("formats", nargs="*", help="all by default", default=list(FORMATS))
    parser.add_argument("--seconds", type=float, default=900)
    return parser.parse_args()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    else:
        given = arguments()
        sys.exit(main(given.formats, given.seconds))
