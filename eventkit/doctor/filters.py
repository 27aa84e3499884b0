"""How well noise filters tell noise from signal, where it is known which is which."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eventkit import transforms
from eventkit._jit import jit
from eventkit.errors import OptionError
from eventkit.events import Events


@dataclass(frozen=True)
class FilterScore:
    """What a filter did to events of which it is known whether they are noise.

    precision is the share of signal among the events kept, recall the share of the signal that was
    kept, removed the share of the noise that was dropped, and rate the events per second of CPU. A
    share of nothing is None: the precision of a filter that keeps no event.
    """

    spec: str
    kept: int
    precision: float | None
    recall: float | None
    removed: float | None
    rate: float


def filters() -> list[str]:
    """The names of all transforms that say of themselves that they remove noise."""
    return [
        name for name, entry in transforms.TRANSFORMS.items() if getattr(entry, "cleans", False)
    ]


def score_filters(
    events: Events, is_noise: np.ndarray, specs: Sequence[str] | None = None, *, repeats: int = 3
) -> list[FilterScore]:
    """The score of each filter of `specs` (all) on events with a label each.

    OptionError unless there is one label (bool) for each event and at least one event, or if a
    spec changes events instead of keeping or dropping them.
    """
    is_noise = np.asarray(is_noise)
    if is_noise.dtype != np.bool_ or is_noise.shape != (len(events),):
        raise OptionError(
            f"labels are {is_noise.dtype} {is_noise.shape}, expected bool ({len(events)},), "
            "one for each event"
        )
    if not len(events):
        raise OptionError("there are no events to score filters on")
    return [_score(events, is_noise, spec, repeats) for spec in specs or filters()]


def _score(events: Events, is_noise: np.ndarray, spec: str, repeats: int) -> FilterScore:
    kept = transforms.transform(events, spec)
    mask = _kept(events.t, events.x, events.y, events.p, kept.t, kept.x, kept.y, kept.p)
    if mask.sum() != len(kept):
        raise OptionError(f"{spec} changes events; only filters that keep or drop them are scored")
    times = []
    for _ in range(repeats):
        began = time.process_time()
        transforms.transform(events, spec)
        times.append(time.process_time() - began)
    signal = mask & ~is_noise
    return FilterScore(
        spec=spec,
        kept=len(kept),
        precision=_share(signal.sum(), len(kept)),
        recall=_share(signal.sum(), (~is_noise).sum()),
        removed=_share((~mask & is_noise).sum(), is_noise.sum()),
        rate=len(events) / max(min(times), 1e-9),
    )


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


@jit
def _kept(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    kept_t: np.ndarray,
    kept_x: np.ndarray,
    kept_y: np.ndarray,
    kept_p: np.ndarray,
) -> np.ndarray:
    """Which events are among those kept, which are in the same order."""
    mask = np.zeros(len(t), np.bool_)
    k = 0
    for i in range(len(t)):
        if k == len(kept_t):
            break
        same = t[i] == kept_t[k] and x[i] == kept_x[k] and y[i] == kept_y[k] and p[i] == kept_p[k]
        if same:
            mask[i] = True
            k += 1
    return mask
