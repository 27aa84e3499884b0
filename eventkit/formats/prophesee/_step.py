"""Where words of Prophesee's codes are out of step, as bytes were lost, and where in step again.

In step, all words are of known types and events lie on the sensor; out of it, they have other
bits, so that many are odd. So where too many of a window of words are, and where they would not be
if words began at another byte, bytes were lost. Reading then goes on at the next time that is
followed by all that an event needs; what lies between is left out, and a few words before, which
may be of both.
"""

from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from eventkit._jit import jit
from eventkit.formats._holes import find_hole
from eventkit.formats.base import Report, fill
from eventkit.formats.prophesee._file import BLOCK, File

WINDOW = 64  # words that are looked at together
STRAY, CLEAN = 8, 4  # odd words: from so many on of a window, and up to so many of four
GUARD = 16  # words that are left out before the first that is odd
MOST = 1 << 11  # coordinates are below
REASON = "the words {} are out of step, as bytes are missing or foreign"
Segment = tuple[int, int]  # bytes


class How(NamedTuple):
    """How words are judged, by kernels too."""

    stride: int  # bytes of a word
    top: int  # the byte of a word that has its type
    known: np.ndarray  # which of 16 types are
    width: int  # of the sensor
    height: int


def segments(file: File) -> list[Segment]:
    """The parts of a file in which words are in step and no hole of zeros is."""
    how, stride = _how(file), file.code.stride
    found: list[Segment] = []
    begin = at = file.begin
    buffer = np.empty(BLOCK, np.uint8)
    while file.end - at >= WINDOW * stride:
        data = buffer[: fill(file.fd, buffer, at)]
        first = _stray(data, 0, how) if file.code.kinds is not None else -1
        hole, end = find_hole(data)
        if hole >= 0 and (first < 0 or hole < first + WINDOW * stride):
            found.append((begin, max(begin, at + (hole // stride - GUARD) * stride)))
            begin = at = _resume(file, min(file.end, at + (end // stride + 1) * stride), how)
            continue
        if first < 0:
            at += max(len(data) // (WINDOW * stride), 1) * WINDOW * stride
            continue
        step = _step(data[first:], how)
        last = _last(data, max(first - WINDOW * stride, 0), how)
        resumed = file.end if step == 0 else _resume(file, at + last + step, how)
        if resumed == file.end:
            at += first + WINDOW * stride
            continue
        found.append((begin, max(begin, at + last - GUARD * stride)))
        begin = at = resumed
    return [*found, (begin, file.end)]


def parts(file: File, found: list[Segment]) -> list[File]:
    """The segments of a file as files, of which all have the state of the first."""
    return [replace(file, begin=begin, end=end) for begin, end in found]


def tell(found: list[Segment], report: Report) -> None:
    """Count and note what lies between segments."""
    for (_, end), (begin, _) in pairwise(found):
        reason = REASON.format(f"after byte {end:,}")
        report.skipped(end, begin, reason, f"{reason}; skipped to byte {begin:,}")


def _how(file: File) -> How:
    """How words of a file are judged."""
    known = np.zeros(16, bool)
    known[list(file.code.kinds or ())] = True
    legacy = file.code.variant is not None and int(file.state["variant"][0]) == 1
    width, height = file.header.size or (MOST, MOST)
    return How(file.code.stride, 3 if legacy else file.code.stride - 1, known, width, height)


def _step(data: np.ndarray, how: How) -> int:
    """By how many bytes words would have to begin later to be known, 0 if none would do."""
    stride = how.stride
    offset = max(0, min(WINDOW * stride, len(data) - WINDOW * stride - stride))
    look = data[offset : offset + 4 * WINDOW * stride + stride]
    counts = [_odds(look, step, how) for step in range(stride)]
    best = int(np.argmin(counts))
    if counts[best] > CLEAN or counts[0] < STRAY:
        return 0
    return (best + offset) % stride


def _resume(file: File, at: int, how: How) -> int:
    """The first byte from one on where there is a time, and then what an event needs, or the end.

    Words without types need nothing.
    """
    if file.code.kinds is None:
        return at
    buffer, stride = np.empty(BLOCK, np.uint8), file.code.stride
    while n := fill(file.fd, buffer[: max(0, min(BLOCK, file.end - at))], at):
        place = _anchor(buffer[:n], file.code.row, how)
        if place >= 0:
            return at + place
        if n < BLOCK:
            break
        at += (n - WINDOW * stride) // stride * stride
    return file.end


@jit
def _is_odd(data: np.ndarray, at: int, how: How) -> Any:
    """Whether a word is of no known type, or an event beyond the sensor."""
    stride, top, known, width, height = how
    end = at + top
    kind = data[end] >> 4
    if not known[kind]:
        return True
    if stride == 2:
        place = np.int64(data[end] & 7) << 8 | data[end - 1]
        return (kind == 0 and place >= height) or ((kind == 2 or kind == 3) and place >= width)
    if stride == 8 and (kind <= 1 or kind == 8):  # an event has a mask, a time has none
        mask, low = 0, at if top == 7 else at + 4
        for i in range(4):
            mask |= data[low + i]
        if (mask == 0) != (kind == 8):
            return True
    row = np.int64(data[end - 2] & 7) << 8 | data[end - 3]
    column = np.int64(data[end - 1] & 63) << 5 | data[end - 2] >> 3
    return kind <= 1 and (row >= height or column >= width)


@jit
def _odds(data: np.ndarray, at: int, how: How) -> int:
    """How many words are odd."""
    stride = how.stride
    odd = 0
    for i in range(at, len(data) - stride + 1, stride):
        odd += _is_odd(data, i, how)
    return odd


@jit
def _stray(data: np.ndarray, at: int, how: How) -> int:
    """The byte of the first window that has STRAY odd words, -1 if none has."""
    stride = how.stride
    while at + WINDOW * stride <= len(data):
        end = at + WINDOW * stride
        if _odds(data[at:end], 0, how) >= STRAY:
            return at
        at = end
    return -1


@jit
def _last(data: np.ndarray, at: int, how: How) -> int:
    """The byte of the first odd word from one on."""
    stride = how.stride
    while at + stride <= len(data) and not _is_odd(data, at, how):
        at += stride
    return at


@jit
def _anchor(data: np.ndarray, row: bool, how: How) -> int:
    """The byte of the first time in a run of words that are not odd; if `row`, of one that its
    low part and a row follow before any event does, as EVT3 has them; -1 if there is none."""
    stride, top = how.stride, how.top
    time, low = -1, False
    for at in range(0, len(data) - stride + 1, stride):
        kind = data[at + top] >> 4
        if _is_odd(data, at, how):
            time = -1
        elif kind == 8:
            time, low = at, False
            end = at + WINDOW // 2 * stride
            if not row and _odds(data[at:end], 0, how) == 0:
                return time
        elif row and time >= 0:
            end = at + WINDOW // 2 * stride
            low |= kind == 6
            if low and kind == 0 and _odds(data[at:end], 0, how) == 0:
                return time
            if 2 <= kind <= 5:
                time = -1
    return -1
