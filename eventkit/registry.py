"""Tables of named things, filled by modules and plug-ins, and the spec `name:key=value`."""

import copyreg
import difflib
import functools
import importlib
import inspect
import json
import math
import pkgutil
import threading
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from eventkit import plugins
from eventkit.errors import OptionError, UnknownName

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """The numbers that an option may be, as in `decay: Annotated[float, Range(0, 1)]`.

    Ends belong to it, but with `above` the lower one does not; none of them is infinite.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        inside = self.low < value if self.above else self.low <= value
        return inside and value <= self.high and math.isfinite(value)

    def __str__(self) -> str:
        if self.low > -math.inf and self.high < math.inf:
            return f"from {self.low:g} to {self.high:g}"
        if self.high < math.inf:
            return f"at most {self.high:g}"
        if self.low == -math.inf:
            return "a finite number"
        return f"{'above' if self.above else 'at least'} {self.low:g}"


@dataclass(frozen=True)
class Below(Range):
    """A Range from `low` to `high` whose higher end does not belong to it."""

    def __contains__(self, value: float) -> bool:
        return super().__contains__(value) and value < self.high

    def __str__(self) -> str:
        return f"from {self.low:g} to below {self.high:g}"


Share = Annotated[float, Range(0, 1)]
BelowOne = Annotated[float, Below(0, 1)]
Positive = Annotated[float, Range(0, above=True)]
NotNegative = Annotated[float, Range(0)]


def unknown(kind: str, name: str, known: Mapping[str, Any] | list[str]) -> UnknownName:
    """An UnknownName that suggests the closest known name."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UnknownName(f"no {kind} {name!r}.{hint} Known: {', '.join(sorted(known))}.")


class Registry(Mapping[str, T]):
    """Objects by name; the first look-up imports every module of `package` and all plug-ins.

    A module joins by calling `register`, so adding an entry means adding one file. A plain module,
    or None where no module is known, is a table that its own module fills. `options` gives the
    callable of an entry whose keyword-only parameters are the entry's options (default: the entry
    itself).

    A registry and its entries are pickled by name, so they may hold what cannot be pickled.
    """

    def __init__(
        self,
        kind: str,
        package: str | None,
        *,
        options: Callable[[T], Callable[..., Any]] = lambda entry: typing.cast(Any, entry),
    ) -> None:
        self.kind = kind
        self._package = package
        self._options = options
        self._entries: dict[str, T] = {}
        self._added: dict[str, T] = {}  # by plug-ins and users: built-in names win over these
        self._all: tuple[T, ...] = ()  # in the order of their names
        self._loaded = False
        self._lock = threading.RLock()

    def register(self, entry: T) -> T:
        """Add `entry` under its own `name` or `__name__`; usable as a decorator.

        Raises ValueError for a second entry of one name, or an option without a type annotation.
        """
        name: Any = getattr(entry, "name", None) or entry.__name__  # type: ignore[attr-defined]
        for key, parameter in _parameters(self._options(entry)).items():
            if parameter.annotation is parameter.empty:
                raise ValueError(f"{self.kind} {name!r}: its option {key!r} has no type annotation")
        table = self._entries if self._is_built_in(entry) else self._added
        if table.setdefault(name, entry) is not entry:
            raise ValueError(f"two {self.kind}s are called {name!r}")
        if self._loaded and table is self._added:
            self._include(name)
        home = f"{type(entry).__module__}."
        if self._package and home.startswith(f"{self._package}."):  # not a function or a class
            copyreg.pickle(type(entry), self._reduce)  # type: ignore[arg-type]
        return entry

    def __reduce__(self) -> tuple[Any, ...]:
        return _registry, (self._package, self.kind)

    def _reduce(self, entry: T) -> Any:
        """How to pickle an object of the type of the entries: by its name, if it is one of them."""
        name = getattr(entry, "name", None)
        if name is None or self._load().get(name) is not entry:
            return object.__reduce_ex__(entry, 2)
        return _entry, (self, self._module(entry), name)

    def parse(
        self, spec: str, options: Mapping[str, Any] | None = None
    ) -> tuple[T, dict[str, Any]]:
        """The entry that `spec` names and all its options: those of the text, `options`, defaults.

        >>> from eventkit.transforms import TRANSFORMS
        >>> TRANSFORMS.parse("crop:width=64", {"height": 48})[1]
        {'x': 0, 'y': 0, 'width': 64, 'height': 48}
        """
        name, given = parse_spec(spec)
        entry = self[name]
        for key, value in (options or {}).items():
            if key in given:
                raise OptionError(f"{spec!r}: {key!r} is given twice")
            given[key] = value
        return entry, bind(self._options(entry), given, name)

    def make(self, spec: str, **options: Any) -> Any:
        """What the entry that `spec` names returns when it is called with its options."""
        entry, bound = self.parse(spec, options)
        return typing.cast(Any, entry)(**bound)

    def plugin(self, name: str) -> str | None:
        """The package that `name` comes from, with its version; None for a built-in entry."""
        entry = self[name]
        return None if self._is_built_in(entry) else plugins.origin(self._module(entry))

    def _module(self, entry: T) -> str:
        function: Any = self._options(entry)
        while isinstance(function, functools.partial):
            function = function.func
        return getattr(function, "__module__", None) or ""

    def _is_built_in(self, entry: T) -> bool:
        return self._module(entry).partition(".")[0] == "eventkit"

    def _include(self, name: str) -> None:
        self._all = ()
        if name in self._entries:
            where = plugins.origin(self._module(self._added[name]))
            text = f"{where}: {self.kind} {name!r} is built in; the plug-in's is ignored"
            warnings.warn(text, stacklevel=2)
        else:
            self._entries[name] = self._added[name]

    def _load(self) -> dict[str, T]:
        if self._loaded:
            return self._entries
        if self._package is not None:  # outside the lock: Python has one for each module
            package = importlib.import_module(self._package)
            path = getattr(package, "__path__", ())  # a plain module has none
            for module in pkgutil.walk_packages(path, f"{self._package}."):
                importlib.import_module(module.name)
        plugins.load()
        with self._lock:
            if not self._loaded:
                for name in self._added:
                    self._include(name)
                self._loaded = True  # last: a second thread must not see a half-filled table
        return self._entries

    def all(self) -> tuple[T, ...]:
        """The entries in the order of their names: as `values`, at no cost."""
        entries = self._load()
        if len(self._all) != len(entries):
            self._all = tuple(entries[name] for name in sorted(entries))
        return self._all

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


def _registry(package: str, kind: str) -> Registry[Any]:
    tables = vars(importlib.import_module(package)).values()
    return next(table for table in tables if isinstance(table, Registry) and table.kind == kind)


def _entry(table: Registry[T], module: str, name: str) -> T:
    importlib.import_module(module)  # another package's joins by being imported
    return table[name]


def parse_spec(text: str) -> tuple[str, dict[str, str]]:
    """Split `name:key=value,key=value` into the name and its raw options.

    A value in brackets may contain commas, as a spec with options of its own does.

    >>> parse_spec("csnn_tiny:neurons=[lif:tau=4,v_reset=none],width=16")
    ('csnn_tiny', {'neurons': 'lif:tau=4,v_reset=none', 'width': '16'})
    """
    name, _, rest = text.strip().partition(":")
    options: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in _split(rest, text))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not value:
            raise OptionError(f"{text!r}: found {part!r}, expected key=value")
        if key in options:
            raise OptionError(f"{text!r}: {key!r} is given twice")
        options[key] = value[1:-1] if _bracketed(value) else value
    return name.strip(), options


def format_spec(name: str, options: Mapping[str, Any]) -> str:
    """The text of a spec, the inverse of `parse_spec`; options that are None are left out.

    >>> format_spec("frames", {"n": 16, "by": "time", "like": None})
    'frames:n=16,by=time'
    """
    parts = [f"{key}={_text(value)}" for key, value in options.items() if value is not None]
    return name + (":" + ",".join(parts) if parts else "")


def _text(value: Any) -> str:
    """One value of a spec; in brackets where it would otherwise be read differently."""
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    return f"[{text}]" if "," in text or _bracketed(text) else text


def _split(rest: str, text: str) -> Iterator[str]:
    """The parts of `rest` between commas that are outside of brackets."""
    depth = begin = 0
    for i, letter in enumerate(rest):
        depth += (letter == "[") - (letter == "]")
        if depth < 0:
            break
        if letter == "," and not depth:
            yield rest[begin:i]
            begin = i + 1
    if depth:
        raise OptionError(f"{text!r}: its brackets do not match")
    yield rest[begin:]


def _bracketed(value: str) -> bool:
    """Whether the first bracket of `value` is closed by its last character."""
    if not (value.startswith("[") and value.endswith("]")):
        return False
    depth = 0
    for i, letter in enumerate(value):
        depth += (letter == "[") - (letter == "]")
        if not depth:
            return i == len(value) - 1
    return False


def bind(function: Callable[..., Any], options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The keyword arguments of `function`: `options` checked and converted, defaults filled in.

    Only keyword-only parameters without a leading underscore are options; text is converted by
    the annotation (int, float, bool, str, Literal, with or without None). In Annotated, a `Range`
    limits a number, and a function converts instead of the type; it raises ValueError("what is
    found, what is expected").
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
            how = "" if " " in what else f", as in {what}:{key}=..."
            raise OptionError(f"{what} needs the option {key!r}{how}")
        else:
            bound[key] = parameter.default
    return bound


def signature(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """The type and the default (inspect.Parameter.empty: none) of each option of `function`."""
    options, hints = _signature(function)
    return {key: (hints.get(key, str), option.default) for key, option in options.items()}


@functools.cache
def _signature(
    function: Callable[..., Any],
) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """The options of `function` and the types of its arguments; inspecting takes 50 µs."""
    options = _parameters(function)
    if isinstance(function, type):
        function = function.__init__  # type: ignore[misc]
    return options, typing.get_type_hints(function, include_extras=True)


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of `function` that are options: keyword-only, without a leading underscore."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name[0] != "_"}


def _named(kind: Any) -> str:
    return {str: "texts", int: "whole numbers"}.get(kind, "values")


def _convert(value: Any, kind: Any, what: str) -> Any:
    if type(value) is kind and kind in (int, bool, str):
        return value
    if value is None and isinstance(kind, types.UnionType):
        return None
    origin = typing.get_origin(kind)
    if origin is Annotated:
        kind, *marks = typing.get_args(kind)
        convert = next((mark for mark in marks if callable(mark)), None)
        try:
            found = convert(value) if convert else _convert(value, kind, what)
        except ValueError as error:
            if isinstance(error, OptionError):
                raise
            raise OptionError(f"{what} is {error}") from None
        for mark in marks:
            if isinstance(mark, Range) and found is not None and found not in mark:
                raise OptionError(f"{what} is {found:g}, expected {mark}")
        return found
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
    if origin in (list, dict):
        inner = typing.get_args(kind)[-1]
        values = value.values() if isinstance(value, dict) else value
        if not isinstance(value, origin) or not all(
            inner not in (str, int) or type(v) is inner for v in values
        ):
            name = "a table" if origin is dict else "a list"
            raise OptionError(f"{what} is {value!r}, expected {name} of {_named(inner)}")
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
        if kind is float and math.isnan(converted):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        names = {int: "a whole number", float: "a number"}
        expected = names.get(kind, getattr(kind, "__name__", str(kind)))
        raise OptionError(f"{what} is {value!r}, expected {expected}") from None
    return converted
