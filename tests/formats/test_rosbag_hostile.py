"""Bags that are cut off, damaged or made to hang their reader."""

import bz2
import sqlite3
import struct

import numpy as np
import pytest
from rosbags import rosbag1, rosbag2
from test_rosbag import EVENTS, PARTS, Bag, N

from eventkit import FormatError, OptionError
from eventkit.formats import Report, _inflate, read

SCHEMA = {
    "topics": "TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, format TEXT)",
    "messages": "TABLE messages(id INTEGER PRIMARY KEY, topic_id, timestamp, data)",
}
TOPIC = "INSERT INTO topics VALUES (1, '/dvs', 'dvs_msgs/msg/EventArray', 'cdr')"
ENDLESS = "(WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT"
HOSTILE = {
    "endless topics": {
        "topics": "VIEW topics AS SELECT * FROM "
        f"{ENDLESS} i AS id, 'a' AS name, 'b' AS type FROM c)"
    },
    "endless messages": {
        "messages": f"VIEW messages AS SELECT * FROM {ENDLESS} i AS id, 1 AS topic_id, "
        "i AS timestamp, x'00' AS data FROM c)"
    },
    "huge messages": {
        "messages": "VIEW messages AS SELECT 1 AS id, 1 AS topic_id, 1 AS timestamp, "
        "zeroblob(999000000) AS data"
    },
    "computed data": {
        "messages": "TABLE messages(id INTEGER PRIMARY KEY, topic_id, timestamp, "
        "data AS (zeroblob(999000000)))"
    },
    "virtual messages": {
        "messages": "VIRTUAL TABLE messages USING fts5(topic_id, timestamp, data)"
    },
}


def database(path, **other):
    with sqlite3.connect(path) as made:
        for definition in (SCHEMA | other).values():
            made.execute(f"CREATE {definition}")
        if "topics" not in other:
            made.execute(TOPIC)
        if "AS (zeroblob" in other.get("messages", ""):
            made.execute("INSERT INTO messages VALUES (1, 1, 1)")
    made.close()
    return path


def bag_of(folder, version=1, compression=None, parts=PARTS):
    bag = Bag(version)
    for part in parts:
        bag.events(part)
    return bag.save(folder, compression)


def is_part(found, whole):
    """Whether events are some of others, in their order."""
    rest = zip(whole.t, whole.x, whole.y, whole.p, strict=True)
    return all(event in rest for event in zip(found.t, found.x, found.y, found.p, strict=True))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", HOSTILE)
def test_databases_whose_tables_are_computed_are_refused(tmp_path, run, name, strict):
    path = database(tmp_path / "a.db3", **HOSTILE[name])
    with pytest.raises(FormatError, match=r"is (view|computed|table).*expected a table|virtual"):
        read(path, strict=strict)
    assert run("info", tmp_path)[0] == 1


def test_a_folder_with_such_a_database_is_refused(tmp_path):
    path = bag_of(tmp_path, 2)
    path.unlink()
    database(path, **HOSTILE["endless messages"])
    with pytest.raises(FormatError, match="messages is view, expected a table"):
        read(path.parent)


def test_a_tree_of_pages_that_lead_to_the_same_one_ends(tmp_path):
    """60 pages below 60 pages ..., all the same: 60^9 rows in 5 kB."""
    path = tmp_path / "a.db3"
    with sqlite3.connect(path) as made:
        made.execute("PRAGMA page_size = 512")
        for definition in SCHEMA.values():
            made.execute(f"CREATE {definition}")
        made.execute(TOPIC)
        made.execute("INSERT INTO messages VALUES (1, 1, 1, x'00')")
        made.commit()
        ((root,),) = made.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'")
    made.close()
    data = bytearray(path.read_bytes())
    leaf = data[(root - 1) * 512 : root * 512]
    pages = len(data) // 512
    for level in range(9):
        after = pages + level + 1
        cells = [struct.pack(">IB", after, 1)] * 60
        begin = 512 - 5 * len(cells)
        head = struct.pack(">BHHHBI", 5, 0, len(cells), begin, 0, after)
        places = b"".join(struct.pack(">H", begin + 5 * i) for i in range(len(cells)))
        page = (head + places).ljust(begin, b"\0") + b"".join(cells)
        if level == 0:
            data[(root - 1) * 512 : root * 512] = page
        else:
            data += page
    data += leaf
    data[28:32] = struct.pack(">I", len(data) // 512)
    path.write_bytes(data)
    with pytest.raises(FormatError, match="interrupted"):
        read(path)


def test_messages_that_share_their_bytes_are_refused(tmp_path):
    path = tmp_path / "a.db3"
    with sqlite3.connect(database(path)) as made:
        made.execute("INSERT INTO messages VALUES (1, 1, 1, zeroblob(100000))")
        made.execute("INSERT INTO messages VALUES (2, 1, 2, zeroblob(100000))")
    made.close()
    assert path.stat().st_size > 200_000
    data = path.read_bytes()
    path.write_bytes(data[:40_000])  # of which the pages are counted anew
    data = bytearray(path.read_bytes())
    data[28:32] = struct.pack(">I", len(data) // 4096)
    path.write_bytes(data)
    with pytest.raises(FormatError, match="share bytes"):
        read(path)


def record(data, **fields):
    """A record of a bag of version 1."""
    pairs = [name.encode() + b"=" + value for name, value in fields.items()]
    head = b"".join(struct.pack("<I", len(pair)) + pair for pair in pairs)
    return struct.pack("<I", len(head)) + head + struct.pack("<I", len(data)) + data


def bomb(path, size, stated=None):
    """A bag of one chunk, of a message with so many zeros."""
    number, about = bytes(4), b"type=dvs_msgs/EventArray"
    about = struct.pack("<I", len(about)) + about
    connection = record(about, op=b"\7", conn=number, topic=b"/dvs")
    inner = connection + record(bytes(size), op=b"\2", conn=number, time=bytes(8))
    stated = struct.pack("<I", len(inner) if stated is None else stated)
    chunk = record(bz2.compress(inner), op=b"\5", compression=b"bz2", size=stated)
    counts = {"conn_count": struct.pack("<I", 1), "chunk_count": number}
    begin = 13 + len(record(b"", op=b"\3", index_pos=bytes(8), **counts)) + len(chunk)
    head = record(b"", op=b"\3", index_pos=struct.pack("<Q", begin), **counts)
    path.write_bytes(b"#ROSBAG V2.0\n" + head + chunk + connection)
    return path


@pytest.mark.parametrize("strict", [True, False])
def test_a_bag_that_inflates_to_more_than_is_likely_is_refused(tmp_path, monkeypatch, strict):
    monkeypatch.setattr(_inflate, "FREE", 1000)
    path = bomb(tmp_path / "a.bag", 1_000_000)
    assert path.stat().st_size < 1000
    with pytest.raises(FormatError, match=r"inflates to more than .* bomb .* inflate=N allows"):
        read(path, strict=strict, size="8x8")
    assert len(read(path, strict=strict, size="8x8", inflate=10_000)) == 0
    with pytest.raises(OptionError, match="inflate is 0"):
        read(path, inflate=0)


def test_a_chunk_that_inflates_to_more_than_it_states_is_refused(tmp_path):
    path = bomb(tmp_path / "a.bag", 100_000, stated=500)
    with pytest.raises(FormatError, match="inflates to more than the 500 bytes it states"):
        read(path, size="8x8")


def test_files_and_messages_of_version_2_inflate_only_so_far(tmp_path, monkeypatch):
    monkeypatch.setattr(_inflate, "FREE", 0)
    for mode in (rosbag2.CompressionMode.FILE, rosbag2.CompressionMode.MESSAGE):
        folder = tmp_path / str(mode)
        folder.mkdir()
        path = bag_of(folder, 2, mode)
        with pytest.raises(FormatError, match="inflates to more than"):
            read(path.parent, inflate=0.001)
        assert read(path.parent) == EVENTS


@pytest.mark.parametrize("compression", [None, *rosbag1.Writer.CompressionFormat])
def test_a_bag_that_was_not_closed_is_read_whole_if_tolerant(tmp_path, compression):
    path = bag_of(tmp_path, 1, compression)
    data = path.read_bytes()
    at = data.index(b"index_pos=") + 10
    begin = int.from_bytes(data[at : at + 8], "little")
    for cut in (len(data), begin):
        path.write_bytes(data[:at] + bytes(8) + data[at + 8 : cut])
        with pytest.raises(FormatError, match=r"no whole index.*not closed.*strict=False reads"):
            read(path)
        assert read(path, strict=False) == EVENTS


def many_chunks(folder, compression):
    """A bag of version 1 with several chunks."""
    bag = Bag(1)
    for i in range(0, N, 30):
        bag.events(slice(i, i + 30))
    path = folder / "file.bag"
    writer = rosbag1.Writer(path)
    writer.chunk_threshold = 2000
    if compression:
        writer.set_compression(compression)
    with writer:
        topic, kind, _ = bag.messages[0]
        known = writer.add_connection(topic, kind, typestore=bag.store)
        for i, (_, _, message) in enumerate(bag.messages):
            writer.write(known, i, bag.store.serialize_ros1(message, kind))
    return path


@pytest.mark.parametrize("compression", [None, *rosbag1.Writer.CompressionFormat])
def test_a_bag_that_is_cut_off_keeps_the_events_before_the_cut(tmp_path, compression):
    path = many_chunks(tmp_path, compression)
    data = path.read_bytes()
    assert data.count(b"op=\x05") > 5
    assert read(path) == EVENTS
    rng, most = np.random.default_rng(0), 0
    for cut in sorted(rng.integers(4200, len(data), 60).tolist()):
        path.write_bytes(data[:cut])
        with pytest.raises(FormatError):
            read(path)
        try:
            found = read(path, strict=False)
        except FormatError:
            assert most == 0  # not even a topic is there
            continue
        assert found == EVENTS[: len(found)]
        assert len(found) >= most
        most = len(found)
    assert most == N


@pytest.mark.parametrize("compression", [None, *rosbag1.Writer.CompressionFormat])
def test_a_bag_with_a_hole_keeps_events_on_both_sides(tmp_path, compression):
    path = many_chunks(tmp_path, compression)
    data = path.read_bytes()
    chunks = [i for i in range(len(data)) if data.startswith(b"op=\x05", i)]
    first, last = chunks[3] - 60, chunks[5]
    for hole in (bytes(last - first), b""):
        path.write_bytes(data[:first] + hole + data[last:])
        report = Report()
        found = read(path, strict=False, report=report)
        assert is_part(found, EVENTS)
        assert N / 2 <= len(found) < N
        assert found.t[[0, -1]].tolist() == EVENTS.t[[0, -1]].tolist()
        assert any("at byte" in note for note in report.notes)


def rows(folder):
    """A database of many messages, several to a page."""
    bag = Bag(2)
    for i in range(0, N, 5):
        bag.events(slice(i, min(N, i + 5)))
    path = bag.save(folder)
    assert path.stat().st_size > 8 * 4096
    return path


@pytest.mark.parametrize("big", [False, True])
def test_a_database_that_is_cut_off_keeps_the_messages_that_are_there(tmp_path, big):
    parts = [slice(i, i + 300) for i in range(0, N, 300)]  # of more than a page each
    path = bag_of(tmp_path, 2, parts=parts) if big else rows(tmp_path)
    data, most = path.read_bytes(), 0
    assert read(path) == EVENTS
    for pages in range(1, len(data) // 4096):
        for cut in (0, 1000):
            path.write_bytes(data[: 4096 * pages + cut])
            with pytest.raises(FormatError, match="damaged or cut off"):
                read(path)
            try:
                report = Report()
                found = read(path, strict=False, report=report)
            except FormatError:
                assert most == 0
                continue
            assert is_part(found, EVENTS)
            assert len(found) >= most
            most = len(found)
            assert any("damaged or cut off" in note for note in report.notes)
    assert most > N / 2


def test_a_database_with_a_hole_keeps_all_other_messages(tmp_path):
    path = rows(tmp_path)
    data = path.read_bytes()
    counts = []
    for page in range(1, len(data) // 4096):
        at = 4096 * page
        path.write_bytes(data[:at] + bytes(4096) + data[at + 4096 :])
        try:
            found = read(path, strict=False)
        except FormatError:
            continue
        assert is_part(found, EVENTS)
        counts.append(len(found))
    assert len(counts) >= len(data) // 4096 - 3
    assert min(counts) > N / 2


def test_what_a_killed_recorder_left_beside_its_database_is_not_passed_over(tmp_path):
    path = bag_of(tmp_path, 2)
    path.with_name(path.name + "-wal").write_bytes(bytes(10))
    with pytest.raises(FormatError, match=r"-wal \(10 bytes\) has messages that are not in the"):
        read(path)
    report = Report()
    assert read(path, strict=False, report=report) == EVENTS
    assert "-wal" in report.notes[0]


def test_a_folder_whose_metadata_is_gone_is_read_by_the_names_of_its_files(tmp_path):
    path = bag_of(tmp_path, 2)
    (path.parent / "metadata.yaml").write_text("- no: bag")
    with pytest.raises(FormatError, match=r"metadata.yaml does not list the files"):
        read(path.parent)
    report = Report()
    assert read(path.parent, strict=False, report=report) == EVENTS
    assert "metadata.yaml" in report.notes[0]


def test_doctor_examines_and_repairs_a_bag_that_is_a_folder(tmp_path, run):
    folder = bag_of(tmp_path, 2).parent
    assert run("doctor", folder)[0] == 0
    (folder / "metadata.yaml").write_text("- no: bag")
    assert run("doctor", folder)[0] == 3
    code, out, err = run("doctor", folder, "--repair", tmp_path / "copy.aedat4")
    assert code == 0, out + err
    assert is_part(EVENTS, read(tmp_path / "copy.aedat4"))


@pytest.mark.parametrize("version", [1, 2])
def test_doctor_repairs_a_bag_that_is_cut_off(tmp_path, run, version):
    path = many_chunks(tmp_path, None) if version == 1 else rows(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert run("doctor", path)[0] == 3
    copy = tmp_path / "copy.aedat4"
    code, out, err = run("doctor", path, "--repair", copy)
    assert code == 0, out + err
    found = read(copy)
    assert len(found) > N / 4
    assert is_part(found, EVENTS)


def mcap(folder, compression=None):
    """A bag in MCAP with several chunks."""
    bag = Bag(2)
    for i in range(0, N, 30):
        bag.events(slice(i, i + 30))
    folder = folder / "bag"
    writer = rosbag2.Writer(folder, version=9, storage_plugin=rosbag2.StoragePlugin.MCAP)
    if compression:
        writer.set_compression(compression, rosbag2.CompressionFormat.ZSTD)
    with writer:
        topic, kind, _ = bag.messages[0]
        known = writer.add_connection(topic, kind, typestore=bag.store)
        for i, (_, _, message) in enumerate(bag.messages):
            writer.write(known, i, bag.store.serialize_cdr(message, kind))
            if i % 5 == 4:
                writer.storage.close_chunk()
    return next(folder.glob("*.mcap"))


MODES = [None, rosbag2.CompressionMode.STORAGE]


@pytest.mark.parametrize("mode", MODES)
def test_a_bag_in_mcap_that_is_cut_off_keeps_the_events_before_the_cut(tmp_path, mode):
    path = mcap(tmp_path, mode)
    data, most = path.read_bytes(), 0
    assert read(path) == EVENTS
    for cut in sorted(np.random.default_rng(0).integers(100, len(data), 60).tolist()):
        path.write_bytes(data[:cut])
        with pytest.raises(FormatError, match="not closed or is cut off"):
            read(path)
        try:
            found = read(path, strict=False)
        except FormatError:
            assert most == 0  # not even a topic is there
            continue
        assert found == EVENTS[: len(found)]
        assert len(found) >= most
        most = len(found)
    assert most == N


def test_a_bag_in_mcap_with_a_hole_keeps_events_on_both_sides(tmp_path):
    """Compressed: zeros in plain chunks, which are written without a checksum, are events too."""
    path = mcap(tmp_path, rosbag2.CompressionMode.STORAGE)
    data = path.read_bytes()
    some = 0
    for at in range(100, len(data) - 2500, 500):
        path.write_bytes(data[:at] + bytes(300) + data[at + 300 :])
        try:
            report = Report()
            found = read(path, strict=False, report=report)
        except FormatError:
            continue
        assert is_part(found, EVENTS)
        some += N / 2 < len(found) < N and any("at byte" in note for note in report.notes)
    assert some > 3


def test_a_bag_in_mcap_inflates_only_so_far(tmp_path, monkeypatch):
    path = mcap(tmp_path, rosbag2.CompressionMode.STORAGE)
    monkeypatch.setattr(_inflate, "FREE", 0)
    for strict in (True, False):
        with pytest.raises(FormatError, match=r"inflates to more than .* bomb"):
            read(path, strict=strict, inflate=0.5)
    assert read(path) == EVENTS
    data = path.read_bytes()
    at = data.index(b"\x04\0\0\0zstd") - 12  # of the size when inflated, in the first chunk
    path.write_bytes(data[:at] + (10).to_bytes(8, "little") + data[at + 8 :])
    with pytest.raises(FormatError, match="inflates to more than the 10 bytes it states"):
        read(path)
