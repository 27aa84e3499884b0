"""Miniatures of datasets: files with few events at the paths that a description's [example] names.

    [example]
    file = "npy_table:columns=xytp"        # one of MAKERS; without it, the project's own writer
    recordings = [
        ["Train/0/00002.bin", "train", 0],                          # path, split, label, and maybe
        ["user01.aedat", "all", 3, { start = 10, stop = 40 }],      # the window, or any column
    ]
    others = [["copy (1).aedat"]]          # recordings that become no samples
    text = { "train.txt" = "..." }         # files that are no recordings

A maker is a function of a path and the recordings in it, (name, events) each, whose keyword
arguments are the options of the spec; it writes a file as the publisher's tools write it.
"""

import hashlib
import inspect
from pathlib import Path

import numpy as np
import pytest
from making import make_events

import eventkit as ek
from eventkit.datasets import Dataset
from eventkit.registry import parse_spec

SCALE = {"us": 1, "ms": 1_000, "s": 1_000_000}
Recordings = list[tuple[str, ek.Events]]


def sample(name, size, n=60) -> ek.Events:
    """Events that only the recording of that name has; times are whole ms."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    events = make_events(n, size, seed, step=4)
    p = np.ones(n) if size[1] == 1 else events.p  # spikes have no polarity
    return ek.Events(events.t * 1000, events.x, events.y, p, size)


def build(dataset: Dataset, root: Path) -> list[tuple[str, int, dict, ek.Events]]:
    """Write the miniature of a dataset; split, label, columns and events of each of its samples."""
    told = dataset.example
    name, options = parse_spec(told.get("file", "writer"))
    make = MAKERS[name]
    if "format" in inspect.signature(make).parameters:
        options = {"format": dataset.format, **options}
    size = dataset.size
    files: dict[str, Recordings] = {}
    truth = []
    others = [[path, None, None, *more] for path, *more in told.get("others", ())]
    for path, split, label, *more in [*told["recordings"], *others]:
        columns = dict(more[0]) if more else {}
        number = columns.get("recording", 0)
        recordings = files.setdefault(path, [])
        while len(recordings) <= number:
            recordings.append((f"{path}-{len(recordings)}", None))
        name = columns.get("name", recordings[number][0])
        events = recordings[number][1] or sample(name, size)
        recordings[number] = (name, events)
        if split is not None:
            truth.append((split, label, columns, cut(events, columns)))
    for path in [*files, *told.get("text", ())]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
    for path, recordings in files.items():
        filled = [(n, sample(n, size) if e is None else e) for n, e in recordings]
        make(root / path, filled, **options)
    for path, text in told.get("text", {}).items():
        (root / path).write_text(text)
    return truth


def cut(events: ek.Events, columns: dict) -> ek.Events:
    """What is in the window of a sample, from the columns start, stop and by."""
    if "start" not in columns:
        return events
    start, stop = columns["start"], columns["stop"]
    if columns.get("by") == "events":
        return events[start:stop]
    return events[(events.t >= start) & (events.t < stop)]


def writer(path, recordings, *, format=None, version=None):
    """The project's own writer of the format."""
    options = {} if version is None else {"version": version}
    ek.write(path, recordings[0][1], format=format, **options)


def columns_of(events, order, unit="us", signed=False):
    """The columns in that order, where - is a column of sevens; times in their unit."""
    known = {name: getattr(events, name).astype(np.float64) for name in "txyp"}
    known["t"] /= SCALE[unit]
    if signed:
        known["p"] = 2 * known["p"] - 1
    known["-"] = np.full(len(events), 7.0)
    return [known[letter] for letter in order]


def npy_table(path, recordings, *, columns="txyp", dtype="i8", unit="us", signed=False):
    """A .npy table (n, columns)."""
    found = np.stack(columns_of(recordings[0][1], columns, unit, signed), 1)
    np.save(path, found.astype(dtype))


def npz_table(path, recordings, *, key="data", columns="txyp", dtype="i8"):
    """A .npz with one table (n, columns)."""
    table = np.stack(columns_of(recordings[0][1], columns), 1).astype(dtype)
    np.savez(path, **{key: table})


def npy_fields(path, recordings, *, columns="txyp", dtype="u4"):
    """A .npy array with fields."""
    np.save(path, fields(recordings[0][1], columns, dtype))


def fields(events, columns, dtype):
    rows = np.zeros(len(events), [(name, dtype) for name in columns])
    for name in columns:
        rows[name] = getattr(events, name)
    return rows


def csv(path, recordings, *, columns="txyp", signed=False, zeros=False):
    """Lines of whole numbers between commas; with zeros, also rows that are no events."""
    table = np.stack(columns_of(recordings[0][1], columns, signed=signed), 1).astype(int)
    if zeros:
        none = table[::7].copy()
        none[:, columns.index("p")] = 0
        table = np.insert(table, np.arange(0, len(table), 7), none, axis=0)
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in table.tolist()))


def h5_group(path, recordings, *, group="events", height=0, width=0):
    """Columns t, x, y, p in a group of an HDF5 file."""
    with h5py().File(path, "w") as out:
        for name, dtype in (("x", "u2"), ("y", "u2"), ("p", "u1"), ("t", "i8")):
            out[f"{group}/{name}"] = getattr(recordings[0][1], name).astype(dtype)
        if height:
            out[f"{group}/height"], out[f"{group}/width"] = int(height), int(width)


def h5_table(
    path, recordings, *, key="events", columns="txyp", dtype="u4", unit="us", signed=False
):
    """One dataset (n, columns) of an HDF5 file."""
    with h5py().File(path, "w") as out:
        table = np.stack(columns_of(recordings[0][1], columns, unit, signed), 1)
        out[key] = table.astype(dtype)


def h5_fields(path, recordings, *, key="events", dtype="u8"):
    """One dataset with fields of an HDF5 file."""
    with h5py().File(path, "w") as out:
        out[key] = fields(recordings[0][1], "txyp", dtype)


def h5py():
    return pytest.importorskip("h5py")


def ebssa(path, recordings):
    """A group for each recording, as MATLAB writes them: (1, n), coordinates from 1."""
    with h5py().File(path, "w") as out:
        for number, (_, events) in enumerate(recordings):
            for name in "xyp":
                values = getattr(events, name)[None].astype(np.float64)
                out[f"rec{number:02d}/TD/{name}"] = values + (name != "p")
            out[f"rec{number:02d}/TD/ts"] = events.t[None].astype(np.float64)
            for name in ("x", "y", "id", "ts"):
                out[f"rec{number:02d}/Obj/{name}"] = np.ones((1, 3))


def tidigits(path, recordings):
    """Channels and times (s) of named recordings; those of test have a name that says so."""
    with h5py().File(path, "w") as out:
        for part in ("train", "test"):
            mine = [(n, e) for n, e in recordings if n.startswith(part)]
            out[f"{part}_labels"] = np.array([name.encode() for name, _ in mine])
            for name, events in mine:
                out[f"{part}_addresses/{name}"] = events.x.astype("u2")
                out[f"{part}_timestamps/{name}"] = events.t / 1e6


def mat_cells(path, recordings):
    """A cell of structs x, y, ts, p, with coordinates from 1."""
    io = pytest.importorskip("scipy.io", reason="writes MATLAB files")
    cells = np.empty((1, len(recordings)), object)
    for number, (_, events) in enumerate(recordings):
        named = {
            "x": events.x + 1.0,
            "y": events.y + 1.0,
            "ts": events.t * 1.0,
            "p": events.p * 1.0,
        }
        cells[0, number] = {key: value[:, None] for key, value in named.items()}
    io.savemat(path, {"ROI": cells})


def mat_columns(path, recordings, *, names="ts x y pol"):
    """Columns of those names."""
    io = pytest.importorskip("scipy.io", reason="writes MATLAB files")
    values = columns_of(recordings[0][1], "txyp")
    named = zip(names.split(), values, strict=True)
    io.savemat(path, {name: value[:, None] for name, value in named})


def packets(path, recordings, *, length=16):
    """A pickled array of lists of tuples (t, x, y, p, more)."""
    columns = columns_of(recordings[0][1], "txyp-")
    rows = list(zip(*(column.astype(int).tolist() for column in columns), strict=True))
    lists = [rows[i : i + length] for i in range(0, len(rows), length)]
    array = np.empty(len(lists), object)
    array[:] = lists
    np.save(path, array, allow_pickle=True)


def evimo2(path, recordings, *, inverted=False):
    """Three .npy files, of which `path` is that of the times, in s."""
    events = recordings[0][1]
    stem = str(path).removesuffix("_t.npy")
    np.save(path, (events.t / 1e6).astype("f4")[:, None])
    np.save(f"{stem}_xy.npy", np.stack([events.x, events.y], 1))
    np.save(f"{stem}_p.npy", (1 - events.p if inverted else events.p)[:, None])


def bag(path, recordings, *, topic="/dvs/events"):
    """A ROS 1 bag with one message dvs_msgs/EventArray."""
    rosbags = pytest.importorskip("rosbags.rosbag1", reason="writes bags")
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    event = "uint16 x\nuint16 y\ntime ts\nbool polarity\n"
    listed = "std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events\n"
    store.register(get_types_from_msg(event, "dvs_msgs/msg/Event"))
    store.register(get_types_from_msg(listed, "dvs_msgs/msg/EventArray"))
    kinds, events = store.types, recordings[0][1]
    time = kinds["builtin_interfaces/msg/Time"]
    rows = [
        kinds["dvs_msgs/msg/Event"](x=x, y=y, ts=time(sec=0, nanosec=t * 1000), polarity=bool(p))
        for t, x, y, p in zip(*(getattr(events, c).tolist() for c in "txyp"), strict=True)
    ]
    header = kinds["std_msgs/msg/Header"](seq=0, stamp=time(sec=0, nanosec=0), frame_id="")
    kind, (width, height) = "dvs_msgs/msg/EventArray", events.size
    message = kinds[kind](header=header, height=height, width=width, events=rows)
    with rosbags.Writer(path) as out:
        connection = out.add_connection(topic, kind, typestore=store)
        out.write(connection, 10**9, store.serialize_ros1(message, kind))


def aedat2_cameras(path, recordings):
    """Events of several DAVIS346 in one file, by time, with the camera in bits 0-3."""
    words = []
    for camera, (_, events) in enumerate(recordings):
        width, height = events.size
        x, y, p = (getattr(events, name).astype(np.int64) for name in "xyp")
        address = (height - 1 - y) << 22 | (width - 1 - x) << 12 | p << 11 | camera
        words.append(np.stack([address, events.t], 1))
    rows = np.concatenate(words)
    rows = rows[np.argsort(rows[:, 1], kind="stable")]
    special = np.array([[1 << 10, rows[0, 1]]])
    rows = np.concatenate([special, rows]).astype(">u4")
    path.write_bytes(b"#!AER-DAT2.0\r\n# AEChip: Davis346B\r\n" + rows.tobytes())


MAKERS = {
    make.__name__: make
    for make in (
        *(writer, npy_table, npz_table, npy_fields, csv, h5_group, h5_table, h5_fields),
        *(ebssa, tidigits, mat_cells, mat_columns, packets, evimo2, bag, aedat2_cameras),
    )
}
