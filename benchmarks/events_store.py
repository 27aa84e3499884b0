"""An events store: bytes per event, and the time to read a sample, alone and as frames.

python benchmarks/run.py events_store   the rows of the table; N-MNIST from $EVENTKIT_SAMPLES
python benchmarks/events_store.py FILE ...   bytes and decoding time of each column of recordings
                                             by every codec; the store has the best of them
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import eventkit as ek
from eventkit import Events
from eventkit.conversion import convert
from eventkit.representations import Whole, accumulate, parse

EVENTS, SAMPLES, CHUNK = 380_000, 16, 65536


def median_ms(work: Callable[[int], object]) -> float:
    """Median over the samples, each taken several times in turn."""
    times = []
    for k in range(6 * SAMPLES):
        started = time.perf_counter()
        work(k % SAMPLES)
        times.append(time.perf_counter() - started)
    return statistics.median(times[SAMPLES:]) * 1000


def gestures(folder: Path) -> None:
    """Samples as dense as those of DVS128 Gesture, in order of time."""
    (folder / "one").mkdir()
    for number in range(SAMPLES):
        rng = np.random.default_rng(number)
        x, y = rng.normal(64, 18, (2, EVENTS)).clip(0, 127).astype(np.uint16)
        t = np.sort(rng.integers(0, 6_000_000, EVENTS))
        events = Events(t, x, y, rng.integers(0, 2, EVENTS), (128, 128))
        ek.write(folder / "one" / f"{number:02d}.npz", events)


def run(peers: Path | None = None) -> list[dict]:
    """The rows of the table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "raw")
        root.mkdir()
        gestures(root)
        told = convert(root, represent="events", out=Path(folder, "s.zarr"))
        split = ek.open(told["out"])["all"]
        columns = [split.column(name).tolist() for name in ("count", "t_start", "t_end")]
        wholes = [Whole(*row, ordered=True) for row in zip(*columns, strict=True)]
        batch = split.read_events([0])
        entry, _ = parse("frames")
        out = np.empty((16, 2, 128, 128), np.uint16)

        def frames(k: int, spec: str, needed: str) -> None:
            split.read_events([k], batch, columns=needed)
            accumulate([batch[0]], wholes[k], (128, 128), entry, parse(spec)[1], out)

        read = median_ms(lambda k: split.read_events([k], batch))
        number = median_ms(lambda k: frames(k, "frames:n=16", "xyp"))
        by_time = median_ms(lambda k: frames(k, "frames:n=16,by=time", "txyp"))
        rows += [("events store, read a sample of 380 k events", read, "ms", "")]
        rows += [("... as 16 frames by number", number, "ms", "")]
        rows += [("... as 16 frames by time", by_time, "ms", "")]
        rows += [("..., bytes an event", told["bytes"] / told["events"], "B", "")]
    if "EVENTKIT_SAMPLES" in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(os.environ["EVENTKIT_SAMPLES"], "nmnist")
            told = convert("nmnist", root=root, represent="events", out=Path(folder, "s.zarr"))
        each = told["bytes"] / told["events"]
        rows.append(("events store, bytes an event of N-MNIST", each, "B", "≤ 3"))
    return [
        {"what": what, "ours": ours, "unit": unit, "bar": bar}
        | {"peer": None, "peer_name": "", "ratio": None}
        for what, ours, unit, bar in rows
    ]


def columns(events: Events) -> dict[str, np.ndarray]:
    """The columns of a recording in every way that was thought of."""
    x, y = (np.uint8 if side <= 256 else np.uint16 for side in events.size)
    t = (events.t - events.t[0]).astype(np.uint32)
    steps = np.diff(t, prepend=t[:1])
    found = {"t": t, "t, steps": steps, "x": events.x.astype(x), "y": events.y.astype(y)}
    if steps.max() < 65536:  # not exact for every recording
        found["t, steps of 16 bits"] = steps.astype(np.uint16)
    return found | {"p": events.p, "p, bits": np.packbits(events.p, bitorder="little")}


def codecs(path: Path) -> None:
    """Print bytes per event and ns per event to decode, of every column by every codec."""
    from numcodecs import blosc

    events = ek.read(path, sort=True)
    print(f"{path.name}: {events}")
    for name, column in columns(events).items():
        size = CHUNK // 8 if name == "p, bits" else CHUNK
        chunks = [column[i : i + size] for i in range(0, len(column), size)]
        for cname, level in (("lz4", 1), ("lz4", 5), ("lz4hc", 9), ("zstd", 1), ("zstd", 3)):
            for shuffle in range(3):
                packed = [blosc.compress(c, cname.encode(), level, shuffle, 0) for c in chunks]
                best = float("inf")
                for _ in range(5):
                    started = time.perf_counter()
                    for data in packed:
                        blosc.decompress(data)
                    best = min(best, time.perf_counter() - started)
                kind = ("noshuffle", "shuffle", "bitshuffle")[shuffle]
                each = sum(map(len, packed)) / len(events)
                print(f"  {name:20} {cname:5} {level} {kind:10} {each:6.3f} B "
                      f"{best / len(events) * 1e9:6.2f} ns")  # fmt: skip


if __name__ == "__main__":
    for word in sys.argv[1:]:
        codecs(Path(word))
