"""Events -> Events: one module per family of transforms, found by scanning this folder.

A transform without memory is a function `name(events, *, options) -> Events`. One that remembers
earlier events is a class of that `name`, made with the options for each sample and then called with
its chunks in order. Both give the same events for a sample in chunks as for one that is whole, and
neither changes the arrays it is given. What is dropped is the difference of the lengths.

One that changes places or times also has `targets(placed) -> Placed`, a method or, of a function,
an attribute that takes its options too: it does the same to boxes, points, intervals and text,
after all events of the sample have passed. Without it, targets stay as they are.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from eventkit.errors import OptionError
from eventkit.events import Events, expect
from eventkit.registry import Registry, parse_spec
from eventkit.targets import Placed

Step = Callable[[Events], Events]

TRANSFORMS: Registry[Callable[..., Any]] = Registry("transform", __name__)


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """The name and all options, checked and with their defaults, of a spec like `crop:width=64`."""
    return parse_spec(spec)[0], TRANSFORMS.parse(spec)[1]


def begin(name: str, options: Mapping[str, Any]) -> Step:
    """A transform for one sample: call it with the sample's chunks in order, then begin anew."""
    entry = TRANSFORMS[name]
    step: Step = entry(**options) if isinstance(entry, type) else partial(entry, **options)
    return step if TRANSFORMS.plugin(name) is None else _checked(name, step)


def move_targets(step: Step, placed: Placed) -> Placed:
    """The targets of a sample whose events have all passed a step of `begin`, moved by it alike.

    OptionError for a function or plug-in that changes the size and has no `targets`.
    """
    move = getattr(step, "targets", None)
    if move is not None:
        return cast(Placed, move(placed))
    if isinstance(step, partial) and (move := getattr(step.func, "targets", None)) is not None:
        return cast(Placed, move(placed, **step.keywords))
    if step(Events.empty(placed.size)).size != placed.size:
        raise OptionError(
            "a transform changes the size of the sensor and does not say how targets move; give it "
            "an attribute targets, a function(placed) -> Placed"
        )
    return placed


def _checked(name: str, step: Step) -> Step:
    """A transform of a plug-in that returns events, and no more than it was given."""

    def apply(events: Events) -> Events:
        found = step(events)
        if not isinstance(found, Events):
            raise OptionError(f"{name} returned {type(found).__name__}, expected Events")
        if len(found) > len(events):
            raise OptionError(
                f"{name} returned {len(found):,} events for {len(events):,}; a transform keeps, "
                "changes or drops events and adds none"
            )
        return found

    if isinstance(step, partial) and hasattr(step.func, "targets"):
        apply.targets = partial(step.func.targets, **step.keywords)  # type: ignore[attr-defined]
    elif hasattr(step, "targets"):
        apply.targets = step.targets  # type: ignore[attr-defined]
    return apply


def transform(events: Events, *specs: str, **options: Any) -> Events:
    """The events after all transforms, applied in the order given.

    Options are part of a spec, as in "crop:width=64", or, for a single transform, keywords:
    transform(events, "crop", width=64). Raises UnknownName or OptionError for what is wrong.

    >>> events = Events(t=[0, 5, 9], x=[1, 2, 3], y=[0, 2, 1], p=[1, 0, 1], size=(4, 3))
    >>> transform(events, "crop:x=2", "crop_time:stop=3")
    Events(1 events, 2x3, t 5..5 µs)
    """
    if options and len(specs) != 1:
        raise OptionError(
            f"the options {', '.join(options)} belong to one transform, found {len(specs)}; "
            "write them into the specs"
        )
    names = [parse_spec(spec)[0] for spec in specs]
    bound = [TRANSFORMS.parse(spec, options)[1] for spec in specs]
    events = expect(events)
    for step in [begin(*pair) for pair in zip(names, bound, strict=True)]:
        events = step(events)
    return events
