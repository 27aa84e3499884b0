"""Runs in the peers' environment: decodes recordings with another library, and says how fast.

python peer_decode.py LIBRARY REPEATS FILE [FILE ...]
"""

import importlib
import json
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path


def spikingjelly() -> dict[str, Callable[[str], int]]:
    """Its two loaders, without the package around them, which imports torchaudio."""
    import spikingjelly

    package = types.ModuleType("spikingjelly.datasets")
    package.__path__ = [str(Path(spikingjelly.__file__).with_name("datasets"))]
    sys.modules[package.__name__] = package
    loaders = importlib.import_module("spikingjelly.datasets.utils")
    return {
        ".aedat": lambda path: len(loaders.load_aedat_v3(path)["t"]),
        ".bin": lambda path: len(loaders.load_ATIS_bin(path)["t"]),
    }


def tonic() -> dict[str, Callable[[str], int]]:
    import numpy as np
    from tonic.io import read_mnist_file

    dtype = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
    return dict.fromkeys((".bin", ".bs2"), lambda path: len(read_mnist_file(path, dtype=dtype)))


def evutils() -> dict[str, Callable[[str], int]]:
    from evutils.io import EventReader

    def streamed(path: str) -> int:
        return sum(len(part) for part in EventReader(path, n_events=1 << 18))

    suffixes = (".aedat", ".aedat4", ".raw", ".dat", ".h5", ".hdf5", ".npz")
    return dict.fromkeys(suffixes, streamed)


def faery() -> dict[str, Callable[[str], int]]:
    import faery

    def streamed(path: str) -> int:
        return sum(len(part) for part in faery.events_stream_from_file(path))

    return dict.fromkeys((".aedat4", ".es", ".raw", ".dat"), streamed)


def aedat() -> dict[str, Callable[[str], int]]:
    import aedat

    return {".aedat4": lambda path: sum(len(part["events"]) for part in aedat.Decoder(path))}


def expelliarmus() -> dict[str, Callable[[str], int]]:
    from expelliarmus import Wizard

    def whole(path: str) -> int:
        with Path(path).open("rb") as file:
            head = file.read(4096)
        encoding = next((code for code in ("evt2", "evt3") if code.upper().encode() in head), "dat")
        return len(Wizard(encoding=encoding).read(path))

    return {".raw": whole, ".dat": whole}


def evlib() -> dict[str, Callable[[str], int]]:
    import evlib as library

    return {".hdf5": lambda path: len(library.load_events(path, sort=False).collect())}


def h5py() -> dict[str, Callable[[str], int]]:
    """What scripts for DSEC do: its columns into memory, with the offset of its times."""
    import h5py as library
    import numpy as np

    def whole(path: str) -> int:
        with library.File(path) as file:
            x, y, p = (file[f"events/{name}"][()] for name in "xyp")
            t = file["events/t"][()].astype(np.int64) + int(file["t_offset"][()])
        return min(len(column) for column in (t, x, y, p))

    return {".h5": whole}


def numpy() -> dict[str, Callable[[str], int]]:
    import numpy as library

    def whole(path: str) -> int:
        with library.load(path) as file:
            return min(len(file[name]) for name in "txyp")

    return {".npz": whole}


def importRosbag() -> dict[str, Callable[[str], int]]:
    """The reader of bags that Tonic uses."""
    from importRosbag.importRosbag import importRosbag as load

    def whole(path: str) -> int:
        topics = load(filePathOrName=path, importTopics=["/dvs/events"], log="ERROR")
        return len(topics["/dvs/events"]["ts"])

    return {".bag": whole}


def main(library: str, repeats: str, *files: str) -> None:
    decode = globals()[library]()[Path(files[0]).suffix]
    events = decode(files[0])
    times = []
    for _ in range(int(repeats)):
        started = time.perf_counter()
        events = sum(decode(file) for file in files)
        times.append(time.perf_counter() - started)
    print(json.dumps({"events": events, "seconds": statistics.median(times)}))


main(*sys.argv[1:])
