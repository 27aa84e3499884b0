"""HATS: averaged time surfaces around the events of each cell of the sensor.

Sironi et al., HATS: Histograms of Averaged Time Surfaces for Robust Event-Based Object
Classification, CVPR 2018. The paper leaves open whether an event is part of its own surface and
what counts as its past; this is what Tonic 1.7 computes: the event itself counts 1, and its past
are all events before it in the recording, also those of the same time.
"""

from typing import Literal

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.representations import (
    REPRESENTATIONS,
    Bounds,
    Representation,
    Whole,
    build,
    check_bounds,
)
from eventkit.units import Microseconds

Decay = Literal["exponential", "linear"]


def hats(
    events: Events,
    *,
    cell: int = 10,
    surface: int = 5,
    window: int | str = 100_000,
    tau: int | str = 50_000,
    decay: Decay = "exponential",
    bounds: Bounds = "raise",
) -> np.ndarray:
    """A mean surface per cell and polarity: float32 (cells, 2, surface, surface), 0 OFF, 1 ON.

    The sensor is cut into cells of `cell` x `cell` pixels, row by row. The surface of an event is 1
    in the middle plus, at each offset of up to surface // 2 pixels, the sum of exp(−Δt / tau) over
    the earlier events of the same polarity and cell there that are at most `window` µs old
    (decay="linear": of max(0, 1 − Δt / (3·tau))). A cell's mean is over its events of a polarity.

    Events that are not in order of time are sorted; in chunks, they are refused.
    OptionError: a surface that is even or larger than the cell.

    >>> events = Events(t=[0, 10], x=[1, 2], y=[0, 0], p=[1, 1], size=(4, 3))
    >>> hats(events, cell=4, surface=3, tau=10)[0, 1].round(3).tolist()
    [[0.0, 0.0, 0.0], [0.18400000035762787, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    options = {
        "cell": cell,
        "surface": surface,
        "window": window,
        "tau": tau,
        "decay": decay,
        "bounds": bounds,
    }
    return build(HATS, events, options)


def _shape(
    whole: Whole,
    size: tuple[int, int],
    *,
    cell: int = 10,
    surface: int = 5,
    window: Microseconds = 100_000,
    tau: Microseconds = 50_000,
    decay: Decay = "exponential",
    bounds: Bounds = "raise",
) -> tuple[int, int, int, int]:
    if surface < 1 or surface % 2 == 0 or surface > cell:
        raise OptionError(
            f"hats: surface is {surface}, expected an odd number of at most the cell's {cell}"
        )
    if tau < 1 or window < 0:
        raise OptionError(f"hats: tau={tau}, window={window}, expected at least 1 and 0 µs")
    width, height = size
    return -(-width // cell) * -(-height // cell), 2, surface, surface


class _State:
    """Sums and counts of cells, and the events that later ones may still look back at."""

    def __init__(self, whole: Whole, size: tuple[int, int], cell: int, surface: int) -> None:
        width, height = size
        cells = -(-width // cell) * -(-height // cell)
        self.sums = np.zeros((cells, 2, surface, surface))
        self.counts = np.zeros((cells, 2), np.int64)
        self.recent = Events.empty(size)  # of the size of all chunks
        self.pixels = (height, width)


def _begin(
    whole: Whole, size: tuple[int, int], *, cell: int, surface: int, **options: object
) -> _State:
    return _State(whole, size, cell, surface)


def _add(
    state: _State,
    events: Events,
    whole: Whole,
    first: int,
    *,
    cell: int,
    window: int,
    tau: int,
    decay: Decay,
    bounds: Bounds,
    **options: object,
) -> int:
    if not whole.ordered:
        if len(events) < whole.n:
            raise OptionError("hats: the events are not in order of time; sort them first")
        events = events.sort()
    height, width = state.pixels
    inside = (events.x < width) & (events.y < height)
    placed = check_bounds(events, int(np.count_nonzero(inside)), state.pixels, bounds)
    if not placed:
        return 0
    # A sample's chunks may carry another size than the sensor they are drawn on.
    t, x, y, p = (getattr(events, name)[inside] for name in "txyp")
    events = Events.trusted(t, x, y, p, state.recent.size)
    n_before = len(state.recent)
    both = Events.concat([state.recent, events])
    last = np.full((2, height, width), -1)
    columns = both.t, both.x, both.y, both.p
    linear = decay == "linear"
    reach = min(window, 3 * tau) if linear else window
    _add_surfaces(
        state.sums, state.counts, last, n_before, *columns, cell, reach, float(tau), linear
    )
    state.recent = both.between(int(both.t[-1]) - reach, None).copy()
    return placed


def _finish(out: np.ndarray, state: _State, whole: Whole, **options: object) -> None:
    out[:] = state.sums / np.maximum(state.counts, 1)[..., None, None]


@jit
def _add_surfaces(
    sums: np.ndarray,
    counts: np.ndarray,
    last: np.ndarray,
    begin: int,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    cell: int,
    reach: int,
    tau: float,
    linear: bool,
) -> None:
    """Add the surfaces of the events from number `begin` on; those before it are only looked at.

    `last` is the number of each pixel's last event and `before` that of the one before it, so the
    events of a pixel are a list that is walked back until they are too old.
    """
    _, height, width = last.shape
    radius = sums.shape[2] // 2
    across = (width + cell - 1) // cell
    before = np.empty(len(t), np.int64)
    for i in range(len(t)):
        q = 1 if p[i] else 0
        column, row = int(x[i]), int(y[i])
        if i >= begin:
            number = row // cell * across + column // cell
            left, top = column // cell * cell, row // cell * cell
            surface = sums[number, q]
            counts[number, q] += 1
            surface[radius, radius] += 1.0
            for v in range(max(row - radius, top), min(row + radius + 1, top + cell, height)):
                for u in range(
                    max(column - radius, left), min(column + radius + 1, left + cell, width)
                ):
                    total = 0.0
                    k = last[q, v, u]
                    while k >= 0 and t[i] - t[k] <= reach:
                        age = float(t[i] - t[k])
                        total += 1.0 - age / (3.0 * tau) if linear else np.exp(-age / tau)
                        k = before[k]
                    surface[v - row + radius, u - column + radius] += total
        before[i] = last[q, row, column]
        last[q, row, column] = i


def _panels(
    array: np.ndarray, size: tuple[int, int], *, cell: int, **options: object
) -> np.ndarray:
    """All cells at their place on the sensor."""
    across, down, side = -(-size[0] // cell), -(-size[1] // cell), array.shape[2]
    cells = array.reshape(down, across, 2, side, side)
    return cells.transpose(2, 0, 3, 1, 4).reshape(1, 2, down * side, across * side)


HATS = REPRESENTATIONS.register(
    Representation(
        name="hats",
        dtype=np.float32,
        shape=_shape,
        begin=_begin,
        add=_add,
        finish=_finish,
        panels=_panels,
    )
)
