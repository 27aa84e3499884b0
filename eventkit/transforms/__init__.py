"""Events -> Events: one module per family of transforms, found by scanning this folder.

A transform is a plain function `name(events, *, options) -> Events`. It never changes the arrays
it is given, and what it drops is the difference of the lengths.
"""

from collections.abc import Callable
from typing import Any

from eventkit.events import Events
from eventkit.registry import Registry, bind, parse_spec

Transform = Callable[..., Events]

TRANSFORMS: Registry[Transform] = Registry("transform", __name__)


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """The name and all options, checked and with their defaults, of a spec like `crop:width=64`."""
    name, options = parse_spec(spec)
    return name, bind(TRANSFORMS[name], options, name)


def transform(events: Events, *specs: str) -> Events:
    """Apply transforms one after the other: transform(events, "crop:x=0,y=0,width=64,height=64")."""
    for spec in specs:
        name, options = parse(spec)
        events = TRANSFORMS[name](events, **options)
    return events
