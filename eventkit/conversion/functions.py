"""Own Python functions as transform or representation, written package.module:function.

Only functions that can be imported by that name are accepted, because workers in other processes
and on other machines import them. A plan keeps the name and a digest of the function's source.

    transform       function(events) -> Events; a sample above MAX_EVENTS events comes in chunks;
                    if it moves boxes and points, it has an attribute targets(placed) -> Placed
    representation  function(events) -> array (T, C, H, W) of one shape and type for all samples
"""

import hashlib
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from eventkit import transforms
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.registry import parse_spec
from eventkit.representations import REPRESENTATIONS, Representation, Whole
from eventkit.transforms import TRANSFORMS, Step

_NAMED = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)(?::digest=([0-9a-f]{64}))?")


def parse(spec: str) -> tuple[str, dict[str, Any]] | None:
    """The name module:function and {"digest": ...} of a spec; None where it names no function.

    OptionError for a function that cannot be imported, or of which the spec has another digest.
    """
    match = _NAMED.fullmatch(spec.strip())
    if match is None or match[1] in TRANSFORMS or match[1] in REPRESENTATIONS:
        return None
    name = f"{match[1]}:{match[2]}"
    found = digest(load(name))
    if match[3] not in (None, found):
        raise OptionError(
            f"{name} is not the function that the plan was made with: its source has changed",
            hint="restore its source, or convert again",
        )
    return name, {"digest": found}


def split_spec(spec: str) -> tuple[str, dict[str, str]]:
    """The name and the options of a spec as text; a function has no options."""
    match = _NAMED.fullmatch(spec.strip())
    return (f"{match[1]}:{match[2]}", {}) if match else parse_spec(spec)


def name_of(function: Callable[..., Any]) -> str:
    """module:function of a function. OptionError for one that cannot be imported by it."""
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__qualname__", None) or repr(function)
    if module == "__main__" or not name.isidentifier():
        raise OptionError(
            f"{module}:{name} cannot be imported by worker processes; put it into a module, at the "
            "top level, under a name of its own"
        )
    if load(f"{module}:{name}") is not function:
        raise OptionError(f"{module}:{name} is another function than the one that was given")
    return f"{module}:{name}"


@cache
def load(name: str) -> Callable[..., Any]:
    """The function that module:function names. OptionError where there is none."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise OptionError(
            f"{name}: there is no module {error.name}; install it, or add its folder to PYTHONPATH"
        ) from None
    except AttributeError:
        raise OptionError(f"{name}: the module {module} has no {attribute}") from None
    if not inspect.isfunction(found):
        raise OptionError(f"{name} is {type(found).__name__}, expected a function")
    return found


def digest(function: Callable[..., Any]) -> str:
    """The sha256 of the source of a function."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        raise OptionError(
            f"{function.__module__}:{function.__qualname__} has no source, of which the plan could "
            "keep a digest"
        ) from None
    return hashlib.sha256(inspect.cleandoc(source).encode()).hexdigest()


def parse_transform(spec: str) -> tuple[str, dict[str, Any]]:
    """The name and all options of a transform, which may be a function."""
    return parse(spec) or transforms.parse(spec)


def begin(name: str, options: Mapping[str, Any]) -> Step:
    """A transform for one sample, which may be a function."""
    if ":" not in name:
        return transforms.begin(name, options)
    step = partial(_transformed, name)
    if move := getattr(load(name), "targets", None):
        step.targets = move  # type: ignore[attr-defined]
    return step


def _transformed(name: str, events: Events) -> Events:
    made = load(name)(events)
    if not isinstance(made, Events):
        raise OptionError(f"{name} returned {type(made).__name__}, expected Events")
    if made.backward_steps:
        raise OptionError(
            f"{name} returned events whose time goes back {made.backward_steps:,} times, expected "
            "them in order of time; end the function with return events.sort()"
        )
    return made


def entry_of(name: str, size: tuple[int, int]) -> Representation:
    """The representation of that name, which may be a function, for a sensor of that size."""
    return _entry(name, size) if ":" in name else REPRESENTATIONS[name]


@cache
def _entry(name: str, size: tuple[int, int]) -> Representation:
    """A function as a representation, whose shape and type are those of an empty recording."""
    empty = _array(name, Events.empty(size))

    def finish(out: np.ndarray, state: list[Events], whole: Whole, *, digest: str) -> None:
        events = Events.concat(state) if state else Events.empty(size)
        made = _array(name, events)
        if made.shape != out.shape or made.dtype != out.dtype:
            raise OptionError(
                f"{name} returned {made.dtype} {made.shape}, expected {out.dtype} {out.shape} as "
                "for a recording without events"
            )
        out[...] = made

    return Representation(
        name=name,
        dtype=empty.dtype.type,
        shape=lambda whole, size, *, digest: empty.shape,
        begin=lambda whole, size, *, digest: [],
        add=_add,
        finish=finish,
    )


def _add(state: list[Events], events: Events, whole: Whole, first: int, *, digest: str) -> int:
    state.append(events.copy())  # its memory is used again for the next chunk
    return len(events)


def _array(name: str, events: Events) -> np.ndarray:
    made = np.asarray(load(name)(events))
    if made.ndim != 4 or not made.dtype.isnative or made.dtype.kind not in "iuf" or not made.size:
        raise OptionError(
            f"{name} returned {made.dtype} {made.shape}, expected an array (T, C, H, W) of numbers"
        )
    return made
