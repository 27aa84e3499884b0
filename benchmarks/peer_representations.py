"""Runs in the peers' environment: their representations and filters of one sample.

python peer_representations.py FOLDER   medians of CPU time in ms as JSON; arrays go to FOLDER

FOLDER has sample.npz: t, x, y, p (int64) and size. Each way is written as its library's documents
show it, with the events in the library's own type before the clock starts.
"""

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

warnings.simplefilter("ignore")


def ways(columns: dict[str, np.ndarray], size: tuple[int, int]) -> dict[str, Callable]:
    width, height = size
    found: dict[str, Callable] = {}
    sensor = (width, height, 2)

    from tonic import transforms as tonic

    kinds = [("x", np.int16), ("y", np.int16), ("p", np.int64), ("t", np.int64)]
    events = np.empty(len(columns["t"]), np.dtype(kinds))
    for name in "txyp":
        events[name] = columns[name]
    bits = tonic.Compose(
        [tonic.ToFrame(sensor, n_time_bins=8), tonic.ToBinaRep(n_frames=1, n_bits=8)]
    )
    few = events[:4000]
    found["tonic voxel"] = lambda: tonic.ToVoxelGrid(sensor, n_time_bins=5)(events)
    found["tonic time_surface"] = lambda: tonic.ToTimesurface(sensor, 500_000, 50_000)(events)
    found["tonic bina_rep"] = lambda: bits(events)
    found["tonic hats of 4,000"] = lambda: tonic.ToAveragedTimesurface(
        sensor, surface_size=5, cell_size=8, time_window=1000, tau=100
    )(few)
    found["tonic denoise"] = lambda: tonic.Denoise(filter_time=10_000)(events)
    found["tonic refractory"] = lambda: tonic.RefractoryPeriod(delta=1000)(events)
    found["tonic decimate"] = lambda: tonic.Decimation(n=4)(events)
    found["tonic downsample"] = lambda: tonic.Downsample(sensor_size=sensor, spatial_factor=0.5)(
        events
    )

    try:
        import evlib.representations as evlib
        import polars

        frame = polars.DataFrame(
            {
                "t": polars.Series(columns["t"]).cast(polars.Duration("us")),
                "x": columns["x"].astype(np.int16),
                "y": columns["y"].astype(np.int16),
                "polarity": (2 * columns["p"] - 1).astype(np.int8),
            }
        ).lazy()
        grid = (height, width)
        found["evlib voxel"] = lambda: evlib.densify_voxel_grid(
            evlib.create_voxel_grid(frame, height, width, n_time_bins=5), 5, *grid
        )
        found["evlib stacked_histogram"] = lambda: evlib.create_stacked_histogram(
            frame, height, width, bins=10, window_duration_ms=50.0
        )
        found["evlib mixed_density"] = lambda: evlib.create_mixed_density_stack(
            frame, height, width
        )
        found["evlib time_surface"] = lambda: evlib.create_time_surface(
            frame, height, width, dt=500_000.0, tau=50_000.0
        )
    except ImportError as error:
        print(f"evlib: {error}", file=sys.stderr)

    try:
        import evutils.dense as evutils

        records = np.empty(
            len(columns["t"]),
            [("x", np.uint16), ("y", np.uint16), ("p", np.uint8), ("t", np.int64)],
        )
        for name in "txyp":
            records[name] = columns[name]
        options = {"width": width, "height": height}
        found["evutils time_surface"] = lambda: evutils.timesurface(records, tau=50_000, **options)
        found["evutils tore"] = lambda: evutils.tore(records, n_events=8, **options)
        found["evutils stacked_histogram"] = lambda: evutils.voxel_histogram(
            records, n_bins=10, dt=500_000, **options
        )
    except ImportError as error:
        print(f"evutils: {error}", file=sys.stderr)

    try:
        import dv_processing as dv

        store = dv.EventStore()
        for t, x, y, p in zip(*(columns[name].tolist() for name in "txyp"), strict=True):
            store.push_back(t, x, y, bool(p))
        resolution = (width, height)

        def dv_filter(make: Callable) -> Callable:
            def run() -> int:
                one = make()
                one.accept(store)
                return one.generateEvents().size()

            return run

        from datetime import timedelta

        ms = timedelta(milliseconds=1)
        found["dv background_activity"] = dv_filter(
            lambda: dv.noise.BackgroundActivityNoiseFilter(resolution, 2 * ms)
        )
        found["dv knoise"] = dv_filter(lambda: dv.noise.KNoiseFilter(resolution, ms))

        def surface() -> np.ndarray:
            one = dv.TimeSurface(resolution)
            one.accept(store)
            return one.generateFrame().image

        found["dv time_surface"] = surface
    except ImportError as error:
        print(f"dv-processing: {error}", file=sys.stderr)
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    with np.load(folder / "sample.npz") as sample:
        columns = {name: sample[name] for name in "txyp"}
        size = tuple(int(side) for side in sample["size"])
    times: dict[str, float] = {}
    for name, way in ways(columns, size).items():
        try:
            result = way()
        except Exception as error:  # a library that cannot do it is no reason to stop
            print(f"{name}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
            continue
        if isinstance(result, np.ndarray):
            np.save(folder / f"{name}.npy", result)
        spent: list[float] = []
        while len(spent) < 3 or (len(spent) < 15 and sum(spent) < 2):
            began = time.process_time()
            way()
            spent.append(time.process_time() - began)
        times[name] = statistics.median(spent) * 1000
    print(json.dumps(times))


if __name__ == "__main__":
    main()
