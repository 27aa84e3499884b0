"""Runs in the peers' environment: the events of one file as another library reads them.

python peer_events.py versions                      versions of all libraries, as JSON
python peer_events.py LIBRARY KIND FILE OUT.npz     columns t, x, y, p, int64 (p 0 or 1)

Each function opens the file as the library's own documentation says, in the order of the file and
with no options that a user would have to guess. It is in READERS for the kinds of files that the
library has a reader for.
"""

import json
import sys
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
READERS = {
    "evutils": dict.fromkeys((*AEDAT, *EVT, "dat", "hdf5", "npz"), evutils),
    "faery": dict.fromkeys(("aedat4", *EVT, "dat", "es"), faery),
    "expelliarmus": WIZARDS,
    "evlib": dict.fromkeys((*AEDAT, *EVT, "hdf5"), evlib),
    "evt3": {"evt3": evt3},
    "aedat": {"aedat4": aedat},
    "dv_processing": {"aedat4": dv_processing},
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
    return {
        "versions": {name: metadata.version(module) for name, module in NAMES.items()},
        "kinds": {name: list(readers) for name, readers in READERS.items()},
    }


def main(library, kind, path, out):
    t, x, y, p = (np.asarray(column) for column in READERS[library][kind](path))
    kept = {"t": t.astype(np.int64), "x": x.astype(np.int64), "y": y.astype(np.int64)}
    np.savez(out, **kept, p=(p.astype(np.int64) > 0).astype(np.int64))


if __name__ == "__main__":
    if sys.argv[1] == "versions":
        print(json.dumps(versions()))
    else:
        main(*sys.argv[1:])
