"""Noise filters of other libraries, where they are installed, on the same labelled events."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np

from eventkit.doctor.filters import FilterScore, _kept, _share
from eventkit.events import Events

Filter = Callable[[], Any]


def score_peers(events: Events, is_noise: np.ndarray) -> Iterator[FilterScore]:
    """The scores of the filters of dv-processing and Tonic; none where they are not installed."""
    for name, apply, columns in (*_dv(events), *_tonic(events)):
        began = time.process_time()
        result = apply()
        seconds = time.process_time() - began
        found = columns(result)
        mask = _kept(events.t, events.x, events.y, events.p, *found)
        signal = mask & ~is_noise
        yield FilterScore(
            spec=name,
            kept=len(found[0]),
            precision=_share(signal.sum(), len(found[0])),
            recall=_share(signal.sum(), (~is_noise).sum()),
            removed=_share((~mask & is_noise).sum(), is_noise.sum()),
            rate=len(events) / max(seconds, 1e-9),
        )


def _dv(events: Events) -> Iterator[tuple[str, Filter, Callable[[Any], tuple[np.ndarray, ...]]]]:
    try:
        import dv_processing as dv
    except ImportError:
        return
    store = dv.EventStore()
    for t, x, y, p in zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True):
        store.push_back(t, x, y, bool(p))

    def apply(make: Callable[[], Any]) -> Filter:
        def run() -> Any:
            one = make()
            one.accept(store)
            return one.generateEvents()

        return run

    def columns(result: Any) -> tuple[np.ndarray, ...]:
        array = result.numpy()
        return (
            array["timestamp"].astype(np.int64),
            array["x"].astype(np.uint16),
            array["y"].astype(np.uint16),
            array["polarity"].astype(np.uint8),
        )

    ms, noise, size = timedelta(milliseconds=1), dv.noise, events.size
    yield (
        "dv-processing BackgroundActivity",
        apply(lambda: noise.BackgroundActivityNoiseFilter(size, 2 * ms)),
        columns,
    )
    yield "dv-processing KNoise", apply(lambda: noise.KNoiseFilter(size, ms)), columns


def _tonic(events: Events) -> Iterator[tuple[str, Filter, Callable[[Any], tuple[np.ndarray, ...]]]]:
    try:
        from tonic import transforms as tonic
    except ImportError:
        return
    array = events.structured()

    def columns(result: Any) -> tuple[np.ndarray, ...]:
        return tuple(np.ascontiguousarray(result[name]) for name in "txyp")

    yield "Tonic Denoise", lambda: tonic.Denoise(filter_time=10_000)(array), columns
    yield "Tonic RefractoryPeriod", lambda: tonic.RefractoryPeriod(delta=1_000)(array), columns
