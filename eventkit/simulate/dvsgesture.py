"""Simulated DVS128 Gesture: drawn people in front of a simulated DVS128, in the dataset's layout.

userNN_<light>.aedat (AEDAT 3.1) contains one subject's eleven gestures in one light, with the arm
roll twice. userNN_<light>_labels.csv contains their windows start <= t < stop (µs).
trials_to_train.txt and trials_to_test.txt list the recordings of each split. Layout and classes:
A. Amir et al., A low power, fully event-based gesture recognition system, CVPR 2017.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from eventkit import formats
from eventkit._write import whole
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.registry import unknown
from eventkit.simulate.camera import Camera
from eventkit.simulate.gestures import ORDER, other, perform
from eventkit.simulate.noise import Noise, mix, save_labels
from eventkit.simulate.scene import SIDE, Light, Person, Room

MARK = "Simulated by eventkit: this is NOT the dataset DVS128 Gesture."
README = f"""{MARK}

The recordings in this folder show drawn figures in front of a simulated event camera. They have the
layout, file format and classes of DVS128 Gesture, so that eventkit can be tried without it.
Accuracies measured on them say nothing about the real dataset: do not report them.

settings: {{settings}}
"""
LIGHTS = {
    "fluorescent": Light(0.6, slope=0.2, flicker=0.05),
    "fluorescent_led": Light(0.8, slope=0.1, flicker=0.02),
    "lab": Light(0.45, slope=0.3),
    "led": Light(0.7, slope=0.4),
    "natural": Light(1.0, slope=0.6, wall=0.3),
}
STEP = 2000  # µs between frames; the fastest hands move less than a pixel
BATCH = 16  # frames drawn per call


def dvsgesture(
    root: Path,
    *,
    seed: int,
    subjects: int,
    lights: Sequence[str],
    seconds: float,
    noise_hz: float,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    """Write the recordings to `root`; see `eventkit.simulate.simulate` for the arguments."""
    _check(seed, subjects, lights, seconds, workers)
    if not 0 <= noise_hz <= 1000:
        raise OptionError(f"simulate: noise_hz is {noise_hz}, expected 0 to 1,000")
    _claim(root)
    settings = f"seed {seed}, {subjects} subjects, {seconds:g} s a gesture, {', '.join(lights)}"
    settings += f", {noise_hz:g} Hz of labelled noise" if noise_hz else ""
    _write(root / "README.txt", README.format(settings=settings))
    jobs = [(subject, light) for subject in range(1, subjects + 1) for light in lights]
    held_out = subjects - max(1, round(subjects / 4))
    splits = {
        "train": [_stem(*job) for job in jobs if job[0] <= held_out],
        "test": [_stem(*job) for job in jobs if job[0] > held_out],
    }
    lists = {split: root / f"trials_to_{split}.txt" for split in splits}
    for path in lists.values():
        path.unlink(missing_ok=True)  # without the lists, an incomplete folder is not recognised
    events = _record_all(root, seed, jobs, seconds, noise_hz, workers, progress)
    for split, stems in splits.items():
        _write(lists[split], "".join(f"{stem}.aedat\n" for stem in stems))
    ends = (".aedat", "_labels.csv", *(["_noise.npy"] if noise_hz else []))
    names = [_stem(*job) + end for job in jobs for end in ends]
    files = [root / "README.txt", *lists.values(), *(root / name for name in names)]
    return {
        "name": "dvsgesture",
        "root": str(root),
        "recordings": len(jobs),
        "files": len(files),
        "samples": {split: len(ORDER) * len(stems) for split, stems in splits.items()},
        "events": events,
        "bytes": sum(path.stat().st_size for path in files),
    }


def _record_all(
    root: Path,
    seed: int,
    jobs: list[tuple[int, str]],
    seconds: float,
    noise_hz: float,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Write the recordings of all (subject, light) in parallel; return the number of events."""
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        tasks = [pool.submit(_record, root, seed, *job, seconds, noise_hz) for job in jobs]
        events = 0
        for done, task in enumerate(as_completed(tasks), 1):
            events += task.result()
            if progress is not None:
                progress(done, len(tasks))
        return events
    finally:
        pool.shutdown(cancel_futures=True)


def _record(
    root: Path, seed: int, subject: int, light: str, seconds: float, noise_hz: float
) -> int:
    """Write one recording and its labels; return the number of events."""
    person_rng = np.random.default_rng([seed, subject, 0])
    person, own = Person.drawn(person_rng), other(person_rng)
    rng = np.random.default_rng([seed, subject, 1 + list(LIGHTS).index(light)])
    hands, trials = perform(own, person.tempo, seconds, STEP / 1e6, rng)
    t = int(rng.integers(1_000_000, 100_000_000)) + STEP * np.arange(len(hands))
    n = 0

    noise = Noise((SIDE, SIDE), rate_hz=noise_hz, seed=np.random.default_rng([seed, subject, 9]))
    labels = []

    def counted() -> Iterator[Events]:
        nonlocal n
        begin = int(t[0])
        for k, events in enumerate(
            _watch(person, LIGHTS[light], hands, t, rng, quiet=noise_hz > 0)
        ):
            end = int(t[min((k + 1) * BATCH, len(t)) - 1])
            if noise_hz:
                events, is_noise = mix(events, noise.between(begin, end))
                labels.append(is_noise)
            n += len(events)
            begin = end
            yield events

    stem = _stem(subject, light)
    formats.write(root / f"{stem}.aedat", counted(), "aedat3")
    if noise_hz:
        with whole(root / f"{stem}_noise.npy") as temporary:
            save_labels(temporary, np.concatenate(labels))
    rows = [f"{trial.label},{t[trial.start]},{t[trial.stop]}\n" for trial in trials]
    _write(root / f"{stem}_labels.csv", "class,startTime_usec,endTime_usec\n" + "".join(rows))
    return n


def _watch(
    person: Person,
    light: Light,
    hands: np.ndarray,
    t: np.ndarray,
    rng: np.random.Generator,
    quiet: bool = False,
) -> Iterator[Events]:
    """Yield the events of a person with hands (N, 2, 2) at the times t (N,) in µs.

    A `quiet` camera has no noise of its own, so that all noise is labelled.
    """
    room = Room.drawn(light, rng)
    camera = Camera(
        (SIDE, SIDE),
        threshold=0.15,
        mismatch=0.025,
        refractory_us=500,
        leak_hz=0.0 if quiet else 0.1,
        shot_hz=0.0 if quiet else 0.5,
        hot_pixels=0.0 if quiet else 0.0005,
        cutoff_hz=300,
        seed=rng,
    )
    seconds = (t - t[0]) / 1e6
    shapes, brightness = person.shapes(hands, seconds), light.on(seconds)
    for k in range(0, len(t), BATCH):
        part = slice(k, k + BATCH)
        yield camera.steps(room.pictures(shapes[part], brightness[part]), t[part])


def _check(
    seed: int, subjects: int, lights: Sequence[str], seconds: float, workers: int | None
) -> None:
    if seed < 0:
        raise OptionError(f"simulate: seed is {seed}, expected zero or more")
    if subjects < 2:
        raise OptionError(
            f"simulate: subjects is {subjects}, expected 2 or more, for train and test"
        )
    if not 0.1 <= seconds <= 60:
        raise OptionError(f"simulate: seconds is {seconds}, expected 0.1 to 60 per gesture")
    if workers is not None and workers < 1:
        raise OptionError(f"simulate: workers is {workers}, expected 1 or more")
    if not lights or len(set(lights)) < len(lights):
        raise OptionError(f"simulate: lights is {lights}, expected one or more distinct names")
    for light in lights:
        if light not in LIGHTS:
            raise unknown("light", light, LIGHTS)


def _claim(root: Path) -> None:
    """Create the folder; OptionError if it has content that is not from an earlier simulation."""
    if root.exists() and not root.is_dir():
        raise OptionError(f"{root} is a file; expected a folder")
    root.mkdir(parents=True, exist_ok=True)
    readme = root / "README.txt"
    ours = readme.is_file() and readme.read_bytes().startswith(MARK.encode())
    if not ours and any(not path.name.startswith(".") for path in root.iterdir()):
        raise OptionError(
            f"{root} is not empty and does not contain an earlier simulation; choose another "
            "folder, because simulate overwrites only its own files"
        )


def _write(path: Path, text: str) -> None:
    with whole(path) as temporary:
        temporary.write_text(text, "utf-8", newline="\n")


def _stem(subject: int, light: str) -> str:
    return f"user{subject:02}_{light}"
