"""Simulated recordings, to try eventkit before the real data is available.

A simulated dataset has the layout, file format and classes of the original, but contains no
original recordings, as its README.txt states. Do not report results on it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eventkit.registry import unknown
from eventkit.simulate.dvsgesture import dvsgesture

SIMULATORS: dict[str, Callable[..., dict[str, Any]]] = {"dvsgesture": dvsgesture}


def simulate(
    name: str,
    root: str | Path,
    *,
    seed: int = 0,
    subjects: int = 8,
    lights: Sequence[str] = ("fluorescent", "led"),
    seconds: float = 1.8,
    noise_hz: float = 0.0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write simulated recordings in the layout of the dataset `name` to the folder `root`.

    `seconds` is the approximate duration of one gesture. With `noise_hz`, that many noise events
    per pixel and second, and hot pixels, are mixed in; RECORDING_noise.npy states for each event
    whether it is noise (bool). On one machine with the same versions, a seed always gives the same
    bytes, independent of the number of `workers` (threads; None: one per CPU); a recording does not
    depend on the number of other subjects and lights. `progress` is called with the numbers of
    completed and of all recordings.

    Returns a dict with the keys name, root, recordings, files, samples (by split), events and
    bytes. Raises UnknownName for a dataset without a simulator, and OptionError for a value out of
    range or a folder with other content than an earlier simulation, which is never overwritten.
    """
    if name not in SIMULATORS:
        raise unknown("simulator", name, SIMULATORS)
    return SIMULATORS[name](
        Path(root),
        seed=seed,
        subjects=subjects,
        lights=lights,
        seconds=seconds,
        noise_hz=noise_hz,
        workers=workers,
        progress=progress,
    )
