"""The errors of the house.

EventkitError
├── FormatError   (ValueError)   a recording is not what its format says
├── OptionError   (ValueError)   a setting is wrong, or does not fit the data
├── UnknownName   (KeyError)     no format, representation, dataset, ... of that name
├── FetchError    (OSError)      data is not there, must be fetched by hand, or did not come whole
├── StoreError    (ValueError)   a store is unfinished, damaged, locked or of another plan
│   └── PartlyDone               some recordings could not be converted; the rest is kept
└── MissingExtra  (ImportError)  an optional library is not installed

A message is one sentence: where, what was found, what was expected, what to do.
`exit_code` is what the command line answers.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LONGEST = 1000  # letters of a reason
DISTRIBUTION = "eventkit-dvs"  # on the package index, `eventkit` is another project


def keyword(name: str, value: str) -> str:
    """An option as Python has it: overwrite=True, shard='0/2', or its name alone for `...`."""
    if value == "...":
        return name
    return f"{name}={value!r}" if value else f"{name}=True"


class _Option:
    """One option in a hint; what follows its name in the braces is its value."""

    def __init__(self, name: str, write: Callable[[str, str], str]) -> None:
        self.name, self.write = name, write

    def __format__(self, value: str) -> str:
        return self.write(self.name, value)


class _Options(dict[str, _Option]):
    def __init__(self, write: Callable[[str, str], str]) -> None:
        super().__init__()
        self.write = write

    def __missing__(self, name: str) -> _Option:
        return _Option(name, self.write)


class EventkitError(Exception):
    """Root of all errors that eventkit raises on purpose.

    It is made of a message, or of `where`, `found` and `expected`, and of a `hint`: what to do. A
    hint writes options in braces, as "{overwrite} replaces it", "{shard:0/2}" or "{root:...}" (no
    value), because Python and the command line spell them differently; see `text`.
    """

    exit_code = 1
    where = found = expected = hint = ""

    def __init__(
        self, *args: Any, where: str = "", found: str = "", expected: str = "", hint: str = ""
    ) -> None:
        super().__init__(*args)
        given = {"where": where, "found": found, "expected": expected, "hint": hint}
        self.__dict__.update({name: value for name, value in given.items() if value})

    def __str__(self) -> str:
        return self.text()

    def text(self, option: Callable[[str, str], str] = keyword) -> str:
        """The sentence, in which `option(name, value)` writes the options of the hint."""
        said = self._message()
        return f"{said}; {self.hint.format_map(_Options(option))}" if self.hint else said

    def _message(self) -> str:
        if not self.found:
            return Exception.__str__(self)
        expected = f", expected {self.expected}" if self.expected else ""
        return f"{f'{self.where}: ' if self.where else ''}{self.found}{expected}"


class FormatError(EventkitError, ValueError):
    """A recording is not what its format says: the file, the byte offset if known, the reason."""

    def __init__(self, path: str | Path, offset: int | None, reason: str) -> None:
        if len(reason) > LONGEST:  # what a damaged file says of itself may have any length
            reason = f"{reason[: LONGEST // 2]} ... {reason[-LONGEST // 2 :]}"
        super().__init__(str(path), offset, reason)
        self.path, self.offset, self.reason = str(path), offset, reason

    def _message(self) -> str:
        where = "" if self.offset is None else f" at byte {self.offset:,}"
        return f"{self.path}{where}: {self.reason}"


class OptionError(EventkitError, ValueError):
    """A setting is wrong or does not fit the data."""


class UnknownName(EventkitError, KeyError):
    """No format, transform, representation, dataset or model has that name."""


class FetchError(EventkitError, OSError):
    """Data is missing or must be fetched by hand; the message has the steps."""

    exit_code = 4


class FetchFailed(FetchError):
    """A download did not come whole, or an archive is not what it should be."""

    exit_code = 1


class FetchLocked(FetchError):
    """Another process is fetching the same data."""

    exit_code = 5


class StoreError(EventkitError, ValueError):
    """A store is unfinished, damaged, locked, or made by another plan."""


class StoreDamaged(StoreError):
    """A file of a store is missing, cut or changed."""

    exit_code = 3


class StoreLocked(StoreError):
    """Another process is writing the store."""

    exit_code = 5


class PartlyDone(StoreError):
    """Some of a conversion is missing: what is done is kept, `failed` says what is not and why.

    `summary` is that of the store, if one was made without it.
    """

    exit_code = 6

    def __init__(
        self,
        message: str,
        failed: list[str],
        summary: Mapping[str, Any] | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, failed, summary, hint=hint)
        self.failed, self.summary = failed, summary

    def _message(self) -> str:
        return str(self.args[0])


class MissingExtra(EventkitError, ImportError):
    """An optional library is not installed; the message names the extra that brings it."""

    def __init__(self, needs: str, extra: str) -> None:
        super().__init__(needs, extra)

    def _message(self) -> str:
        needs, extra = self.args
        # Where eventkit-dvs is installed, from a clone too, pip adds only what the extra names.
        return f"{needs}: pip install '{DISTRIBUTION}[{extra}]'"
