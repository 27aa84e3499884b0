"""An event camera simulator: frames of linear light in, events out.

The model of a pixel:

1. The photoreceptor output is log(I + dark): logarithmic in the light I, linear if I is below the
   photodiode's dark current [1, 2].
2. An optional first-order low-pass filter follows. The receptor is slower in the dark: its cutoff
   is proportional to I + 0.1, so it drops to a tenth of the nominal cutoff in the dark [2].
3. Between two frames, the output is interpolated linearly in time. Each time it differs from the
   memorised level by the ON threshold upwards or by the OFF threshold downwards, an event is
   emitted at the time of the crossing, and the current level is memorised [1, 3]. Thresholds
   differ between pixels (Gaussian) [1, 2].
4. During the refractory time after an event the pixel is held in reset and ignores changes [1].
5. Leakage of the memorised level causes ON events at a low rate [2, 4]. Hot pixels leak much
   faster.
6. Shot noise causes ON and OFF events at random (Poisson) times, up to four times more often in
   the dark than in full light [2]. As after any event, the pixel memorises its level again: at the
   end of the refractory time or of the step, whichever is later.

[1] P. Lichtsteiner, C. Posch, T. Delbruck: A 128x128 120 dB 15 us latency asynchronous temporal
    contrast vision sensor. IEEE JSSC 43(2), 2008.
[2] Y. Hu, S.-C. Liu, T. Delbruck: v2e: from video frames to realistic DVS events. CVPRW 2021.
[3] H. Rebecq, D. Gehrig, D. Scaramuzza: ESIM: an open event camera simulator. CoRL 2018.
[4] Y. Nozaki, T. Delbruck: Temperature and parasitic photocurrent effects in dynamic vision
    sensors. IEEE TED 64(8), 2017.
"""

from typing import NamedTuple

import numpy as np

from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events

LOWEST_THRESHOLD = 0.1  # of the nominal threshold; mismatch must not make a pixel fire endlessly


class Pixels(NamedTuple):
    """Parameters and state of all pixels, in row order; times are µs since the first frame."""

    on: np.ndarray  # float32, ON threshold in log units
    off: np.ndarray  # float32, OFF threshold, positive
    leak: np.ndarray  # float32, log units per µs
    level: np.ndarray  # float32, output of the photoreceptor
    moved: np.ndarray  # float32, its difference from the memorised level; NaN in reset
    ready: np.ndarray  # float64, end of the refractory time


class Camera:
    """A simulated event camera of the given size (width, height), fed with successive frames.

    Frames are linear light, float32 (H, W), 0 for black and about 1 for white in full light.
    `threshold` and its standard deviation `mismatch` are in log units (0.2: 22 % more light);
    `leak_hz` and `shot_hz` are events per pixel and second (shot noise in the dark); `hot_pixels`
    is the fraction of pixels that leak about 50 times per second; `cutoff_hz` is the bandwidth at
    white, None for no filter. `seed` (an int or a generator) determines all random numbers.

    >>> camera = Camera((2, 1), threshold=0.5, mismatch=0, refractory_us=0, dark=0)
    >>> len(camera.step(np.array([[1.0, 1.0]]), 0))
    0
    >>> events = camera.step(np.array([[1.0, np.exp(1.25)]]), 1000)
    >>> events.t.tolist(), events.x.tolist(), events.p.tolist()
    ([400, 800], [1, 1], [1, 1])
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        threshold: float = 0.2,
        mismatch: float = 0.03,
        refractory_us: int = 500,
        leak_hz: float = 0.0,
        shot_hz: float = 0.0,
        hot_pixels: float = 0.0,
        cutoff_hz: float | None = None,
        dark: float = 0.02,
        seed: int | np.random.Generator = 0,
    ) -> None:
        settings = {"mismatch": mismatch, "refractory_us": refractory_us, "leak_hz": leak_hz}
        settings |= {"shot_hz": shot_hz, "hot_pixels": hot_pixels, "dark": dark}
        for name, value in settings.items():
            if not 0 <= value < np.inf:
                raise OptionError(f"camera: {name} is {value}, expected zero or more")
        if not 0.001 <= threshold < np.inf:
            raise OptionError(f"camera: threshold is {threshold}, expected 0.001 or more")
        if hot_pixels > 1:
            raise OptionError(f"camera: hot_pixels is {hot_pixels}, expected a share within 0..1")
        if cutoff_hz is not None and not 0 < cutoff_hz < np.inf:
            raise OptionError(f"camera: cutoff_hz is {cutoff_hz}, expected more than zero or None")
        self.size = Events.empty(size).size
        self._dark = np.float32(dark + np.finfo(np.float32).tiny)  # the logarithm of 0 is finite
        cutoff = np.inf if cutoff_hz is None else 2e-6 * np.pi * cutoff_hz  # 1 / µs
        shot = 1e-6 * shot_hz * size[0] * size[1]  # per µs, all pixels, in the dark
        self._physics = (cutoff, float(refractory_us), shot)
        rng = np.random.default_rng(seed)
        self._pixels = _manufacture(rng, size, threshold, mismatch, leak_hz, hot_pixels)
        self._random = rng.integers(1 << 63, size=1, dtype=np.uint64)
        self._next_shot = np.array([_wait(self._random, shot)])
        self._origin: int | None = None
        self._now = 0.0

    def step(self, frame: np.ndarray, t: int) -> Events:
        """The events between the previous frame and this one at time t (µs), sorted by time.

        The first frame only initialises the pixels and gives no events. Raises OptionError for a
        frame of another size, with negative or infinite light, or not later than the previous one.
        """
        return self.steps(np.asarray(frame)[np.newaxis], np.array([t]))

    def steps(self, frames: np.ndarray, t: np.ndarray) -> Events:
        """The events of several steps: frames (N, H, W) at the times t (N,) in µs."""
        frames, t = np.ascontiguousarray(frames, np.float32), np.asarray(t)
        self._check(frames, t)
        frames = frames.reshape(len(t), -1)
        answers = frames + self._dark
        np.log(answers, out=answers)
        first = 0
        if self._origin is None:
            self._origin, first = int(t[0]), 1
            self._pixels.level[:] = answers[0]
        times = (t[first:] - self._origin).astype(np.float64)
        bits = (2 * frames.shape[1] - 1).bit_length()
        codes = _expose(
            answers[first:],
            frames[first:],
            times,
            self._now,
            self._pixels,
            self._physics,
            self._next_shot,
            self._random,
            bits,
        )
        self._now = float(t[-1] - self._origin)
        codes.sort()
        t, x, y, p = _unpack(codes, bits, self.size[0], self._origin)
        return Events.trusted(t, x, y, p, self.size)

    def _check(self, frames: np.ndarray, t: np.ndarray) -> None:
        if t.ndim != 1 or not len(t) or frames.shape != (len(t), *self.size[::-1]):
            raise OptionError(
                f"camera: frames of shape {frames.shape} and times of shape {t.shape}, "
                f"expected (N, {self.size[1]}, {self.size[0]}) and (N,)"
            )
        if not (frames.min() >= 0 and frames.max() < np.inf):
            raise OptionError("camera: frames contain negative, infinite or NaN values")
        last = None if self._origin is None else self._origin + int(self._now)
        later = last is None or t[0] > last
        if t.dtype.kind not in "iu" or not later or (t[1:] <= t[:-1]).any():
            raise OptionError(
                f"camera: frames at {t.tolist()} µs after a frame at {last}; "
                "expected increasing integers"
            )


def _manufacture(
    rng: np.random.Generator,
    size: tuple[int, int],
    threshold: float,
    mismatch: float,
    leak_hz: float,
    hot_pixels: float,
) -> Pixels:
    n = size[0] * size[1]
    on, off = np.maximum(rng.normal(threshold, mismatch, (2, n)), LOWEST_THRESHOLD * threshold)
    rate = np.full(n, leak_hz)
    hot = rng.random(n) < hot_pixels
    rate[hot] = 50 * rng.exponential(size=int(hot.sum()))
    # As if the camera had been running: leaking pixels start anywhere between two leak events.
    moved = np.where(rate > 0, rng.random(n) * on, 0)
    leak = 1e-6 * threshold * rate
    on, off, leak, level, moved = np.stack([on, off, leak, np.zeros(n), moved]).astype(np.float32)
    return Pixels(on, off, leak, level, moved, ready=np.zeros(n))


@jit
def _expose(
    answers: np.ndarray,
    light: np.ndarray,
    times: np.ndarray,
    now: float,
    pixels: Pixels,
    physics: tuple[float, float, float],
    next_shot: np.ndarray,
    random: np.ndarray,
    bits: int,
) -> np.ndarray:
    """Simulate all frames; return one code per event: time << bits | pixel << 1 | p.

    Sorting the codes sorts the events by time, then by pixel, whatever order they are found in.
    """
    on, off, _, _, moved, ready = pixels
    cutoff, refractory, shot = physics
    rise, crossed = np.empty(len(on), np.float32), np.empty(len(on), np.bool_)
    codes, n = np.empty(4096, np.int64), 0
    for k in range(len(times)):
        end = times[k]
        _follow(
            answers[k], light[k], np.float32(end - now), np.float32(cutoff), pixels, rise, crossed
        )
        for i in range(len(on)):
            if not crossed[i]:
                continue
            held = np.isnan(moved[i])
            start, value = (max(ready[i] - now, 0.0), 0.0) if held else (0.0, np.float64(moved[i]))
            span = end - now  # relative to the step's start, so that precision does not decrease
            slope = rise[i] / span
            while start < span:
                goal = on[i] if slope > 0 else -off[i]
                at = start + max((goal - value) / slope, 0.0) if slope != 0 else np.inf
                if at > span:
                    break
                codes, n = _send(codes, n, now + at, i, slope > 0, bits)
                start, value = at + refractory, 0.0
            ready[i] = now + start
            moved[i] = value + slope * (span - start) if start < span else np.nan
        while next_shot[0] <= end:
            at = next_shot[0]
            i = min(int(_uniform(random) * len(on)), len(on) - 1)
            spared = np.float32(0.75) * min(light[k, i], np.float32(1))
            if _uniform(random) >= spared and ready[i] <= at:
                codes, n = _send(codes, n, at, i, _uniform(random) < 0.5, bits)
                moved[i], ready[i] = np.nan, at + refractory
            next_shot[0] = at + _wait(random, shot)
        now = end
    return codes[:n]


@jit
def _follow(
    answer: np.ndarray,
    light: np.ndarray,
    span: np.float32,
    cutoff: np.float32,
    pixels: Pixels,
    rise: np.ndarray,
    crossed: np.ndarray,
) -> None:
    """Advance all pixels by one step, except those that cross a threshold or are held in reset.

    Most pixels are quiet in most steps. Both loops are free of branches, so the compiler vectorises
    them; the pixels in `crossed` are then simulated exactly.
    """
    on, off, leak, level, moved, _ = pixels
    one, floor = np.float32(1), np.float32(0.1)
    for i in range(len(on)):
        # Low-pass filter by implicit Euler: a step of x time constants covers x / (1 + x) of the
        # difference, written so that it is 1 without a filter. The / operator would branch on 0.
        share = one - np.true_divide(one, one + cutoff * span * (light[i] + floor))
        way = (answer[i] - level[i]) * share
        level[i] += way
        rise[i] = way + leak[i] * span
    for i in range(len(on)):
        now = moved[i] + rise[i]
        quiet = (-off[i] < now) & (now < on[i])
        moved[i] = now if quiet else moved[i]
        crossed[i] = not quiet


@jit
def _send(
    codes: np.ndarray, n: int, at: float, pixel: int, on: bool, bits: int
) -> tuple[np.ndarray, int]:
    if n == len(codes):
        wider = np.empty(2 * n, np.int64)
        for k in range(n):
            wider[k] = codes[k]
        codes = wider
    codes[n] = (np.int64(at) << bits) | (pixel << 1) | on
    return codes, n + 1


@jit
def _unpack(
    codes: np.ndarray, bits: int, width: int, origin: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    n = len(codes)
    t, p = np.empty(n, np.int64), np.empty(n, np.uint8)
    x, y = np.empty(n, np.uint16), np.empty(n, np.uint16)
    for k in range(n):
        pixel = (codes[k] & ((1 << bits) - 1)) >> 1
        t[k] = (codes[k] >> bits) + origin
        x[k], y[k], p[k] = pixel % width, pixel // width, codes[k] & 1
    return t, x, y, p


@jit
def _wait(random: np.ndarray, rate: float) -> float:
    """The time (µs) to the next event of a Poisson process."""
    return -np.log(1.0 - _uniform(random)) / rate if rate > 0 else np.inf


@jit
def _uniform(random: np.ndarray) -> float:
    """A random number in [0, 1), by SplitMix64 (Steele, Lea, Flood: OOPSLA 2014).

    Numba's generator has one state per thread, so recordings would depend on the workers.
    """
    random[0] += np.uint64(0x9E3779B97F4A7C15)
    z = random[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return float(((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * (1.0 / (1 << 53)))
