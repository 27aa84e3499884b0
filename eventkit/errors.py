"""The exceptions of eventkit.

EventkitError
├── FormatError   (ValueError)   a recording is damaged or not in the expected format
├── OptionError   (ValueError)   an option is invalid or does not match the data
├── UnknownName   (KeyError)     no format, representation, dataset, ... has the given name
├── FetchError    (OSError)      data is missing and must be downloaded by hand
│   ├── FetchFailed              a download failed, or an archive is invalid
│   └── FetchLocked              another process is fetching the same data
├── StoreError    (ValueError)   a store is unfinished or was converted with another plan
│   ├── StoreDamaged             a file of a store is missing, truncated or changed
│   ├── StoreUnreachable         an object store does not answer, or refuses
│   ├── StoreLocked              another process is writing the store
│   └── PartlyDone               some recordings could not be converted; the rest is kept
└── MissingExtra  (ImportError)  an optional library is not installed

A message is one sentence: where, what was found, what was expected, what to do.
`exit_code` is the exit code of the command line.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LONGEST = 1000  # characters of a reason
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
        message = self._message()
        if not self.hint:
            return message
        try:
            hint = self.hint.format_map(_Options(option))
        except (ValueError, IndexError):  # braces that are not options
            hint = self.hint
        return f"{message}; {hint}"

    def _message(self) -> str:
        if not self.found:
            return Exception.__str__(self)
        expected = f", expected {self.expected}" if self.expected else ""
        return f"{f'{self.where}: ' if self.where else ''}{self.found}{expected}"


class FormatError(EventkitError, ValueError):
    """A recording is damaged or not in the expected format.

    Attributes: `path`, `offset` (in bytes, None if unknown), `reason`, and `hint`, what to do.
    """

    def __init__(self, path: str | Path, offset: int | None, reason: str, hint: str = "") -> None:
        if len(reason) > LONGEST:  # text quoted from a damaged file may have any length
            reason = f"{reason[: LONGEST // 2]} ... {reason[-LONGEST // 2 :]}"
        super().__init__(str(path), offset, reason, hint)
        self.path, self.offset, self.reason, self.hint = str(path), offset, reason, hint

    def _message(self) -> str:
        where = "" if self.offset is None else f" at byte {self.offset:,}"
        return f"{self.path}{where}: {self.reason}"


class OptionError(EventkitError, ValueError):
    """An option is invalid or does not match the data."""


class UnknownName(EventkitError, KeyError):
    """No format, transform, representation, dataset or model has the given name."""


class FetchError(EventkitError, OSError):
    """Data is missing and must be downloaded by hand; the message lists the steps."""

    exit_code = 4


class FetchFailed(FetchError):
    """A download failed, or an archive is invalid."""

    exit_code = 1


class FetchLocked(FetchError):
    """Another process is fetching the same data."""

    exit_code = 5


class StoreError(EventkitError, ValueError):
    """A store is unfinished, damaged, locked, or was converted with another plan."""


class StoreDamaged(StoreError):
    """A file of a store is missing, truncated or changed."""

    exit_code = 3


class StoreUnreachable(StoreError):
    """An object store does not answer, or refuses: nothing is known of what is there."""


class StoreLocked(StoreError):
    """Another process is writing the store."""

    exit_code = 5


class PartlyDone(StoreError):
    """Part of a conversion failed; the rest is kept.

    `failed` lists what failed and why. `summary` describes the store if one was completed without
    the failed samples, else it is None.
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
    """An optional library is not installed; the message names the extra that installs it."""

    def __init__(self, needs: str, extra: str) -> None:
        super().__init__(needs, extra)

    def _message(self) -> str:
        needs, extra = self.args
        # If eventkit-dvs is already installed, also from a clone, pip only adds the extra.
        return f"{needs}: pip install '{DISTRIBUTION}[{extra}]'"
