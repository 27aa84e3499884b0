"""The parallel neurons: products of a small matrix with all steps of a block of neurons."""

from functools import partial
from typing import Any

import numpy as np

from eventkit._jit import jit

from .steps import BLOCK, SCRATCH, load, slope, store, value

WINDOW = 512  # neurons per block if all steps of a block must stay in the cache


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
def window_forward(x: Any, w: Any, bias: Any, s: Any, start: int, stop: int, one: Any) -> None:
    """Write spikes where H = W X + b >= 0; W is (tiles, rows, width), b (steps,) or (1,).

    All steps of a block of neurons are converted once and stay in the cache. The terms of H are
    always added in the same order, so that results do not depend on the number of steps.
    """
    total, steps, (tiles, rows, width) = x.shape[0], s.shape[0], w.shape
    block = max(16, min(WINDOW, SCRATCH // (total + rows)))
    xs, h = np.empty((total, block), w.dtype), np.empty((rows, block), w.dtype)
    limit, zero = w.dtype.type(0), s.dtype.type(0)
    for a in range(start, stop, block):
        n = min(block, stop - a)
        for t in range(total):
            load(x[t, a : a + n], xs[t])
        for t in range(0, steps, rows):
            m, first, last, source = _window(t, total, steps, rows, width)
            for r in range(m):
                h[r] = bias[t + r if len(bias) > 1 else 0]
            _add_product(h, 0, w[t // rows % tiles, :m, first:last], xs, source, n)
            for r in range(m):
                st, hr = s[t + r, a : a + n], h[r]
                for i in range(n):
                    st[i] = one if hr[i] >= limit else zero


@jit
def window_backward(
    gs: Any, x: Any, w: Any, bias: Any, gx: Any, gw: Any, gb: Any, start: int, stop: int,
    shape: int, height: Any, steepness: Any, need_w: bool,
) -> None:  # fmt: skip
    """Write the gradient of x to gx (if not empty), and add those of W and b to gw and gb.

    H is recomputed row block by row block and then overwritten with G = dL/dS * slope(H).
    """
    total, steps, (tiles, rows, width) = x.shape[0], gs.shape[0], w.shape
    block = max(16, min(WINDOW, SCRATCH // (2 * total + rows)))
    xs, gxs = np.empty((total, block), w.dtype), np.empty((total, block), w.dtype)
    h, g, row = np.empty((rows, block), w.dtype), np.empty(block, w.dtype), np.empty(block, w.dtype)
    limit = w.dtype.type(0)
    for a in range(start, stop, block):
        n = min(block, stop - a)
        for t in range(total):
            load(x[t, a : a + n], xs[t])
        gxs[:] = 0
        for t in range(0, steps, rows):
            m, first, last, source = _window(t, total, steps, rows, width)
            for r in range(m):
                h[r] = bias[t + r if len(bias) > 1 else 0]
            _add_product(h, 0, w[t // rows % tiles, :m, first:last], xs, source, n)
            for r in range(m):
                hr = h[r]
                slope(hr[:n], g, limit, shape, height, steepness)
                load(gs[t + r, a : a + n], row)
                for i in range(n):
                    hr[i] = g[i] * row[i]
                gb[t + r if len(bias) > 1 else 0] += _total(hr, n)
            if need_w:
                _add_outer(gw[t // rows % tiles, :m, first:last], h, xs, source, n)
            if len(gx):
                _add_product(gxs, source, w[t // rows % tiles, :m, first:last].T, h, 0, n)
        for t in range(len(gx)):
            store(gxs[t], gx[t, a : a + n])


@jit
def fire(h: Any, s: Any, start: int, stop: int, one: Any) -> None:
    """Write spikes where H >= 0."""
    limit, zero = h.dtype.type(0), s.dtype.type(0)
    for t in range(len(h)):
        ht, st = h[t, start:stop], s[t, start:stop]
        for i in range(len(ht)):
            st[i] = one if ht[i] >= limit else zero


@jit
def fire_backward(
    h: Any, gs: Any, gb: Any, start: int, stop: int, shape: int, height: Any, steepness: Any
) -> None:
    """Overwrite H with G = dL/dS * slope(H), and add the sums of its rows to those of b."""
    g, limit = np.empty(BLOCK, h.dtype), h.dtype.type(0)
    for t in range(len(h)):
        for a in range(start, stop, BLOCK):
            b = min(a + BLOCK, stop)
            ht, gt = h[t, a:b], gs[t, a:b]
            slope(ht, g, limit, shape, height, steepness)
            for i in range(len(ht)):
                ht[i] = g[i] * value(gt, i)
            gb[t if len(gb) > 1 else 0] += _total(ht, len(ht))
