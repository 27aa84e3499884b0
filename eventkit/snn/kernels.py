"""The CPU kernels: the time loop is inside, over a block of neurons that stays in the cache.

Arrays are rows of neurons, (T, neurons) or (neurons,); an empty array means "not given". Each
kernel processes the neurons start to stop. All kernels are in this module, because Numba recompiles
when the file of a kernel changes, but not when a file of a function that it calls changes.

Common tricks: inner loops run over neurons and have no branches that depend on data, so that they
vectorise; bfloat16 is handled as uint16, which is the upper half of a float32.
"""

from functools import partial
from typing import Any

import numpy as np

from eventkit._jit import jit

from .memory import HARD, NEVER, SOFT

BLOCK = 4096  # neurons: enough to stream rows, few enough for the second-level cache
WINDOW = 512  # neurons per block if all steps of a block must stay in the cache
SCRATCH = 1 << 17  # maximum numbers that a kernel keeps when it recomputes all steps


@jit
def _load(source: Any, row: Any, bits: Any, bf16: bool) -> None:
    """Load a row of x or of a gradient into `row`, whose memory is `bits`; bfloat16 is uint16."""
    if bf16:
        for i in range(len(source)):
            bits[i] = np.uint32(source[i]) << np.uint32(16)
    else:
        for i in range(len(source)):
            row[i] = source[i]


@jit
def _store(row: Any, bits: Any, target: Any, bf16: bool) -> None:
    """The inverse of `_load`; bfloat16 is rounded to nearest, ties to even."""
    if bf16:
        for i in range(len(target)):
            last = (bits[i] >> np.uint32(16)) & np.uint32(1)
            target[i] = (bits[i] + np.uint32(0x7FFF) + last) >> np.uint32(16)
    else:
        for i in range(len(target)):
            target[i] = row[i]


@jit
def _reset(h: Any, v: Any, threshold: Any, rest: Any, reset: int) -> None:
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
def _slope(h: Any, g: Any, threshold: Any, shape: int, height: Any, steepness: Any) -> None:
    """Write the surrogate's slope at h - threshold to g; `shape` indexes surrogate.SHAPES.

    The branch on `shape` is outside the loops, so that each of them vectorises.
    """
    zero, one, four = h.dtype.type(0), h.dtype.type(1), h.dtype.type(4)
    for i in range(len(h)):
        g[i] = steepness * abs(h[i] - threshold)
    if shape == 0:
        for i in range(len(h)):  # np.divide, because `/` tests every divisor for zero
            g[i] = np.divide(height, one + g[i] * g[i])
    elif shape == 1:
        for i in range(len(h)):
            e = np.exp(-g[i])
            g[i] = np.divide(four * height * e, (one + e) * (one + e))
    elif shape == 2:
        for i in range(len(h)):
            g[i] = height * max(one - g[i], zero)
    elif shape == 3:
        for i in range(len(h)):
            g[i] = height * np.exp(-g[i])
    elif shape == 4:
        for i in range(len(h)):
            g[i] = np.divide(height, (one + g[i]) * (one + g[i]))
    elif shape == 5:
        for i in range(len(h)):
            g[i] = height * np.exp(-g[i] * g[i])
    else:
        for i in range(len(h)):
            g[i] = height if g[i] <= one else zero


@jit
def _through_reset(
    c: Any, h: Any, g: Any, threshold: Any, rest: Any, reset: int, detach: bool
) -> None:
    """Propagate c = dL/dv after the reset to its contribution to dL/dh before the reset."""
    zero, one = h.dtype.type(0), h.dtype.type(1)
    if reset == SOFT and not detach:
        for i in range(len(h)):
            c[i] *= one - threshold * g[i]
    elif reset == HARD and detach:
        for i in range(len(h)):
            c[i] = zero if h[i] >= threshold else c[i]
    elif reset == HARD:
        for i in range(len(h)):
            kept = zero if h[i] >= threshold else one
            c[i] *= kept + (rest - h[i]) * g[i]


@jit
def _add_threshold(
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
def integrate_forward(
    x: Any, v0: Any, i0: Any, s: Any, h: Any, v_end: Any, i_end: Any, start: int, stop: int,
    q: Any, threshold: Any, rest: Any, synapse: Any, one: Any,
    reset: int, decay_input: bool, bf16: bool, keep: bool,
) -> None:  # fmt: skip
    """Write spikes, h (if `keep`) and the final v and i; an empty v0 or i0 starts from rest.

    The four working rows of a block stay in the cache over all steps, so x is read and s is
    written only once. Without `keep`, h is written to one row that is reused.
    """
    v = np.empty(BLOCK, v_end.dtype)
    current = np.empty(BLOCK, v_end.dtype)
    row = np.empty(BLOCK, v_end.dtype)
    spare = np.empty(BLOCK, v_end.dtype)
    bits = row.view(np.uint32)
    zero = s.dtype.type(0)
    for a in range(start, stop, BLOCK):
        n = min(BLOCK, stop - a)
        if len(v0):
            v[:n] = v0[a : a + n]
        else:
            v[:n] = rest
        if len(i0):
            current[:n] = i0[a : a + n]
        else:
            current[:n] = 0
        for t in range(x.shape[0]):
            _load(x[t, a : a + n], row, bits, bf16)
            if len(i_end):
                for i in range(n):
                    current[i] = synapse * current[i] + row[i]
                row[:n] = current[:n]
            st = s[t, a : a + n]
            ht = h[t, a : a + n] if keep else spare[:n]
            if decay_input:
                for i in range(n):
                    ht[i] = v[i] + q * (row[i] - (v[i] - rest))
            else:
                for i in range(n):
                    ht[i] = v[i] - q * (v[i] - rest) + row[i]
            for i in range(n):
                st[i] = one if ht[i] >= threshold else zero
            _reset(ht, v, threshold, rest, reset)
        v_end[a : a + n] = v[:n]
        if len(i_end):
            i_end[a : a + n] = current[:n]


@jit
def integrate_backward(
    gs: Any, gv: Any, gi: Any, h: Any, v0: Any, gx: Any, gv0: Any, gi0: Any, start: int, stop: int,
    q: Any, threshold: Any, rest: Any, synapse: Any, shape: int, height: Any, steepness: Any,
    reset: int, decay_input: bool, detach: bool, bf16: bool, need_q: bool, need_threshold: bool,
) -> tuple[float, float]:  # fmt: skip
    """Write the gradients of x, v0 and i0 to gx, gv0 and gi0; return those of q and threshold.

    gx may share the memory of h: row t of h is no longer needed when row t of gx is written. The
    membrane before a step is recomputed from row t - 1 of h. Sums are per neuron and in float64,
    so that the inner loop vectorises and the result is accurate.
    """
    one = h.dtype.type(1)
    c = np.zeros(BLOCK, h.dtype)  # dL/dv after the step, then dL/dh before the reset
    g = np.empty(BLOCK, h.dtype)
    v = np.empty(BLOCK, h.dtype)
    current = np.zeros(BLOCK, h.dtype)  # dL/di after the step
    row = np.empty(BLOCK, h.dtype)
    bits = row.view(np.uint32)
    sum_q, sum_threshold = np.zeros(BLOCK), np.zeros(BLOCK)
    for a in range(start, stop, BLOCK):
        n = min(BLOCK, stop - a)
        if len(gv):
            c[:n] = gv[a : a + n]
        else:
            c[:n] = 0
        if len(gi):
            current[:n] = gi[a : a + n]
        else:
            current[:n] = 0
        for t in range(h.shape[0] - 1, -1, -1):
            ht = h[t, a : a + n]
            _slope(ht, g, threshold, shape, height, steepness)
            _load(gs[t, a : a + n], row, bits, bf16)
            if need_threshold:
                _add_threshold(sum_threshold, row, c, ht, g, threshold, rest, reset, detach)
            _through_reset(c, ht, g, threshold, rest, reset, detach)
            for i in range(n):
                c[i] += row[i] * g[i]
            if need_q:
                if t > 0:
                    _reset(h[t - 1, a : a + n], v, threshold, rest, reset)
                elif len(v0):
                    v[:n] = v0[a : a + n]
                else:
                    v[:n] = rest
                if decay_input:  # x - (v - rest) = (h - v) / q, so x need not be saved
                    for i in range(n):
                        sum_q[i] += c[i] * (ht[i] - v[i])
                else:
                    for i in range(n):
                        sum_q[i] -= c[i] * (v[i] - rest)
            scale = q if decay_input else one
            for i in range(n):
                row[i] = c[i] * scale
                c[i] *= one - q
            if synapse != 0:
                for i in range(n):
                    row[i] += current[i]
                    current[i] = synapse * row[i]
            _store(row, bits, gx[t, a : a + n], bf16)
        if len(gv0):
            gv0[a : a + n] = c[:n]
        if len(gi0):
            gi0[a : a + n] = current[:n]
    total = sum_q.sum()
    return total / q if decay_input else total, sum_threshold.sum()


@jit
def _start(row: Any, given: Any, a: int, n: int) -> None:
    """Write the initial state to `row`: `given`, or zero."""
    if len(given):
        row[:n] = given[a : a + n]
    else:
        row[:n] = 0


@jit
def _adapt_step(
    row: Any,
    v: Any,
    w: Any,
    h: Any,
    al: Any,
    be: Any,
    p: Any,
    r: Any,
    reset: int,
    adapt_after_reset: bool,
) -> None:
    """One step of adaptive neurons: `row` is x; writes h and updates v and w."""
    zero, one = h.dtype.type(0), h.dtype.type(1)
    for i in range(len(h)):
        h[i] = al[i] * v[i] + (one - al[i]) * (row[i] - w[i])
    _reset(h, v, one, zero, reset)
    if adapt_after_reset:
        for i in range(len(h)):
            w[i] = be[i] * w[i] + p[i] * v[i] + (r[i] if h[i] >= one else zero)
    else:
        for i in range(len(h)):
            w[i] = be[i] * w[i] + p[i] * h[i] + (r[i] if h[i] >= one else zero)


@jit
def adapt_forward(
    x: Any, v0: Any, w0: Any, k: Any, s: Any, v_end: Any, w_end: Any, start: int, stop: int,
    one: Any, reset: int, adapt_after_reset: bool, bf16: bool,
) -> None:  # fmt: skip
    """Write spikes and the final v and w of adaptive neurons; k has rows alpha, beta, a, b."""
    v, w = np.empty(BLOCK, v_end.dtype), np.empty(BLOCK, v_end.dtype)
    row, h = np.empty(BLOCK, v_end.dtype), np.empty(BLOCK, v_end.dtype)
    bits = row.view(np.uint32)
    zero, limit = s.dtype.type(0), v_end.dtype.type(1)
    for a in range(start, stop, BLOCK):
        n = min(BLOCK, stop - a)
        _start(v, v0, a, n)
        _start(w, w0, a, n)
        al, be, p, r = k[0, a : a + n], k[1, a : a + n], k[2, a : a + n], k[3, a : a + n]
        for t in range(x.shape[0]):
            _load(x[t, a : a + n], row, bits, bf16)
            _adapt_step(row, v, w, h[:n], al, be, p, r, reset, adapt_after_reset)
            st = s[t, a : a + n]
            for i in range(n):
                st[i] = one if h[i] >= limit else zero
        v_end[a : a + n] = v[:n]
        w_end[a : a + n] = w[:n]


@jit
def adapt_backward(
    gs: Any, gv: Any, gw: Any, x: Any, v0: Any, w0: Any, k: Any, gx: Any, gv0: Any, gw0: Any,
    gk: Any, start: int, stop: int, shape: int, height: Any, steepness: Any,
    reset: int, adapt_after_reset: bool, detach: bool, bf16: bool,
) -> None:  # fmt: skip
    """Write the gradients of x, v0, w0 and of the rows of k.

    The forward steps are recomputed from x, for blocks small enough that h and w of all steps stay
    in the cache.
    """
    steps, dtype = x.shape[0], k.dtype
    zero, one = dtype.type(0), dtype.type(1)
    block = max(16, min(BLOCK, SCRATCH // (2 * steps)))
    hs, ws = np.empty((steps, block), dtype), np.empty((steps, block), dtype)
    c, d = np.empty(block, dtype), np.empty(block, dtype)  # dL/dv and dL/dw after the step
    g, v = np.empty(block, dtype), np.empty(block, dtype)
    w, row = np.empty(block, dtype), np.empty(block, dtype)
    bits = row.view(np.uint32)
    for a in range(start, stop, block):
        n = min(block, stop - a)
        al, be, p, r = k[0, a : a + n], k[1, a : a + n], k[2, a : a + n], k[3, a : a + n]
        _start(v, v0, a, n)
        _start(w, w0, a, n)
        for t in range(steps):
            _load(x[t, a : a + n], row, bits, bf16)
            ws[t, :n] = w[:n]
            _adapt_step(row, v, w, hs[t, :n], al, be, p, r, reset, adapt_after_reset)
        _start(c, gv, a, n)
        _start(d, gw, a, n)
        gk[:, a : a + n] = 0
        for t in range(steps - 1, -1, -1):
            h, before = hs[t, :n], ws[t, :n]
            _slope(h, g, one, shape, height, steepness)
            _load(gs[t, a : a + n], row, bits, bf16)
            if adapt_after_reset:
                _reset(h, v, one, zero, reset)
            else:
                v[:n] = h
            for i in range(n):
                gk[1, a + i] += d[i] * before[i]
                gk[2, a + i] += d[i] * v[i]
                gk[3, a + i] += d[i] if h[i] >= one else zero
                row[i] += d[i] * r[i]
            if adapt_after_reset:
                for i in range(n):
                    c[i] += d[i] * p[i]
            _through_reset(c, h, g, one, zero, reset, detach)
            for i in range(n):
                c[i] += row[i] * g[i]
            if not adapt_after_reset:
                for i in range(n):
                    c[i] += d[i] * p[i]
            if t > 0:
                _reset(hs[t - 1, :n], v, one, zero, reset)
            else:
                _start(v, v0, a, n)
            _load(x[t, a : a + n], row, bits, bf16)
            for i in range(n):
                gk[0, a + i] += c[i] * (v[i] - (row[i] - before[i]))
                row[i] = (one - al[i]) * c[i]
                d[i] = be[i] * d[i] - row[i]
                c[i] *= al[i]
            _store(row, bits, gx[t, a : a + n], bf16)
        if len(gv0):
            gv0[a : a + n] = c[:n]
        if len(gw0):
            gw0[a : a + n] = d[:n]


@jit
def _resonate_step(row: Any, v: Any, z: Any, h: Any, re: Any, im: Any, b: Any) -> None:
    """One step of complex membranes (v, z): `row` is x; writes h and updates v and z."""
    half, zero = h.dtype.type(0.5), h.dtype.type(0)
    for i in range(len(h)):
        h[i] = re[i] * v[i] - im[i] * z[i] + b[i] * row[i]
        z[i] = im[i] * v[i] + re[i] * z[i]
        v[i] = h[i] - (half if h[i] >= half else zero)


@jit
def resonate_forward(
    x: Any, v0: Any, z0: Any, k: Any, s: Any, v_end: Any, z_end: Any, start: int, stop: int,
    one: Any, reset: int, adapt_after_reset: bool, bf16: bool,
) -> None:  # fmt: skip
    """Write spikes and the final v and z of resonators; k has rows Re lambda, Im lambda, b."""
    v, z = np.empty(BLOCK, v_end.dtype), np.empty(BLOCK, v_end.dtype)
    row, h = np.empty(BLOCK, v_end.dtype), np.empty(BLOCK, v_end.dtype)
    bits = row.view(np.uint32)
    zero, limit = s.dtype.type(0), v_end.dtype.type(0.5)
    for a in range(start, stop, BLOCK):
        n = min(BLOCK, stop - a)
        _start(v, v0, a, n)
        _start(z, z0, a, n)
        re, im, b = k[0, a : a + n], k[1, a : a + n], k[2, a : a + n]
        for t in range(x.shape[0]):
            _load(x[t, a : a + n], row, bits, bf16)
            _resonate_step(row, v, z, h[:n], re, im, b)
            st = s[t, a : a + n]
            for i in range(n):
                st[i] = one if h[i] >= limit else zero
        v_end[a : a + n] = v[:n]
        z_end[a : a + n] = z[:n]


@jit
def resonate_backward(
    gs: Any, gv: Any, gz: Any, x: Any, v0: Any, z0: Any, k: Any, gx: Any, gv0: Any, gz0: Any,
    gk: Any, start: int, stop: int, shape: int, height: Any, steepness: Any,
    reset: int, adapt_after_reset: bool, detach: bool, bf16: bool,
) -> None:  # fmt: skip
    """Write the gradients of x, v0, z0 and of the rows of k; see `adapt_backward`.

    The surrogate is applied to 2 h - 1: it is twice as high and as steep around h = 1/2.
    """
    steps, dtype = x.shape[0], k.dtype
    zero, half, two = dtype.type(0), dtype.type(0.5), dtype.type(2)
    block = max(16, min(BLOCK, SCRATCH // (2 * steps)))
    hs, zs = np.empty((steps, block), dtype), np.empty((steps, block), dtype)
    c, d = np.empty(block, dtype), np.empty(block, dtype)  # dL/dv and dL/dz after the step
    g, v = np.empty(block, dtype), np.empty(block, dtype)
    z, row = np.empty(block, dtype), np.empty(block, dtype)
    bits = row.view(np.uint32)
    for a in range(start, stop, block):
        n = min(block, stop - a)
        re, im, b = k[0, a : a + n], k[1, a : a + n], k[2, a : a + n]
        _start(v, v0, a, n)
        _start(z, z0, a, n)
        for t in range(steps):
            _load(x[t, a : a + n], row, bits, bf16)
            zs[t, :n] = z[:n]
            _resonate_step(row, v, z, hs[t, :n], re, im, b)
        _start(c, gv, a, n)
        _start(d, gz, a, n)
        gk[:, a : a + n] = 0
        for t in range(steps - 1, -1, -1):
            h, before = hs[t, :n], zs[t, :n]
            _slope(h, g, half, shape, two * height, two * steepness)
            _through_reset(c, h, g, half, zero, SOFT, detach)
            _load(gs[t, a : a + n], row, bits, bf16)
            for i in range(n):
                c[i] += row[i] * g[i]
            if t > 0:
                _reset(hs[t - 1, :n], v, half, zero, SOFT)
            else:
                _start(v, v0, a, n)
            _load(x[t, a : a + n], row, bits, bf16)
            for i in range(n):
                gk[0, a + i] += c[i] * v[i] + d[i] * before[i]
                gk[1, a + i] += d[i] * v[i] - c[i] * before[i]
                gk[2, a + i] += c[i] * row[i]
                row[i] = b[i] * c[i]
                up = re[i] * c[i] + im[i] * d[i]
                d[i] = re[i] * d[i] - im[i] * c[i]
                c[i] = up
            _store(row, bits, gx[t, a : a + n], bf16)
        if len(gv0):
            gv0[a : a + n] = c[:n]
        if len(gz0):
            gz0[a : a + n] = d[:n]


@partial(jit, fastmath=frozenset({"contract"}))
def _add_product(out: Any, a: int, w: Any, x: Any, b: int, n: int) -> None:
    """out[a + p] += sum over q of w[p, q] x[b + q], for rows of n numbers; summed in order of q.

    Four products are added per pass, so a row of `out` is read and written only once for four.
    """
    rows, width = w.shape
    fours = width - width % 4
    for q in range(0, fours, 4):
        c = b + q
        for p in range(rows):
            w0, w1, w2, w3 = w[p, q], w[p, q + 1], w[p, q + 2], w[p, q + 3]
            for i in range(n):
                out[a + p, i] = (
                    out[a + p, i]
                    + w0 * x[c, i]
                    + w1 * x[c + 1, i]
                    + w2 * x[c + 2, i]
                    + w3 * x[c + 3, i]
                )
    for q in range(fours, width):
        for p in range(rows):
            w0 = w[p, q]
            for i in range(n):
                out[a + p, i] = out[a + p, i] + w0 * x[b + q, i]


@partial(jit, fastmath=frozenset({"contract", "nsz", "reassoc"}))
def _add_outer(out: Any, g: Any, x: Any, b: int, n: int) -> None:
    """out[p, q] += sum of g[p] x[b + q] over the n numbers of a row.

    Four columns are summed per pass, so that each g[p] is loaded once for four products. Reordering
    of the sums is allowed here (reassoc), so that they vectorise.
    """
    rows, width = out.shape
    zero = g.dtype.type(0)
    fours = width - width % 4
    for p in range(rows):
        for q in range(0, fours, 4):
            c = b + q
            s0, s1, s2, s3 = zero, zero, zero, zero
            for i in range(n):
                s0 += g[p, i] * x[c, i]
                s1 += g[p, i] * x[c + 1, i]
                s2 += g[p, i] * x[c + 2, i]
                s3 += g[p, i] * x[c + 3, i]
            out[p, q] += s0
            out[p, q + 1] += s1
            out[p, q + 2] += s2
            out[p, q + 3] += s3
        for q in range(fours, width):
            s0 = zero
            for i in range(n):
                s0 += g[p, i] * x[b + q, i]
            out[p, q] += s0


@partial(jit, fastmath=frozenset({"nsz", "reassoc"}))
def _total(g: Any, n: int) -> Any:
    s = g.dtype.type(0)
    for i in range(n):
        s += g[i]
    return s


@jit
def _window(t: int, total: int, steps: int, rows: int, width: int) -> tuple[int, int, int, int]:
    """For the rows of H from t on: their number, the columns of W used, and the first row of X.

    The first rows of H have no X for the first columns, the last rows none for the last ones.
    """
    first = total - steps + t + rows - width
    start = max(0, -first)
    return min(rows, steps - t), start, min(width, total - first), first + start


@jit
def window_forward(
    x: Any, w: Any, bias: Any, s: Any, start: int, stop: int, one: Any, bf16: bool
) -> None:
    """Write spikes where H = W X + b >= 0; W is (rows, width) as in `windows`, b (steps,) or (1,).

    All steps of a block of neurons are converted once and stay in the cache. The terms of H are
    always added in the same order, so that results do not depend on the number of steps.
    """
    total, steps, (rows, width) = x.shape[0], s.shape[0], w.shape
    block = max(16, min(WINDOW, SCRATCH // (total + rows)))
    xs, h = np.empty((total, block), w.dtype), np.empty((rows, block), w.dtype)
    bits = xs.view(np.uint32)
    limit, zero = w.dtype.type(0), s.dtype.type(0)
    for a in range(start, stop, block):
        n = min(block, stop - a)
        for t in range(total):
            _load(x[t, a : a + n], xs[t], bits[t], bf16)
        for t in range(0, steps, rows):
            m, first, last, source = _window(t, total, steps, rows, width)
            for r in range(m):
                h[r] = bias[t + r if len(bias) > 1 else 0]
            _add_product(h, 0, w[:m, first:last], xs, source, n)
            for r in range(m):
                st, hr = s[t + r, a : a + n], h[r]
                for i in range(n):
                    st[i] = one if hr[i] >= limit else zero


@jit
def window_backward(
    gs: Any, x: Any, w: Any, bias: Any, gx: Any, gw: Any, gb: Any, start: int, stop: int,
    shape: int, height: Any, steepness: Any, need_w: bool, bf16: bool,
) -> None:  # fmt: skip
    """Write the gradient of x to gx (if not empty), and add those of W and b to gw and gb.

    H is recomputed row block by row block and then overwritten with G = dL/dS * slope(H).
    """
    total, steps, (rows, width) = x.shape[0], gs.shape[0], w.shape
    block = max(16, min(WINDOW, SCRATCH // (2 * total + rows)))
    xs, gxs = np.empty((total, block), w.dtype), np.empty((total, block), w.dtype)
    h, g, row = np.empty((rows, block), w.dtype), np.empty(block, w.dtype), np.empty(block, w.dtype)
    bits, out_bits, row_bits = xs.view(np.uint32), gxs.view(np.uint32), row.view(np.uint32)
    limit, back = w.dtype.type(0), w.T
    for a in range(start, stop, block):
        n = min(block, stop - a)
        for t in range(total):
            _load(x[t, a : a + n], xs[t], bits[t], bf16)
        gxs[:] = 0
        for t in range(0, steps, rows):
            m, first, last, source = _window(t, total, steps, rows, width)
            for r in range(m):
                h[r] = bias[t + r if len(bias) > 1 else 0]
            _add_product(h, 0, w[:m, first:last], xs, source, n)
            for r in range(m):
                hr = h[r]
                _slope(hr[:n], g, limit, shape, height, steepness)
                _load(gs[t + r, a : a + n], row, row_bits, bf16)
                for i in range(n):
                    hr[i] = g[i] * row[i]
                gb[t + r if len(bias) > 1 else 0] += _total(hr, n)
            if need_w:
                _add_outer(gw[:m, first:last], h, xs, source, n)
            if len(gx):
                _add_product(gxs, source, back[first:last, :m], h, 0, n)
        for t in range(len(gx)):
            _store(gxs[t], out_bits[t], gx[t, a : a + n], bf16)
