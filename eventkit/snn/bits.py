"""The CPU kernels that keep spikes as bits."""

from typing import Any

from eventkit._jit import jit


@jit
def pack(values: Any, bits: Any, one: Any, start: int, stop: int) -> bool:
    """Zeros and ones into bits, eight to a byte; start is a multiple of 8. False: there are others.

    It gives up at the first kilobyte with another number.
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
