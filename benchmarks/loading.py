"""Batches of 32 samples, shuffled, beside SpikingJelly, Tonic and zarr-python; and store sizes.

python benchmarks/run.py loading --peers ENVIRONMENT. 64 samples of 380,000 events on 128x128,
T = 16 by number: a moving spot of events, as a hand makes. Times are per sample. Threads and output
type are stated and the same on both sides, float32 where the peer gives float32. Sizes of N-MNIST
are of real recordings if EVENTKIT_SAMPLES says where they are.
"""

import gc
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import zarr
from torch.utils.data import DataLoader

import eventkit as ek
from eventkit import Events
from eventkit.conversion import convert
from eventkit.loader import EventDataset, collate, loader
from eventkit.store.shard import FAST, blosc

HERE = Path(__file__).parent
SAMPLES, EVENTS, SIZE, BATCH, T = 64, 380_000, (128, 128), 32, 16
EPOCHS = 5
Row = dict[str, object]


def recording(seed: int) -> Events:
    """Five seconds of a spot that goes round in circles."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 5_000_000, EVENTS))
    phase = t / 1e6 * 2 * np.pi * rng.uniform(0.4, 1)
    x, y = (
        (64 + 25 * turn(phase) + rng.normal(0, 12, EVENTS)).clip(0, 127).astype(np.uint16)
        for turn in (np.sin, np.cos)
    )
    return Events(t, x, y, rng.integers(0, 2, EVENTS), SIZE)


def save(path: Path, events: Events) -> None:
    """Columns in an .npz, as SpikingJelly has recordings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: getattr(events, name).astype(np.int32) for name in "txyp"}
    np.savez(path, size=events.size, **columns)


def make(folder: Path) -> None:
    for k in range(SAMPLES):
        save(folder / "raw" / "train" / str(k % 8) / f"{k}.npz", recording(k))
    stores(folder, f"frames:n={T}")


def stores(folder: Path, spec: str) -> None:
    raw = folder / "raw"
    convert(raw, represent=spec, out=folder / "frames.zarr")
    convert(raw, represent=spec, out=folder / "small.zarr", codec="small")
    convert(raw, represent="events", out=folder / "events.zarr")


def median_ms(epoch: Callable[[], Iterable[object]]) -> float:
    """Median ms a sample over epochs, the first excepted."""
    times = []
    for _ in range(EPOCHS):
        started = time.perf_counter()
        for _ in epoch():
            pass
        times.append((time.perf_counter() - started) / SAMPLES * 1000)
    return statistics.median(times[1:])


def ours(store: Path, threads: int, **options: object) -> float:
    batches = loader(EventDataset(store, **options), BATCH, shuffle=True, threads=threads)
    return median_ms(lambda: batches)


def with_workers(store: Path, workers: int) -> float:
    data = DataLoader(
        EventDataset(store),
        batch_size=BATCH,
        shuffle=True,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return median_ms(lambda: data)


def zarr_python(store: Path) -> Iterator[np.ndarray]:
    """Batches of an epoch, read sample by sample with one thread."""
    array = zarr.open_array(store / "train" / "frames", mode="r")
    for wanted in np.array_split(np.random.default_rng(0).permutation(SAMPLES), SAMPLES // BATCH):
        batch = np.empty((len(wanted), *array.shape[1:]), array.dtype)
        for row, index in zip(batch, wanted, strict=True):
            row[:] = array[index]
        yield batch


def floor(frames: np.ndarray) -> Callable[[], Iterator[None]]:
    """Decompress chunks that are in memory, and copy each into its place in a batch."""
    chunks = [FAST.encode(sample)[:-4] for sample in frames]
    batch = np.empty((BATCH, *frames.shape[1:]), frames.dtype)
    scratch = np.empty(frames.shape[1:], frames.dtype)

    def epoch() -> Iterator[None]:
        for k in np.random.default_rng(0).permutation(SAMPLES).tolist():
            blosc.decompress(chunks[k], scratch)
            batch[k % BATCH] = scratch
            yield

    return epoch


def cold(store: Path) -> float:
    """One epoch after the system forgot the files, float32, two threads; median of three."""
    times = []
    for _ in range(3):
        for file in store.rglob("*"):
            if file.is_file():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())  # what is not on the disk yet is not forgotten
                    os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        batches = loader(EventDataset(store), BATCH, shuffle=True, threads=2)
        started = time.perf_counter()
        for _ in batches:
            pass
        times.append((time.perf_counter() - started) / SAMPLES * 1000)
    return statistics.median(times)


def growth(folder: Path) -> float:
    """MB by which the process grows while it loads 100,000 samples, after the first 10,000."""
    raw = folder / "tiny"
    for k in range(200):
        rng = np.random.default_rng(k)
        t = np.sort(rng.integers(0, 300_000, 500))
        x, y, p = rng.integers(0, 34, 500), rng.integers(0, 34, 500), rng.integers(0, 2, 500)
        save(raw / "train" / str(k % 10) / f"{k}.npz", Events(t, x, y, p, (34, 34)))
    convert(raw, represent="frames:n=10", out=folder / "tiny.zarr")
    batches = loader(EventDataset(folder / "tiny.zarr"), BATCH, shuffle=True, threads=2)
    resident = []
    for epoch in range(500):
        for _ in batches:
            pass
        if epoch in (50, 499):
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
    return resident[1] - resident[0]


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def peer(peers: Path, what: str, folder: Path, n: int) -> dict[str, float]:
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    raw = folder / "raw" / "train"
    command = [peers / "bin" / "python", HERE / "peer_loading.py", what, folder, raw, str(n)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | threads)
    return json.loads(done.stdout)


def row(
    what: str, mine: float, other: float | None, name: str, bar: str = "", unit: str = "ms"
) -> Row:
    ratio = other / mine if other else None
    return {
        "what": what, "ours": mine, "peer": other, "peer_name": name, "ratio": ratio, "unit": unit,
        "bar": bar,
    }  # fmt: skip


def sizes(folder: Path, what: str, bar: str, peers: Path | None) -> list[Row]:
    """Bytes a sample, beside SpikingJelly's folder of frames; ratios are ours to theirs."""
    files = len(list((folder / "raw").rglob("*.npz")))
    theirs = size_of(folder / "spikingjelly") / files / 1000 if peers else None
    rows = []
    for store, text, limit in (("frames", "", bar), ("small", ", --codec small", "≤ 0.65 ×")):
        mine = size_of(folder / f"{store}.zarr") / files / 1000
        made = row(f"size, {what}{text}", mine, theirs, "SpikingJelly's frames", limit, "kB")
        rows.append({**made, "ratio": mine / theirs if theirs else None})
    split = ek.open(folder / "events.zarr")["train"]
    n_events = int(split.column("count").sum())
    mine = size_of(folder / "events.zarr" / "train" / "events") / n_events
    limit = "≤ 3 bytes" if what == "N-MNIST" else ""
    return [*rows, row(f"events store, {what}", mine, None, "", limit, "bytes an event")]


def digits(folder: Path, peers: Path | None) -> list[Row]:
    """Sizes of N-MNIST, of real recordings."""
    source = Path(os.environ.get("EVENTKIT_SAMPLES", "")) / "nmnist" / "Train"
    if not source.is_dir():
        return []
    for file in source.rglob("*.bin"):
        save(folder / "raw" / "train" / file.parent.name / f"{file.stem}.npz", ek.read(file))
    stores(folder, "frames:n=10")
    if peers:
        peer(peers, "make", folder, 10)
    return sizes(folder, "N-MNIST", "≤ 1.15 ×", peers)


def times(folder: Path, beside: dict[str, float]) -> list[Row]:
    frames, events = folder / "frames.zarr", folder / "events.zarr"
    get = beside.get
    stored = ek.open(frames)["train"].frames[:]
    mine = {n: ours(frames, n) for n in (1, 2)}
    as_stored = ours(frames, 1, dtype=None)
    zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})
    rows = [
        row("load, 1 thread, float32", mine[1], get("spikingjelly 0"), "SpikingJelly", "≥ 10 ×"),
        row("load, 2 threads, float32", mine[2], get("spikingjelly 2"), "SpikingJelly, 2 workers",
            "≥ 10 ×"),
        row("load, 1 thread, integers", as_stored, get("tonic 0"), "Tonic's disk cache", "≥ 3 ×"),
        row("load, 2 threads, integers", ours(frames, 2, dtype=None), get("tonic 2"),
            "Tonic's disk cache, 2 workers", "≥ 3 ×"),
        row("load, 1 thread, integers", as_stored, median_ms(lambda: zarr_python(frames)),
            "zarr-python, sample by sample", "≥ 2 ×"),
        row("load, 1 thread, integers", as_stored, median_ms(floor(stored)),
            "only decompress and copy", "≥ 0.8 ×"),
        row("load, DataLoader in process, float32", with_workers(frames, 0),
            get("spikingjelly 0"), "SpikingJelly"),
        row("load, DataLoader, 1 worker, float32", with_workers(frames, 1),
            get("spikingjelly 1"), "SpikingJelly, 1 worker"),
        row("load, DataLoader, 2 workers, float32", with_workers(frames, 2),
            get("spikingjelly 2"), "SpikingJelly, 2 workers"),
        row("load, 2 threads, float32, files not in memory", cold(frames), None, ""),
    ]  # fmt: skip
    for by, bar in (("number", "≥ 3 ×"), ("time", "≥ 2 ×")):
        for threads in (1, 2):
            made = ours(events, threads, represent=f"frames:n={T},by={by}")
            what = f"frames by {by} made while loading, {threads} thread{'s'[: threads - 1]}"
            workers = 0 if threads == 1 else 2
            name = "SpikingJelly's cached frames" + (f", {workers} workers" if workers else "")
            rows.append(row(what, made, get(f"spikingjelly {workers}"), name, bar))
    return rows


def run(peers: Path | None) -> list[Row]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        if peers:
            peer(peers, "make", folder, T)
        rows = times(folder, peer(peers, "time", folder, T) if peers else {})
        rows += sizes(folder, "drawn gestures", "≤ 1.0 ×", peers)
        grown = growth(folder)
    rows.append(row("memory, growth over 100,000 samples", grown, None, "", "flat", "MB"))
    with tempfile.TemporaryDirectory() as name:
        rows += digits(Path(name), peers)
    return rows


if __name__ == "__main__":
    for line in run(None):
        print(json.dumps(line, ensure_ascii=False))
