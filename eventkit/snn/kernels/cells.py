"""The neurons with two states: adaptive neurons (membrane, current) and resonators (complex)."""

from typing import Any

import numpy as np

from eventkit._jit import jit
from eventkit.snn.memory import SOFT

from .steps import BLOCK, SCRATCH, after_reset, begin, load, slope, store, through_fire


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
    after_reset(h, v, one, zero, reset)
    if adapt_after_reset:
        for i in range(len(h)):
            w[i] = be[i] * w[i] + p[i] * v[i] + (r[i] if h[i] >= one else zero)
    else:
        for i in range(len(h)):
            w[i] = be[i] * w[i] + p[i] * h[i] + (r[i] if h[i] >= one else zero)


@jit
def adapt_forward(
    x: Any, v0: Any, w0: Any, k: Any, s: Any, v_end: Any, w_end: Any, start: int, stop: int,
    one: Any, reset: int, adapt_after_reset: bool,
) -> None:  # fmt: skip
    """Write spikes and the final v and w of adaptive neurons; k has rows alpha, beta, a, b."""
    v, w = np.empty(BLOCK, v_end.dtype), np.empty(BLOCK, v_end.dtype)
    row, h = np.empty(BLOCK, v_end.dtype), np.empty(BLOCK, v_end.dtype)
    zero, limit = s.dtype.type(0), v_end.dtype.type(1)
    for a in range(start, stop, BLOCK):
        n = min(BLOCK, stop - a)
        begin(v, v0, a, n)
        begin(w, w0, a, n)
        al, be, p, r = k[0, a : a + n], k[1, a : a + n], k[2, a : a + n], k[3, a : a + n]
        for t in range(x.shape[0]):
            load(x[t, a : a + n], row)
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
    reset: int, adapt_after_reset: bool, detach: bool,
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
    for a in range(start, stop, block):
        n = min(block, stop - a)
        al, be, p, r = k[0, a : a + n], k[1, a : a + n], k[2, a : a + n], k[3, a : a + n]
        begin(v, v0, a, n)
        begin(w, w0, a, n)
        for t in range(steps):
            load(x[t, a : a + n], row)
            ws[t, :n] = w[:n]
            _adapt_step(row, v, w, hs[t, :n], al, be, p, r, reset, adapt_after_reset)
        begin(c, gv, a, n)
        begin(d, gw, a, n)
        gk[:, a : a + n] = 0
        for t in range(steps - 1, -1, -1):
            h, before = hs[t, :n], ws[t, :n]
            slope(h, g, one, shape, height, steepness)
            load(gs[t, a : a + n], row)
            if adapt_after_reset:
                after_reset(h, v, one, zero, reset)
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
            through_fire(c, row, h, g, one, zero, reset, detach)
            if not adapt_after_reset:
                for i in range(n):
                    c[i] += d[i] * p[i]
            if t > 0:
                after_reset(hs[t - 1, :n], v, one, zero, reset)
            else:
                begin(v, v0, a, n)
            load(x[t, a : a + n], row)
            for i in range(n):
                gk[0, a + i] += c[i] * (v[i] - (row[i] - before[i]))
                row[i] = (one - al[i]) * c[i]
                d[i] = be[i] * d[i] - row[i]
                c[i] *= al[i]
            store(row, gx[t, a : a + n])
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
    one: Any, reset: int, adapt_after_reset: bool,
) -> None:  # fmt: skip
    """Write spikes and the final v and z of resonators; k has rows Re lambda, Im lambda, b."""
    v, z = np.empty(BLOCK, v_end.dtype), np.empty(BLOCK, v_end.dtype)
    row, h = np.empty(BLOCK, v_end.dtype), np.empty(BLOCK, v_end.dtype)
    zero, limit = s.dtype.type(0), v_end.dtype.type(0.5)
    for a in range(start, stop, BLOCK):
        n = min(BLOCK, stop - a)
        begin(v, v0, a, n)
        begin(z, z0, a, n)
        re, im, b = k[0, a : a + n], k[1, a : a + n], k[2, a : a + n]
        for t in range(x.shape[0]):
            load(x[t, a : a + n], row)
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
    reset: int, adapt_after_reset: bool, detach: bool,
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
    for a in range(start, stop, block):
        n = min(block, stop - a)
        re, im, b = k[0, a : a + n], k[1, a : a + n], k[2, a : a + n]
        begin(v, v0, a, n)
        begin(z, z0, a, n)
        for t in range(steps):
            load(x[t, a : a + n], row)
            zs[t, :n] = z[:n]
            _resonate_step(row, v, z, hs[t, :n], re, im, b)
        begin(c, gv, a, n)
        begin(d, gz, a, n)
        gk[:, a : a + n] = 0
        for t in range(steps - 1, -1, -1):
            h, before = hs[t, :n], zs[t, :n]
            slope(h, g, half, shape, two * height, two * steepness)
            load(gs[t, a : a + n], row)
            through_fire(c, row, h, g, half, zero, SOFT, detach)
            if t > 0:
                after_reset(hs[t - 1, :n], v, half, zero, SOFT)
            else:
                begin(v, v0, a, n)
            load(x[t, a : a + n], row)
            for i in range(n):
                gk[0, a + i] += c[i] * v[i] + d[i] * before[i]
                gk[1, a + i] += d[i] * v[i] - c[i] * before[i]
                gk[2, a + i] += c[i] * row[i]
                row[i] = b[i] * c[i]
                up = re[i] * c[i] + im[i] * d[i]
                d[i] = re[i] * d[i] - im[i] * c[i]
                c[i] = up
            store(row, gx[t, a : a + n])
        if len(gv0):
            gv0[a : a + n] = c[:n]
        if len(gz0):
            gz0[a : a + n] = d[:n]
