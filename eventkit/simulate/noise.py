"""Noise whose every event is known: what filters are measured with."""

from pathlib import Path

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events


class Noise:
    """Events that no light made, to be mixed into those of a recording.

    Each pixel of a sensor (width, height) sends `rate_hz` events per second at random times, ON
    and OFF alike (shot noise); a share `hot_pixels` of the pixels sends `hot_hz` ON events per
    second in addition. `seed`, an int or a NumPy Generator, decides everything that is random.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        rate_hz: float = 5.0,
        hot_pixels: float = 0.001,
        hot_hz: float = 500.0,
        seed: int | np.random.Generator = 0,
    ) -> None:
        for name, value in {"rate_hz": rate_hz, "hot_hz": hot_hz}.items():
            if not 0 <= value <= 1e6:
                raise OptionError(f"noise: {name} is {value}, expected 0 to 10^6")
        if not 0 <= hot_pixels <= 1:
            raise OptionError(f"noise: hot_pixels is {hot_pixels}, expected a share within 0..1")
        self.size, self.rate_hz, self.hot_hz = size, rate_hz, hot_hz
        self._rng = np.random.default_rng(seed)
        pixels = size[0] * size[1]
        self.hot = self._rng.choice(pixels, round(hot_pixels * pixels), replace=False)

    def between(self, t0: int, t1: int) -> Events:
        """The noise of t0 <= t < t1 (µs), in order of time."""
        width, height = self.size
        seconds = max(t1 - t0, 0) / 1e6
        n_shot = self._rng.poisson(self.rate_hz * width * height * seconds)
        n_hot = self._rng.poisson(self.hot_hz * len(self.hot) * seconds) if len(self.hot) else 0
        t = self._rng.integers(t0, max(t1, t0 + 1), n_shot + n_hot)
        pixel = np.empty(n_shot + n_hot, np.int64)
        pixel[:n_shot] = self._rng.integers(0, width * height, n_shot)
        pixel[n_shot:] = self._rng.choice(self.hot, n_hot) if n_hot else 0
        p = np.ones(n_shot + n_hot, np.uint8)
        p[:n_shot] = self._rng.integers(0, 2, n_shot)
        order = np.argsort(t, kind="stable")
        return Events(t[order], pixel[order] % width, pixel[order] // width, p[order], self.size)


def mix(signal: Events, noise: Events) -> tuple[Events, np.ndarray]:
    """Both in one order of time, and which events are noise: bool (N,).

    >>> signal = Events(t=[0, 9], x=[1, 1], y=[0, 0], p=[1, 1], size=(4, 3))
    >>> noise = Events(t=[5], x=[3], y=[2], p=[0], size=(4, 3))
    >>> mix(signal, noise)[1].tolist()
    [False, True, False]
    """
    both = Events.concat([signal, noise])
    order = np.argsort(both.t, kind="stable")
    return both[order], order >= len(signal)


def save_labels(path: Path, is_noise: np.ndarray) -> None:
    """Write which events of a recording are noise as a NumPy array of bool."""
    with path.open("wb") as file:
        np.save(file, is_noise)
