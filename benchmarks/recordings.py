"""How fast recordings are written, cut, translated and searched: python benchmarks/recordings.py

A recording of 20 million events (a real one of EVT3 again and again, --samples FOLDER, default
$EVENTKIT_SAMPLES; random events without it). Writing goes to memory; CPU seconds of one thread.
"""

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from decode import one_core, recording, row

import eventkit as ek
from eventkit.editing import copy
from eventkit.events import Events
from eventkit.formats.prophesee import _read
from eventkit.formats.writing import writer

N = 20_000_000
CHUNK = 1 << 18
SAMPLE = "recordings/evt3/expelliarmus_evt3_sample.raw"
WRITERS = (("evt3", {}), ("evt21", {}), ("evt2", {}), ("dat", {}), ("es", {}), ("aedat4", {}))


class Memory(io.RawIOBase):
    """A file that forgets what is written."""

    def __init__(self) -> None:
        self.n = 0

    def write(self, data: object) -> int:
        self.n += (n := memoryview(data).nbytes)
        return n

    def tell(self) -> int:
        return self.n

    def seek(self, *_: int) -> int:
        return 0


def repeated(events: Events, n: int) -> Iterator[Events]:
    """The events again and again, each time later, in chunks."""
    span = int(events.t[-1] - events.t[0]) + 1
    for turn in range(n // len(events) + 1):
        t = events.t - events.t[0] + turn * span
        whole = events.trusted(t, events.x, events.y, events.p, events.size)
        yield from (whole[i : i + CHUNK] for i in range(0, len(whole), CHUNK))


def rate(events: int, work: Callable[[], object], repeats: int = 3) -> float:
    """Million events per CPU second, the median, after one run to warm up."""
    work()
    rates = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        rates.append(events / (time.process_time() - began) / 1e6)
    return statistics.median(rates)


def run(peers: Path | None, samples: Path | None = None) -> list[dict]:
    """The rows of the table; no peer is measured here."""
    events = recording(400_000, 256, 4) if samples is None else ek.read(samples / SAMPLE)
    parts = list(repeated(events, N // 5))
    total = sum(map(len, parts))
    rows = []
    with one_core(), tempfile.TemporaryDirectory() as folder:
        for name, options in WRITERS:
            encode = writer(name, options)
            speed = rate(total, lambda encode=encode: encode(Memory(), parts))
            rows.append(row(f"write {name}", speed, None, "", ""))
        large, out = Path(folder, "large.raw"), Path(folder, "out.raw")
        ek.write(large, repeated(events, N), "evt3")
        whole = ek.info(large)
        middle = (whole["t0"] + whole["t1"]) // 2
        window = (middle, middle + (whole["t1"] - whole["t0"]) // 20)
        inside = len(ek.read(large, clock=window))
        rows.append(row("window of an indexed EVT3 file, read", rate(inside, lambda: ek.read(
            large, clock=window)), None, "", ""))  # fmt: skip

        def seek() -> None:
            _read._index.cache_clear()  # as another process begins; the index on the disk is used
            ek.read(large, clock=window)

        rows.append(row("the same, first read of a process", rate(inside, seek), None, "", ""))
        cut = {"start": window[0] - whole["t0"], "stop": window[1] - whole["t0"]}
        rows.append(row("cut a window, EVT3 to EVT3", rate(inside, lambda: copy(
            large, out, to="evt3", overwrite=True, **cut)), None, "", ""))  # fmt: skip
        rows.append(row("translate EVT3 to EVT2", rate(whole["events"], lambda: copy(
            large, out, to="evt2", overwrite=True), 1), None, "", ""))  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("EVENTKIT_SAMPLES")
    parser.add_argument("--samples", type=Path, default=Path(default) if default else None)
    for each in run(None, parser.parse_args().samples):
        print(f"{each['what']:<40} {each['ours']:8.1f} {each['unit']}")


if __name__ == "__main__":
    main()
