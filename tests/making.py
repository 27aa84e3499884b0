"""What several test files make: events, recordings, stores, and the command in a process."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

import eventkit as ek
from eventkit import Events

ROOT = Path(__file__).parents[1]


def make_events(n=1000, size=(34, 34), seed=0, step=50) -> Events:
    """Random events in order of time."""
    rng = np.random.default_rng(seed)
    return Events(
        t=np.cumsum(rng.integers(0, step, n)),
        x=rng.integers(0, size[0], n),
        y=rng.integers(0, size[1], n),
        p=rng.integers(0, 2, n),
        size=size,
    )


def make_gestures(root: Path, recordings=4, windows=3, events=1500, test=1) -> Path:
    """Recordings and label tables in the layout of DVS128 Gesture; the last ones are for test."""
    root.mkdir(parents=True, exist_ok=True)
    names = []
    for number in range(recordings):
        name = f"user{number + 1:02d}_led"
        ek.write(root / f"{name}.aedat", make_events(events * windows, (128, 128), number, 20))
        length = events * 10  # about as many events as µs / 9.5
        rows = [f"{w + 1},{w * length},{(w + 1) * length}" for w in range(windows)]
        table = "\n".join(["class,startTime_usec,endTime_usec", *rows])
        (root / f"{name}_labels.csv").write_text(table + "\n")
        names.append(f"{name}.aedat")
    (root / "trials_to_train.txt").write_text("\n".join(names[:-test]) + "\n")
    (root / "trials_to_test.txt").write_text("\n".join(names[-test:]) + "\n")
    return root


def tree_hash(path: Path) -> str:
    """One hash of all names and bytes below a folder."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def link_tree(source: Path, target: Path) -> Path:
    """A copy on hard links, for tests that replace files (see `put`) and never write into them."""
    for file in sorted(p for p in source.rglob("*") if p.is_file()):
        (target / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        os.link(file, target / file.relative_to(source))
    return target


def put(path: Path, data: bytes) -> None:
    """A file of these bytes in place of what is there, which may be linked elsewhere."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def flip(path: Path, at: float = 0.5) -> None:
    """Change one bit in the middle of a file, or at another fraction of it."""
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    put(path, bytes(data))


def eventkit(*arguments, **environment) -> subprocess.CompletedProcess:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "eventkit", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def interrupt(process: subprocess.Popen) -> None:
    """Ctrl-C until the process ends: one that comes just before a system call is lost in it.

    Python notes a signal and looks at the note between its instructions, so a call that waits and
    that begins in between waits on.
    """
    for _ in range(6):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
            return
    process.kill()
    raise AssertionError("six times Ctrl-C did not end the process")
