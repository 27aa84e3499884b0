"""Runs in the peers' environment: frames made by SpikingJelly and Tonic, to compare or to time.

python peer_frames.py compare FOLDER   the digest of every frames array, as JSON
python peer_frames.py time FOLDER      the median time of every way in ms, as JSON

FOLDER has recordings as NAME.npz: t, x, y, p (int64), size, and the settings as JSON, a list of
options {"n", "by"} or {"duration"}.
"""

import hashlib
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import MagicMock

# spikingjelly.datasets imports torchaudio, which no data set of events uses and few have working.
for name in ("", ".transforms", ".functional", ".datasets", ".datasets.utils"):
    sys.modules["torchaudio" + name] = MagicMock()
sys.modules["torchaudio.datasets.speechcommands"] = MagicMock()

import numpy as np  # noqa: E402
from spikingjelly.datasets.utils import (  # noqa: E402
    integrate_events_by_fixed_duration,
    integrate_events_by_fixed_frames_number,
)
from tonic.transforms import ToFrame, ToVoxelGrid  # noqa: E402

RECORD = np.dtype([("x", np.int16), ("y", np.int16), ("p", np.bool_), ("t", np.int64)])


def spikingjelly(columns: dict, size: tuple, options: dict) -> np.ndarray:
    width, height = size
    events = dict(columns)
    if "duration" in options:
        return integrate_events_by_fixed_duration(events, options["duration"], height, width)
    by, n = options["by"], options["n"]
    return integrate_events_by_fixed_frames_number(events, by, n, height, width)


def tonic(columns: dict, size: tuple, options: dict) -> np.ndarray:
    return to_frame(size, options)(structured(columns))


def to_frame(size: tuple, options: dict) -> ToFrame:
    if "duration" in options:
        return ToFrame(sensor_size=(*size, 2), time_window=options["duration"])
    if options["by"] == "time":
        return ToFrame(sensor_size=(*size, 2), n_time_bins=options["n"])
    return ToFrame(sensor_size=(*size, 2), n_event_bins=options["n"])


def structured(columns: dict) -> np.ndarray:
    events = np.empty(len(columns["t"]), RECORD)
    for name in "txyp":
        events[name] = columns[name]
    return events


def recordings(folder: Path) -> Iterator[tuple[str, dict, tuple, list[dict]]]:
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            columns = {name: file[name] for name in "txyp"}
            size = tuple(int(side) for side in file["size"])
            yield path.stem, columns, size, json.loads(str(file["settings"]))


def digest(make: Callable[[], np.ndarray]) -> str:
    """Shape and sha256 of the frames as uint16; "refused" where the library fails or wraps."""
    try:
        frames = make()
    except (IndexError, ValueError):
        return "refused"
    exact = frames.astype(np.uint16)
    if not np.array_equal(exact, frames):
        return "refused"
    return f"{exact.shape} {hashlib.sha256(exact.tobytes()).hexdigest()}"


def compare(folder: Path) -> dict[str, str]:
    found = {}
    for name, columns, size, settings in recordings(folder):
        for number, options in enumerate(settings):
            for library in (spikingjelly, tonic):
                key = f"{name} {number} {library.__name__}"
                found[key] = digest(lambda f=library, o=options: f(columns, size, o))  # noqa: B023
    return found


def median_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(10):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:]) * 1000


def timed(folder: Path) -> dict[str, float]:
    _, columns, size, settings = next(recordings(folder))
    events = structured(columns)
    found = {}
    for number, options in enumerate(settings):
        transform = to_frame(size, options)
        found[f"{number} spikingjelly"] = median_ms(lambda: spikingjelly(columns, size, options))  # noqa: B023
        found[f"{number} tonic"] = median_ms(lambda: transform(events))  # noqa: B023
    grid = ToVoxelGrid(sensor_size=(*size, 2), n_time_bins=5)
    found["voxel"] = median_ms(lambda: grid(events.copy()))
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps({"compare": compare, "time": timed}[sys.argv[1]](Path(sys.argv[2]))))
