"""Transforms of polarity."""

from typing import Literal

import numpy as np

from eventkit.events import Events
from eventkit.transforms import TRANSFORMS


@TRANSFORMS.register
def swap_polarity(events: Events) -> Events:
    """The events with ON and OFF exchanged."""
    return _with(events, (events.p == 0).view(np.uint8))


@TRANSFORMS.register
def merge_polarity(events: Events) -> Events:
    """All events as ON events."""
    return _with(events, np.ones(len(events), np.uint8))


@TRANSFORMS.register
def drop_polarity(events: Events, *, polarity: Literal["on", "off"] = "off") -> Events:
    """The events without those of one polarity."""
    return events[events.p != 0 if polarity == "off" else events.p == 0]


def _with(events: Events, p: np.ndarray) -> Events:
    return Events.trusted(events.t, events.x, events.y, p, events.size)
