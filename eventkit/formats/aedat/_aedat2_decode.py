"""The kernels of `aedat2`, which has the layout: records, the clock, and what addresses say."""

from typing import Any

import numpy as np

from eventkit._jit import jit

KINDS = ("special", "aps", "imu", "adc", "out of bounds")


@jit
def turn(block: np.ndarray, record: int, words: np.ndarray) -> None:
    """Records of 6 or 8 bytes, big endian, as two words each in the order of the machine."""
    if record == 8:
        pairs = block[: 8 * len(words)].view(np.uint32)
        for i in range(len(words)):
            for j in range(2):
                word = pairs[2 * i + j]
                word = (word >> np.uint32(8) & np.uint32(0xFF00FF)) | (
                    (word & np.uint32(0xFF00FF)) << np.uint32(8)
                )
                words[i, j] = word >> np.uint32(16) | word << np.uint32(16)
    else:
        for i in range(len(words)):
            at = 6 * i
            words[i, 0] = block[at] << 8 | block[at + 1]
            high, low = block[at + 2] << 8 | block[at + 3], block[at + 4] << 8 | block[at + 5]
            words[i, 1] = high << 16 | low


@jit
def tick(block: np.ndarray, clock: np.ndarray) -> None:
    """Turn the clock on to the last of the records of 8 bytes of a block, as `decode` does."""
    pairs = block[: len(block) // 8 * 8].view(np.int32)
    n = len(pairs) // 2
    if n == 0:
        return
    first, last = np.int64(_turned(pairs[1])), np.int64(_turned(pairs[2 * n - 1]))
    if not clock[2]:
        clock[0], clock[1], clock[2] = first, first, 1
    wraps = np.int32(0)
    for i in range(1, n):  # the step wraps where it has more than 32 bits: all is done in 32
        time, before = _turned(pairs[2 * i + 1]), _turned(pairs[2 * i - 1])
        beyond = (time ^ before) & (time ^ np.int32(time - before)) & np.int32(1 << 31)
        wraps += np.int32(beyond != 0) * (np.int32(1) - np.int32(2) * np.int32(time < 0))
    steps = np.int64(wraps) + (first - clock[1] + 0x80000000 >> 32)
    clock[0] += last - clock[1] - (steps << 32)
    clock[1] = last


@jit
def _turned(word: np.int32) -> Any:
    """The four bytes of a word in the other order."""
    bits = np.uint32(word)
    bits = (bits >> np.uint32(8) & np.uint32(0xFF00FF)) | (
        (bits & np.uint32(0xFF00FF)) << np.uint32(8)
    )
    return np.int32(bits >> np.uint32(16) | bits << np.uint32(16))


@jit
def survey(records: np.ndarray) -> tuple[int, int, int]:
    """All bits that any address has, and the greatest x and y of events if it is a DAVIS."""
    seen = x = y = 0
    for i in range(len(records)):
        address = records[i, 0]
        seen |= address & 0xFFFFFFFF
        if not address & 0x80000400:
            x, y = max(x, address >> 12 & 1023), max(y, address >> 22 & 511)
    return seen, x, y


@jit
def backward(records: np.ndarray) -> int:
    """How often the time goes back."""
    backward = 0
    for i in range(1, len(records)):
        backward += records[i, 1] < records[i - 1, 1]
    return backward


@jit
def select(records: np.ndarray, camera: int, no_event: int) -> int:
    """Move the records of a camera, and those that are no events, to the front; how many."""
    n = 0
    for i in range(len(records)):
        address = records[i, 0]
        if address & no_event or address & 15 == camera:
            records[n, 0], records[n, 1] = address, records[i, 1]
            n += 1
    return n


@jit
def _kind(address: int, no_event: int) -> int:
    """Which of KINDS an address is that is no event."""
    if address & no_event & 0x80000000:
        return 2 if address & 0xC00 == 0xC00 else 1
    return 3 if no_event == 0x1000 else 0


@jit
def decode(
    records: np.ndarray,
    k: int,
    clock: np.ndarray,
    tally: np.ndarray,
    low: int,
    high: int,
    place: tuple[int, ...],
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    n: int,
    room: int,
) -> tuple[int, int]:
    """Append to n events those of record k on, until `room` are there or records end.

    Returns the new n and the next record; `tally` counts what is no event, by its kind.
    """
    x_at, x_mask, y_at, y_mask, p_at, p_mask, x0, dx, y0, dy, flip, no_event = place
    now, bits, running = clock
    if not running and len(records):
        now = bits = np.int64(records[0, 1])
    while k < len(records) and n < room:
        address: Any = np.int64(records[k, 0])
        time = np.int64(records[k, 1])
        k += 1
        step = time - bits
        bits = time
        now += step - (step + 0x80000000 >> 32 << 32)  # the nearest: between -2^31 and 2^31 - 1
        within = (now >= low) & (now < high)
        if address & no_event:
            tally[_kind(address, no_event)] += within
            continue
        column = x0 + dx * (address >> x_at & x_mask)
        row = y0 + dy * (address >> y_at & y_mask)
        inside = (column | row) >= 0  # mirrored addresses beyond the sensor are negative
        t[n], x[n], y[n], p[n] = now, column, row, (address >> p_at & p_mask) ^ flip
        n += within & inside
        tally[4] += within & (not inside)
    clock[0], clock[1], clock[2] = now, bits, 1
    return n, k
