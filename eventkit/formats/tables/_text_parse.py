"""The kernels that read `text`: decimal numbers, taken exactly, and lines of them."""

import functools
from typing import Any, NamedTuple

import numpy as np

from eventkit._jit import jit
from eventkit.events import Arrays
from eventkit.formats.base import HIGHEST

SCALE = {"s": 6, "ms": 3, "us": 0, "ns": -3}  # powers of ten
POWERS = 10 ** np.arange(19, dtype=np.int64)
TENTH = HIGHEST // 10  # less than this can take one more digit
DONE, FULL, BAD = range(3)  # why the kernel stops
OFF, ON, ROUND, ZEROS = range(4)  # places of its state


class How(NamedTuple):
    """How the kernels read lines.

    state: the polarities that mean OFF and ON, whether coordinates are rounded, and a count, to
    which lines within the window are added that are no events (0 where OFF is -1).
    """

    roles: np.ndarray  # of the columns: 0 t, 1 x, 2 y, 3 p, -1 another
    scale: int  # the power of ten that makes µs of times
    low: int  # low <= t < high is the window
    high: int
    state: np.ndarray  # int64


def _code(word: str) -> int:
    """The letters of a word as one number, 5 bits each."""
    return functools.reduce(lambda code, letter: 32 * code + (ord(letter) & 31), word, 0)


WORD_ON, WORD_OFF, WORD_TRUE, WORD_FALSE = map(_code, ("on", "off", "true", "false"))


@jit
def _number(line: np.ndarray, at: int) -> tuple[Any, Any, int]:
    """A decimal number: its digits, their power of ten, and the place after it (-1: none).

    Every scan ends at the end of the line at the latest. Digits beyond what 64 bits hold only
    count for the power; so a number is never taken for a greater one.
    """
    minus = line[at] == 45
    at += minus or line[at] == 43
    digits: Any = 0
    point = power = seen = 0
    while True:
        digit = np.int64(line[at]) - 48
        if 0 <= digit <= 9:
            seen += 1
            if digits < TENTH or (digits == TENTH and digit <= 7):
                digits = 10 * digits + digit
                power -= point
            else:
                power += 1 - point
        elif digit == -2 and not point:
            point = 1
        else:
            break
        at += 1
    if seen == 0:
        return 0, 0, -1
    if line[at] == 101 or line[at] == 69:
        at += 1
        down = line[at] == 45
        at += down or line[at] == 43
        seen = 0
        exponent: Any = 0
        while 0 <= np.int64(line[at]) - 48 <= 9:
            exponent = min(10 * exponent + np.int64(line[at]) - 48, 10_000)
            seen += 1
            at += 1
        if seen == 0:
            return 0, 0, -1
        power += -exponent if down else exponent
    return -digits if minus else digits, power, at


@jit
def _word(line: np.ndarray, at: int) -> tuple[bool, int]:
    """Whether ON or TRUE, in letters of any size, and the place after it (-1: no such word)."""
    code: Any = 0
    n = 0
    while n < 6 and 65 <= (line[at] & 0xDF) <= 90:
        code = 32 * code + np.int64(line[at] & 31)
        at += 1
        n += 1
    if code in (WORD_ON, WORD_TRUE):
        return True, at
    return False, at if code in (WORD_OFF, WORD_FALSE) else -1


@jit
def _scaled(digits: Any, power: int) -> tuple[Any, bool, bool]:
    """digits * 10^power to the nearest, halves away from 0; whether it is exact, and in 64 bits."""
    if power == 0 or digits == 0:
        return digits, True, True
    if power > 0:
        fits = power <= 18 and abs(digits) <= HIGHEST // POWERS[min(power, 18)]
        return digits * POWERS[min(power, 18)], True, fits
    if power < -18:
        whole = 1 if power == -19 and abs(digits) >= 5 * POWERS[18] else 0
        return whole if digits > 0 else -whole, False, True
    unit = POWERS[-power]
    size = abs(digits)
    whole = size // unit
    rest = size - whole * unit
    whole += rest >= unit - rest
    return whole if digits > 0 else -whole, rest == 0, True


@jit
def parse(
    lines: np.ndarray, k: int, how: How, into: Arrays, n: int, room: int
) -> tuple[int, int, int]:
    """Append to n events those of the lines from byte k on; the last byte ends a line.

    Returns the new n, the place reached (of the line, if it is bad), and why it stops there.
    """
    while k < len(lines) and n < room:
        n, k = _plain(lines, k, how, into, n, room)
        if k < len(lines) and n < room:
            n, k, good = _line(lines, k, how, into, n)
            if not good:
                return n, k, BAD
    return n, k, FULL if n == room else DONE


@jit
def _plain(lines: np.ndarray, k: int, how: How, into: Arrays, n: int, room: int) -> tuple[int, Any]:
    """Like `_parse`, but only up to a line that is not plain; that is three times as fast.

    Plain are numbers of 1 to 18 digits, with a point only in the time, and one comma or space
    between them. The place has an unsigned type, so that no index can count from the end.
    """
    roles, scale, low, high, state = how
    t, x, y, p = into
    one, ten, zero, end = np.uint64(1), np.uint64(10), np.uint64(48), np.uint64(len(lines))
    at: Any = np.uint64(k)
    begin = at
    last = len(roles) - 1
    off, on = state[OFF], state[ON]
    while at < end and n < room:
        begin = at
        time: Any = 0
        column: Any = 0
        row: Any = 0
        polarity: Any = on
        for i in range(len(roles)):
            role = roles[i]
            minus = lines[at] == 45
            at += np.uint64(minus)
            first = at
            number: Any = np.uint64(0)
            digit: Any = np.uint64(lines[at]) - zero
            while digit < ten:
                number = number * ten + digit
                at += one
                digit = np.uint64(lines[at]) - zero
            count: Any = np.int64(at - first)
            if role == 0:
                power: Any = scale
                if lines[at] == 46:
                    at += one
                    first = at
                    digit = np.uint64(lines[at]) - zero
                    while digit < ten:
                        number = number * ten + digit
                        at += one
                        digit = np.uint64(lines[at]) - zero
                    count += np.int64(at - first)
                    power -= np.int64(at - first)
                if count + max(power, 0) > 18 or power < -18:
                    return n, np.int64(begin)
                time, _, _ = _scaled(np.int64(number), power)
                time = -time if minus else time
            elif role == 3:
                polarity = -np.int64(number) if minus else np.int64(number)
            elif role >= 0:
                column = np.int64(number) if role == 1 else column
                row = np.int64(number) if role == 2 else row
                count = 0 if minus else count
            if i == last and lines[at] == 13:
                at += one
            mark = lines[at]
            good = mark == 10 if i == last else (mark == 44) | (mark == 32)
            if not good or count < 1 or count > 18:
                return n, np.int64(begin)
            at += one
        is_on = polarity == on
        if (column > 65535) | (row > 65535) | (not is_on and polarity != off):
            return n, np.int64(begin)
        t[n], x[n], y[n], p[n] = time, column, row, is_on
        n += (time >= low) & (time < high)
    return n, np.int64(at)


@jit
def _line(lines: np.ndarray, k: int, how: How, into: Arrays, n: int) -> tuple[int, int, bool]:
    """Append the event of any line to n events: the new n, the next line, whether it is good."""
    roles, scale, low, high, state = how
    t, x, y, p = into
    at = k
    while lines[at] == 32 or lines[at] == 9 or lines[at] == 13:
        at += 1
    if lines[at] == 35 or lines[at] == 37 or (lines[at] == 47 and lines[at + 1] == 47):
        while lines[at] != 10:
            at += 1
    if lines[at] == 10:
        return n, at + 1, True
    off, on = state[OFF], state[ON]
    time, column, row, polarity = 0, 0, 0, on
    for role in roles:
        digits, power, after = _number(lines, at)
        if after < 0 and role == 3:
            said, after = _word(lines, at)
            digits = on if said else off if off != on else 0
            power = 0
            if after >= 0 and off == on and not said:
                off = 0  # of this line, where no number has told yet
        if after < 0:
            return n, k, False
        value, exact, fits = _scaled(digits, power + scale if role == 0 else power)
        rounded = role == 0 or (state[ROUND] and role < 3)
        if role >= 0 and not (fits and (exact or rounded)):
            return n, k, False
        time = value if role == 0 else time
        column = value if role == 1 else column
        row = value if role == 2 else row
        polarity = value if role == 3 else polarity
        at = after
        while lines[at] == 44 or lines[at] == 32 or lines[at] == 59 or lines[at] == 9:
            at += 1
    at += lines[at] == 13
    good = lines[at] == 10 and 0 <= column <= 65535 and 0 <= row <= 65535
    inside = (time >= low) & (time < high)
    if good and off == -1 and polarity == 0 and time != HIGHEST:
        state[ZEROS] += inside
        return n, at + 1, True
    if not good or (polarity != on and polarity != off) or time == HIGHEST:
        return n, k, False
    t[n], x[n], y[n], p[n] = time, column, row, polarity == on
    return n + inside, at + 1, True
