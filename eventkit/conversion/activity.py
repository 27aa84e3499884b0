"""Windows that a recording itself decides: equal numbers of events, or the times of activity."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.registry import Range, bind, format_spec, parse_spec
from eventkit.windowing import parse_length

MOST = 1 << 24  # bins of a recording
Pair = tuple[np.ndarray, np.ndarray]


def by_count(chunks: Iterable[Events], count: int) -> Pair:
    """Starts and stops (int64 µs) of windows of `count` events each; the last has the rest.

    A window ends before the time of the first event of the next one, so events of equal times stay
    together and a window may have some events fewer or more. Where time goes back, the latest time
    so far counts.
    """
    found: list[np.ndarray] = []
    done, latest = 0, None
    for events in chunks:
        if not len(events):
            continue
        times = np.maximum.accumulate(events.t)
        if latest is not None:
            np.maximum(times, latest, out=times)
        latest = int(times[-1])
        found.append(times[-done % count :: count])
        done += len(events)
    if latest is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    starts = np.unique(np.concatenate(found))
    return starts, np.append(starts[1:], latest + 1)


@dataclass(frozen=True)
class Activity:
    """When a recording is active: bins with at least `rate` events a second, joined over pauses."""

    bin: int  # µs
    rate: float | None  # events a second; None: the mean of the recording
    gap: int  # µs
    least: int  # µs

    @classmethod
    def of(cls, text: str) -> "Activity":
        """The options as text, such as "rate=50000,gap=200ms"; "auto" has the defaults."""
        _, given = parse_spec("active" if text.strip() == "auto" else f"active:{text}")
        return cls(**bind(_options, given, "active"))

    @property
    def text(self) -> str:
        """The options as text; `of` takes them again."""
        return format_spec("", vars(self)).removeprefix(":")

    def windows(self, chunks: Iterable[Events]) -> Pair:
        """Starts and stops (int64 µs) of the times of activity; they do not overlap."""
        origin, total = 0, 0
        counts = np.zeros(0, np.int64)
        for events in chunks:
            if not len(events):
                continue
            if not total:
                origin = int(events.t[0])
            total += len(events)
            low = int(events.t.min())
            if low < origin:  # time goes back behind the first event
                more = -(-(origin - low) // self.bin)
                self._check(len(counts) + more)
                counts = np.concatenate([np.zeros(more, np.int64), counts])
                origin -= more * self.bin
            self._check((int(events.t.max()) - origin) // self.bin)
            here = np.bincount((events.t - origin) // self.bin, minlength=len(counts))
            here[: len(counts)] += counts
            counts = here
        if not total:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        rate = total / len(counts) if self.rate is None else self.rate * self.bin / 1e6
        active = np.flatnonzero(counts >= max(rate, 1))
        if not len(active):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        parted = np.flatnonzero((np.diff(active) - 1) * self.bin >= self.gap)
        starts = active[np.concatenate([[0], parted + 1])] * self.bin
        stops = (active[np.concatenate([parted, [len(active) - 1]])] + 1) * self.bin
        long = stops - starts >= self.least
        return origin + starts[long], origin + stops[long]

    def _check(self, bins: int) -> None:
        if bins > MOST:
            raise OptionError(f"active: a recording has {bins:,} bins of {self.bin} µs; use longer")


def _length(value: int | str) -> int:
    return parse_length(value, "active")


def _options(
    *,
    bin: Annotated[int, _length] = 10_000,
    rate: Annotated[float | None, Range(0, above=True)] = None,
    gap: Annotated[int, _length] = 100_000,
    least: Annotated[int, _length] = 100_000,
) -> None:
    """The options of Activity."""
