"""How fast a store is read on this machine, where the time goes, and what would make it faster."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import blosc

from eventkit._platform import cpus, drop_cached
from eventkit.errors import OptionError, StoreError
from eventkit.store import Split, Store
from eventkit.store.shard import crc32c

NETWORK = ("nfs", "cifs", "smb", "fuse", "lustre", "gpfs", "ceph", "beegfs", "9p", "afs")
MAX_BYTES = 1 << 28  # of samples, decoded, that are read in one measurement
STAGES = ("read", "checksum", "decompress", "assemble", "cast")
Progress = Callable[[int, int], None]


def bench(
    path: str | Path,
    *,
    split: str | None = None,
    batch_size: int = 32,
    seconds: float = 1.0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time shuffled batches of a store; the report, as JSON has it.

    `stages` are µs a sample on one thread; `threads` the rate of whole batches, float32, by 1 to
    all processors; `limits` what reading the files or decompressing alone can do; `advice` what to
    change. Each measurement takes about `seconds`. Counts rates in samples and decoded bytes.
    """
    if batch_size < 1 or not 0 < seconds < 3600:
        raise OptionError(f"batch_size is {batch_size} and seconds {seconds}, expected both > 0")
    store = Store(path)
    if store.path.is_remote:
        raise StoreError(f"{store.path}: is on an object store; bench times what is on a disk")
    part = store[split or store.splits[0]]
    run = _Run(store, part, batch_size, seconds)
    cores = cpus()
    counts = sorted({1, *(2**n for n in range(1, 8) if 2**n < cores), cores})
    done, total = 0, len(counts) + 3

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    cold = run.cold()
    step()
    stages = run.stages()
    step()
    threads = []
    for count in counts:
        threads.append({"threads": count, **run.batches(count)})
        step()
    report: dict[str, Any] = {
        "store": str(store.path),
        "split": part.name,
        "kind": store.kind,
        "samples": len(part),
        "batch_size": run.batch_size,
        "sample_bytes": run.sample_bytes,
        "encoded_bytes": run.encoded_bytes,
        "codec": store.attributes["plan"]["codec"],
        "disk": _disk(Path(str(store.path))),
        "stages": stages,
        "threads": threads,
        "limits": {**cold, **run.limits(cores, stages)},
    }
    step()
    report["advice"] = _advice(report)
    return report


class _Run:
    """The measurements of one split, on the same shuffled samples."""

    def __init__(self, store: Store, part: Split, batch_size: int, seconds: float) -> None:
        self.store, self.part, self.seconds = store, part, seconds
        self.arrays = part.arrays
        self.batch_size = min(batch_size, len(part))
        order = np.random.default_rng(0).permutation(len(part))
        mean = part.decoded_bytes(order) // len(order)
        self.order = order[: max(self.batch_size, MAX_BYTES // max(mean, 1))]
        self.sample_bytes = part.decoded_bytes(self.order) // len(self.order)
        # Array, row and column of the chunks of each.
        self.chunks = {
            index: [(n, *chunk) for n in range(len(part.arrays)) for chunk in part.chunks_of(index)]
            for index in self.order[:256].tolist()
        }
        lengths = [len(self._encoded(c)) for chunks in self.chunks.values() for c in chunks]
        self.encoded_bytes = sum(lengths) // len(self.chunks)

    def _encoded(self, chunk: tuple[int, int, int]) -> bytes:
        number, i, j = chunk
        return self.part.arrays[number].encoded(i, j) or b""

    def _buffers(self) -> list[np.ndarray]:
        """Room for one chunk of each array."""
        return [np.empty(array.chunk, array.dtype) for array in self.arrays]

    def stages(self) -> dict[str, float]:
        """µs a sample of each step, on one thread, with the files in the page cache."""
        outs = self._buffers()
        encoded = {i: [self._encoded(c) for c in chunks] for i, chunks in self.chunks.items()}

        def read(index: int) -> None:
            for chunk in self.chunks[index]:
                self._encoded(chunk)

        def checksum(index: int) -> None:
            for data in encoded[index]:
                crc32c(data[:-4])

        def decompress(index: int) -> None:
            for data, chunk in zip(encoded[index], self.chunks[index], strict=True):
                blosc.decompress(data[:-4], outs[chunk[0]])

        rows = list(self.chunks)
        told = {f.__name__: self._each(f, rows) for f in (read, checksum, decompress)}
        batches = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        whole = self._each(lambda batch: self._batch(batch, cast=False), batches) / self.batch_size
        with_cast = self._each(lambda batch: self._batch(batch, cast=True), batches)
        told["assemble"] = max(0.0, whole - sum(told.values()))
        is_cast = self.part.kind != "events"
        told["cast"] = max(0.0, with_cast / self.batch_size - whole) if is_cast else 0.0
        return {name: told[name] * 1e6 for name in STAGES}

    def _each(self, function: Callable[[Any], Any], items: list[Any]) -> float:
        """Seconds for one item: the median over as many as the time allows."""
        function(items[0])
        taken: list[float] = []
        end = time.perf_counter() + self.seconds / 4
        while not taken or time.perf_counter() < end:
            for item in items:
                started = time.perf_counter()
                function(item)
                taken.append(time.perf_counter() - started)
                if time.perf_counter() > end:
                    break
        return float(np.median(taken))

    def _batch(self, rows: list[int], *, cast: bool) -> None:
        samples = _read(self.part, rows)
        if cast and isinstance(samples, np.ndarray):
            samples.astype(np.float32)  # as most training does

    def batches(self, threads: int) -> dict[str, float]:
        """Whole shuffled batches by so many threads: samples/s and decoded MB/s."""
        rows = self.order.tolist()
        parts = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        parts = [part for part in parts if len(part) == self.batch_size]
        started = time.perf_counter()
        end, done = started + self.seconds, 0

        def work(first: int) -> int:
            made, number = 0, first
            while time.perf_counter() < end or not made:
                self._batch(parts[number % len(parts)], cast=True)
                made, number = made + 1, number + threads
            return made

        with ThreadPoolExecutor(threads) as pool:
            done = sum(pool.map(work, range(threads)))
        rate = done * self.batch_size / (time.perf_counter() - started)
        return {"samples_per_s": rate, "mb_per_s": rate * self.sample_bytes / 1e6}

    def cold(self) -> dict[str, float]:
        """Reading shard files from the disk and from memory, and cold batches: MB/s, samples/s.

        The system is asked to forget the files; it may keep them, so this is an upper bound.
        `cache_dropped` is false where it cannot be asked: nothing is cold there.
        """
        files = [
            Path(str(self.store.path), name)
            for array in self.arrays
            for name, _, _ in array.listed()
        ][:256]
        dropped = _forget(files)
        disk, warm = (_sequential(files) for _ in "ab")
        _forget(files)
        fresh = Store(str(self.store.path))[self.part.name]
        rows = self.order[: 4 * self.batch_size].tolist()
        started = time.perf_counter()
        for first in range(0, len(rows), self.batch_size):
            _read(fresh, rows[first : first + self.batch_size])
        rate = len(rows) / (time.perf_counter() - started)
        return {
            "disk_mb_per_s": disk,
            "memory_mb_per_s": warm,
            "cold_samples_per_s": rate,
            "cache_dropped": dropped,
        }

    def limits(self, cores: int, stages: dict[str, float]) -> dict[str, float]:
        """Samples/s of decompression alone, by one and by all processors."""
        data = [(self._encoded(c)[:-4], c[0]) for chunks in self.chunks.values() for c in chunks]
        started = time.perf_counter()
        end = started + self.seconds

        def work(_: int) -> int:
            made, mine = 0, self._buffers()
            while time.perf_counter() < end:
                for packed, place in data:
                    blosc.decompress(packed, mine[place])
                made += len(self.chunks)
            return made

        with ThreadPoolExecutor(cores) as pool:
            done = sum(pool.map(work, range(cores)))
        alone = 1e6 / stages["decompress"] if stages["decompress"] else 0.0
        return {
            "decompress_samples_per_s": alone,
            "decompress_samples_per_s_all": done / (time.perf_counter() - started),
        }


def _read(part: Split, rows: list[int]) -> Any:
    """Samples as they are stored: representations of events are another matter."""
    return part.read_events(rows) if part.kind == "events" else part.read(rows)


def _forget(files: list[Path]) -> bool:
    """Drop files from the page cache; whether this system can be asked to."""
    dropped = True
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        try:
            dropped &= drop_cached(handle)
        finally:
            os.close(handle)
    return dropped


def _sequential(files: list[Path]) -> float:
    """MB/s of reading files one after the other."""
    started, n_bytes = time.perf_counter(), 0
    for file in files:
        with file.open("rb", buffering=0) as opened:
            while block := opened.read(1 << 22):
                n_bytes += len(block)
    return n_bytes / (time.perf_counter() - started) / 1e6


def _disk(path: Path) -> dict[str, Any]:
    """The file system that a store is on, and whether it is across a network."""
    best, kind = "", "unknown"
    try:
        mounts = Path("/proc/self/mounts").read_text()
    except OSError:
        mounts = ""
    for line in mounts.splitlines():
        _, where, what, *_ = line.split(" ")
        where = where.replace("\\040", " ")
        if path.resolve().is_relative_to(where) and len(where) >= len(best):
            best, kind = where, what
    return {"mount": best, "type": kind, "network": kind.startswith(NETWORK)}


def _advice(report: dict[str, Any]) -> list[str]:
    """What would make it faster, the greatest gain first; one sentence each."""
    stages, limits, threads = report["stages"], report["limits"], report["threads"]
    total = sum(stages.values()) or 1.0
    share = {name: stages[name] / total for name in stages}
    best = max(threads, key=lambda row: row["samples_per_s"])
    advice = []
    if report["disk"]["network"]:
        advice.append(
            f"the store is on a network disk ({report['disk']['type']}): copy it to a local one"
        )
    if not limits["cache_dropped"]:
        advice.append(
            "this system cannot drop files from its cache, so the numbers called cold may be those "
            "of memory"
        )
    if limits["cold_samples_per_s"] < 0.5 * threads[0]["samples_per_s"]:
        advice.append(
            "the first epoch waits for the disk; later ones do not as long as the store's files "
            "stay in memory"
        )
    if report["codec"]["cname"] == "zstd" and share["decompress"] > 0.4:
        advice.append(
            f"decompressing takes {share['decompress']:.0%}: convert with --codec fast (lz4), "
            "which is larger and several times faster to read"
        )
    if share["cast"] > 0.25:
        advice.append(
            f"casting to float32 takes {share['cast']:.0%}: use dtype=None and cast on the device, "
            "which then receives half or a quarter of the bytes"
        )
    if share["assemble"] > 0.4 and report["kind"] != "events":
        advice.append(
            f"{share['assemble']:.0%} goes to putting batches together: with samples of "
            f"{report['sample_bytes']:,} bytes larger batches help (--batch)"
        )
    if best["threads"] > 1 and best["samples_per_s"] > 1.2 * threads[0]["samples_per_s"]:
        advice.append(
            f"read with {best['threads']} threads: loader(..., threads={best['threads']})"
        )
    return advice or ["nothing to change: most of the time is decompression, and it is fast"]
