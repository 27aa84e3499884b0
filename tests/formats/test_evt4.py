"""EVT4: words packed by hand."""

import struct

import pytest

import eventkit as ek
from eventkit import Events, FormatError, OptionError
from eventkit.formats import Report, extra, stream
from eventkit.formats.prophesee._file import BLOCK

HEAD = b"% evt 4.0\n% format EVT4;height=720;width=1280\n% end\n"
OTHER, MORE, TRIGGER, OFF, ON, VECTOR_OFF, VECTOR_ON, HIGH, PAD = 6, 7, 9, 10, 11, 12, 13, 14, 15


def word(kind: int, low: int = 0, x: int = 0, y: int = 0) -> int:
    return kind << 28 | low << 22 | x << 11 | y


def recording(folder, words):
    path = folder / "file.raw"
    path.write_bytes(HEAD + struct.pack(f"<{len(words)}I", *words))
    return path


def rows(events: Events) -> list[tuple[int, ...]]:
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


def test_every_kind_of_word_means_what_openeb_says(tmp_path):
    words = [
        *[word(ON), word(VECTOR_ON), 7, HIGH << 28 | 2, word(OFF, 1, 3, 4), word(ON, 2, 5, 6)],
        *[word(VECTOR_OFF, 3, 64, 7), 1 << 31 | 1, word(VECTOR_ON, 4, 96, 8), word(OFF)],
        *[0xFFFFFFFF, word(OTHER), word(MORE), TRIGGER << 28 | 5 << 22 | 3 << 8 | 1, word(2)],
    ]
    path = recording(tmp_path, words)
    report = Report()
    t = 128
    assert rows(ek.read(path, report=report)) == [
        *[(t + 1, 3, 4, 0), (t + 2, 5, 6, 1), (t + 3, 64, 7, 0), (t + 3, 95, 7, 0)],
        *[(t + 4, 96 + 29, 8, 1), (t + 4, 96 + 31, 8, 1)],  # a mask that looks like an event
    ]
    assert report.counts == {
        "events before the first time": 4,
        "triggers": 1,
        "other words": 2,
        "unknown words": 1,
    }
    assert extra(path, "triggers").tolist() == [(t + 5, 1, 3)]


def test_time_wraps_when_it_falls_by_half(tmp_path):
    words = []
    for high in (1 << 27, 0, 9, 8):
        words += [HIGH << 28 | high, word(ON)]
    wrap = 1 << 34
    assert ek.read(recording(tmp_path, words)).t.tolist() == [
        *[1 << 33, wrap, wrap + 576, wrap + 512]
    ]


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_a_vector_may_lie_across_blocks(chunk, tmp_path):
    n = BLOCK // 4 - 2  # so that the vector begins with the last word of a block
    words = [HIGH << 28, *[word(PAD)] * n, word(VECTOR_ON, 1, 32, 1), 0b1011, word(OFF)]
    path = recording(tmp_path, words)
    parts = [part.copy() for part in stream(path, chunk)]
    assert Events.concat(parts).x.tolist() == [32, 33, 35, 0]
    assert ek.read(path, clock=(1, None)).x.tolist() == [32, 33, 35]


def test_a_vector_without_its_mask_is_cut_off(tmp_path):
    path = recording(tmp_path, [HIGH << 28, word(ON), word(VECTOR_ON)])
    with pytest.raises(FormatError, match="between the two words of a vector"):
        ek.read(path)
    report = Report()
    assert len(ek.read(path, strict=False, report=report)) == 1
    assert "cut off" in report.notes[0]


def test_it_is_not_written(tmp_path):
    with pytest.raises(OptionError, match="evt4 can be read but not written"):
        ek.write(tmp_path / "file.raw", Events.empty((4, 4)), format="evt4")
