"""EVT2.1: words packed by hand in both orders, and a real recording."""

import struct

import numpy as np
import pytest

import eventkit as ek
from eventkit import Events
from eventkit.formats import Report, extra, stream

HEAD = b"% evt 2.1\n% format EVT21;height=480;width=640\n% end\n"
HIGH = 8 << 60
WRAP = 1 << 34


def event(low: int, x: int, y: int, p: int, mask: int) -> int:
    return p << 60 | low << 54 | x << 43 | y << 32 | mask


def little(words) -> bytes:
    return struct.pack(f"<{len(words)}Q", *words)


def legacy(words) -> bytes:
    return b"".join(struct.pack("<II", word >> 32, word & 0xFFFFFFFF) for word in words)


def rows(events: Events) -> list[tuple[int, ...]]:
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


WORDS = [
    event(1, 1, 1, 1, 7),
    HIGH | 3 << 32,
    event(63, 64, 479, 1, 1 << 31 | 1),
    event(2, 5, 6, 0, 0b110),
    10 << 60 | 9 << 54 | 5 << 40 | 1 << 32,
    14 << 60,
    15 << 60,
    2 << 60,
    event(3, 5, 6, 0, 0),
]


def test_the_two_orders_are_those_of_the_specification():
    assert legacy([0x0102030405060708]) == bytes([4, 3, 2, 1, 8, 7, 6, 5])
    assert little([0x0102030405060708]) == bytes([8, 7, 6, 5, 4, 3, 2, 1])


@pytest.mark.parametrize("order", [little, legacy])
@pytest.mark.parametrize(
    "head",
    [
        HEAD,
        HEAD.replace(b";h", b";endianness=little;h"),
        HEAD.replace(b";h", b";endianness=legacy;h"),
    ],
)
def test_every_kind_of_word_means_what_the_specification_says(order, head, tmp_path):
    path = tmp_path / "file.raw"
    path.write_bytes(head + order(WORDS))
    report = Report()
    t = 3 << 6
    assert rows(ek.read(path, report=report)) == [
        *[(t + 63, 64, 479, 1), (t + 63, 95, 479, 1), (t + 2, 6, 6, 0), (t + 2, 7, 6, 0)]
    ]
    assert report.counts == {
        "events before the first time": 3,
        "triggers": 1,
        "other words": 2,
        "unknown words": 1,
    }
    assert extra(path, "triggers").tolist() == [(t + 9, 1, 5)]


@pytest.mark.parametrize(
    ("head", "order"),
    [
        (HEAD, little),
        (HEAD.replace(b";h", b";endianness=legacy;h"), legacy),
        (b"% endianness little\n" + HEAD, little),
        (b"% integrator_name Prophesee\n% system_ID 48\n" + HEAD, legacy),
        (b"% integrator_name Prophesee\n% system_ID 55\n" + HEAD, little),
        (b"% integrator_name Someone\n% system_ID 48\n" + HEAD, little),
    ],
)
def test_where_words_do_not_tell_their_order_the_header_does(head, order, tmp_path):
    path = tmp_path / "file.raw"
    odd = HIGH | 1 << 32 | 5  # a time with something in its unused half
    path.write_bytes(head + order([odd, event(1, 2, 3, 1, 1)]))
    assert rows(ek.read(path)) == [(65, 2, 3, 1)]


def test_time_wraps_from_its_greatest_to_zero_only(tmp_path):
    path = tmp_path / "file.raw"
    top = (1 << 28) - 1
    words = []
    for high in (top, 0, 5, 4, top, 1):
        words += [HIGH | high << 32, event(0, 0, 0, 1, 1)]
    path.write_bytes(HEAD + little(words))
    times = [top << 6, WRAP, WRAP + 320, WRAP + 256, WRAP + (top << 6), WRAP + 64]
    assert ek.read(path).t.tolist() == times


@pytest.mark.parametrize("chunk", [1, 7, 33, 1000])
def test_vectors_are_cut_where_a_chunk_ends(chunk, tmp_path):
    path = tmp_path / "file.raw"
    path.write_bytes(HEAD + little([HIGH, *[event(0, 32, 1, 1, 0xFFFFFFFF)] * 4]))
    parts = [part.copy() for part in stream(path, chunk)]
    assert Events.concat(parts).x.tolist() == list(range(32, 64)) * 4


@pytest.mark.parametrize(("order", "pack"), [("little", little), ("legacy", legacy)])
def test_what_is_written_is_these_words(order, pack, tmp_path):
    path = tmp_path / "file.raw"
    events = Events([70, 70, 70, 70], [33, 35, 63, 64], [2] * 4, [1] * 4, (96, 8))
    ek.write(path, [events[:1], events[1:]], format="evt21", order=order)
    words = [HIGH | 1 << 32, event(6, 32, 2, 1, 1 << 31 | 0b1010), event(6, 64, 2, 1, 1)]
    head, _, data = path.read_bytes().partition(b"% end\n")
    assert data == pack(words)
    assert f"format EVT21;endianness={order};height=8;width=96".encode() in head
    assert ek.read(path) == events


def test_the_real_recording_is_read_exactly_in_both_orders(samples, tmp_path):
    path = samples / "recordings" / "derived" / "evt21_little.raw"
    events = ek.read(path)
    truth = np.load(path.with_name("evt21_truth.npz"))
    assert events == Events(*(truth[name] for name in "txyp"), (640, 480))
    turned = tmp_path / "legacy.raw"
    head, end, data = path.read_bytes().partition(b"% end\n")
    swapped = np.frombuffer(data, "<u4").reshape(-1, 2)[:, ::-1].tobytes()
    turned.write_bytes(head + end + swapped)
    assert ek.read(turned) == events
