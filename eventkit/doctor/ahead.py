"""Precompile all kernels, so that no cluster job has to compile."""

import contextlib
import tempfile
import warnings
from pathlib import Path

import numpy as np

from eventkit import augment, formats, representations, transforms
from eventkit.doctor.exam import examine
from eventkit.errors import MissingExtra, OptionError
from eventkit.events import Events

SIZE = (128, 128)  # a sensor that every format can hold


def warm() -> list[str]:
    """Run everything once on a tiny recording; return the names of what was run.

    This writes and reads every writable format, runs every representation, transform and
    augmentation that has no required options, an examination and a conversion. The compiled
    kernels are stored in Numba's cache and reused by later processes on the same kind of CPU.
    Formats that can only be read (e.g. MATLAB) are compiled when they are first used.
    """
    events = _recording()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = _formats(events, Path(folder))
        for name in representations.REPRESENTATIONS:
            with contextlib.suppress(OptionError):  # it has required options
                representations.represent(events, name)
                done.append(name)
        for name in transforms.TRANSFORMS:
            with contextlib.suppress(OptionError):
                transforms.transform(events, name)
                done.append(name)
        done += _augment(events)
        _convert(events, Path(folder))
    return [*done, "convert"]


def _recording() -> Events:
    """2,000 random events within 0.1 s."""
    rng = np.random.default_rng(0)
    n = 2000
    t = np.sort(rng.integers(0, 100_000, n))
    x, y = rng.integers(0, 34, (2, n))
    return Events(t, x, y, rng.integers(0, 2, n), SIZE)


def _augment(events: Events) -> list[str]:
    """Augment events or frames often enough that every random branch is compiled."""
    done = []
    for name, entry in augment.AUGMENTATIONS.items():
        with contextlib.suppress(OptionError):
            step = augment.Augment([name])
            for sample in range(16):
                draw = step.draw(0, sample)
                if entry.on == "events":
                    step.events(events, draw)
                else:
                    step.frames(representations.represent(events, "frames:n=4"), draw)
            done.append(name)
    return done


def _formats(events: Events, folder: Path) -> list[str]:
    """Write, read (whole and a time window) and examine every writable format."""
    done = []
    for name, fmt in formats.FORMATS.items():
        path = folder / f"{name}{fmt.suffixes[0]}"
        if fmt.write is None:
            continue
        with contextlib.suppress(MissingExtra):
            formats.write(path, events, name)
            formats.read(path, format=name, clock=(20_000, 50_000))
            examine(path, format=name)
            done.append(name)
    return done


def _convert(events: Events, folder: Path) -> None:
    """Convert two recordings to a frames store and to an events store."""
    from eventkit.conversion import convert
    from eventkit.store import Store

    for label in ("a", "b"):
        path = folder / "raw" / "train" / label / "0.aedat"
        path.parent.mkdir(parents=True)
        formats.write(path, events, "aedat3")
    convert(folder / "raw", represent="frames:n=4", out=folder / "warm.zarr", workers=1)
    convert(folder / "raw", represent="events", out=folder / "events.zarr", workers=1)
    Store(folder / "events.zarr")["train"].events(0)
