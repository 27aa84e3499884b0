"""Events -> Events: one module per family of transforms, found by scanning this folder.

A transform without memory is a function `name(events, *, options) -> Events`. One that remembers
earlier events is a class of that `name`, made with the options for each sample and then called with
its chunks in order. Both give the same events for a sample in chunks as for one that is whole, and
neither changes the arrays it is given. What is dropped is the difference of the lengths.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from eventkit.events import Events
from eventkit.registry import Registry, bind, parse_spec

Step = Callable[[Events], Events]

TRANSFORMS: Registry[Callable[..., Any]] = Registry("transform", __name__)


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """The name and all options, checked and with their defaults, of a spec like `crop:width=64`."""
    name, options = parse_spec(spec)
    return name, bind(TRANSFORMS[name], options, name)


def begin(name: str, options: Mapping[str, Any]) -> Step:
    """A transform for one sample: call it with the sample's chunks in order, then begin anew."""
    entry = TRANSFORMS[name]
    return entry(**options) if isinstance(entry, type) else partial(entry, **options)


def transform(events: Events, *specs: str) -> Events:
    """Apply transforms in turn: transform(events, "crop:width=64", "crop_time:stop=1000000")."""
    for step in [begin(*parse(spec)) for spec in specs]:
        events = step(events)
    return events
