"""EVT3: words packed by hand, real recordings, and what cannot be written."""

import struct

import numpy as np
import pytest

import eventkit as ek
from eventkit import Events, FormatError, OptionError
from eventkit.formats import FORMATS, Report, extra, stream

HEAD = b"% evt 3.0\n% format EVT3;height=720;width=1280\n% geometry 1280x720\n% end\n"
ROW, EVENT, BASE, V12, V8, LOW, MORE4, HIGH, TRIGGER = 0, 2, 3, 4, 5, 6, 7, 8, 10


def packed(words) -> bytes:
    """Words of 16 bits, from (type, value)."""
    return struct.pack(f"<{len(words)}H", *(kind << 12 | value for kind, value in words))


def recording(folder, words, head=HEAD, name="file.raw"):
    path = folder / name
    path.write_bytes(head + packed(words))
    return path


def rows(events: Events) -> list[tuple[int, ...]]:
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def test_every_kind_of_word_means_what_the_specification_says(tmp_path):
    path = recording(
        tmp_path,
        [
            *[(HIGH, 5), (LOW, 7), (ROW, 100), (EVENT, 1 << 11 | 33), (EVENT, 34)],
            *[(BASE, 1 << 11 | 64), (V12, 0b100000000001), (V12, 0b10), (V8, 0b10000000)],
            *[(V8, 1), (ROW, 1 << 11 | 9), (TRIGGER, 3 << 8 | 1), (LOW, 8), (TRIGGER, 3 << 8)],
            *[(14, 1), (15, 2), (15, 3), (MORE4, 4), (EVENT, 5), (1, 0), (9, 0), (11, 0)],
            *[(12, 0), (13, 0), (EVENT, 6)],
        ],
    )
    report = Report()
    t = 5 << 12
    assert rows(ek.read(path, report=report)) == [
        *[(t + 7, 33, 100, 1), (t + 7, 34, 100, 0)],
        *[(t + 7, 64, 100, 1), (t + 7, 75, 100, 1), (t + 7, 77, 100, 1), (t + 7, 95, 100, 1)],
        *[(t + 7, 96, 100, 1), (t + 8, 5, 9, 0), (t + 8, 6, 9, 0)],
    ]
    assert report.counts == {"triggers": 2, "other words": 4, "unknown words": 5}
    assert extra(path, "triggers").tolist() == [(t + 7, 1, 3), (t + 8, 0, 3)]


def test_nothing_counts_before_the_first_time(tmp_path):
    words = [(ROW, 3), (LOW, 9), (EVENT, 1), (V12, 7), (V8, 3), (HIGH, 1), (EVENT, 2)]
    report = Report()
    assert rows(ek.read(recording(tmp_path, words), report=report)) == [(4096, 2, 0, 0)]
    assert report.counts == {"events before the first time": 6}


def test_time_low_goes_back_without_a_carry(tmp_path):
    words = [(HIGH, 1), (LOW, 811), (EVENT, 0), (HIGH, 1), (LOW, 800), (EVENT, 1), (EVENT, 2)]
    events = ek.read(recording(tmp_path, words))
    assert events.t.tolist() == [4096 + 811, 4096 + 800, 4096 + 800]
    assert events.backward_steps == 1


def test_a_new_high_part_sets_the_low_part_to_zero_the_same_one_does_not(tmp_path):
    words = [(HIGH, 1), (LOW, 5), (HIGH, 1), (EVENT, 0), (HIGH, 2), (EVENT, 0)]
    assert ek.read(recording(tmp_path, words)).t.tolist() == [4096 + 5, 2 * 4096]


@pytest.mark.parametrize(
    ("highs", "expected"),
    [
        ([4095, 0], [4095, 4096]),
        ([2048, 0], [2048, 4096]),
        ([2047, 0], [2047, 0]),  # a small fall is no wrap
        ([4095, 0, 4095, 3], [4095, 4096, 8191, 8195]),
    ],
)
def test_time_wraps_when_its_high_part_falls_by_half(highs, expected, tmp_path):
    words = [word for high in highs for word in ((HIGH, high), (EVENT, 0))]
    assert ek.read(recording(tmp_path, words)).t.tolist() == [high << 12 for high in expected]


def test_a_run_of_vectors_without_end_stays_beyond_the_sensor(tmp_path):
    words = [(HIGH, 0), (BASE, 0), *[(V12, 1)] * 6000]
    events = ek.read(recording(tmp_path, words))
    assert events.x.tolist() == [min(12 * i, 65000) for i in range(6000)]
    assert events.out_of_bounds == 6000 - 107


@pytest.mark.parametrize("chunk", [1, 2, 5, 31])
def test_vectors_are_cut_where_a_chunk_ends(chunk, tmp_path):
    words = [(HIGH, 0), (ROW, 1), *[(BASE, 32), (V12, 0xFFF), (V12, 0xFFF), (V8, 0xFF)] * 3]
    parts = [part.copy() for part in stream(recording(tmp_path, words), chunk)]
    assert Events.concat(parts).x.tolist() == list(range(32, 64)) * 3
    assert [len(part) for part in parts] == [min(chunk, 96 - i) for i in range(0, 96, chunk)]


def test_blocks_hand_on_their_state(tmp_path):
    n = 400_000  # words of 2 bytes, so three blocks
    words = [
        (HIGH, 1),
        (LOW, 3),
        (ROW, 7),
        (BASE, 1 << 11 | 32),
        *[(V12, 1)] * 2,
        *[(EVENT, 9)] * n,
    ]
    path = recording(tmp_path, [*words, (V12, 1)])
    events = ek.read(path)
    assert len(events) == n + 3
    assert (events.t == 4096 + 3).all()
    assert (events.y == 7).all()
    assert rows(events[-1:]) == [(4099, 32 + 24, 7, 1)]
    assert ek.read(path, clock=(4099, 4100)) == events


def test_a_window_begins_with_the_state_of_what_it_leaves_out(tmp_path):
    words = [(HIGH, 0), (ROW, 1), *[(EVENT, 1)] * 600_000, (HIGH, 1), *[(EVENT, 2)] * 600_000]
    path = recording(tmp_path, words)
    inside = ek.read(path, clock=(4096, None))
    assert len(inside) == 600_000
    assert set(rows(inside)) == {(4096, 2, 1, 0)}


def test_size_is_found_in_old_headers_and_new(tmp_path):
    words = [(HIGH, 0), (ROW, 2), (EVENT, 3)]
    for head, size in (
        (HEAD, (1280, 720)),
        (b"% evt 3.0\n% system_ID 48\n", (1280, 720)),
        (b"% evt 3.0\n% system_ID 40\n", (640, 480)),
        (b"% evt 3.0\n% geometry 320x320\n", (320, 320)),
        (b"% evt 3.0\r\n% format EVT3\r\n", (4, 3)),
        (b"% evt 3.0\n% geometry 0x70\n", (4, 3)),
        (b"% evt 3.0\n% geometry " + b"9" * 5000 + b"x7\n", (4, 3)),
        (b"% evt 3.0\n% system_ID " + b"4" * 5000 + b"\n", (4, 3)),
    ):
        report = Report()
        path = recording(tmp_path, words, head)
        assert ek.read(path, report=report).size == size
        assert bool(report.notes) == (size == (4, 3))
        assert ek.read(path, size="40x30").size == (40, 30)


def test_a_stream_without_header_is_read_by_name(tmp_path):
    path = recording(tmp_path, [(HIGH, 0), (ROW, 2), (EVENT, 3)], b"")
    assert ek.read(path, format="evt3", size="640x480") == Events([0], [3], [2], [0], (640, 480))
    with pytest.raises(FormatError, match="size=WxH"):
        ek.read(recording(tmp_path, [(HIGH, 0)], b""), format="evt3")


def test_words_that_look_like_a_header_line_are_words(tmp_path):
    words = [(EVENT, 0x25), (HIGH, 1), (EVENT, 4), (0, 10)]  # b"% " and later b"\n"
    assert struct.pack("<H", 0x2025) == b"% "
    report = Report()
    head = b"% evt 3.0\n% geometry 1280x720\n"
    assert len(ek.read(recording(tmp_path, words, head), report=report)) == 1
    assert report.counts == {"events before the first time": 1}


def test_the_first_event_can_be_the_origin_of_time(tmp_path):
    words = [(HIGH, 9), (LOW, 5), (EVENT, 1), (LOW, 9), (EVENT, 2)]
    path = recording(tmp_path, words)
    assert ek.read(path, t0="first").t.tolist() == [0, 4]
    assert ek.read(path, t0="first", clock=(1, 5)).t.tolist() == [4]


def test_a_cut_word_is_an_error_or_a_count(tmp_path):
    path = recording(tmp_path, [(HIGH, 0), (EVENT, 1)])
    path.write_bytes(path.read_bytes() + b"\x01")
    with pytest.raises(FormatError, match=f"at byte {len(HEAD) + 4}: the file ends 1 bytes into"):
        ek.read(path)
    report = Report()
    assert len(ek.read(path, strict=False, report=report)) == 1
    assert report.counts == {"trailing bytes": 1}


def test_words_without_any_time_are_an_error(tmp_path):
    path = recording(tmp_path, [(EVENT, 1)] * 9)
    with pytest.raises(FormatError, match="no word has a time"):
        ek.read(path)
    report = Report()
    assert len(ek.read(path, strict=False, report=report)) == 0
    assert report.counts == {"events before the first time": 9}


def test_a_header_of_another_code_is_refused(tmp_path):
    path = recording(tmp_path, [(HIGH, 1)], HEAD.replace(b"EVT3", b"EVT2"))
    with pytest.raises(FormatError, match="its header says EVT2, expected EVT3"):
        ek.read(path, format="evt3")


def test_a_header_that_is_cut_is_refused(tmp_path):
    path = tmp_path / "file.raw"
    path.write_bytes(HEAD[:30])
    with pytest.raises(FormatError, match="ends within its header"):
        ek.read(path, format="evt3")


def test_what_is_written_is_these_words(tmp_path):
    path = tmp_path / "file.raw"
    t = (5 << 12) + 7
    singles = Events([t, t, t + 1, 1 << 24], [9, 10, 40, 1], [3] * 4, [1] * 4, (64, 48))
    ek.write(path, singles, format="evt3")
    on = 1 << 11
    assert path.read_bytes().partition(b"% end\n")[2] == packed(
        [
            *[(HIGH, 5), (LOW, 7), (ROW, 3), (EVENT, on | 9), (EVENT, on | 10), (LOW, 8)],
            *[(EVENT, on | 40), (HIGH, 4095), (HIGH, 0), (LOW, 0), (EVENT, on | 1)],
        ]
    )
    ek.write(path, Events([0] * 5, [32, 33, 44, 60, 63], [1] * 5, [0] * 5, (64, 48)), format="evt3")
    assert path.read_bytes().partition(b"% end\n")[2] == packed(
        [(HIGH, 0), (LOW, 0), (ROW, 1), (BASE, 32), (V12, 3), (V12, 1), (V8, 0b10010000)]
    )


@pytest.mark.parametrize(
    ("t", "x", "reason"),
    [
        ([1 << 34], [0], "begins before 2\\^34 µs .* t0=first"),
        ([1_600_000_000_000_000], [0], "t0=first subtracts it"),
        ([-1], [0], "holds times from 0 on, found -1"),
        ([0], [2048], "coordinates below 2,048"),
        ([0, (1 << 34) + 1], [0, 0], "gaps of up to 2\\^34"),
        ([1 << 24, (1 << 24) - 1], [0, 0], "cannot hold t = 16777215 µs after 16777216 .*sort"),
        ([1 << 23, 0], [0, 0], "cannot hold t = 0"),
    ],
)
def test_what_it_cannot_hold_is_refused(t, x, reason, tmp_path):
    path = tmp_path / "file.raw"
    with pytest.raises(OptionError, match=reason):
        ek.write(path, Events(t, x, [0] * len(t), [0] * len(t), (640, 480)), format="evt3")
    assert not list(tmp_path.iterdir())


def test_unix_times_and_long_recordings_are_written(tmp_path):
    path = tmp_path / "file.raw"
    unix = Events(
        [10**15, 10**15 + (1 << 34), 10**15 + (1 << 35)], [0] * 3, [0] * 3, [1] * 3, (8, 8)
    )
    ek.write(path, unix, format="evt3", t0="first")
    assert ek.read(path).t.tolist() == [0, 1 << 34, 1 << 35]


def test_small_steps_back_are_written(tmp_path):
    path = tmp_path / "file.raw"
    events = Events([9000, 8999, 100, (1 << 23) + 90, 5000], [0] * 5, [0] * 5, [1] * 5, (8, 8))
    ek.write(path, events, format="evt3")
    assert ek.read(path) == events


def test_the_real_recording_has_the_times_of_the_camera(samples):
    path = samples / "recordings" / "evt3" / "expelliarmus_evt3_sample.raw"
    report = Report()
    events = ek.read(path, report=report)
    assert (len(events), int(events.p.sum())) == (219_596, 115_532)
    assert (int(events.t[0]), int(events.t[-1])) == (11_718_656, 11_727_457)
    assert (int(events.x.max()), int(events.y.max())) == (1279, 719)
    assert (events.backward_steps, events.size) == (0, (1280, 720))
    assert not report.counts
    for chunk in (1009, 65_536):
        assert Events.concat([part.copy() for part in stream(path, chunk)]) == events
    assert FORMATS["evt3"].bound(path) == 219_596


def test_the_real_recording_is_written_and_read_again(samples, tmp_path):
    events = ek.read(samples / "recordings" / "evt3" / "expelliarmus_evt3_sample.raw")
    for name in ("evt2", "evt21", "evt3"):
        path = tmp_path / f"{name}.raw"
        ek.write(path, [events[i : i + 7001] for i in range(0, len(events), 7001)], format=name)
        assert ek.read(path) == events


def test_a_twin_in_plain_python_agrees_on_random_words(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.integers(0, 1 << 16, 400)
        values[:3] = 8 << 12
        path = tmp_path / "file.raw"
        path.write_bytes(HEAD + values.astype("<u2").tobytes())
        assert rows(ek.read(path)) == twin(values.tolist())


def twin(words: list[int]) -> list[tuple[int, ...]]:
    found, loops, high, low, y, base, p = [], 0, None, 0, 0, 0, 0
    for word in words:
        kind, value = word >> 12, word & 0xFFF
        if high is None and kind != HIGH:
            continue
        now = (loops << 24) + ((high or 0) << 12) + low
        if kind == ROW:
            y = value & 0x7FF
        elif kind == EVENT:
            found.append((now, value & 0x7FF, y, value >> 11))
        elif kind == BASE:
            base, p = value & 0x7FF, value >> 11
        elif kind in (V12, V8):
            width = 12 if kind == V12 else 8
            found += [(now, base + i, y, p) for i in range(width) if value >> i & 1]
            base += width
        elif kind == LOW:
            low = value
        elif kind == HIGH and value != high:
            loops += (high or 0) >= value + 2048
            high, low = value, 0
    return found
