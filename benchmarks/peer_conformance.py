"""Runs in the peers' environment: Tonic's representations of FOLDER/sample.npz, as 0..3.npy."""

import sys
from pathlib import Path

import numpy as np
from tonic import transforms as tonic


def main() -> None:
    folder = Path(sys.argv[1])
    with np.load(folder / "sample.npz") as sample:
        sensor = (*(int(side) for side in sample["size"]), 2)
        kinds = [("x", np.int16), ("y", np.int16), ("p", np.int64), ("t", np.int64)]
        events = np.empty(len(sample["t"]), np.dtype(kinds))
        for name in "txyp":
            events[name] = sample[name]
        frames = sample["frames"]
    ways = (
        lambda: tonic.ToVoxelGrid(sensor, n_time_bins=5)(events),
        lambda: tonic.ToTimesurface(sensor, dt=20_000, tau=10_000)(events),
        lambda: tonic.ToBinaRep(n_frames=1, n_bits=8)(frames),
        lambda: tonic.ToAveragedTimesurface(
            sensor, cell_size=10, surface_size=5, time_window=1000, tau=100
        )(events[:2000]),
    )
    for number, way in enumerate(ways):
        np.save(folder / f"{number}.npy", way())


if __name__ == "__main__":
    main()
