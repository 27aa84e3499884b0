"""Runs in the peers' environment: reads recordings whole, as arrays, and says how fast.

python peer_real.py LIBRARY; of each line `format file` that comes in, it prints how many events the
file has and the median CPU time of reading it, or null if the library cannot read it.
"""

import importlib
import json
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np

SECONDS = 0.15  # that a file is read again and again
ATIS = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
Read = Callable[[str], int]


def tonic() -> dict[str, Read]:
    from tonic.io import read_mnist_file

    return dict.fromkeys(("atis", "bs2"), lambda path: len(read_mnist_file(path, dtype=ATIS)))


def spikingjelly() -> dict[str, Read]:
    """Its two loaders, without the package around them, which imports torchaudio."""
    import spikingjelly as library

    package = types.ModuleType("spikingjelly.datasets")
    package.__path__ = [str(Path(library.__file__).with_name("datasets"))]
    sys.modules[package.__name__] = package
    loaders = importlib.import_module("spikingjelly.datasets.utils")
    return {
        "aedat3": lambda path: len(loaders.load_aedat_v3(path)["t"]),
        "atis": lambda path: len(loaders.load_ATIS_bin(path)["t"]),
    }


def evutils() -> dict[str, Read]:
    from evutils.io import EventReader

    names = ("aedat2", "aedat3", "aedat4", "evt2", "evt21", "evt3", "dat", "hdf5", "npz")
    return dict.fromkeys(names, lambda path: len(EventReader(path).read_all()))


def faery() -> dict[str, Read]:
    import faery as library

    def whole(path: str) -> int:
        return len(library.events_stream_from_file(path).to_array())

    return dict.fromkeys(("aedat4", "es", "evt2", "evt3", "dat"), whole)


def aedat() -> dict[str, Read]:
    import aedat as library

    def whole(path: str) -> int:
        packets = [packet["events"] for packet in library.Decoder(path) if "events" in packet]
        return len(np.concatenate(packets)) if packets else 0

    return {"aedat4": whole}


def expelliarmus() -> dict[str, Read]:
    from expelliarmus import Wizard

    names = ("evt2", "evt3", "dat")
    return {name: lambda path, name=name: len(Wizard(encoding=name).read(path)) for name in names}


def evlib() -> dict[str, Read]:
    import evlib as library

    def whole(path: str) -> int:
        return len(library.load_events(path, sort=False).collect())

    return dict.fromkeys(("hdf5", "evt2", "evt3", "text"), whole)


def h5py() -> dict[str, Read]:
    """What scripts for DSEC do: its columns into memory, with the offset of its times."""
    import h5py as library
    import hdf5plugin  # noqa: F401 for Blosc, which DSEC uses

    def whole(path: str) -> int:
        with library.File(path) as file:
            x, y, p = (file[f"events/{name}"][()] for name in "xyp")
            t = file["events/t"][()].astype(np.int64) + int(file["t_offset"][()])
        return min(len(column) for column in (t, x, y, p))

    return {"hdf5": whole}


def numpy() -> dict[str, Read]:
    def npz(path: str) -> int:
        with np.load(path) as file:
            return min(len(file[name]) for name in "txyp")

    return {"npz": npz, "text": lambda path: len(np.loadtxt(path))}


def measured(read: Read | None, path: str) -> dict | None:
    """How many events there are and how long reading takes; None where it fails."""
    if read is None:
        return None
    try:
        events = read(path)
    except Exception:  # whatever another library raises
        return None
    times, end = [], time.perf_counter() + SECONDS
    while not times or time.perf_counter() < end:
        began = time.process_time()
        read(path)
        times.append(time.process_time() - began)
    return {"events": events, "seconds": statistics.median(times)}


def main(library: str) -> None:
    readers = globals()[library]()
    for line in sys.stdin:
        name, path = line.rstrip("\n").split(" ", 1)
        print(json.dumps(measured(readers.get(name), path)), flush=True)


main(*sys.argv[1:])
