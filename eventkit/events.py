"""Events: the output of an event camera, as four columns."""

import operator
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, Self, overload

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError

RECORD = np.dtype([("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("p", np.uint8)])
KINDS = tuple(RECORD[name] for name in "txyp")  # looked up once


@dataclass(frozen=True, eq=False, slots=True)
class Events:
    """Four columns of equal length and the sensor's size (width, height).

    t is int64 in µs; x and y are uint16 with the origin at the top left; p is uint8 (0 OFF, 1 ON).
    The constructor accepts any integers for t, x and y, and bool, 0/1 or −1/+1 for p, but not both
    −1 and 0. The order of the events is kept. Coordinates outside the sensor are allowed; functions
    that use them count or refuse them. Raises OptionError for invalid columns or sizes.

    >>> events = Events(t=[10, 30, 20], x=[0, 1, 2], y=[0, 0, 1], p=[1, 0, 1], size=(4, 3))
    >>> events
    Events(3 events, 4x3, t 10..20 µs)
    >>> events.backward_steps, events.sort().t.tolist()
    (1, [10, 20, 30])
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray
    size: tuple[int, int]

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        for name in ("t", "x", "y"):
            set_(self, name, _integers(name, getattr(self, name)))
        set_(self, "p", _polarity(self.p))
        lengths = {name: len(getattr(self, name)) for name in "txyp"}
        if len(set(lengths.values())) > 1:
            raise OptionError(f"the columns of Events have different lengths: {lengths}")
        try:
            width, height = (operator.index(side) for side in self.size)
        except (TypeError, ValueError):
            width = height = 0
        if not (0 < width <= 65536 and 0 < height <= 65536):
            raise OptionError(f"size is {self.size}, expected (width, height) within 1..65536")
        set_(self, "size", (width, height))

    @classmethod
    def trusted(
        cls, t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, size: tuple[int, int]
    ) -> Self:
        """Events from columns that already have the correct dtypes and lengths (not checked)."""
        self, set_ = object.__new__(cls), object.__setattr__
        set_(self, "t", t)
        set_(self, "x", x)
        set_(self, "y", y)
        set_(self, "p", p)
        set_(self, "size", size)
        return self

    @classmethod
    def empty(cls, size: tuple[int, int]) -> Self:
        """Zero events on a sensor of the given size (width, height)."""
        return cls.trusted(*_four(lambda name: np.empty(0, RECORD[name])), size)

    @classmethod
    def concat(cls, parts: Iterable["Events"]) -> Self:
        """The parts concatenated; raises OptionError unless all have the same sensor size."""
        parts = list(parts)
        sizes = {part.size for part in parts}
        if len(sizes) != 1:
            raise OptionError(f"concat requires one sensor size, found {sorted(sizes)}")
        columns = _four(lambda name: np.concatenate([getattr(part, name) for part in parts]))
        return cls.trusted(*columns, sizes.pop())

    @classmethod
    def from_structured(cls, array: np.ndarray, size: tuple[int, int]) -> Self:
        """Events from a structured array with fields t, x, y, p (as used by Tonic and faery)."""
        missing = [name for name in "txyp" if name not in (array.dtype.names or ())]
        if missing:
            raise OptionError(f"the array has no field {', '.join(missing)}; expected t, x, y, p")
        return cls(*_four(lambda name: array[name]), size)

    def structured(self) -> np.ndarray:
        """A structured array with fields t (int64 µs), x, y (uint16), p (uint8)."""
        array = np.empty(len(self), RECORD)
        for name in "txyp":
            array[name] = getattr(self, name)
        return array

    @property
    def width(self) -> int:
        return self.size[0]

    @property
    def height(self) -> int:
        return self.size[1]

    @property
    def backward_steps(self) -> int:
        """The number of events whose time is earlier than that of the event before."""
        return int(_backward_steps(self.t))

    @property
    def out_of_bounds(self) -> int:
        """The number of events outside `size`."""
        return int(_out_of_bounds(self.x, self.y, self.width, self.height))

    def sort(self) -> Self:
        """The events sorted by time (stable); the same object if already sorted."""
        return self if self.backward_steps == 0 else self[np.argsort(self.t, kind="stable")]

    def between(self, start: int | None = None, stop: int | None = None) -> Self:
        """The events with start <= t < stop (µs, None: no limit), in the original order."""
        if self.backward_steps == 0:
            first = 0 if start is None else int(np.searchsorted(self.t, start))
            last = len(self) if stop is None else int(np.searchsorted(self.t, stop))
            return self[first:last]
        keep = np.ones(len(self), bool)
        if start is not None:
            keep &= self.t >= start
        if stop is not None:
            keep &= self.t < stop
        return self[keep]

    def copy(self) -> Self:
        """A copy with its own memory."""
        return self.trusted(*_four(lambda name: getattr(self, name).copy()), self.size)

    def __len__(self) -> int:
        return len(self.t)

    def __iter__(self) -> NoReturn:
        raise TypeError(
            "Events are four columns, not a sequence: use events.t, .x, .y and .p, "
            "events.structured() for one array of rows, or eventkit.stream(path) for chunks"
        )

    @overload
    def __getitem__(self, key: slice) -> Self: ...
    @overload
    def __getitem__(self, key: np.ndarray) -> Self: ...
    def __getitem__(self, key: Any) -> Self:
        """Selected events: views for a slice, copies for a boolean mask or an index array."""
        if isinstance(key, int | np.integer):
            raise OptionError("index Events with a slice, a boolean mask or an index array")
        if isinstance(key, np.ndarray) and key.dtype == np.bool_ and key.shape == self.t.shape:
            return self.trusted(*_chosen(self.t, self.x, self.y, self.p, key), self.size)
        return self.trusted(*_four(lambda name: getattr(self, name)[key]), self.size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Events):
            return NotImplemented
        return self.size == other.size and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in "txyp"
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        span = f", t {self.t[0]}..{self.t[-1]} µs" if len(self) else ""
        return f"Events({len(self):,} events, {self.width}x{self.height}{span})"


class Arrays(NamedTuple):
    """The columns of events while they are decoded: what kernels write to."""

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray

    @classmethod
    def empty(cls, n: int) -> Self:
        """Room for n events, of any values."""
        t, x, y, p = KINDS
        return cls(np.empty(n, t), np.empty(n, x), np.empty(n, y), np.empty(n, p))


class Columns:
    """Reusable event buffers for a decoder, handed out as views.

    Fresh memory costs a page fault per 4 kB, about as much time as decoding into it. The decoder
    therefore refills the same buffers unless a caller still holds views of them. There are two
    sets, because a loop holds one chunk while the next is decoded. Not thread-safe.
    """

    def __init__(self) -> None:
        self.arrays = NONE  # t, x, y, p
        self._lent: list[weakref.ref[np.ndarray]] = []  # views of them that somebody may hold
        self._spare = NONE, self._lent[:]

    def reserve(self, n: int) -> None:
        """Make `arrays` hold n events or more, with no view of them in use."""
        for _ in range(2):
            if n <= len(self.arrays[0]) and not any(view() is not None for view in self._lent):
                self._lent = []
                return
            (self.arrays, self._lent), self._spare = self._spare, (self.arrays, self._lent)
        self._spare = self.arrays, self._lent
        self.arrays, self._lent = Arrays.empty(n), []

    def events(self, n: int, size: tuple[int, int]) -> Events:
        """The first n events, as views."""
        # A view of an array behind a memoryview holds on to that array, as does a view of the view:
        # these four live for as long as anybody looks at the events.
        whole = [np.frombuffer(array.data, array.dtype) for array in self.arrays]
        self._lent += map(weakref.ref, whole)
        t, x, y, p = whole
        return Events.trusted(t[:n], x[:n], y[:n], p[:n], size)


NONE = Arrays.empty(0)


def expect(events: object) -> Events:
    """Return `events` if it is an Events object; else raise OptionError with instructions."""
    if isinstance(events, Events):
        return events
    raise OptionError(
        f"expected Events, found {type(events).__name__}; create them with Events(t=t, x=x, y=y, "
        "p=p, size=(width, height)) or Events.from_structured(array, size)"
    )


def chunks(events: Events, chunk: int) -> Iterator[Events]:
    """Yield views of at most `chunk` events; at least one, so that the sensor size is known."""
    for start in range(0, max(len(events), 1), chunk):
        yield events[start : start + chunk]


def _four(
    column: Callable[[str], np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return column("t"), column("x"), column("y"), column("p")


def _integers(name: str, values: Any) -> np.ndarray:
    dtype = RECORD[name]
    array = np.asarray(values)
    if array.ndim != 1:
        raise OptionError(f"column {name} has {array.ndim} axes, expected one")
    if array.dtype == dtype:
        return np.ascontiguousarray(array)
    if array.size == 0:
        return np.empty(0, dtype)
    if array.dtype.kind not in "iu":
        raise OptionError(f"column {name} is {array.dtype}, expected integers (t in µs)")
    limits = np.iinfo(dtype)
    low, high = int(array.min()), int(array.max())
    if low < limits.min or high > limits.max:
        raise OptionError(f"column {name} goes from {low} to {high}, beyond {dtype}")
    return np.ascontiguousarray(array, dtype)


def _polarity(values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1:
        raise OptionError(f"column p has {array.ndim} axes, expected one")
    if array.dtype == bool:
        return np.ascontiguousarray(array).view(np.uint8)
    if array.size == 0:
        return np.empty(0, np.uint8)
    if array.dtype.kind not in "iuf":
        raise OptionError(f"column p is {array.dtype}, expected bool, 0/1 or -1/+1")
    if array.dtype == np.uint8 and array.max() <= 1:
        return np.ascontiguousarray(array)
    if not np.isin(array, (-1, 0, 1)).all():
        raise OptionError("column p has values other than 0/1 or -1/+1")
    if (array == -1).any() and (array == 0).any():
        reason = "if -1 is OFF, 0 marks no event; remove the rows with 0"
        raise OptionError(f"column p has both -1 and 0: {reason}")
    return np.ascontiguousarray(array > 0).view(np.uint8)


@jit
def _backward_steps(t: np.ndarray) -> int:
    steps = 0
    for i in range(1, len(t)):
        steps += t[i] < t[i - 1]
    return steps


@jit
def _out_of_bounds(x: np.ndarray, y: np.ndarray, width: int, height: int) -> int:
    outside = 0
    for i in range(len(x)):
        outside += (x[i] >= width) | (y[i] >= height)
    return outside


@jit
def _chosen(
    t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The events where `wanted` is true, in one pass (NumPy takes four, each with a branch).

    Every event is written, but the position advances only for wanted ones: no branch to mispredict.
    """
    n = len(t)
    columns = np.empty(n, t.dtype), np.empty(n, x.dtype), np.empty(n, y.dtype), np.empty(n, p.dtype)
    times, xs, ys, ps = columns
    kept = 0
    for i in range(n):
        times[kept], xs[kept], ys[kept], ps[kept] = t[i], x[i], y[i], p[i]
        kept += wanted[i]
    return times[:kept], xs[:kept], ys[:kept], ps[:kept]
