"""Simulated recordings, for trying everything before the real data is there.

A simulated dataset stands in for a real one: it has the original's layout, file format and
classes, but no original recording, and says so in its README.txt. Never report results on it.
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
    """Write a stand-in of the dataset `name` to the folder `root`, for convert to read.

    `seconds` is about the duration of one gesture. With `noise_hz`, that many events per pixel and
    second that no light made are mixed in, and hot pixels; RECORDING_noise.npy says which they are,
    as bool for each event. A seed makes the same bytes on one machine and
    set of versions, whatever the number of `workers` (threads; None for one per processor), and a
    recording is the same among few subjects and lights as among many. `progress` is called with
    the number of recordings done and to do.

    Returns name, root, recordings, files, samples (by split), events and bytes. Raises
    UnknownName for a dataset without a simulator, and OptionError for a setting out of range or
    a folder that holds anything but an earlier simulation: nothing else is ever overwritten.
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
