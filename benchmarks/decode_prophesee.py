"""How fast Prophesee's files are decoded: python benchmarks/decode_prophesee.py --peers ENVIRONMENT

The files are real recordings (--samples FOLDER, default $EVENTKIT_SAMPLES), one after the other
with later times until there are 50 million events; without them, random events. As in `decode`.
Two threads decode one file.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from decode import one_core, peer, rate, recording, row

import eventkit as ek
from eventkit.events import Columns

LARGE = 50_000_000
CHUNK = 1 << 18  # events, for both sides: stays in the third-level cache
SHARED = 1 << 19  # events, of two threads: to wake one takes as long as to decode 50,000
REAL = {
    "evt3": ("evt3/expelliarmus_evt3_sample.raw", "<u2", 12),
    "evt2": ("evt2/expelliarmus_evt2_sample.raw", "<u4", 6),
}
PEERS = {
    "evt3": ("evutils", "faery", "expelliarmus"),
    "evt2": ("evutils", "faery", "expelliarmus"),
    "evt21": ("evutils",),
    "dat": ("evutils", "expelliarmus"),
}


def tiled(sample: Path, out: Path, word: str, low: int, n: int) -> None:
    """The words of a recording again and again, each time from where the time was before."""
    events = ek.read(sample)
    data = sample.read_bytes()
    begin = data.rindex(b"\n% ")
    begin = data.index(b"\n", begin + 1) + 1
    words = np.frombuffer(data[begin:], word).copy()
    bits = 8 * words.itemsize - 4
    times = np.flatnonzero(words >> bits == 8)
    high = (words[times] & ((1 << bits) - 1)).astype(np.int64)
    step = int(events.t[-1] - events.t[0] >> low) + 1
    width, height = events.size
    kind = sample.parent.name.upper()
    with out.open("wb") as file:
        file.write(b"% " + f"evt {kind[3]}.0\n".encode())
        file.write(f"% format {kind};height={height};width={width}\n".encode())
        file.write(f"% geometry {width}x{height}\n% end\n".encode())
        for turn in range(n // len(events) + 1):
            words[times] = 8 << bits | (high + turn * step & (1 << bits) - 1)
            file.write(words.tobytes())


def made(name: str, samples: Path | None, folder: Path, n: int) -> Path:
    """A file of the format with n events or a few more."""
    path = folder / f"{name}.{'dat' if name == 'dat' else 'raw'}"
    if samples is not None and name in REAL:
        sample, word, low = REAL[name]
        tiled(samples / "recordings" / sample, path, word, low, n)
        return path
    if samples is None:
        events = recording(n // 10, 256, 4)
    else:
        events = ek.read(samples / "recordings" / REAL["evt2"][0])
    span = int(events.t[-1] - events.t[0]) + 1
    ek.write(
        path,
        (
            events.trusted(events.t + turn * span, events.x, events.y, events.p, events.size)
            for turn in range(n // len(events) + 1)
        ),
        format=name,
        **({"order": "legacy"} if name == "evt21" else {}),  # the order that the peer reads right
    )
    return path


def streamed(path: Path, threads: int = 1) -> int:
    return sum(len(part) for part in ek.stream(path, (CHUNK, SHARED)[threads - 1], threads=threads))


def measured(name: str, path: Path, peers: Path | None) -> list[dict]:
    """Streamed on one core beside the fastest peer, by two threads, and whole."""
    into = Columns()
    with one_core():
        others = {other: peer(peers, other, [path], 3) for other in PEERS[name]}
        best = min(others, key=lambda other: others[other]["seconds"] if peers else 0)
        one = rate(lambda: streamed(path))
        whole = rate(lambda: len(ek.read(path, into=into)))
    two = rate(lambda: streamed(path, threads=2))
    title = ek.formats.FORMATS[name].title
    return [
        row(f"{title}, streamed", one, others[best], best, "≥ 1.5 ×"),
        row(f"{title}, streamed by two threads", two, others[best], best, "≥ 2.5 ×"),
        row(f"{title}, whole", whole, others[best], best, ""),
    ]


def run(peers: Path | None, samples: Path | None = None, n: int = LARGE) -> list[dict]:
    """Rows for the table."""
    if samples is None and "EVENTKIT_SAMPLES" in os.environ:
        samples = Path(os.environ["EVENTKIT_SAMPLES"])
    rows = []
    for name in PEERS:
        with tempfile.TemporaryDirectory() as folder:
            rows += measured(name, made(name, samples, Path(folder), n), peers)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, help="a virtual environment with the other libraries")
    parser.add_argument("--samples", type=Path, default=os.environ.get("EVENTKIT_SAMPLES"))
    parser.add_argument("--events", type=int, default=LARGE, help="events in a file [%(default)s]")
    options = parser.parse_args()
    for line in run(options.peers, options.samples, options.events):
        print(json.dumps(line, ensure_ascii=False))
