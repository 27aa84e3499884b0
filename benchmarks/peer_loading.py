"""Runs in the peers' environment: samples cached by SpikingJelly and Tonic, and read in batches.

python peer_loading.py make FOLDER RAW [EVENTS ...]   SpikingJelly's and Tonic's caches in FOLDER
python peer_loading.py time FOLDER                    ms a sample of each way, as JSON

RAW has recordings as CLASS/NAME.npz: t, x, y, p (int64), and size.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock

# spikingjelly.datasets imports torchaudio, which no data set of events uses and few have working.
for name in ("", ".transforms", ".functional", ".datasets", ".datasets.utils"):
    sys.modules["torchaudio" + name] = MagicMock()
sys.modules["torchaudio.datasets.speechcommands"] = MagicMock()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from spikingjelly.datasets.utils import (  # noqa: E402
    integrate_events_file_to_frames_file_by_fixed_frames_number,
    load_npz_frames,
)
from tonic import DiskCachedDataset  # noqa: E402
from tonic.transforms import ToFrame  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402
from torchvision.datasets import DatasetFolder  # noqa: E402

BATCH, EPOCHS = 32, 5
RECORD = np.dtype([("x", np.int16), ("y", np.int16), ("p", np.bool_), ("t", np.int64)])


class Tonic:
    """What DiskCachedDataset keeps: frames of ToFrame and a label."""

    def __init__(self, raw: Path, n: int) -> None:
        self.files, self.n = sorted(raw.rglob("*.npz")), n

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        with np.load(self.files[index]) as file:
            events = np.empty(len(file["t"]), RECORD)
            for key in "txyp":
                events[key] = file[key]
            width, height = file["size"].tolist()
        frames = ToFrame(sensor_size=(width, height, 2), n_event_bins=self.n)(events)
        return frames, int(self.files[index].parent.name)


def make(folder: Path, raw: Path, n: int) -> None:
    for file in sorted(raw.rglob("*.npz")):
        out = folder / "spikingjelly" / file.parent.name
        out.mkdir(parents=True, exist_ok=True)
        with np.load(file) as events:
            width, height = events["size"].tolist()
        integrate_events_file_to_frames_file_by_fixed_frames_number(
            np.load, str(file), str(out), "number", n, height, width
        )


def spikingjelly(folder: Path) -> DatasetFolder:
    return DatasetFolder(str(folder / "spikingjelly"), load_npz_frames, (".npz",))


def timed(data: DataLoader, n: int) -> float:
    """Median ms a sample over epochs, the first excepted."""
    times = []
    for _ in range(EPOCHS):
        started = time.perf_counter()
        for _ in data:
            pass
        times.append((time.perf_counter() - started) / n * 1000)
    return statistics.median(times[1:])


def measure(folder: Path, raw: Path, n: int) -> dict[str, float]:
    torch.set_num_threads(1)
    cached = DiskCachedDataset(Tonic(raw, n), str(folder / "tonic"))
    for k in range(len(cached)):
        cached[k]
    found = {}
    for name, dataset in (("spikingjelly", spikingjelly(folder)), ("tonic", cached)):
        for workers in (0, 1, 2):
            options = {"num_workers": workers, "persistent_workers": workers > 0}
            data = DataLoader(dataset, batch_size=BATCH, shuffle=True, **options)
            found[f"{name} {workers}"] = timed(data, len(dataset))
    return found


if __name__ == "__main__":
    what, place, recordings, frames = sys.argv[1:5]
    made = {"make": make, "time": measure}[what](Path(place), Path(recordings), int(frames))
    print(json.dumps(made))
