"""AEDAT 4: files packed by hand, damage and hostile claims, and real recordings."""

import os
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import google_crc32c
import lz4.frame
import numpy as np
import pytest
import zstandard

from eventkit import Events, FormatError, OptionError
from eventkit.formats import FORMATS, Report, beside, extra, info, read, stream, write
from eventkit.formats.aedat import _aedat4_inflate
from eventkit.formats.aedat import _aedat4_packets as _aedat4

MAGIC = b"#!AER-DAT4.0\r\n"
SIZE = (346, 260)
COMPRESS = {
    0: bytes,
    1: lz4.frame.compress,
    2: lambda data: lz4.frame.compress(data, compression_level=9),
    3: zstandard.ZstdCompressor().compress,
    4: zstandard.ZstdCompressor(level=19, write_content_size=False).compress,
}
XML = """<dv version="2.0"><node name="outInfo" path="/">{}</node></dv>"""
NODE = """<node name="{}"><attr key="typeIdentifier" type="string">{}</attr><node name="info">
<attr key="sizeX" type="int">346</attr><attr key="sizeY" type="int">260</attr></node></node>"""
EVENT_NODE = NODE.format(0, "EVTS")


def flat(name: bytes, *fields: tuple[str, object], tail: bytes = b"") -> bytes:
    """A flatbuffer with one object: fields as (struct format, value), then bytes behind it."""
    table = struct.pack("<HH", 4 + 2 * len(fields), 0)
    data, places = b"", []
    for form, value in fields:
        places.append(4 + len(data) if form else 0)
        data += struct.pack("<" + form, value) if form else b""
    table += struct.pack(f"<{len(places)}H", *places)
    root = 8 + len(table)
    return struct.pack("<I", root) + name + table + struct.pack("<i", len(table)) + data + tail


def prefixed(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def evts(events) -> bytes:
    """A payload of events (t, x, y, p)."""
    packed = b"".join(struct.pack("<qhhB3x", *event) for event in events)
    return prefixed(flat(b"EVTS", ("I", 4), tail=struct.pack("<I", len(events)) + packed))


def packet(stream: int, payload: bytes) -> bytes:
    return struct.pack("<ii", stream, len(payload)) + payload


@dataclass
class Golden:
    """A file in the making."""

    compression: int = 0
    nodes: str = EVENT_NODE
    packets: list[tuple[int, bytes, tuple[int, int, int]]] = field(default_factory=list)

    def add(self, events, stream=0, payload=None, said=None) -> "Golden":
        """A packet, and what the table says of it: number, first and last time."""
        times = [event[0] for event in events] or [-1]
        payload = COMPRESS[self.compression](evts(events)) if payload is None else payload
        self.packets.append((stream, payload, said or (len(events), min(times), max(times))))
        return self

    def bytes(self, table=True) -> bytes:
        text = XML.format(self.nodes).encode()
        tail = struct.pack("<I", len(text)) + text + b"\0"

        def head(position):
            fields = ("i", self.compression), ("q", position), ("I", 4)
            return MAGIC + prefixed(flat(b"IOHE", *fields, tail=tail))

        body, rows = head(-1), []
        for number, payload, (n, first, last) in self.packets:
            rows.append((len(body) + 8, number, len(payload), n, first, last))
            body += packet(number, payload)
        if not table:
            return body
        return head(len(body)) + body[len(head(0)) :] + COMPRESS[self.compression](ftab(rows))


def ftab(rows) -> bytes:
    """The table of packets; each row is an object with a table of fields of its own."""
    objects, places = b"", []
    for row in rows:
        places.append(len(objects) + 14)
        objects += struct.pack("<7H", 14, 44, 4, 12, 20, 28, 36)
        objects += struct.pack("<iqiiqqq", 14, *row)
    first = 4 * len(rows)
    vector = struct.pack("<I", len(rows))
    vector += b"".join(struct.pack("<I", first - 4 * i + at) for i, at in enumerate(places))
    return prefixed(flat(b"FTAB", ("I", 4), tail=vector + objects))


def vector(name: bytes, *objects: tuple[tuple[str, object], ...]) -> bytes:
    """A payload that is a vector of objects."""
    data, places = b"", []
    for fields in objects:
        one = flat(name, *fields)[8:]
        places.append(len(data) + 4 + 2 * len(fields))
        data += one
    first = 4 * len(places)
    head = struct.pack("<I", len(places))
    head += b"".join(struct.pack("<I", first - 4 * i + at) for i, at in enumerate(places))
    return prefixed(flat(name, ("I", 4), tail=head + data))


EXTRAS = ("frames", "imu", "triggers")
IMUS = vector(b"IMUS", (("q", 7), *(("f", i / 2) for i in range(10))), (("q", 9), ("f", 3.5)))
TRIG = vector(b"TRIG", (("q", 5), ("b", 3)), (("q", 6), ("", None)))
FRME = prefixed(
    flat(
        b"FRME",
        *[("q", 10), ("q", 11), ("q", 12), ("q", 13), ("q", 14), ("b", 0), ("h", 3), ("h", 2)],
        *[("h", 0), ("h", 0), ("I", 4)],
        tail=struct.pack("<I", 6) + bytes(range(6)),
    )
)
A = [(100, 1, 2, 1), (105, 345, 259, 0), (105, 0, 0, 1)]
B = [(200, 7, 8, 0), (230, 9, 10, 1)]
C = [(300, 3, 4, 1)]


@pytest.fixture
def file(tmp_path):
    """A function that writes bytes to a file and gives its path."""

    def make(data, name="file.aedat4"):
        path = tmp_path / name
        path.write_bytes(data.bytes() if isinstance(data, Golden) else data)
        return path

    return make


def rows(events):
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def golden(compression=0, **options) -> Golden:
    return Golden(compression, **options).add(A).add(B).add(C)


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("compression", range(5))
def test_packets_of_every_compression_are_read_with_and_without_a_table(compression, table, file):
    path = file(golden(compression).bytes(table))
    report = Report()
    events = read(path, report=report)
    assert rows(events) == A + B + C
    assert (events.size, report.notes, report.counts) == (SIZE, [], {})
    assert report.crc32c == google_crc32c.value(path.read_bytes())
    assert rows(read(path, clock=(105, 230))) == A[1:] + B[:1]
    assert FORMATS["aedat4"].bound(path) >= 6


@pytest.mark.parametrize("compression", [0, 1, 3])
def test_a_window_reads_only_the_packets_that_meet_it(compression, file):
    noise = COMPRESS[compression](b"\7" * 40)
    made = Golden(compression).add(A, payload=noise).add(B).add(C, payload=noise)
    path = file(made)
    assert rows(read(path, clock=(106, 300))) == B
    assert rows(read(path, clock=(201, 231))) == B[1:]
    with pytest.raises(FormatError, match=r"the payload of a packet|expected a packet"):
        read(path)


@pytest.mark.parametrize("said", [(3, 200, 230), (2, 201, 230), (2, 200, 229)])
def test_a_table_that_lies_is_found_out_where_its_packets_are_read(said, file):
    path = file(Golden().add(A).add(B, said=said))
    with pytest.raises(FormatError, match="that the table promises"):
        read(path, clock=(201, 230))
    with pytest.raises(FormatError, match="payload of a packet is damaged"):
        read(path)
    assert rows(read(path, clock=(201, 231), strict=False)) == []
    assert rows(read(path, strict=False)) == A


@pytest.mark.parametrize("table_says", [0, 1])
@pytest.mark.parametrize("compression", range(5))
def test_a_packet_that_the_table_has_as_one_of_another_stream_is_damage(
    compression, table_says, file
):
    """One flipped bit of either number would take the packet out of its stream."""
    nodes = NODE.format(0, "EVTS") + NODE.format(1, "TRIG")
    made = [Golden(compression, nodes=nodes).add(A).add(B, n).add(C) for n in (0, 1)]
    table = len(made[0].bytes(table=False))
    path = file(made[1 - table_says].bytes()[:table] + made[table_says].bytes()[table:])
    with pytest.raises(FormatError, match=r"not what the table says|that the table"):
        read(path)
    report = Report()
    assert rows(read(path, strict=False, report=report)) == A + C
    assert report.counts["damaged places"] == 1


def test_other_streams_are_skipped_and_an_event_stream_can_be_chosen(file):
    nodes = NODE.format(2, "EVTS") + NODE.format(5, "EVTS") + NODE.format(1, "FRME")
    frame = prefixed(flat(b"FRME", tail=bytes(300_000)))
    made = Golden(nodes=nodes).add(A, 5).add([], 1, frame).add(B, 2).add(C, 5)
    path = file(made)
    report = Report()
    assert rows(read(path, report=report)) == B
    assert "event streams 2, 5: read is 2" in report.notes[0]
    assert rows(read(path, stream=5)) == A + C
    assert rows(read(path, stream=5, clock=(105, None))) == A[1:] + C
    with pytest.raises(OptionError, match="stream 1 has no events; those that have: 2, 5"):
        read(path, stream=1)


def test_no_events_come_from_no_packets_empty_packets_or_no_stream_of_events(file):
    assert rows(read(file(Golden()))) == []
    absent = prefixed(flat(b"EVTS"))
    report = Report()
    path = file(Golden().add([]).add([], payload=absent).add(B))
    assert rows(read(path, report=report)) == B
    assert rows(read(path, clock=(0, None))) == B
    path = file(Golden(nodes=NODE.format(3, "FRME")))
    assert read(path, report=report) == Events.empty(SIZE)
    assert report.notes == ["no stream of events; there are 3: FRME"]


def test_a_size_can_be_given_and_is_guessed_with_a_note(file):
    bare = '<node name="0"><attr key="typeIdentifier">EVTS</attr></node>'
    path = file(golden(nodes=bare))
    report = Report()
    assert read(path, report=report).size == (346, 260)
    assert "size=WxH sets it" in report.notes[0]
    assert read(path, size="640x480").size == (640, 480)


def test_large_packets_are_read_piece_by_piece(file):
    n = 3 * _aedat4.BLOCK // 16 + 5
    events = [(i, i % 300, i % 200, i % 2) for i in range(n)]
    for compression in (0, 1, 3):
        path = file(Golden(compression).add(A).add(events).add(C))
        assert rows(read(path)) == A + events + C
        lengths = [len(part) for part in stream(path, 10_000)]
        assert lengths == [10_000] * ((n + 4) // 10_000) + [(n + 4) % 10_000]


def test_tiny_packets_after_a_large_one_are_read(file):
    rng = np.random.default_rng(0)
    large = [(int(t), 1, 2, 1) for t in rng.integers(1 << 60, size=2 * _aedat4.BLOCK // 16)]
    for compression in (0, 1):
        made = Golden(compression).add(large)
        tiny = [(i, 0, 0, 1) for i in range(100)]
        for event in tiny:
            made.add([event])
            made.add([], payload=COMPRESS[compression](prefixed(flat(b"EVTS"))))
        assert rows(read(file(made))) == large + tiny


@pytest.mark.parametrize("compression", [0, 1, 3])
def test_of_a_cut_file_all_whole_packets_are_read(compression, file):
    whole = golden(compression).bytes(table=False)
    ends = [len(Golden(compression, packets=golden().packets[:0]).bytes(False))]
    for events in (A, B, C):
        ends.append(ends[-1] + 8 + len(COMPRESS[compression](evts(events))))
    for length in range(ends[0], len(whole)):
        path = file(whole[:length])
        sound = sum(length >= end for end in ends) - 1
        least = sum(map(len, (A, B, C)[:sound]))
        found = rows(read(path, strict=False))
        assert found == (A + B + C)[: len(found)]
        assert least <= len(found)
        if length in ends:
            assert len(found) == least
            assert rows(read(path)) == found
        else:
            with pytest.raises(FormatError, match=r"are there|cut off"):
                read(path)
    if compression == 0:
        assert rows(read(file(whole[:-16]), strict=False)) == A + B
        assert rows(read(file(whole[: ends[2] - 16]), strict=False)) == A


@pytest.mark.parametrize("compression", [0, 1, 3])
@pytest.mark.parametrize("what", ["stream", "size", "payload", "gap"])
def test_after_damage_the_next_packet_is_found_and_what_is_lost_is_told(compression, what, file):
    made = golden(compression)
    head = len(Golden(compression).bytes(table=False))
    second = head + 8 + len(made.packets[0][1])
    data = bytearray(made.bytes(table=False))
    match what:
        case "stream":
            data[second] = 9
        case "size":
            data[second + 4] += 40
        case "payload":
            data[second + 8 : second + 20] = bytes(12)
        case "gap":
            data[second:second] = b"\xff" * 30
    path = file(bytes(data))
    with pytest.raises(FormatError, match="strict=False reads what is sound") as caught:
        read(path)
    assert caught.value.offset in (second, second + 48 + len(made.packets[1][1]))
    report = Report()
    found = rows(read(path, strict=False, report=report))
    assert found[:3] == A
    assert found[-1:] == C
    assert report.counts["damaged places"] == 1
    assert len(report.notes) == 1
    if what == "gap":
        assert found == A + B + C
        assert report.counts["skipped bytes"] == 30


@pytest.mark.parametrize("compression", [0, 1, 3])
def test_frames_samples_and_triggers_are_read_field_by_field(compression, file):
    nodes = EVENT_NODE + NODE.format(1, "IMUS") + NODE.format(2, "TRIG") + NODE.format(3, "FRME")
    made = golden(compression, nodes=nodes)
    for number, payload in ((1, IMUS), (2, TRIG), (3, FRME), (1, IMUS), (3, FRME)):
        made.add([], number, COMPRESS[compression](payload))
    path = file(made)
    imu, triggers, frames = (extra(path, name) for name in ("imu", "triggers", "frames"))
    assert imu.tolist() == [(7, *(i / 2 for i in range(10))), (9, 3.5, *[0.0] * 9)] * 2
    assert triggers.tolist() == [(5, 3), (6, 0)]  # an absent field is 0
    assert [frames[name].tolist() for name in ("t", "begin", "end")] == [
        [10, 10],
        [13, 13],
        [14, 14],
    ]
    assert frames["pixels"].tolist() == [[[0, 1, 2], [3, 4, 5]]] * 2
    damaged = made.add([], 1, COMPRESS[compression](IMUS.replace(b"IMUS", b"IMUT")))
    with pytest.raises(FormatError, match="the IMUS of a packet are damaged"):
        extra(file(damaged), "imu")


@pytest.mark.parametrize("compression", [0, 1, 3])
def test_what_is_beside_the_events_is_counted_also_in_a_damaged_file(compression, file):
    kinds = {0: "EVTS", 1: "IMUS", 2: "TRIG", 3: "FRME", 4: "EVTS", 5: "BBOX"}
    nodes = "".join(NODE.format(number, kind) for number, kind in kinds.items())
    made = golden(compression, nodes=nodes)
    boxes = prefixed(flat(b"BBOX"))
    for number, payload in ((1, IMUS), (2, TRIG), (3, FRME), (4, evts(B)), (5, boxes), (1, IMUS)):
        made.add([], number, COMPRESS[compression](payload))
    path = file(made)
    expected = {"imu": 4, "triggers": 2, "frames": 1}
    expected |= {"events_2": len(B), "packets of stream 5 (BBOX)": 1}
    assert beside(path) == info(path)["also"] == expected
    assert beside(path, stream=4)["events_2"] == len(read(path, stream=0))
    whole = path.read_bytes()
    begin = whole.index(b"</dv>") + 6
    damaged = file(whole[:begin] + bytes(8) + whole[begin + 8 :])  # the header of a packet
    assert beside(damaged) == expected


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("table", [True, False])
def test_of_many_small_packets_those_before_the_first_damaged_one_are_streamed(
    compression, table, file
):
    events = [(100 * (i // 40) + i % 40, i % 40, i % 260, i & 1) for i in range(300 * 40)]
    made = Golden(compression)
    for at in range(0, len(events), 40):
        made.add(events[at : at + 40])
    assert rows(read(file(made.bytes(table)))) == events
    empty = COMPRESS[compression](prefixed(flat(b"EVTS", ("I", 4), tail=struct.pack("<I", 9))))
    made.packets[200] = (0, empty, made.packets[200][2])
    path, found = file(made.bytes(table)), []
    parts = stream(path, 1)
    with pytest.raises(FormatError, match="the payload of a packet is damaged"):
        found.extend(rows(part)[0] for part in parts)
    assert found == events[:8000]
    assert rows(read(path, strict=False)) == events[:8000] + events[8040:]


def test_packets_that_inflate_beyond_the_limit_are_damaged(file, monkeypatch):
    monkeypatch.setattr(_aedat4_inflate, "LIMIT", 1 << 20)
    zeros = bytes(1 << 22)
    for compression in (1, 3, 4):
        made = Golden(compression).add(A).add(B, payload=COMPRESS[compression](zeros)).add(C)
        path = file(made)
        with pytest.raises(FormatError, match="the payload of a packet is damaged"):
            read(path)
        assert rows(read(path, strict=False)) == A + C


def test_a_false_table_is_refused_or_done_without(file):
    whole = golden().bytes()
    at = whole.index(b"IOHE") + 4 + 4 + 6 + 4 + 4  # of the place of the table
    assert struct.unpack_from("<q", whole, at)[0] == len(golden().bytes(table=False))
    for position, reason in (
        (10**9, "should be at byte"),
        (5, "should be at"),
        (len(whole) - 9, "damaged"),
    ):
        path = file(whole[:at] + struct.pack("<q", position) + whole[at + 8 :])
        with pytest.raises(FormatError, match=reason):
            read(path)
        assert rows(read(path, strict=False)) == A + B + C


def test_a_table_of_endless_rows_is_refused_at_once(file):
    endless = prefixed(flat(b"FTAB", ("I", 4), tail=struct.pack("<I", 0xFFFFFFFF)))
    made = golden()
    whole = made.bytes()
    path = file(whole[: len(made.bytes(table=False))] + endless)
    with pytest.raises(FormatError, match="its table of packets is damaged"):
        read(path)
    assert FORMATS["aedat4"].bound(path) < 1000


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ("<node>", "mismatched tag"),
        ("<node name='a'>" * 100, "in each other"),
        ("\x01", "not well-formed"),
    ],
)
def test_a_header_that_cannot_be_read_is_refused(nodes, reason, file):
    for strict in (True, False):
        with pytest.raises(FormatError, match=reason):
            read(file(golden(nodes=nodes)), strict=strict)


def test_entities_of_the_header_are_not_expanded(file):
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><dv>&b;</dv>'
    tail = struct.pack("<I", len(bomb)) + bomb.encode()
    head = flat(b"IOHE", ("i", 0), ("q", -1), ("I", 4), tail=tail)
    with pytest.raises(FormatError, match="DOCTYPE"):
        read(file(MAGIC + prefixed(head)))


def test_the_header_tells_of_streams_and_packets(file):
    assert FORMATS["aedat4"].header(file(golden(3))) == {
        "version": "4.0",
        "compression": "ZSTD",
        "table": True,
        "stream 0": {
            "type": "EVTS",
            "source": "",
            "size": "346x260",
            "packets": 3,
            "elements": 6,
        },
    }


def test_the_writer_makes_these_bytes_for_these_events(tmp_path):
    path = tmp_path / "out.aedat4"
    write(path, Events(*zip(*A + B, strict=True), SIZE), compression="none", packet=3)
    data = path.read_bytes()
    assert data.startswith(MAGIC)
    begin = 18 + struct.unpack_from("<I", data, 14)[0]
    assert b"EVTS" in data[:begin]
    for events in (A, B):
        stream, size = struct.unpack_from("<ii", data, begin)
        payload = data[begin + 8 : begin + 8 + size]
        assert (stream, size % 8, struct.unpack_from("<I", payload)[0]) == (0, 0, size - 4)
        assert payload[8:12] == b"EVTS"
        assert payload[32:] == b"".join(struct.pack("<qhhB3x", *event) for event in events)
        begin += 8 + size
    assert data[begin + 8 : begin + 12] == b"FTAB"
    assert struct.unpack_from("<q", data, data.index(b"IOHE") + 4 + 16 + 8)[0] == begin


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
@pytest.mark.parametrize("n", [0, 1, 7, 8, 50])
def test_another_library_reads_what_is_written(compression, n, tmp_path):
    aedat = pytest.importorskip("aedat")
    rng = np.random.default_rng(n)
    events = Events(
        np.cumsum(rng.integers(0, 99, n)) + 1_700_000_000_000_000,
        *(rng.integers(0, side, n) for side in SIZE),
        rng.integers(0, 2, n),
        SIZE,
    )
    path = tmp_path / "out.aedat4"
    write(path, events, compression=compression, packet=7)
    assert read(path) == events
    decoder = aedat.Decoder(str(path))
    assert decoder.id_to_stream() == {0: {"type": "events", "width": 346, "height": 260}}
    parts = [packet["events"] for packet in decoder]
    for ours, theirs in zip("txyp", ("t", "x", "y", "on"), strict=True):
        found = np.concatenate([np.empty(0, np.int64), *(part[theirs] for part in parts)])
        assert np.array_equal(found, getattr(events, ours))


def test_what_the_format_cannot_hold_is_refused(tmp_path):
    for options in ({"packet": 0}, {"packet": 1 << 21}):
        with pytest.raises(OptionError, match="packet is"):
            write(tmp_path / "out.aedat4", Events.empty(SIZE), **options)
    with pytest.raises(OptionError, match="below 32,768, found x 32768"):
        write(tmp_path / "out.aedat4", Events([1], [32768], [0], [1], SIZE))
    assert not list(tmp_path.iterdir())


REAL = [
    "aedat4/dvproc_io_empty_stereo.aedat4",
    "aedat4/dvproc_io_sample_data.aedat4",
    "aedat4/dvproc_io_test-minimal.aedat4",
    "aedat4/dvproc_python_sample_data.aedat4",  # every time is 1
    "aedat4/dvproc_test-frame.aedat4",  # no stream of events
    "aedat4/evl_sample.aedat4",  # a table without counts and times
    "aedat4/tonic_sample.aedat4",
    "aedat4_set_dvs128testing/archived_recordings__dvSave-2024_06_13_16_16_25.aedat4",
    "aedat4_set_dvs128testing/archived_recordings__dvSave-2024_06_13_16_19_42.aedat4",
    "aedat4_set_dvs128testing/archived_recordings__dvSave-2024_06_13_16_28_29.aedat4",
    "aedat4_set_dvs128testing/archived_recordings__dvSave-2024_06_13_16_28_45.aedat4",
    "aedat4_set_dvs128testing/archived_recordings__dvSave-2024_06_13_16_29_01.aedat4",
    "derived/aedat4_none_notable.aedat4",
    "derived/aedat4_zstd_notable.aedat4",
]


@pytest.mark.parametrize("name", REAL)
def test_real_recordings_have_the_true_counts(name, samples, differs):
    path = samples / "recordings" / name
    events = read(path)
    assert differs(name, events) == {}
    assert events.out_of_bounds == 0
    if len(events):
        middle = int(events.t[len(events) // 2])
        assert read(path, clock=(middle, middle + 5000)) == events.between(middle, middle + 5000)


def test_real_recordings_are_the_same_however_they_are_packed(samples):
    folder = samples / "recordings"
    events = read(folder / "aedat4/tonic_sample.aedat4")
    assert read(folder / "derived/aedat4_none_notable.aedat4") == events
    assert read(folder / "derived/aedat4_zstd_notable.aedat4") == events


def test_real_frames_samples_of_the_imu_and_triggers_are_those_of_another_library(samples):
    aedat = pytest.importorskip("aedat")
    path = samples / "recordings/aedat4/dvproc_io_sample_data.aedat4"
    parts = list(aedat.Decoder(str(path)))
    for name, key in (("imu", "imus"), ("triggers", "triggers")):
        theirs = np.concatenate([part[key] for part in parts if key in part])
        ours = extra(path, name)
        assert ours.dtype["t"] == np.int64
        for column in ours.dtype.names:
            assert np.array_equal(ours[column], theirs[column])
    theirs = [part["frame"] for part in parts if "frame" in part]
    frames = extra(path, "frames")
    assert frames["pixels"].shape == (len(theirs), 260, 346)
    for ours, true in zip(frames, theirs, strict=True):
        times = [true[key] for key in ("t", "exposure_begin_t", "exposure_end_t")]
        assert [int(ours[key]) for key in ("t", "begin", "end")] == times
        assert np.array_equal(ours["pixels"], true["pixels"])


def test_a_recording_without_frames_imu_or_triggers_has_none(samples):
    path = samples / "recordings/aedat4/dvproc_io_empty_stereo.aedat4"
    assert [len(extra(path, name)) for name in ("frames", "imu", "triggers")] == [0, 0, 0]


def test_a_real_recording_cut_anywhere_gives_a_prefix(samples, tmp_path):
    whole = (samples / "recordings/aedat4/tonic_sample.aedat4").read_bytes()
    events = read(samples / "recordings/aedat4/tonic_sample.aedat4")
    path = tmp_path / "cut.aedat4"
    for length in range(5000, len(whole), 90_001):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            read(path)
        found = read(path, strict=False)
        assert found == events[: len(found)]
        assert len(found) >= 0.8 * len(events) * length / len(whole) - 4000


def damage(whole: bytes, seed: int) -> bytes:
    """Numbers of headers and flatbuffers replaced by odd ones, or bits flipped."""
    rng = np.random.default_rng(seed)
    data = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(data) - 8))
        odd = (0, 1, -1, 7, 0x7FFFFFFF, -0x80000000, len(data), int(rng.integers(1 << 31)))
        if rng.integers(3):
            struct.pack_into("<i", data, at, odd[int(rng.integers(len(odd)))])
        else:
            data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def fuzz(folder: Path, seeds: range) -> None:
    """Damaged files give events or a FormatError, and memory that the file can account for."""
    wholes = [
        golden(compression).bytes(table) for compression in range(4) for table in (True, False)
    ]
    path = folder / "mutant.aedat4"
    for seed in seeds:
        path.write_bytes(damage(wholes[seed % len(wholes)], seed))
        for options in ({}, {"strict": False}, {"clock": (105, 231)}):
            try:
                assert len(read(path, **options)) < 1000
            except FormatError:
                continue
        for look in (
            lambda: info(path, strict=False),
            *(lambda n=n: extra(path, n) for n in EXTRAS),
        ):
            try:
                look()
            except FormatError:
                continue


def test_odd_numbers_anywhere_never_crash(tmp_path):
    fuzz(tmp_path, range(400))


@pytest.mark.attack
@pytest.mark.slow
def test_many_odd_numbers_never_crash(tmp_path):
    fuzz(tmp_path, range(400, 20_000))


@pytest.mark.attack
@pytest.mark.slow
@pytest.mark.parametrize("name", ["aedat2", "aedat4", "es", "slayer"])
def test_no_kernel_looks_beyond_its_arrays(name, tmp_path):
    """The tests of a format once more, with checked indices."""
    root = Path(__file__).parents[2]
    files = [f"tests/formats/test_{name}.py", "tests/formats/test_format_laws.py"]
    chosen = f"test_{name} or {name.replace('slayer', 'bs2')}]"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", chosen, *files],
        cwd=root,
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
