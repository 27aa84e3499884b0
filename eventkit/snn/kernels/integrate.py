"""Batch norm, integrate-and-fire neurons and 2 x 2 pooling in one pass; all but neurons optional.

The membrane before the reset, h, is not stored: the backward pass recomputes it from the input x
of the norm, block by block in the cache. So x is read once per pass, and the output of the norm and
unpooled spikes are never written to memory.

    statistics  moments              sums per channel of x and x^2
    forward     integrate_forward    y = scale x + shift, then `fused`'s equations, then pooling
    backward    integrate_backward   dL/dy, and its sums per channel
                norm_backward        dL/dx = a dL/dy + b x + c with a, b, c from those sums

A block is described in `steps.place`; `inner` is the number of adjacent neurons of one channel. If
it is 1 (channels_last), a piece is a multiple of the channels. Then every block has the channels in
the same places, so that values per channel are spread, and sums per channel collected, only once.
"""

from typing import Any

import numpy as np

from eventkit._jit import jit
from eventkit.snn.memory import HARD, SOFT

from .steps import (
    add_threshold,
    add_to,
    collect,
    gather,
    load,
    place,
    put,
    scatter,
    slope,
    spread,
    store,
    through_fire,
    value,
)


@jit
def moments(x: Any, sums: Any, start: int, stop: int, piece: int, inner: int) -> None:
    """Add the sums of x and x^2 of each channel to `sums` (2, channels), in float64.

    Squares of float32 numbers are exact in float64, so that the variance is accurate for any mean.
    """
    line = x.shape[1]
    total, squares = np.zeros(piece), np.zeros(piece)
    for j in range(start, stop):
        first, n, _ = place(j, line, piece, 1)
        for t in range(x.shape[0]):
            xt = x[t, first : first + n]
            for i in range(n):
                number = np.float64(value(xt, i))
                total[i] += number
                squares[i] += number * number
        if inner > 1 or j == stop - 1:
            n = n if inner > 1 else piece
            collect(total, sums[0], first, n, line, 1, inner)
            collect(squares, sums[1], first, n, line, 1, inner)


@jit
def _advance(
    x: Any, a: Any, b: Any, v: Any, h: Any, q: Any, threshold: Any, rest: Any, reset: int,
    decay_input: bool,
) -> None:  # fmt: skip
    """One step of neurons for the input a x + b: write h, and update v.

    All in one loop, because rows in the second-level cache cost more than arithmetic. Conditions on
    options are the same for all neurons, so that LLVM makes them masks or moves them out.
    """
    for i in range(len(h)):
        y = value(x, i) * a[i] + b[i]
        away = q * (v[i] - rest)
        m = v[i] + q * (y - (v[i] - rest)) if decay_input else v[i] - away + y
        after = rest if reset == HARD else (m - threshold if reset == SOFT else m)
        h[i] = m
        v[i] = after if m >= threshold else m


@jit
def _membranes(
    xt: Any, a: Any, b: Any, current: Any, v: Any, h: Any, first: int, length: int, line: int,
    runs: int, q: Any, threshold: Any, rest: Any, synapse: Any, reset: int, decay_input: bool,
) -> None:  # fmt: skip
    """One step of a block: write h, and update v and the current.

    Both passes call this function, so that the membranes of the backward pass are bit-identical.
    """
    for r in range(runs):
        i, at = r * length, first + r * line
        part, x = slice(i, i + length), xt[at : at + length]
        if synapse != 0:
            i_now = current[part]
            for k in range(length):
                i_now[k] = synapse * i_now[k] + value(x, k)
            _advance(
                i_now, a[part], b[part], v[part], h[part], q, threshold, rest, reset, decay_input
            )
        else:
            _advance(x, a[part], b[part], v[part], h[part], q, threshold, rest, reset, decay_input)


@jit
def _leak(
    x: Any, c: Any, center: Any, sum_g: Any, sum_gx: Any, gx: Any, current: Any, q: Any,
    factor: Any, synapse: Any, normed: bool,
) -> None:  # fmt: skip
    """One step back from c = dL/dh to dL/dv before the step: write the gradient of the input to gx.

    With a norm, also add it to sum_g, and its product with x - center to sum_gx.
    """
    one = c.dtype.type(1)
    if synapse != 0:
        for i in range(len(c)):
            current[i] += c[i] * factor
            put(gx, i, current[i])
            current[i] *= synapse
            c[i] *= one - q
        return
    if normed:
        for i in range(len(c)):
            sum_g[i] += c[i] * factor
            sum_gx[i] += c[i] * factor * (value(x, i) - center[i])
    for i in range(len(c)):
        put(gx, i, c[i] * factor)
        c[i] *= one - q


@jit
def _add_q(
    sum_q: Any, c: Any, h: Any, before: Any, given: bool, q: Any, threshold: Any, rest: Any,
    reset: int, decay_input: bool,
) -> None:  # fmt: skip
    """Add a step's contribution to dL/dq; `before` is h of the step before, or v if `given`."""
    for i in range(len(h)):
        m = before[i]
        after = rest if reset == HARD else (m - threshold if reset == SOFT else m)
        v = after if (m >= threshold) & (not given) else m
        # x - (v - rest) = (h - v) / q
        sum_q[i] += c[i] * (h[i] - v) if decay_input else -c[i] * (v - rest)


@jit
def _state(
    given: Any, row: Any, otherwise: Any, first: int, length: int, line: int, runs: int
) -> None:
    """Write the state of a block to `row`: the given one, or the same number everywhere."""
    if len(given):
        gather(given, row, first, length, line, runs)
    else:
        row[: runs * length] = otherwise


@jit
def _pool(h: Any, pooled: Any, channels: int, threshold: Any, share: Any) -> None:
    """Pool the spikes of two runs of pixels: maximum (share=0), or sum times `share`."""
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
        # One output per loop: LLVM vectorises loops only if few pairs of arrays may overlap.
        if share == zero:
            for c in range(n):
                others = (h1[c] >= threshold) | (h2[c] >= threshold) | (h3[c] >= threshold)
                r0[c] = up[c] if (h0[c] >= threshold) | (not others) else zero
            for c in range(n):
                r1[c] = up[c] if (h1[c] >= threshold) & (not h0[c] >= threshold) else zero
            for c in range(n):
                before = (h0[c] >= threshold) | (h1[c] >= threshold)
                r2[c] = up[c] if (h2[c] >= threshold) & (not before) else zero
            for c in range(n):
                before = (h0[c] >= threshold) | (h1[c] >= threshold) | (h2[c] >= threshold)
                r3[c] = up[c] if (h3[c] >= threshold) & (not before) else zero
        else:
            for r in (r0, r1, r2, r3):
                for c in range(n):
                    r[c] = share * up[c]


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
    v, current, h = np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype)
    a, b, pooled = np.ones(size, dtype), np.zeros(size, dtype), np.empty(size // 4 + 1, dtype)
    zero = s.dtype.type(0)
    for j in range(start, stop):
        first, length, out = place(j, line, piece, runs)
        n = runs * length
        _state(v0, v, rest, first, length, line, runs)
        _state(i0, current, dtype.type(0), first, length, line, runs)
        if len(scale) and (inner > 1 or j == start):
            spread(scale, a, first, length, line, runs, inner)
            spread(shift, b, first, length, line, runs, inner)
        for t in range(x.shape[0]):
            _membranes(
                x[t], a, b, current, v, h, first, length, line, runs, q, threshold, rest, synapse,
                reset, decay_input,
            )  # fmt: skip
            if runs == 2:
                _pool(h[:n], pooled, channels, threshold, share)
                store(pooled, s[t, out : out + n // 4])
            else:
                st = s[t, out : out + n]
                for i in range(n):
                    st[i] = one if h[i] >= threshold else zero
        if len(v_end):
            scatter(v, v_end, first, length, line, runs)
        if len(i_end):
            scatter(current, i_end, first, length, line, runs)


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
    that of the step before after its reset. Sums over the steps are per neuron, so that the inner
    loops vectorise; those over neurons are in float64.
    """
    steps, size, dtype = x.shape[0], runs * piece, v0.dtype
    normed = len(scale) > 0
    factor = q if decay_input else dtype.type(1)
    hs, a, b = np.empty((steps, size), dtype), np.ones(size, dtype), np.zeros(size, dtype)
    c, g, v = np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype)
    current, row, center = np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype)
    sum_g, sum_gx, sum_q = np.zeros(size, dtype), np.zeros(size, dtype), np.zeros(size, dtype)
    total_g, total_gx, total_q = np.zeros(size), np.zeros(size), np.zeros(size)
    pooled, sum_threshold = np.empty(size, dtype), np.zeros(size)
    for j in range(start, stop):
        first, length, out = place(j, line, piece, runs)
        n = runs * length
        _state(v0, v, rest, first, length, line, runs)
        _state(i0, current, dtype.type(0), first, length, line, runs)
        if normed and (inner > 1 or j == start):
            spread(scale, a, first, length, line, runs, inner)
            spread(shift, b, first, length, line, runs, inner)
            spread(mean, center, first, length, line, runs, inner)
        for t in range(steps):
            _membranes(
                x[t], a, b, current, v, hs[t], first, length, line, runs, q, threshold, rest,
                synapse, reset, decay_input,
            )  # fmt: skip
        # c is dL/dv after the step, then dL/dh before the reset; current is dL/di after the step.
        _state(gv, c, dtype.type(0), first, length, line, runs)
        _state(gi, current, dtype.type(0), first, length, line, runs)
        _state(v0, v, rest, first, length, line, runs)
        for t in range(steps - 1, -1, -1):
            h = hs[t, :n]
            slope(h, g, threshold, shape, height, steepness)
            if runs == 2:
                load(gs[t, out : out + n // 4], pooled)
                _unpool(h, pooled, row, channels, threshold, share)
            else:
                load(gs[t, out : out + n], row)
            if need_threshold:
                add_threshold(sum_threshold, row, c, h, g, threshold, rest, reset, detach)
            through_fire(c, row, h, g, threshold, rest, reset, detach)
            if need_q:
                before = hs[t - 1] if t > 0 else v
                _add_q(sum_q, c, h, before, t == 0, q, threshold, rest, reset, decay_input)
            for r in range(runs):
                at, part = first + r * line, slice(r * length, (r + 1) * length)
                _leak(
                    x[t, at : at + length], c[part], center[part], sum_g[part], sum_gx[part],
                    gx[t, at : at + length], current[part], q, factor, synapse, normed,
                )  # fmt: skip
        if need_q:
            add_to(sum_q[:n], total_q)
        if normed:
            add_to(sum_g[:n], total_g)
            add_to(sum_gx[:n], total_gx)
            if inner > 1 or j == stop - 1:
                m = length if inner > 1 else piece
                collect(total_g, sums[0], first, m, line, runs, inner)
                collect(total_gx, sums[1], first, m, line, runs, inner)
        if len(gv0):
            scatter(c, gv0, first, length, line, runs)
        if len(gi0):
            scatter(current, gi0, first, length, line, runs)
    total = total_q.sum()
    return total / q if decay_input else total, sum_threshold.sum()


@jit
def norm_backward(
    x: Any, gx: Any, k: Any, start: int, stop: int, piece: int, inner: int
) -> None:  # fmt: skip
    """Replace dL/dy in gx by dL/dx = k[0] dL/dy + k[1] x + k[2]; k has a column per channel."""
    line, dtype = x.shape[1], k.dtype
    a, b, c = np.empty(piece, dtype), np.empty(piece, dtype), np.empty(piece, dtype)
    for j in range(start, stop):
        first, n, _ = place(j, line, piece, 1)
        if inner > 1 or j == start:
            spread(k[0], a, first, n, line, 1, inner)
            spread(k[1], b, first, n, line, 1, inner)
            spread(k[2], c, first, n, line, 1, inner)
        for t in range(x.shape[0]):
            xt, gt = x[t, first : first + n], gx[t, first : first + n]
            for i in range(n):
                put(gt, i, a[i] * value(gt, i) + b[i] * value(xt, i) + c[i])
