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
│   ├── StoreLocked              another process is writing the store
│   └── PartlyDone               some recordings could not be converted; the rest is kept
└── MissingExtra  (ImportError)  an optional library is not installed

A message is one sentence: where, what was found, what was expected, what to do.
`exit_code` is the exit code of the command line.
"""

from pathlib import Path
from typing import Any

LONGEST = 1000  # characters of a reason
DISTRIBUTION = "eventkit-dvs"  # on the package index, `eventkit` is another project


class EventkitError(Exception):
    """Base class of all errors that eventkit raises on purpose."""

    exit_code = 1


class FormatError(EventkitError, ValueError):
    """A recording is damaged or not in the expected format.

    Attributes: `path`, `offset` (in bytes, None if unknown), `reason`, and `hint`, what to do.
    """

    def __init__(self, path: str | Path, offset: int | None, reason: str, hint: str = "") -> None:
        if len(reason) > LONGEST:  # text quoted from a damaged file may have any length
            reason = f"{reason[: LONGEST // 2]} ... {reason[-LONGEST // 2 :]}"
        super().__init__(str(path), offset, reason, hint)
        self.path, self.offset, self.reason, self.hint = str(path), offset, reason, hint

    def __str__(self) -> str:
        where = "" if self.offset is None else f" at byte {self.offset:,}"
        return f"{self.path}{where}: {self.reason}{f'; {self.hint}' if self.hint else ''}"


class OptionError(EventkitError, ValueError):
    """An option is invalid or does not match the data."""


class UnknownName(EventkitError, KeyError):
    """No format, transform, representation, dataset or model has the given name."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


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
        self, message: str, failed: list[str], summary: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message, failed, summary)
        self.failed, self.summary = failed, summary

    def __str__(self) -> str:
        return str(self.args[0])


class MissingExtra(EventkitError, ImportError):
    """An optional library is not installed; the message names the extra that installs it."""

    def __init__(self, needs: str, extra: str) -> None:
        super().__init__(needs, extra)

    def __str__(self) -> str:
        needs, extra = self.args
        # If eventkit-dvs is already installed, also from a clone, pip only adds the extra.
        return f"{needs}: pip install '{DISTRIBUTION}[{extra}]'"
