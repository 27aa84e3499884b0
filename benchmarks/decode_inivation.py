"""How fast AEDAT 2 and 4, .es and .bs2 are decoded: decode_inivation.py [--peers ENV]

Files are made of random events, in memory (page cache), and deleted afterwards; kernels are
compiled. The numbers are beside each other library's in the same minute and on one core;
where a format can be decoded by several threads, two decode one file on two cores. Each number is
the median of 3 runs, of 2 for other libraries. The .bs2 file has a tenth of the events of the
others, as its times end after 8 s, of a sensor of 128 x 128: Tonic takes events of row 240 for
overflows of the time, of which each costs it a pass over the file.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from decode import one_core, peer, rate, row, streamed

import eventkit as ek
from eventkit.events import Events

EVENTS, CHUNK = 50_000_000, 1_000_000
REPEATS, PEER_REPEATS = 3, 2
SIZE = (346, 260)
FILES = {  # name -> what it is, how it is written, and who else reads it
    "davis.aedat": ("AEDAT 2.0", {"format": "aedat2"}, ["evutils"]),
    "plain.aedat4": ("AEDAT 4, plain", {"compression": "none"}, ["aedat", "faery", "evutils"]),
    "lz4.aedat4": ("AEDAT 4, LZ4", {"compression": "lz4"}, ["aedat", "faery", "evutils"]),
    "zstd.aedat4": ("AEDAT 4, Zstandard", {"compression": "zstd"}, ["aedat", "faery", "evutils"]),
    "dvs.es": ("Event Stream", {}, ["faery"]),
    "pixels.bs2": ("SLAYER .bs2", {}, ["tonic"]),
}


def recording(n: int, size: tuple[int, int], step: int) -> Iterator[Events]:
    """Random events, `step` µs apart at most, in order of time."""
    rng = np.random.default_rng(0)
    last = 0
    for at in range(0, n, CHUNK):
        m = min(CHUNK, n - at)
        t = last + np.cumsum(rng.integers(0, step + 1, m))
        last = int(t[-1])
        x, y = (rng.integers(0, side, m, np.uint16) for side in size)
        yield Events(t, x, y, rng.integers(0, 2, m, np.uint8), size)


def made(name: str, n: int) -> Iterator[Events]:
    """The events of one of FILES, of which the large ones have n."""
    return recording(n // 10, (128, 128), 1) if name.endswith(".bs2") else recording(n, SIZE, 4)


def measure(path: Path, what: str, libraries: list[str], peers: Path | None) -> list[dict]:
    with one_core():
        others = {name: peer(peers, name, [path], PEER_REPEATS) for name in libraries}
        name = max(others, key=lambda name: rate_of(others[name]))
        one = rate(lambda: streamed(path), REPEATS)
        whole = rate(lambda: len(ek.read(path)), REPEATS)
    rows = [
        row(f"{what}, streamed", one, others[name], name, "≥ 1.5 ×"),
        row(f"{what}, whole", whole, None, "", ""),
    ]
    if ek.formats.guess(path).threads:
        two = rate(lambda: sum(len(part) for part in ek.stream(path, threads=2)), REPEATS)
        rows.append(row(f"{what}, streamed by two threads", two, others[name], name, "≥ 2.5 ×"))
    return rows


def rate_of(other: dict | None) -> float:
    return 0.0 if other is None else other["events"] / other["seconds"]


def run(peers: Path | None, n: int = EVENTS) -> list[dict]:
    """Rows for the table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (what, options, libraries) in FILES.items():
            path = Path(folder, name)
            ek.write(path, made(name, n), **options)
            rows += measure(path, what, libraries, peers)
            path.unlink()
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, help="a virtual environment with the other libraries")
    parser.add_argument("--events", type=int, default=EVENTS, help="events in a file [%(default)s]")
    chosen = parser.parse_args()
    for line in run(chosen.peers, chosen.events):
        shown = f"{line['what']}: {line['ours']:.3g} {line['unit']}"
        if line["peer"]:
            shown += f", {line['peer_name']} {line['peer']:.3g}: {line['ratio']:.3g} ×"
        print(shown)
        print(json.dumps(line, ensure_ascii=False))
