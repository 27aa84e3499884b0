"""Tables of named things, filled by the modules of one package, and the spec `name:key=value`."""

import difflib
import functools
import importlib
import inspect
import json
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from eventkit.errors import OptionError, UnknownName

T = TypeVar("T")


def unknown(kind: str, name: str, known: Mapping[str, Any] | list[str]) -> UnknownName:
    """An UnknownName that says which near name was probably meant."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UnknownName(f"no {kind} {name!r}.{hint} Known: {', '.join(sorted(known))}.")


class Registry(Mapping[str, T]):
    """Objects by name. The first look-up imports every module of `package`.

    A module joins by calling `register`, so adding an entry means adding one file.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, T] = {}
        self._loaded = False

    def register(self, entry: T) -> T:
        """Add `entry` under its own `name` or `__name__`; usable as a decorator."""
        name: Any = getattr(entry, "name", None) or entry.__name__  # type: ignore[attr-defined]
        if self._entries.setdefault(name, entry) is not entry:
            raise ValueError(f"two {self.kind}s are called {name!r}")
        return entry

    def _load(self) -> dict[str, T]:
        if not self._loaded:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self._package}.{module.name}")
            self._loaded = True  # last: a second thread must not see a half-filled table
        return self._entries

    def __getitem__(self, name: str) -> T:
        entries = self._load()
        if name not in entries:
            raise unknown(self.kind, name, entries)
        return entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._load()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._load()))

    def __len__(self) -> int:
        return len(self._load())


def parse_spec(text: str) -> tuple[str, dict[str, str]]:
    """Split `name:key=value,key=value` into the name and its raw options.

    >>> parse_spec("voxel:bins=9")
    ('voxel', {'bins': '9'})
    """
    name, _, rest = text.strip().partition(":")
    options: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise OptionError(f"{text!r}: found {part!r} where key=value was expected")
        if key.strip() in options:
            raise OptionError(f"{text!r}: {key.strip()!r} is given twice")
        options[key.strip()] = value.strip()
    return name.strip(), options


def format_spec(name: str, options: Mapping[str, Any]) -> str:
    """The text of a spec, the inverse of `parse_spec`; options that are None are left out.

    >>> format_spec("frames", {"n": 16, "by": "time", "like": None})
    'frames:n=16,by=time'
    """
    parts = [
        f"{key}={json.dumps(value) if isinstance(value, bool) else value}"
        for key, value in options.items()
        if value is not None
    ]
    return name + (":" + ",".join(parts) if parts else "")


def bind(function: Callable[..., Any], options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The keyword arguments of `function`: `options` checked and converted, defaults filled in.

    Only keyword-only parameters without a leading underscore are options; text is converted by
    the annotation (int, float, bool, str, Literal, with or without None).
    """
    parameters, hints = _signature(function)
    for key in options:
        if key not in parameters:
            near = difflib.get_close_matches(key, parameters, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            known = ", ".join(parameters) or "none"
            raise OptionError(f"{what} has no option {key!r}.{hint} Its options: {known}.")
    bound: dict[str, Any] = {}
    for key, parameter in parameters.items():
        if key in options:
            bound[key] = _convert(options[key], hints.get(key, str), f"{what}: {key}")
        elif parameter.default is parameter.empty:
            raise OptionError(f"{what} needs the option {key!r}, as in {what}:{key}=...")
        else:
            bound[key] = parameter.default
    return bound


@functools.cache
def _signature(
    function: Callable[..., Any],
) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """The options of `function` and the types of its arguments; inspecting takes 50 µs."""
    parameters = inspect.signature(function).parameters.values()
    options = {
        p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY and not p.name.startswith("_")
    }
    if isinstance(function, type):
        return options, typing.get_type_hints(function.__init__)  # type: ignore[misc]
    return options, typing.get_type_hints(function)


def _convert(value: Any, kind: Any, what: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        kinds = [k for k in typing.get_args(kind) if k is not type(None)]
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        return _convert(value, kinds[0], what)
    if origin is typing.Literal:
        allowed = typing.get_args(kind)
        if value not in allowed:
            raise OptionError(
                f"{what} is {value!r}, expected one of {', '.join(map(str, allowed))}"
            )
        return value
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if str(value).lower() not in words:
            raise OptionError(f"{what} is {value!r}, expected true or false")
        return words[str(value).lower()]
    try:
        converted = kind(value)
        if kind is int and not isinstance(value, str) and converted != value:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        names = {int: "a whole number", float: "a number"}
        expected = names.get(kind, getattr(kind, "__name__", str(kind)))
        raise OptionError(f"{what} is {value!r}, expected {expected}") from None
    return converted
