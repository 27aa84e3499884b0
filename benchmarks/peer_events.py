"""Runs in the peers' environment: the events of one file as another library reads them.

python peer_events.py versions                      versions of all libraries, as JSON
python peer_events.py LIBRARY KIND FILE OUT.npz     columns t, x, y, p, int64 (p 0 or 1)

Each function opens the file as the library's own documentation says, in the order of the file and
with no options that a user would have to guess. It is in READERS for the kinds of files that the
library has a reader for. A library that is not installed is left out of the versions. AEStream
receives SPIF words as datagrams and counts them by pixel: x and y are given, t is NOT_TOLD.
"""

import contextlib
import json
import socket
import sys
import time
import types
from importlib import import_module, metadata
from pathlib import Path

import numpy as np

NAMES = {
    "evutils": "evutils",
    "faery": "faery",
    "expelliarmus": "expelliarmus",
    "evlib": "evlib",
    "evt3": "evt3",
    "aedat": "aedat",
    "dv_processing": "dv_processing",
    "AEStream": "aestream",
    "Tonic": "tonic",
    "SpikingJelly": "spikingjelly",
}


def columns(array, t="t", x="x", y="y", p="p"):
    return [np.asarray(array[name]) for name in (t, x, y, p)]


def joined(parts):
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def evutils(path):
    from evutils.io import EventReader

    events = EventReader(path).read_all()
    return [events.t, events.x, events.y, events.p]


def faery(path):
    import faery

    return joined([columns(part, p="on") for part in faery.events_stream_from_file(path)])


def expelliarmus(encoding):
    def read(path):
        from expelliarmus import Wizard

        return columns(Wizard(encoding=encoding).read(path))

    return read


def evlib(path):
    import evlib

    frame = evlib.load_events(path, sort=False).collect()
    t = frame["t"].dt.total_microseconds()
    return [column.to_numpy() for column in (t, frame["x"], frame["y"], frame["polarity"])]


def evt3(path):
    import evt3

    events = evt3.decode_file(path)
    return [events.timestamp, events.x, events.y, events.polarity]


def aedat(path):
    import aedat

    decoder = aedat.Decoder(path)
    first = min(n for n, about in decoder.id_to_stream().items() if about["type"] == "events")
    parts = [part["events"] for part in decoder if part["stream_id"] == first]
    return joined([columns(part, p="on") for part in parts])


def dv_processing(path):
    import dv_processing as dv

    recording, parts = dv.io.MonoCameraRecording(path), []
    while (batch := recording.getNextEventBatch()) is not None:
        parts.append(columns(batch.numpy(), t="timestamp", p="polarity"))
    return joined(parts)


def aestream(path):
    from aestream import FileInput

    return columns(FileInput(path, (1 << 11, 1 << 11)).load(), t="timestamp", p="polarity")


def aestream_udp(path, side=1 << 11, datagram=512):
    """The words of a file, sent to AEStream's receiver: how many each pixel has."""
    from aestream import UDPInput

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind(("127.0.0.1", 0))
        port = out.getsockname()[1]
    data = Path(path).read_bytes()
    with UDPInput((side, side), device="cpu", port=port) as receiver:
        time.sleep(1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for at in range(0, len(data), datagram):
                out.sendto(data[at : at + datagram], ("127.0.0.1", port))
                time.sleep(0.002)
        time.sleep(1)
        counts = np.asarray(receiver.read()).astype(np.int64)
    x, y = (np.repeat(axis, counts.ravel()) for axis in np.indices(counts.shape).reshape(2, -1))
    return [np.full(len(x), NOT_TOLD), x, y, np.zeros(len(x))]


def tonic(function):
    def read(path):
        import tonic.io

        if function != "read_mnist_file":
            found = getattr(tonic.io, function)(path)
            return columns(found[-1] if isinstance(found, tuple) else found)
        dtype = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
        return columns(tonic.io.read_mnist_file(path, dtype=dtype))

    return read


def spikingjelly(function):
    def read(path):
        """Its loader, without the package around it, which imports torchaudio."""
        import spikingjelly

        package = types.ModuleType("spikingjelly.datasets")
        package.__path__ = [str(Path(spikingjelly.__file__).with_name("datasets"))]
        sys.modules[package.__name__] = package
        return columns(getattr(import_module("spikingjelly.datasets.utils"), function)(path))

    return read


WIZARDS = {kind: expelliarmus(kind) for kind in ("evt2", "evt3", "dat")}
AEDAT = ("aedat1", "aedat2", "davis240", "davis346", "aedat3", "aedat4")
EVT = ("evt2", "evt21", "evt3")
NOT_TOLD = -1
READERS = {
    "evutils": dict.fromkeys((*AEDAT, *EVT, "dat", "hdf5", "npz"), evutils),
    "faery": dict.fromkeys(("aedat4", *EVT, "dat", "es"), faery),
    "expelliarmus": WIZARDS,
    "evlib": dict.fromkeys((*AEDAT, *EVT, "hdf5"), evlib),
    "evt3": {"evt3": evt3},
    "aedat": {"aedat4": aedat},
    "dv_processing": {"aedat4": dv_processing},
    "AEStream": {**dict.fromkeys(("aedat4", "evt3", "dat"), aestream), "spif": aestream_udp},
    "Tonic": {
        "aedat2": tonic("read_dvs_128"),
        "davis346": tonic("read_davis_346"),
        "aedat3": tonic("read_dvs_ibm"),
        "aedat4": tonic("read_aedat4"),
        "atis": tonic("read_mnist_file"),
    },
    "SpikingJelly": {
        "aedat3": spikingjelly("load_aedat_v3"),
        "atis": spikingjelly("load_ATIS_bin"),
    },
}


def versions():
    found = {}
    for name, module in NAMES.items():
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(module)
    return {"versions": found, "kinds": {name: list(READERS[name]) for name in found}}


def main(library, kind, path, out):
    t, x, y, p = (np.asarray(column) for column in READERS[library][kind](path))
    kept = {"t": t.astype(np.int64), "x": x.astype(np.int64), "y": y.astype(np.int64)}
    np.savez(out, **kept, p=(p.astype(np.int64) > 0).astype(np.int64))


if __name__ == "__main__":
    if sys.argv[1] == "versions":
        print(json.dumps(versions()))
    else:
        main(*sys.argv[1:])
