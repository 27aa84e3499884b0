"""Statistics of a recording, collected in one pass with constant memory."""

from dataclasses import dataclass, field

import numpy as np

from eventkit._jit import jit
from eventkit.events import Events

SECOND, WINDOW, BIN = 1_000_000, 10_000, 1_000  # µs: for busiest second, peak rate, spectrum
GAPS = 5  # number of longest gaps kept
PIXELS = 1 << 22  # larger sensors have no per-pixel statistics (24 bytes per pixel)
ENOUGH, SHORTEST = 1000, 300  # minimum events and ms for a spectrum
FAR = (1 << 62) - 1  # times are clipped to ±FAR, so that differences fit into int64

ORDER = np.dtype(
    [
        *((name, "i8") for name in ("events", "last", "top", "high")),
        *((name, "i8") for name in ("backward", "largest", "first_step", "first_t", "late_by")),
        *((name, "i8") for name in ("same_time", "resolution")),
    ]
)
PACE = np.dtype(
    [
        *((name, "i8") for name in ("begun", "origin", "in_second", "late", "span")),
        *((name, "i8") for name in ("peak", "peak_t", "busiest", "busiest_t")),
    ]
)
SEEN = np.dtype([(name, "i8") for name in ("outside", "duplicates")])


@dataclass
class Survey:
    """Statistics of a recording, updated with its chunks in order.

    order (one row): backward steps, the maximum lateness of an event in µs, the number of times
    equal to the previous one, and the greatest common divisor of all time steps.
    gaps (GAPS, 2): length and start of the longest gaps in µs, longest first.
    pace: the busiest 10 ms and the busiest second, both on a grid that starts at the first event.
    power (501,): the power of the event rate at 0 to 500 Hz, summed over `seconds` seconds.
    pixels (2, height · width): OFF and ON events of each pixel; None for very large sensors.
    """

    size: tuple[int, int] = (0, 0)  # until the first chunk
    on: int = 0
    foreign: int = 0  # events from corrupted bytes
    noise: int = 0  # jumps in time caused by noise
    t0: int = 0
    t1: int = 0
    x_max: int = -1
    y_max: int = -1
    order: np.ndarray = field(default_factory=lambda: np.zeros(1, ORDER))
    gaps: np.ndarray = field(default_factory=lambda: np.zeros((GAPS, 2), np.int64))
    pace: np.ndarray = field(default_factory=lambda: np.zeros(1, PACE))
    seen: np.ndarray = field(default_factory=lambda: np.zeros(1, SEEN))
    pixels: np.ndarray | None = None
    power: np.ndarray = field(default_factory=lambda: np.zeros(SECOND // BIN // 2 + 1))
    weight: float = 0.0  # Σ n² over the seconds in `power`, n being the events in one
    seconds: int = 0
    length: int = SECOND // BIN  # bins of a spectrum; fewer if no second was complete

    def __post_init__(self) -> None:
        self._bins = np.zeros(SECOND // BIN, np.int64)
        self._windows = np.zeros(SECOND // WINDOW, np.int64)
        self._last = np.empty(0, np.int64)

    def add(self, events: Events) -> None:
        """Count the next events of the recording."""
        self._fit(events.size)
        if not len(events):
            return
        t0, t1 = int(events.t.min()), int(events.t.max())
        fresh = not self.get("order", "events")
        self.t0, self.t1 = (t0, t1) if fresh else (min(t0, self.t0), max(t1, self.t1))
        self.on += int(np.count_nonzero(events.p))
        self.x_max = max(self.x_max, int(events.x.max()))
        self.y_max = max(self.y_max, int(events.y.max()))
        _order(events.t, self.order, self.gaps)
        at = 0
        while at < len(events):
            at = _pace(events.t, at, self.pace, self._bins, self._windows)
            if at < len(events):
                self._spectrum(len(self._bins))
        if self.pixels is None:
            self.seen["outside"] += events.out_of_bounds
        else:
            columns = events.t, events.x, events.y, events.p
            _pixels(*columns, *self.size, self.seen, self.pixels, self._last)

    def finish(self) -> None:
        """Complete the survey; a recording shorter than a second gets a shorter spectrum."""
        length = int(self.pace["span"][0]) // BIN + 1
        if not self.seconds and length >= SHORTEST and self.get("pace", "in_second") >= ENOUGH:
            self._spectrum(length)

    def get(self, table: str, name: str) -> int:
        """One field of `order`, `pace` or `seen`."""
        return int(getattr(self, table)[name][0])

    def _fit(self, size: tuple[int, int]) -> None:
        if self.size == size:
            return
        self.size = size
        n = size[0] * size[1]
        if n <= PIXELS:
            self.pixels, self._last = np.zeros((2, n), np.int64), np.zeros(n, np.int64)

    def _spectrum(self, length: int) -> None:
        """Add the power spectrum of the current second, and reset its event count."""
        counts = self._bins[:length]
        n = int(counts.sum())
        wave = (counts - counts.mean()) * np.hanning(length + 1)[:-1]
        self.power += np.abs(np.fft.rfft(wave, len(self._bins))) ** 2
        self.weight += float(n) ** 2
        self.seconds += 1
        self.length = length
        self.pace["in_second"] = 0


@jit
def _order(t: np.ndarray, orders: np.ndarray, gaps: np.ndarray) -> None:
    """Update order and gaps with the times `t`.

    `top` is the latest time so far. `high` is the latest time since time last went back by more
    than a second; gaps are measured from it, so that a reset of the clock hides no gaps. The
    resolution is a running greatest common divisor, skipped once it is 1.
    """
    s = orders[0]
    begin = 0
    if s.events == 0:
        s.last = s.top = s.high = min(max(t[0], -FAR), FAR)
        begin = 1
    last, top, high, same, common = s.last, s.top, s.high, s.same_time, s.resolution
    for i in range(begin, len(t)):
        now = min(max(t[i], -FAR), FAR)
        step = now - last
        same += step == 0
        if step and common != 1 and (common == 0 or step % common):
            a, b = common, abs(step)
            while b:
                a, b = b, a % b
            common = a
        if step < 0:
            if s.backward == 0:
                s.first_step, s.first_t = s.events + i, t[i]
            s.backward += 1
            s.largest = max(s.largest, -step)
            s.late_by = max(s.late_by, top - now)
            if now < high - SECOND:
                high = now
        elif now < top:
            s.late_by = max(s.late_by, top - now)
        silence = now - high
        if silence > gaps[GAPS - 1, 0]:
            k = GAPS - 1
            while k > 0 and gaps[k - 1, 0] < silence:
                gaps[k] = gaps[k - 1]
                k -= 1
            gaps[k, 0], gaps[k, 1] = silence, high
        last, top, high = now, max(top, now), max(high, now)
    s.last, s.top, s.high, s.same_time, s.resolution = last, top, high, same, common
    s.events += len(t)


@jit
def _pace(t: np.ndarray, i: int, paces: np.ndarray, bins: np.ndarray, windows: np.ndarray) -> int:
    """Count the events from index i on in bins of 1 ms and 10 ms, second by second.

    Returns early, with the index of the next event, when a second with enough events for a spectrum
    ends, so that the caller can add the spectrum. Events up to a second before the current second
    are skipped and counted as late; a larger step back starts a new second.
    """
    s = paces[0]
    while i < len(t):
        now = min(max(t[i], -FAR), FAR)
        into = now - s.origin
        if s.begun and -SECOND <= into < 0:
            s.late += 1
            i += 1
            continue
        if not s.begun or not 0 <= into < SECOND:
            if s.begun and into >= SECOND and s.in_second >= ENOUGH:
                return i
            forward = s.begun and into > 0
            s.origin = s.origin + into // SECOND * SECOND if forward else now
            s.begun, s.in_second, s.span = 1, 0, 0
            bins[:] = 0
            windows[:] = 0
            into = now - s.origin
        bins[into // BIN] += 1
        windows[into // WINDOW] += 1
        s.in_second += 1
        s.span = max(s.span, into)
        if windows[into // WINDOW] > s.peak:
            s.peak, s.peak_t = windows[into // WINDOW], now - into % WINDOW
        if s.in_second > s.busiest:
            s.busiest, s.busiest_t = s.in_second, s.origin
        i += 1
    return i


@jit
def _pixels(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    width: int,
    height: int,
    seens: np.ndarray,
    counts: np.ndarray,
    last: np.ndarray,
) -> None:
    """Count the events of each pixel, and events identical to the previous one of their pixel.

    Time and polarity are packed into one key per pixel, so that one comparison finds duplicates.
    """
    s = seens[0]
    outside = duplicates = 0
    for i in range(len(t)):
        if x[i] >= width or y[i] >= height:
            outside += 1
            continue
        on = p[i] != 0
        pixel = np.int64(y[i]) * width + x[i]
        key = 2 * t[i] + on
        duplicates += (last[pixel] == key) & (counts[0, pixel] + counts[1, pixel] > 0)
        last[pixel] = key
        counts[np.int64(on), pixel] += 1
    s.outside += outside
    s.duplicates += duplicates
