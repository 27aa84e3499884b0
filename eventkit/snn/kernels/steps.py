"""One step over a row of neurons: functions that all kernels call, inlined by LLVM.

Inner loops run over neurons and have no branches that depend on data, so that they vectorise;
bfloat16 is handled as uint16. A loop should write few arrays: LLVM vectorises it only if it has to
test at run time for no more than eight pairs of arrays whether they overlap.
"""

from typing import Any

import numpy as np

from eventkit._jit import jit
from eventkit.snn.memory import HARD, NEVER, SOFT

BLOCK = 4096  # neurons: enough to stream rows, few enough for the second-level cache
SCRATCH = 1 << 17  # maximum numbers that a kernel keeps when it recomputes all steps


@jit
def value(source: Any, i: int) -> Any:
    """source[i] of x or of a gradient; bfloat16 is the upper half of a float32."""
    if source.itemsize == 2:
        return np.uint32(np.uint32(source[i]) << np.uint32(16)).view(np.float32)
    return source[i]


@jit
def put(target: Any, i: int, number: Any) -> None:
    """The inverse of `value`; bfloat16 is rounded to nearest, ties to even."""
    if target.itemsize == 2:
        bits = np.float32(number).view(np.uint32)
        last = (bits >> np.uint32(16)) & np.uint32(1)
        target[i] = (bits + np.uint32(0x7FFF) + last) >> np.uint32(16)
    else:
        target[i] = number


@jit
def load(source: Any, row: Any) -> None:
    """Load a row of x or of a gradient into `row`."""
    for i in range(len(source)):
        row[i] = value(source, i)


@jit
def store(row: Any, target: Any) -> None:
    """The inverse of `load`."""
    for i in range(len(target)):
        put(target, i, row[i])


@jit
def after_reset(h: Any, v: Any, threshold: Any, rest: Any, reset: int) -> None:
    """Write the membrane after the reset to v."""
    if reset == SOFT:
        for i in range(len(h)):
            v[i] = h[i] - threshold if h[i] >= threshold else h[i]
    elif reset == NEVER:
        v[: len(h)] = h
    else:
        for i in range(len(h)):
            v[i] = rest if h[i] >= threshold else h[i]


@jit
def slope(h: Any, g: Any, threshold: Any, shape: int, height: Any, steepness: Any) -> None:
    """Write the surrogate's slope at h - threshold to g; `shape` indexes surrogate.SHAPES.

    The branch on `shape` is outside the loops, so that each of them vectorises. np.divide is used
    because `/` tests every divisor for zero.
    """
    zero, one, four = h.dtype.type(0), h.dtype.type(1), h.dtype.type(4)
    if shape == 0:
        for i in range(len(h)):
            z = steepness * (h[i] - threshold)
            g[i] = np.divide(height, one + z * z)
    elif shape == 1:
        for i in range(len(h)):
            e = np.exp(-steepness * abs(h[i] - threshold))
            g[i] = np.divide(four * height * e, (one + e) * (one + e))
    elif shape == 2:
        for i in range(len(h)):
            g[i] = height * max(one - steepness * abs(h[i] - threshold), zero)
    elif shape == 3:
        for i in range(len(h)):
            g[i] = height * np.exp(-steepness * abs(h[i] - threshold))
    elif shape == 4:
        for i in range(len(h)):
            z = one + steepness * abs(h[i] - threshold)
            g[i] = np.divide(height, z * z)
    elif shape == 5:
        for i in range(len(h)):
            z = steepness * (h[i] - threshold)
            g[i] = height * np.exp(-z * z)
    else:
        for i in range(len(h)):
            g[i] = height if steepness * abs(h[i] - threshold) <= one else zero


@jit
def through_fire(
    c: Any, gs: Any, h: Any, g: Any, threshold: Any, rest: Any, reset: int, detach: bool
) -> None:
    """Propagate c = dL/dv after the reset, and gs = dL/ds, to c = dL/dh before the reset."""
    zero, one = h.dtype.type(0), h.dtype.type(1)
    if reset == SOFT and not detach:
        for i in range(len(h)):
            c[i] = c[i] * (one - threshold * g[i]) + gs[i] * g[i]
    elif reset == HARD and detach:
        for i in range(len(h)):
            c[i] = (zero if h[i] >= threshold else c[i]) + gs[i] * g[i]
    elif reset == HARD:
        for i in range(len(h)):
            kept = zero if h[i] >= threshold else one
            c[i] = c[i] * (kept + (rest - h[i]) * g[i]) + gs[i] * g[i]
    else:
        for i in range(len(h)):
            c[i] += gs[i] * g[i]


@jit
def add_threshold(
    total: Any, gs: Any, c: Any, h: Any, g: Any, threshold: Any, rest: Any, reset: int,
    detach: bool,
) -> None:  # fmt: skip
    """Add the contribution of a step to dL/dthreshold for each neuron; c = dL/dv after reset."""
    zero = h.dtype.type(0)
    for i in range(len(h)):
        total[i] -= gs[i] * g[i]
    if reset == SOFT:
        for i in range(len(h)):
            total[i] -= c[i] if h[i] >= threshold else zero
    if reset != NEVER and not detach:
        for i in range(len(h)):
            jump = threshold if reset == SOFT else h[i] - rest
            total[i] += c[i] * jump * g[i]


@jit
def begin(row: Any, given: Any, a: int, n: int) -> None:
    """Write the initial state to `row`: `given`, or zero."""
    if len(given):
        row[:n] = given[a : a + n]
    else:
        row[:n] = 0


@jit
def place(j: int, line: int, piece: int, runs: int) -> tuple[int, int, int]:
    """Of block j: its first neuron, the neurons of each of its runs, and its first output.

    A block is a run of `piece` neurons of a line, or with runs=2 the same run of two lines, which
    are two rows of a map, so that a block consists of whole 2 x 2 windows of pooling.
    """
    per = -(-line // piece)
    p, w = j // per, j % per * piece
    first = p * runs * line + w
    return first, min(piece, line - w), p * (line // 2) + w // 2 if runs == 2 else first


@jit
def gather(source: Any, row: Any, first: int, length: int, line: int, runs: int) -> None:
    """`load` for the runs of a block."""
    for r in range(runs):
        a, b = first + r * line, r * length
        load(source[a : a + length], row[b : b + length])


@jit
def scatter(row: Any, target: Any, first: int, length: int, line: int, runs: int) -> None:
    """`store` for the runs of a block."""
    for r in range(runs):
        a, b = first + r * line, r * length
        store(row[b : b + length], target[a : a + length])


@jit
def spread(
    values: Any, row: Any, first: int, length: int, line: int, runs: int, inner: int
) -> None:
    """Write to `row` the value of each neuron's channel, which changes every `inner` neurons.

    A segment of the loop is all channels of a pixel (channels_last) or all pixels of a channel.
    """
    channels = len(values)
    for r in range(runs):
        i, at = r * length, first + r * line
        stop = i + length
        while i < stop:
            c = at // inner % channels
            n = min(stop - i, channels - c if inner == 1 else inner - at % inner)
            part, value = row[i : i + n], values[c : c + 1 if inner > 1 else c + n]
            for k in range(n):
                part[k] = value[0 if inner > 1 else k]
            i, at = i + n, at + n


@jit
def collect(row: Any, sums: Any, first: int, length: int, line: int, runs: int, inner: int) -> None:
    """Add each number of `row` to the sum of its channel, and set it to 0: `spread`'s transpose."""
    channels = len(sums)
    for r in range(runs):
        i, at = r * length, first + r * line
        stop = i + length
        while i < stop:
            c = at // inner % channels
            n = min(stop - i, channels - c if inner == 1 else inner - at % inner)
            part = row[i : i + n]
            for k in range(n):
                sums[c if inner > 1 else c + k] += part[k]
                part[k] = 0
            i, at = i + n, at + n


@jit
def add_to(row: Any, total: Any) -> None:
    """Add a row to one in float64, and set it to 0."""
    for i in range(len(row)):
        total[i] += row[i]
        row[i] = 0
