"""ROS bags, written by the library rosbags, and real ones."""

import json
import struct
from itertools import pairwise

import numpy as np
import pytest
from fuzzing import lost
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from eventkit import Events, FormatError, OptionError
from eventkit.formats import FORMATS, Report, info, read, stream, write

BASE = 1_500_000_000
N = 900
RNG = np.random.default_rng(2)
NS = np.sort(RNG.integers(0, 3_000_000_000, N))
T = BASE * 10**6 + NS // 1000
X, Y, P = RNG.integers(0, 346, N), RNG.integers(0, 260, N), RNG.integers(0, 2, N)
EVENTS = Events(T, X, Y, P, (346, 260))
EVENT = "uint16 x\nuint16 y\ntime ts\nbool polarity\n"
LIST = "std_msgs/Header header\nuint32 height\nuint32 width\n{}/Event[] events\n"
PACKET = (
    "std_msgs/Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\n"
    "string encoding\nbool is_bigendian\nuint8[] events\n"
)


def types(version):
    store = get_typestore(Stores.ROS1_NOETIC if version == 1 else Stores.ROS2_HUMBLE)
    stamp = "time" if version == 1 else "builtin_interfaces/Time"
    for package in ("dvs_msgs", "prophesee_event_msgs"):
        text = EVENT.replace("time", stamp)
        store.register(get_types_from_msg(text, f"{package}/msg/Event"))
        store.register(get_types_from_msg(LIST.format(package), f"{package}/msg/EventArray"))
    store.register(get_types_from_msg(PACKET, "event_camera_msgs/msg/EventPacket"))
    store.register(get_types_from_msg(PACKET, "event_array_msgs/msg/EventArray"))
    return store


class Bag:
    """Makes messages and writes bags of them."""

    def __init__(self, version):
        self.version, self.store, self.messages = version, types(version), []

    def header(self, i):
        kind = self.store.types["builtin_interfaces/msg/Time"]
        number = {"seq": i} if self.version == 1 else {}
        stamp = kind(sec=BASE, nanosec=i)
        return self.store.types["std_msgs/msg/Header"](
            **number, stamp=stamp, frame_id="camera" * (i % 3)
        )

    def events(self, part, package="dvs_msgs", topic="/dvs/events"):
        time = self.store.types["builtin_interfaces/msg/Time"]
        event = self.store.types[f"{package}/msg/Event"]
        listed = [
            event(x=int(X[i]), y=int(Y[i]), ts=time(*divmod(BASE * 10**9 + int(NS[i]), 10**9)),
                  polarity=bool(P[i]))
            for i in range(N)[part]
        ]  # fmt: skip
        kind = f"{package}/msg/EventArray"
        message = self.store.types[kind](
            header=self.header(len(self.messages)), height=260, width=346, events=listed
        )
        self.messages.append((topic, kind, message))

    def packet(self, data, encoding, base=0, kind="event_camera_msgs/msg/EventPacket", big=False):
        message = self.store.types[kind](
            header=self.header(len(self.messages)), height=260, width=346, seq=1, time_base=base,
            encoding=encoding, is_bigendian=big, events=np.frombuffer(data, np.uint8),
        )  # fmt: skip
        self.messages.append(("/event_camera/events", kind, message))

    def save(self, folder, compression=None, storage=None):
        """The path of a bag with all messages."""
        if self.version == 1:
            path = folder / "file.bag"
            writer = rosbag1.Writer(path)
            if compression:
                writer.set_compression(compression)
        else:
            storage = storage or rosbag2.StoragePlugin.SQLITE3
            writer = rosbag2.Writer(folder / "bag", version=9, storage_plugin=storage)
            if compression:
                writer.set_compression(compression, rosbag2.CompressionFormat.ZSTD)
        serialize = self.store.serialize_ros1 if self.version == 1 else self.store.serialize_cdr
        with writer:
            known = {}
            for i, (topic, kind, message) in enumerate(self.messages):
                if topic not in known:
                    known[topic] = writer.add_connection(topic, kind, typestore=self.store)
                writer.write(known[topic], BASE * 10**9 + i, serialize(message, kind))
        if self.version == 1:
            return path
        return next(p for p in (folder / "bag").iterdir() if p.suffix != ".yaml")


PARTS = (slice(0, 0), slice(0, 1), slice(1, 3), slice(3, 500), slice(500, N))


@pytest.mark.parametrize("package", ["dvs_msgs", "prophesee_event_msgs"])
@pytest.mark.parametrize("compression", [None, *rosbag1.Writer.CompressionFormat])
def test_bags_of_version_1(tmp_path, package, compression):
    bag = Bag(1)
    for part in PARTS:
        bag.events(part, package)
    path = bag.save(tmp_path, compression)
    assert read(path) == EVENTS
    assert Events.concat([part.copy() for part in stream(path, 7)]) == EVENTS
    start, stop = int(T[100]), int(T[700])
    assert read(path, clock=(start, stop)) == EVENTS.between(start, stop)


@pytest.mark.parametrize("storage", list(rosbag2.StoragePlugin))
@pytest.mark.parametrize("compression", [None, rosbag2.CompressionMode.MESSAGE])
def test_bags_of_version_2(tmp_path, storage, compression):
    if storage is rosbag2.StoragePlugin.MCAP and compression is rosbag2.CompressionMode.MESSAGE:
        pytest.skip("messages are compressed one by one only in .db3")
    bag = Bag(2)
    for part in PARTS:
        bag.events(part)
    assert read(bag.save(tmp_path, compression, storage)) == EVENTS


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "kind", ["event_camera_msgs/msg/EventPacket", "event_array_msgs/msg/EventArray"]
)
@pytest.mark.parametrize("big", [False, True])
def test_mono_packets(tmp_path, version, kind, big):
    bag = Bag(version)
    for part in PARTS:
        base = 7_000_000_999
        words = (NS[part] | X[part] << 32 | Y[part] << 48).astype("u8") | P[part].astype(
            "u8"
        ) << np.uint64(63)
        bag.packet(words.astype(">u8" if big else "<u8").tobytes(), "mono", base, kind, big)
    found = read(bag.save(tmp_path))
    assert found == Events((7_000_000_999 + NS) // 1000, X, Y, P, (346, 260))


def test_the_state_of_evt3_goes_on_from_message_to_message(tmp_path):
    events = Events(NS // 1000, X, Y, P, (346, 260))
    write(tmp_path / "file.raw", events, format="evt3")
    whole = (tmp_path / "file.raw").read_bytes()
    words = whole[whole.index(b"% end\n") + 6 :] if b"% end\n" in whole else whole
    bag = Bag(2)
    rng = np.random.default_rng(0)
    cuts = [0, *np.sort(rng.integers(0, len(words) // 2, 40)).tolist(), len(words) // 2]
    for a, b in pairwise(cuts):
        bag.packet(words[2 * a : 2 * b], "evt3")
    path = bag.save(tmp_path)
    assert read(path) == events
    assert Events.concat([part.copy() for part in stream(path, 11)]) == events


def test_triggers_are_counted_and_other_codes_refused(tmp_path):
    bag = Bag(2)
    bag.packet(struct.pack("<Q", 5 | 3 << 32), "mono")
    bag.packet(struct.pack("<2Q", 1, 2), "trigger")
    bag.packet(b"123", "evt9")
    bag.packet(b"123", "libcaer")
    bag.packet(struct.pack("<Q", 9000 | 3 << 32), "mono")
    path = bag.save(tmp_path)
    with pytest.raises(FormatError, match="message 2 of /event_camera/events has the encoding 'ev"):
        read(path)
    report = Report()
    assert read(path, strict=False, report=report).t.tolist() == [0, 9]
    unknown = "messages of an unknown encoding"
    assert report.counts == {"triggers": 2, "damaged messages": 1, unknown: 1}


@pytest.mark.parametrize("strict", [True, False])
def test_a_topic_of_unknown_encodings_is_refused_rather_than_read_as_empty(tmp_path, strict):
    bag = Bag(2)
    bag.packet(b"123", "evt9")
    bag.packet(b"456", "evt9")
    with pytest.raises(FormatError, match="has the encoding 'evt9', expected one of evt3, libcaer"):
        read(bag.save(tmp_path), strict=strict)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("big", [False, True])
def test_libcaer_packets_whose_time_wraps_within_a_message(tmp_path, version, big):
    first = 2**31 - 500_000  # µs: the clock wraps within the second part
    t = NS // 1000 + first
    base = 1_702_306_974_272_224_018
    bits = (X << 17 | Y << 2 | P << 1 | 1).astype("u8")
    words = np.stack([bits, t % 2**31], axis=1).astype(">u4" if big else "<u4")
    words[7, 0] &= ~np.uint32(1)  # invalid
    bag = Bag(version)
    for part in (slice(0, 100), slice(100, N)):
        lost = int(t[part][0]) >> 31 << 31  # the upper bits are in the base
        bag.packet(words[part].tobytes(), "libcaer", base + lost * 1000, big=big)
    report, keep = Report(), np.arange(N) != 7
    found = read(bag.save(tmp_path), report=report)
    assert found == Events(base // 1000 + t, X, Y, P, (346, 260))[keep]
    assert report.counts == {"invalid events": 1}


def compressed(t, x, y, p, digits):
    """The words of libcaer_cmp, with a high part of the time of so many bits: columns of events
    of one time and polarity as vectors, lone ones as single events."""
    words, seen, i = [], {}, 0

    def set_to(name, kind, value):
        if seen.get(name) != value:
            words.append(kind << 12 | value)
            seen[name] = value

    while i < len(t):
        set_to("high", 0, t[i] >> 12 & (1 << digits) - 1)
        set_to("low", 1, t[i] & 0xFFF)
        set_to("column", 2, x[i])
        same = i + 1
        while same < len(t) and (t[same], x[same], p[same]) == (t[i], x[i], p[i]) and (
            y[same - 1] < y[same] < y[i] + 16
        ):  # fmt: skip
            same += 1
        if same == i + 1:
            words.append(3 << 12 | p[i] << 11 | y[i])
        else:
            words.append(4 << 12 | p[i] << 11 | y[i])
            mask = sum(1 << int(row - y[i]) for row in y[i:same])
            words += [5 << 12 | mask & 0xFF, 5 << 12 | mask >> 8]
        i = same
    return np.array(words, int)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("digits", [4, 12])
def test_compressed_libcaer_packets(tmp_path, digits, big):
    """The high part of the time has 12 bits; the driver of the cameras writes 4 of them."""
    rng = np.random.default_rng(3)
    n = 4000
    t = np.cumsum(rng.choice([0, 0, 0, 0, 900 if digits == 4 else 9000], n))
    x, p = rng.integers(0, 3, n), rng.integers(0, 2, n)
    order = np.lexsort((rng.integers(0, 30, n), p, x, t))
    events = Events(t, x[order], rng.integers(0, 30, n), p[order], (346, 260))
    bag, kind = Bag(2), ">u2" if big else "<u2"
    for part in (slice(0, 2500), slice(2500, n)):
        first, *columns = (getattr(events, name)[part].astype(int) for name in "txyp")
        words = compressed(first - first[0], *columns, digits)
        assert {3, 5} < {int(word) >> 12 for word in words}
        base = 9_000_000_999 + 1000 * int(first[0])
        bag.packet(words.astype(kind).tobytes(), "libcaer_cmp", base, big=big)
    found = read(bag.save(tmp_path))
    assert found == Events(9_000_000 + t, events.x, events.y, events.p, (346, 260))


@pytest.mark.parametrize(
    ("words", "reason"),
    [([3 << 12], "before its column"), ([2 << 12, 5 << 12 | 1], "or row"), ([6 << 12], "unknown")],
)
def test_compressed_libcaer_packets_that_make_no_sense(tmp_path, words, reason):
    bag = Bag(2)
    bag.packet(np.array(words, "<u2").tobytes(), "libcaer_cmp")
    with pytest.raises(FormatError, match=f"is damaged: .* of libcaer_cmp .*{reason}"):
        read(bag.save(tmp_path))


@pytest.mark.parametrize("version", [1, 2])
def test_a_topic_is_chosen_when_there_are_several(tmp_path, version):
    bag = Bag(version)
    bag.events(slice(0, 5), topic="/left")
    bag.events(slice(5, 9), topic="/right")
    path = bag.save(tmp_path)
    with pytest.raises(OptionError, match="several topics: topic= chooses one of /left, /right"):
        read(path)
    assert read(path, topic="/left") == EVENTS[:5]
    assert read(path, topic="/right") == EVENTS[5:9]
    with pytest.raises(OptionError, match="no events on the topic '/up'; its topics: /left"):
        read(path, topic="/up")
    kind = "dvs_msgs/msg/EventArray"
    assert FORMATS["rosbag"].header(path) == {"topics": {"/left": kind, "/right": kind}}


def sources(folder, kind):
    bag = Bag(1 if kind == "bag" else 2)
    for part in PARTS[:3]:
        bag.events(part)
    storage = rosbag2.StoragePlugin.MCAP if kind == "mcap" else None
    bag.save(folder, storage=storage).rename(folder / f"source.{kind}")


@pytest.mark.parametrize("kind", ["bag", "db3", "mcap"])
def test_some_damaged_bags_are_refused_in_a_process_of_their_own(tmp_path, kind):
    sources(tmp_path, kind)
    assert not lost(tmp_path, range(60), "rosbag")


@pytest.mark.attack
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bag", "db3", "mcap"])
def test_many_damaged_bags_are_refused_in_a_process_of_their_own(tmp_path, kind):
    sources(tmp_path, kind)
    assert not lost(tmp_path, range(60, 4000), "rosbag")


REAL = ["derived/dvs_msgs_none.bag", "ros/py_test_events_1.bag", "ros/codecs_evt3_trigger_0.db3"]


@pytest.mark.parametrize(
    "name", [*REAL, "ros/codecs_mono_cd_0.db3", "ros/codecs_libcaer_rollover_0.db3"]
)
def test_real_bags(samples, differs, name):
    assert differs(name, read(samples / "recordings" / name)) == {}


def test_libcaer_events_have_the_sums_that_their_authors_state(samples):
    """Those of event_camera_codecs' test, of which the times [ns] are taken modulo 2^64."""
    events = read(samples / "recordings" / "ros" / "codecs_libcaer_rollover_0.db3")
    ns = events.t.astype(np.uint64) * np.uint64(1000) + np.uint64(18)
    assert int(ns.sum()) == 15762826572202229126
    sums = [int(column.sum()) for column in (events.x, events.y, events.p)]
    assert sums == [111651612, 82801007, 181908]


def test_real_events_are_the_true_ones(samples):
    path = samples / "recordings" / "derived" / "dvs_msgs_none.bag"
    found = read(path)
    with np.load(path.with_name("dvs_msgs_none_truth.npz")) as truth:
        for column in "txyp":
            assert np.array_equal(getattr(found, column), truth[column])


@pytest.mark.parametrize(
    ("storage", "compression"),
    [
        (rosbag2.StoragePlugin.SQLITE3, None),
        (rosbag2.StoragePlugin.SQLITE3, rosbag2.CompressionMode.FILE),
        (rosbag2.StoragePlugin.SQLITE3, rosbag2.CompressionMode.MESSAGE),
        (rosbag2.StoragePlugin.MCAP, None),
        (rosbag2.StoragePlugin.MCAP, rosbag2.CompressionMode.STORAGE),
    ],
)
def test_folders_of_version_2_are_recordings(tmp_path, storage, compression, run):
    bag = Bag(2)
    for part in PARTS:
        bag.events(part)
    folder = bag.save(tmp_path, compression, storage).parent
    assert read(folder) == EVENTS
    facts = info(folder)
    assert (facts["format"], facts["events"]) == ("rosbag", N)
    assert facts["bytes"] == sum(file.stat().st_size for file in folder.iterdir())
    code, out, _ = run("info", tmp_path, "--json")
    found = json.loads(out)
    assert code == 0
    assert [one["path"] for one in found["recordings"]] == ["bag"]
    assert run("translate", folder, tmp_path / "a.aedat4")[0] == 0
    assert read(tmp_path / "a.aedat4") == EVENTS


def test_a_folder_of_which_a_file_is_missing_is_damaged(tmp_path):
    bag = Bag(2)
    bag.events(slice(0, 9))
    path = bag.save(tmp_path)
    path.unlink()
    with pytest.raises(FormatError, match="damaged or cut off"):
        read(path.parent)
    (path.parent / "metadata.yaml").write_text("- no: bag")
    with pytest.raises(FormatError, match="damaged or cut off"):
        read(path.parent)
