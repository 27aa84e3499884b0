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

from pathlib import Path
from typing import Any

LONGEST = 1000  # letters of a reason
DISTRIBUTION = "eventkit-dvs"  # on the package index, `eventkit` is another project


class EventkitError(Exception):
    """Root of all errors that eventkit raises on purpose."""

    exit_code = 1


class FormatError(EventkitError, ValueError):
    """A recording is not what its format says: the file, the byte offset if known, the reason."""

    def __init__(self, path: str | Path, offset: int | None, reason: str) -> None:
        if len(reason) > LONGEST:  # what a damaged file says of itself may have any length
            reason = f"{reason[: LONGEST // 2]} ... {reason[-LONGEST // 2 :]}"
        super().__init__(str(path), offset, reason)
        self.path, self.offset, self.reason = str(path), offset, reason

    def __str__(self) -> str:
        where = "" if self.offset is None else f" at byte {self.offset:,}"
        return f"{self.path}{where}: {self.reason}"


class OptionError(EventkitError, ValueError):
    """A setting is wrong or does not fit the data."""


class UnknownName(EventkitError, KeyError):
    """No format, transform, representation, dataset or model has that name."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


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
        self, message: str, failed: list[str], summary: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message, failed, summary)
        self.failed, self.summary = failed, summary

    def __str__(self) -> str:
        return str(self.args[0])


class MissingExtra(EventkitError, ImportError):
    """An optional library is not installed; the message names the extra that brings it."""

    def __init__(self, needs: str, extra: str) -> None:
        super().__init__(needs, extra)

    def __str__(self) -> str:
        needs, extra = self.args
        # Where eventkit-dvs is installed, from a clone too, pip adds only what the extra names.
        return f"{needs}: pip install '{DISTRIBUTION}[{extra}]'"
