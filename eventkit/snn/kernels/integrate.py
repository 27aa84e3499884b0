"""Batch norm, integrate-and-fire neurons and 2 x 2 pooling in one pass; all but neurons optional.

The membrane before the reset, h, is not stored: the backward pass recomputes it from the input x
of the norm, block by block in the cache. So x is read once per pass, and the output of the norm and
unpooled spikes are never written to memory.

    statistics  moments              sums per channel of x and x^2
    forward     integrate_forward    y = scale x + shift, then `fused`'s equations, then pooling
    backward    integrate_backward   dL/dy, and its sums per channel
                norm_backward        dL/dx = a dL/dy + b x + c with a, b, c from those sums

A block is described in `steps.place`; `inner` is the number of adjacent neurons of one channel,
1 for channels_last.
"""

from typing import Any

import numpy as np

from eventkit._jit import jit

from .steps import (
    add_threshold,
    after_reset,
    collect,
    gather,
    load,
    place,
    scatter,
    slope,
    spread,
    store,
    through_fire,
)


@jit
def moments(x: Any, sums: Any, start: int, stop: int, piece: int, inner: int, row: Any) -> None:
    """Add the sums of x and x^2 of each channel to `sums` (2, channels), in float64.

    Squares of float32 numbers are exact in float64, so that the variance is accurate for any mean.
    `row` is a piece in the state's dtype.
    """
    line, bits = x.shape[1], row.view(np.uint32)
    first_sums, second_sums = np.empty(piece), np.empty(piece)
    for j in range(start, stop):
        first, n, _ = place(j, line, piece, 1)
        first_sums[:n] = 0
        second_sums[:n] = 0
        for t in range(x.shape[0]):
            load(x[t, first : first + n], row[:n], bits[:n])
            for i in range(n):
                value = np.float64(row[i])
                first_sums[i] += value
                second_sums[i] += value * value
        collect(first_sums, sums[0], first, n, line, 1, inner)
        collect(second_sums, sums[1], first, n, line, 1, inner)


@jit
def _charge(row: Any, v: Any, h: Any, q: Any, rest: Any, decay_input: bool) -> None:
    """Write h for the input `row` and the membrane v."""
    if decay_input:
        for i in range(len(h)):
            h[i] = v[i] + q * (row[i] - (v[i] - rest))
    else:
        for i in range(len(h)):
            h[i] = v[i] - q * (v[i] - rest) + row[i]


@jit
def _membranes(
    xt: Any, row: Any, bits: Any, a: Any, b: Any, current: Any, v: Any, h: Any, first: int,
    length: int, line: int, runs: int, q: Any, threshold: Any, rest: Any, synapse: Any, reset: int,
    decay_input: bool, normed: bool,
) -> None:  # fmt: skip
    """One step of a block: write h, and update v and the current.

    Both passes call this function, so that the membranes of the backward pass are bit-identical.
    """
    n = len(h)
    gather(xt, row, bits, first, length, line, runs)
    if normed:
        for i in range(n):
            row[i] = row[i] * a[i] + b[i]
    if synapse != 0:
        for i in range(n):
            current[i] = synapse * current[i] + row[i]
        row[:n] = current[:n]
    _charge(row, v, h, q, rest, decay_input)
    after_reset(h, v, threshold, rest, reset)


@jit
def _state(
    given: Any, row: Any, bits: Any, otherwise: Any, first: int, length: int, line: int, runs: int
) -> None:
    """Write the state of a block to `row`: the given one, or the same number everywhere."""
    if len(given):
        gather(given, row, bits, first, length, line, runs)
    else:
        row[: runs * length] = otherwise


@jit
def _pool(h: Any, pooled: Any, channels: int, threshold: Any, share: Any) -> None:
    """Pool the spikes of two runs of pixels: their maximum (share=0), or their sum times `share`."""
    one, zero = h.dtype.type(1), h.dtype.type(0)
    half, n = len(h) // 2, channels
    for w in range(half // (2 * n)):
        a, b, out = w * 2 * n, half + w * 2 * n, pooled[w * n : w * n + n]
        h0, h1, h2, h3 = h[a : a + n], h[a + n : a + 2 * n], h[b : b + n], h[b + n : b + 2 * n]
        if share == zero:
            for c in range(n):
                fired = (h0[c] >= threshold) | (h1[c] >= threshold)
                fired |= (h2[c] >= threshold) | (h3[c] >= threshold)
                out[c] = one if fired else zero
        else:
            for c in range(n):
                count = one if h0[c] >= threshold else zero
                count += one if h1[c] >= threshold else zero
                count += one if h2[c] >= threshold else zero
                count += one if h3[c] >= threshold else zero
                out[c] = share * count


@jit
def _unpool(h: Any, g: Any, row: Any, channels: int, threshold: Any, share: Any) -> None:
    """The transpose of `_pool`: the gradients of the spikes from those of the pooled ones, g.

    As in torch, the gradient of a maximum goes to the first spike of the window, or to its first
    pixel if there is none.
    """
    zero = h.dtype.type(0)
    half, n = len(h) // 2, channels
    for w in range(half // (2 * n)):
        a, b, up = w * 2 * n, half + w * 2 * n, g[w * n : w * n + n]
        h0, h1, h2, h3 = h[a : a + n], h[a + n : a + 2 * n], h[b : b + n], h[b + n : b + 2 * n]
        r0, r1, r2, r3 = (
            row[a : a + n], row[a + n : a + 2 * n], row[b : b + n], row[b + n : b + 2 * n]
        )  # fmt: skip
        if share == zero:
            for c in range(n):
                f0, f1 = h0[c] >= threshold, h1[c] >= threshold
                f2, f3 = h2[c] >= threshold, h3[c] >= threshold
                r0[c] = up[c] if f0 | (not (f1 | f2 | f3)) else zero
                r1[c] = up[c] if f1 & (not f0) else zero
                r2[c] = up[c] if f2 & (not (f0 | f1)) else zero
                r3[c] = up[c] if f3 & (not (f0 | f1 | f2)) else zero
        else:
            for c in range(n):
                value = share * up[c]
                r0[c], r1[c], r2[c], r3[c] = value, value, value, value


@jit
def integrate_forward(
    x: Any, scale: Any, shift: Any, v0: Any, i0: Any, s: Any, v_end: Any, i_end: Any,
    start: int, stop: int, line: int, piece: int, runs: int, inner: int, channels: int,
    q: Any, threshold: Any, rest: Any, synapse: Any, one: Any, share: Any, reset: int,
    decay_input: bool,
) -> None:  # fmt: skip
    """Write (pooled) spikes, and the final v and i unless these are empty.

    All working rows of a block stay in the cache over all steps. `one` is the value of a spike in
    the dtype of s; runs=2 pools, see `_pool`.
    """
    size, dtype = runs * piece, v0.dtype
    v, current, row, h = (
        np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype)
    )  # fmt: skip
    a, b, pooled = np.empty(size, dtype), np.empty(size, dtype), np.empty(size // 4 + 1, dtype)
    bits, pooled_bits = row.view(np.uint32), pooled.view(np.uint32)
    zero, normed = s.dtype.type(0), len(scale) > 0
    for j in range(start, stop):
        first, length, out = place(j, line, piece, runs)
        n = runs * length
        _state(v0, v, bits, rest, first, length, line, runs)
        _state(i0, current, bits, dtype.type(0), first, length, line, runs)
        if normed:
            spread(scale, a, first, length, line, runs, inner)
            spread(shift, b, first, length, line, runs, inner)
        for t in range(x.shape[0]):
            _membranes(
                x[t], row, bits, a, b, current, v, h[:n], first, length, line, runs, q, threshold,
                rest, synapse, reset, decay_input, normed,
            )  # fmt: skip
            if runs == 2:
                _pool(h[:n], pooled, channels, threshold, share)
                m = n // 4
                store(pooled[:m], pooled_bits[:m], s[t, out : out + m])
            else:
                st = s[t, out : out + n]
                for i in range(n):
                    st[i] = one if h[i] >= threshold else zero
        if len(v_end):
            scatter(v, bits, v_end, first, length, line, runs)
        if len(i_end):
            scatter(current, bits, i_end, first, length, line, runs)


@jit
def integrate_backward(
    gs: Any, gv: Any, gi: Any, x: Any, scale: Any, shift: Any, mean: Any, v0: Any, i0: Any,
    gx: Any, gv0: Any, gi0: Any, sums: Any, start: int, stop: int, line: int, piece: int, runs: int,
    inner: int, channels: int, q: Any, threshold: Any, rest: Any, synapse: Any, share: Any,
    shape: int, height: Any, steepness: Any, reset: int, decay_input: bool, detach: bool,
    need_q: bool, need_threshold: bool,
) -> tuple[float, float]:  # fmt: skip
    """Write the gradients of the neurons' input, v0 and i0; return those of q and threshold.

    With a norm, add the sums per channel of the gradient, and of its products with x - mean, to
    `sums`. Membranes of all steps of a block are recomputed first; the membrane before a step is
    that of the step before after its reset. Sums are per neuron over the steps, so that the inner
    loops vectorise; those over neurons are in float64.
    """
    steps, size, dtype = x.shape[0], runs * piece, v0.dtype
    one, normed = dtype.type(1), len(scale) > 0
    hs = np.empty((steps, size), dtype)
    c, g, v = np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype)
    current, row, a = np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype)
    b, center, pooled = np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype)
    sum_g, sum_gx = np.empty(size, dtype), np.empty(size, dtype)
    bits, pooled_bits = row.view(np.uint32), pooled.view(np.uint32)
    sum_q, sum_threshold = np.zeros(size), np.zeros(size)
    for j in range(start, stop):
        first, length, out = place(j, line, piece, runs)
        n = runs * length
        _state(v0, v, bits, rest, first, length, line, runs)
        _state(i0, current, bits, dtype.type(0), first, length, line, runs)
        if normed:
            spread(scale, a, first, length, line, runs, inner)
            spread(shift, b, first, length, line, runs, inner)
            spread(mean, center, first, length, line, runs, inner)
            sum_g[:n] = 0
            sum_gx[:n] = 0
        for t in range(steps):
            _membranes(
                x[t], row, bits, a, b, current, v, hs[t, :n], first, length, line, runs, q,
                threshold, rest, synapse, reset, decay_input, normed,
            )  # fmt: skip
        # c is dL/dv after the step, then dL/dh before the reset; current is dL/di after the step.
        _state(gv, c, bits, dtype.type(0), first, length, line, runs)
        _state(gi, current, bits, dtype.type(0), first, length, line, runs)
        for t in range(steps - 1, -1, -1):
            h = hs[t, :n]
            slope(h, g, threshold, shape, height, steepness)
            if runs == 2:
                m = n // 4
                load(gs[t, out : out + m], pooled[:m], pooled_bits[:m])
                _unpool(h, pooled, row, channels, threshold, share)
            else:
                load(gs[t, out : out + n], row[:n], bits[:n])
            if need_threshold:
                add_threshold(sum_threshold, row, c, h, g, threshold, rest, reset, detach)
            through_fire(c, row, h, g, threshold, rest, reset, detach)
            if need_q:
                if t > 0:
                    after_reset(hs[t - 1, :n], v, threshold, rest, reset)
                else:
                    _state(v0, v, bits, rest, first, length, line, runs)
                if decay_input:  # x - (v - rest) = (h - v) / q
                    for i in range(n):
                        sum_q[i] += c[i] * (h[i] - v[i])
                else:
                    for i in range(n):
                        sum_q[i] -= c[i] * (v[i] - rest)
            factor = q if decay_input else one
            for i in range(n):
                row[i] = c[i] * factor
                c[i] *= one - q
            if synapse != 0:
                for i in range(n):
                    row[i] += current[i]
                    current[i] = synapse * row[i]
            scatter(row, bits, gx[t], first, length, line, runs)
            if normed:
                gather(x[t], pooled, pooled_bits, first, length, line, runs)
                for i in range(n):
                    sum_g[i] += row[i]
                    sum_gx[i] += row[i] * (pooled[i] - center[i])
        if normed:
            collect(sum_g, sums[0], first, length, line, runs, inner)
            collect(sum_gx, sums[1], first, length, line, runs, inner)
        if len(gv0):
            scatter(c, bits, gv0, first, length, line, runs)
        if len(gi0):
            scatter(current, bits, gi0, first, length, line, runs)
    total = sum_q.sum()
    return total / q if decay_input else total, sum_threshold.sum()


@jit
def norm_backward(
    x: Any, gx: Any, k: Any, start: int, stop: int, piece: int, inner: int
) -> None:  # fmt: skip
    """Replace dL/dy in gx by dL/dx = k[0] dL/dy + k[1] x + k[2]; k has a column per channel."""
    line, dtype = x.shape[1], k.dtype
    row, g = np.empty(piece, dtype), np.empty(piece, dtype)
    bits, g_bits = row.view(np.uint32), g.view(np.uint32)
    a, b, c = np.empty(piece, dtype), np.empty(piece, dtype), np.empty(piece, dtype)
    for j in range(start, stop):
        first, n, _ = place(j, line, piece, 1)
        spread(k[0], a, first, n, line, 1, inner)
        spread(k[1], b, first, n, line, 1, inner)
        spread(k[2], c, first, n, line, 1, inner)
        for t in range(x.shape[0]):
            load(x[t, first : first + n], row[:n], bits[:n])
            load(gx[t, first : first + n], g[:n], g_bits[:n])
            for i in range(n):
                g[i] = a[i] * g[i] + b[i] * row[i] + c[i]
            store(g[:n], g_bits[:n], gx[t, first : first + n])
