"""Frames with like=... beside those of SpikingJelly and Tonic, bit for bit.

python benchmarks/conformance.py --peers ENVIRONMENT [--samples FOLDER]

Random recordings and, where there are any, the real ones in FOLDER (N-MNIST and others; default
$EVENTKIT_SAMPLES). Prints how many arrays are equal; exit code 1 if one is not.
"""

import argparse
import collections
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import eventkit as ek
from eventkit import Events

HERE = Path(__file__).parent
LIBRARIES = ("spikingjelly", "tonic")
NUMBERS = (1, 2, 7, 10, 16, 50)
DURATIONS = (999, 10_000, 50_000, 77_777, 10_000_000)


def random_recordings(count: int) -> Iterator[tuple[str, Events]]:
    """Recordings short and long, dense and sparse, with gaps and ties, from any time on."""
    rng = np.random.default_rng(0)
    for number in range(count):
        size = tuple(int(side) for side in rng.integers(1, 40, 2))
        n = int(10 ** rng.uniform(0, 4))
        steps = rng.integers(0, int(10 ** rng.uniform(0, 4)) + 1, n)
        steps *= rng.random(n) < rng.uniform(0.1, 1)
        steps[rng.integers(0, n, 3)] += int(10 ** rng.uniform(0, 6))
        yield (
            f"random_{number:04}",
            Events(
                t=np.cumsum(steps) + rng.integers(-(10**9), 10**15),
                x=rng.integers(0, size[0], n),
                y=rng.integers(0, size[1], n),
                p=rng.integers(0, 2, n),
                size=size,
            ),
        )


def special_recordings() -> Iterator[tuple[str, Events]]:
    """What is told apart by one event more or less, or by one µs."""
    for n in (0, 1, 2, 15, 16, 17, 103, 104, 32_767, 32_768, 65_535):
        one = np.zeros(n, np.int64)
        yield f"hot_{n:05}", Events(t=np.arange(n) * 10, x=one, y=one, p=one, size=(3, 3))
        yield f"instant_{n:05}", Events(t=one + 7, x=one, y=one, p=one, size=(3, 3))


def real_recordings(folder: Path) -> Iterator[tuple[str, Events]]:
    """Some of N-MNIST, and the truth of a DVS128 recording."""
    files = sorted((folder / "nmnist").rglob("*.bin"))
    for path in files[:: max(1, len(files) // 100)]:
        yield "_".join(["nmnist", *path.parts[-3:]]), ek.read(path)
    for path in sorted((folder / "recordings" / "derived").glob("aedat31_*truth.npz")):
        truth = np.load(path)
        yield path.stem, Events(truth["t"], truth["x"], truth["y"], truth["p"], (128, 128)).sort()


def settings(events: Events) -> list[dict]:
    """All ways to cut the events, but durations that would make more than 1,000 frames."""
    span = int(events.t[-1] - events.t[0]) if len(events) else 0
    by_n = [{"n": n, "by": by} for by in ("number", "time") for n in NUMBERS]
    return by_n + [{"duration": d} for d in DURATIONS if span // d < 1000]


def ours(events: Events, options: dict, like: str) -> str:
    """Shape and sha256 of our frames, or "refused"."""
    try:
        frames = ek.frames(events, **options, like=like)
    except ek.OptionError:
        return "refused"
    return f"{frames.shape} {hashlib.sha256(frames.tobytes()).hexdigest()}"


def theirs(peers: Path, recordings: dict[str, Events]) -> dict[str, str]:
    """The same of the other libraries, from one process in their environment."""
    with tempfile.TemporaryDirectory() as folder:
        for name, events in recordings.items():
            columns = {key: getattr(events, key).astype(np.int64) for key in "txyp"}
            text = json.dumps(settings(events))
            np.savez(Path(folder, f"{name}.npz"), size=events.size, settings=text, **columns)
        command = [peers / "bin" / "python", HERE / "peer_frames.py", "compare", folder]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, required=True, help="an environment with both")
    parser.add_argument("--samples", type=Path, default=os.environ.get("EVENTKIT_SAMPLES"))
    parser.add_argument("--random", type=int, default=200, help="random recordings [200]")
    options = parser.parse_args()
    recordings = dict([*special_recordings(), *random_recordings(options.random)])
    if options.samples:
        recordings |= real_recordings(options.samples)
    warnings.filterwarnings("ignore", message="frames: ")
    expected = theirs(options.peers, recordings)
    counts = collections.Counter()
    for name, events in recordings.items():
        for number, setting in enumerate(settings(events)):
            for like in LIBRARIES:
                peer, mine = expected[f"{name} {number} {like}"], ours(events, setting, like)
                outcome = ("both refuse" if mine == "refused" else "equal") * (mine == peer)
                counts[like, outcome or "different"] += 1
                if not outcome:
                    print(f"{name} {setting} like={like}: {mine[:40]} beside {peer[:40]}")
    n_real = sum(not name.startswith(("random", "hot", "instant")) for name in recordings)
    print(f"{len(recordings)} recordings, {n_real} of them real")
    for like in LIBRARIES:
        found = ", ".join(f"{counts[like, k]:,} {k}" for k in ("equal", "both refuse", "different"))
        print(f"{like}: {found}")
    return int(any(counts[like, "different"] for like in LIBRARIES))


if __name__ == "__main__":
    sys.exit(main())
