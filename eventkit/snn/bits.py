"""CPU kernels that store spikes as bits."""

from typing import Any

from eventkit._jit import jit


@jit
def pack(values: Any, bits: Any, one: Any, start: int, stop: int) -> bool:
    """Pack zeros and ones into bits, eight per byte; return False if there are other values.

    `start` is a multiple of 8, so that no two threads write the same byte. Blocks of 1024 values
    are tested before they are packed, so other tensors are rejected after the first such block. The
    test counts instead of branching, and the inner loop has a fixed length of 8, so both vectorise.
    """
    zero = values.dtype.type(0)
    for a in range(start, stop, 1024):
        others = 0
        end = min(a + 1024, stop)
        for i in range(a, end):
            others += values[i] != zero and values[i] != one
        if others:
            return False
        whole = a + (end - a) // 8 * 8
        for i in range(a, whole, 8):
            byte = 0
            for j in range(8):
                byte |= (values[i + j] == one) << j
            bits[i // 8] = byte
        if whole < end:
            byte = 0
            for j in range(end - whole):
                byte |= (values[whole + j] == one) << j
            bits[whole // 8] = byte
    return True


@jit
def unpack(bits: Any, values: Any, one: Any, start: int, stop: int) -> None:
    """The inverse of `pack`."""
    zero = values.dtype.type(0)
    for i in range(start, stop):
        values[i] = one if (bits[i >> 3] >> (i & 7)) & 1 else zero
