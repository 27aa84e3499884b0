"""How fast containers of events are read: HDF5, NumPy and bags: decode_containers.py [--peers ENV]

Files are made of random events, in memory (page cache), and deleted afterwards; kernels are
compiled. The numbers are medians, beside each other library's in the same minute and on one core;
h5py and NumPy stand for scripts that load the columns of one known layout into memory, unchecked,
and rosbags for one that lists the events of its messages. A library that fails on a file is left
out, and named: importRosbag 1.0.4, the reader that Tonic uses, fails with NumPy 2. Times begin at
1 s, as evlib 0.13.2 misreads ECF that begins earlier.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from decode import one_core, peer, rate, recording, row, streamed
from decode_inivation import rate_of

import eventkit as ek
from eventkit.events import Columns, Events

EVENTS, FEW = 3_000_000, 100_000
SIDE, STEP = 256, 4
MESSAGE = 5_000  # events of one message of a bag
FILES = {  # name -> what it is, how it is written, who else reads it, and how many events
    "dsec.h5": ("HDF5 of DSEC", {"layout": "dsec"}, ["h5py", "evutils"], EVENTS),
    "ecf.hdf5": ("HDF5 of Metavision, ECF", {"compression": "ecf"}, ["evlib"], EVENTS),
    "columns.npz": ("NumPy .npz", {}, ["numpy", "evutils"], EVENTS),
    "deflated.npz": ("NumPy .npz, deflated", {"compress": True}, ["numpy", "evutils"], EVENTS),
    "dvs.bag": ("ROS bag, dvs_msgs", {}, ["importRosbag", "rosbags"], FEW),
}
EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("s", "<u4"), ("ns", "<u4"), ("p", "u1")])
DEFINITION = "uint16 x\nuint16 y\ntime ts\nbool polarity\n"
LISTED = "std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events\n"


def messages(events: Events) -> Iterator[bytes]:
    """Messages of type dvs_msgs/EventArray as a bag has them."""
    for at in range(0, len(events), MESSAGE):
        part = events[at : at + MESSAGE]
        listed = np.empty(len(part), EVENT)
        listed["x"], listed["y"], listed["p"] = part.x, part.y, part.p
        listed["s"], listed["ns"] = part.t // 10**6, part.t % 10**6 * 1000
        stamp = np.array([at // MESSAGE, listed["s"][0], listed["ns"][0], 0], "<u4")  # no frame_id
        sizes = np.array([events.size[1], events.size[0], len(part)], "<u4")
        yield stamp.tobytes() + sizes.tobytes() + listed.tobytes()


def write_bag(path: Path, events: Events) -> None:
    from rosbags import rosbag1
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    store.register(get_types_from_msg(DEFINITION, "dvs_msgs/msg/Event"))
    store.register(get_types_from_msg(LISTED, "dvs_msgs/msg/EventArray"))
    with rosbag1.Writer(path) as bag:
        topic = bag.add_connection("/dvs/events", "dvs_msgs/msg/EventArray", typestore=store)
        for number, message in enumerate(messages(events)):
            bag.write(topic, number * 10**6, message)


def listed(path: Path) -> int:
    """The events of a bag, as rosbags gives them: one object each."""
    from rosbags.highlevel import AnyReader

    n = 0
    with AnyReader([path]) as bag:
        for topic, _, data in bag.messages():
            found = bag.deserialize(data, topic.msgtype).events
            rows = [(e.ts.sec * 10**6 + e.ts.nanosec // 1000, e.x, e.y, e.polarity) for e in found]
            n += len(np.array(rows, np.int64))
    return n


def asked(peers: Path | None, name: str, path: Path) -> dict | None:
    """What another library needs for a file; None if it fails."""
    if name == "rosbags":
        return {"events": rate(lambda: listed(path)) * 1e6, "seconds": 1}
    try:
        return peer(peers, name, [path], 3)
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"{name} fails on {path.name}: {error.stderr.splitlines()[-1]}\n")
        return None


def measure(path: Path, what: str, libraries: list[str], peers: Path | None) -> list[dict]:
    into = Columns()
    with one_core():
        others = {name: asked(peers, name, path) for name in libraries}
        name = max(others, key=lambda name: rate_of(others[name]))
        one = rate(lambda: streamed(path))
        whole = rate(lambda: len(ek.read(path, into=into)))
    return [
        row(f"{what}, streamed", one, others[name], name, "≥ 1.5 ×"),
        row(f"{what}, whole", whole, others[name], name, ""),
    ]


def run(peers: Path | None, share: int = 1) -> list[dict]:
    """Rows for the table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (what, options, libraries, n) in FILES.items():
            path, events = Path(folder, name), recording(n // share, SIDE, STEP)
            events = Events(events.t + 1_000_000, events.x, events.y, events.p, events.size)
            if path.suffix == ".bag":
                write_bag(path, events)
            else:
                ek.write(path, events, **options)
            rows += measure(path, what, libraries, peers)
            path.unlink()
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, help="a virtual environment with the other libraries")
    parser.add_argument("--share", type=int, default=1, help="1/SHARE of the events [%(default)s]")
    options = parser.parse_args()
    for line in run(options.peers, options.share):
        print(json.dumps(line, ensure_ascii=False))
