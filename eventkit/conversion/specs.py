"""Representation and transforms as arguments: specs, names with options, or functions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eventkit.conversion import functions
from eventkit.errors import OptionError
from eventkit.registry import format_spec
from eventkit.windowing import parse_length

# "voxel:bins=9", the same in two parts, ("voxel", {"bins": 9}), or a function that can be imported,
# itself or as "package.module:function".
Spec = str | tuple[str, Mapping[str, Any]] | Callable[..., Any]


def as_text(spec: Spec) -> str:
    """A spec as text. OptionError for anything else."""
    if isinstance(spec, str):
        return spec
    if callable(spec):
        return functions.name_of(spec)
    if isinstance(spec, tuple) and len(spec) == 2 and isinstance(spec[0], str):
        name, options = spec
        if isinstance(options, Mapping):
            return format_spec(name, options)
    raise OptionError(
        f"{spec!r} is neither a spec such as 'voxel:bins=9' nor a name with options such as "
        "('voxel', {'bins': 9})"
    )


def transforms(specs: Spec | Sequence[Spec]) -> tuple[str, ...]:
    """One or several transforms as a tuple of texts."""
    if isinstance(specs, str) or not isinstance(specs, Sequence):
        return (as_text(specs),)
    if len(specs) == 2 and isinstance(specs[1], Mapping):
        return (as_text(specs),)  # type: ignore[arg-type]
    return tuple(as_text(spec) for spec in specs)  # type: ignore[arg-type]


def representation(
    represent: Spec | None,
    *,
    frames: int | None = None,
    by: str | None = None,
    duration: int | str | None = None,
    like: str | None = None,
    events: bool = False,
) -> str:
    """The representation that these arguments of `convert` ask for; by default 16 frames."""
    given = {"frames": frames, "duration": duration, "represent": represent, "events": events}
    chosen = [name for name, value in given.items() if value]
    if len(chosen) > 1:
        raise OptionError(f"{' and '.join(chosen)} exclude each other; give one of them")
    how = {"by": by, "like": like}
    if (events or represent) and any(how.values()):
        raise OptionError("by and like belong to frames; write them into the spec of represent")
    if represent:
        return as_text(represent)
    if events:
        return "events"
    length = {"duration": parse_length(duration)} if duration else {"n": frames or 16}
    return format_spec("frames", {**length, **how})
