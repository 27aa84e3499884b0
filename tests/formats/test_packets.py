"""Pickled packets: what Bullying10K's files hold is read, and no pickle runs anything."""

import os
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest
from making import make_events

import eventkit as ek
from eventkit.errors import FormatError

SIZE = (346, 260)
MAGIC = b"\x93NUMPY\x01\x00"


def rows_of(events):
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def saved(path, packets, protocol=3):
    """As np.save writes an array of objects."""
    array = np.empty(len(packets), object)
    array[:] = packets
    return pickled(path, pickle.dumps(array, protocol=protocol), len(packets))


def pickled(path, data, n=1):
    """These bytes behind the header of an array of n objects."""
    header = f"{{'descr': '|O', 'fortran_order': False, 'shape': ({n},), }}".encode().ljust(117)
    path.write_bytes(MAGIC + struct.pack("<H", len(header) + 1) + header + b"\n" + data)
    return path


def sources(folder):
    """Small files of several kinds, for `fuzz`."""
    rows = rows_of(make_events(20, SIZE))
    saved(folder / "source1.npy", [rows[:8], rows[8:]])
    saved(folder / "source2.npy", [np.array(rows[:8]), []], protocol=4)
    saved(folder / "source3.npy", [[tuple(map(np.int64, row)) for row in rows], []], protocol=2)


def read(path, **options):
    return ek.read(path, format="packets", size="346x260", **options)


@pytest.fixture
def events():
    return make_events(500, SIZE)


MAKE = {
    "tuples": lambda rows: rows,
    "lists": lambda rows: [list(row) for row in rows],
    "more values": lambda rows: [(*row, 17, 0.5) for row in rows],
    "numpy scalars": lambda rows: [tuple(np.array(row, np.int64)) for row in rows],
    "bools": lambda rows: [(t, x, y, bool(p)) for t, x, y, p in rows],
    "float times": lambda rows: [(float(t), x, y, p) for t, x, y, p in rows],
    "table": np.array,
    "table by columns": lambda rows: np.asfortranarray(np.array(rows)),
    "big endian": lambda rows: np.array(rows, ">i8"),
    "rows as arrays": lambda rows: [np.array(row, np.int32) for row in rows],
}


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("kind", MAKE)
def test_packets_are_read_however_they_were_pickled(kind, protocol, events, tmp_path):
    rows = rows_of(events)
    packets = [MAKE[kind](part) for part in (rows[:100], rows[100:105], rows[105:]) if part]
    path = saved(tmp_path / "a.npy", [*packets, []], protocol)
    assert read(path) == events


def test_what_numpy_itself_saves_is_read(events, tmp_path):
    rows = rows_of(events)
    array = np.empty(2, object)
    array[:] = [rows[:10], rows[10:]]
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    assert read(tmp_path / "a.npy") == events
    assert (
        read(tmp_path / "a.npy", clock=(100, 900)) == events[(events.t >= 100) & (events.t < 900)]
    )


class Calls:
    """A pickle that calls something when it is read."""

    def __init__(self, function, *arguments):
        self.told = function, arguments

    def __reduce__(self):
        return self.told


@pytest.mark.parametrize(
    "hostile",
    [
        Calls(os.system, "touch ran"),
        Calls(eval, "open('ran', 'w')"),
        Calls(getattr, "a", "upper"),
        Calls(np.load, "ran"),
        OrderedDict(),
        {1, 2},
        bytearray(3),
        make_events(2),
    ],
    ids=["system", "eval", "getattr", "numpy", "dict", "set", "bytearray", "object"],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_calls_anything_is_refused_and_not_run(
    hostile, protocol, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "a.npy", [[hostile], []], protocol)
    with pytest.raises(FormatError):
        read(path)
    assert not (tmp_path / "ran").exists()


PROTO, STOP = b"\x80\x03", b"."
GLOBAL = b"cnumpy\ndtype\n"


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "the end"),
        (PROTO + b"]", "the end"),
        (PROTO + b"]." + b"trailing", "plain lists of numbers"),
        (PROTO + b"]r\xff\xff\xff\x7f.", "plain lists of numbers"),  # a place far in its memory
        (PROTO + b"B\xff\xff\xff\x7fxx.", "the end"),  # more bytes than there are
        (PROTO + b"\x8e" + b"\xff" * 8 + b".", "plain lists of numbers"),
        (PROTO + GLOBAL + b"}(X\x01\x00\x00\x00aK\x01ub.", "plain lists"),  # setitems
        (PROTO + GLOBAL + b"]b.", "damaged|sets no state"),
        (PROTO + GLOBAL + b"X\x02\x00\x00\x00O8\x85R.", "no list of packets"),
        (PROTO + b"K\x01.", "no list of packets"),
        (PROTO + b"h\x07.", "damaged"),
        (PROTO + b"0.", "damaged"),
        (b"P1\n.", "plain lists of numbers"),  # a persistent id
    ],
)
def test_programs_that_are_no_lists_are_refused(data, match, tmp_path):
    with pytest.raises(FormatError, match=match):
        read(pickled(tmp_path / "a.npy", data))


def test_lists_that_hold_each_other_many_times_do_not_fill_the_memory(tmp_path):
    row = (1, 2, 3, 1)
    packet = [row] * 1000
    path = saved(tmp_path / "a.npy", [packet] * 1000)
    with pytest.raises(FormatError, match="more events than its"):
        read(path)


@pytest.mark.parametrize(
    ("packet", "match"),
    [
        ([(1, 2, 3)], "events of \\[3\\] values"),
        ([(1, 2, 3, 1), (1, 2, 3, 1, 5)], "events of \\[4, 5\\] values"),
        ([(1, 2, 3, "x")], "a str in its events"),
        ([(1, 2, 3, None)], "a NoneType in its events"),
        ([(1 << 70, 2, 3, 1)], "no column|time within 64 bits"),
        ([5], "events of \\[0\\] values"),
        ("text", "is a str, no list"),
        ([(1, 2, 3, 9)], "p = 9"),
    ],
)
def test_packets_that_are_no_events_are_refused(packet, match, tmp_path):
    with pytest.raises(FormatError, match=match):
        read(saved(tmp_path / "a.npy", [packet, []]))


def test_a_plain_array_is_said_to_be_one(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    with pytest.raises(FormatError, match="no pickle; it is of the format npz"):
        read(tmp_path / "a.npy")


def test_any_damage_is_one_error(events, tmp_path):
    path = saved(tmp_path / "a.npy", [rows_of(events)[:20], []])
    data = path.read_bytes()
    for at in range(len(data)):
        for changed in (data[:at], data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]):
            path.write_bytes(changed)
            try:
                read(path)
            except (FormatError, ek.errors.OptionError):
                continue
