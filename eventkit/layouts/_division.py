"""Options that every layout takes: recordings that are left out, and splits by number or column."""

import re
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from eventkit import splits
from eventkit.errors import OptionError
from eventkit.registry import format_spec

if TYPE_CHECKING:
    from eventkit.layouts import Listing, Sample

OPTIONS = ("exclude", "by_number", "by_column", "in_order")


def divide(
    listing: "Listing",
    *,
    exclude: list[str] | None = None,
    by_number: dict[str, Any] | None = None,
    by_column: dict[str, Any] | None = None,
    in_order: dict[str, float] | None = None,
) -> "Listing":
    """The listing without what is excluded, in splits where these are asked for.

    exclude are patterns of names (*, ?, [abc]) of recordings below the root, as "*(1).aedat";
    by_number divides by the last number in a file's name, or that of the recording in a file of
    many: { test = [0, 99], train = [100, 999] }, both ends included. by_column divides by a column:
    { user = { train = ["ali", "eve"], test = ["zoe"] } }, or by numbers in it, as above. ["*"] is
    for all others; without it, samples that are in no split are counted and left out. in_order
    divides each class by shares, in the order of the names as texts: { train = 0.9, test = 0.1 }
    (eventkit.splits.in_order).
    """
    if exclude is not None:
        _exclude(listing, _list(exclude, "exclude"))
    if by_number is not None:
        _in_splits(listing, by_number, number, "have a number")
    for column, parts in (by_column or {}).items():
        _in_splits(listing, parts, partial(_value, column), f"have a {column}")
    if in_order is not None:
        _in_order(listing, in_order)
    return listing


def _in_order(listing: "Listing", shares: dict[str, float]) -> None:
    division = splits.parse(format_spec("first", {**shares, "of": splits.ALL}))
    samples = listing.samples
    names = [sample.source for sample in samples]
    labels = np.array([sample.label for sample in samples])
    numbers = splits.in_order([float(share) for share in division.shares.values()], names, labels)
    parts = list(division.shares)
    listing.samples = [
        replace(samples[i], split=parts[numbers[i]]) for i in np.argsort(numbers, kind="stable")
    ]


def number(sample: "Sample") -> str:
    """The number of a recording: its place in a file of many, or the last one in its name."""
    if sample.recording is not None:
        return str(sample.recording)
    return next(reversed(re.findall(r"\d+", PurePosixPath(sample.source).stem)), "")


def _value(column: str, sample: "Sample") -> str:
    return sample.columns.get(column, "")


def _exclude(listing: "Listing", patterns: list[str]) -> None:
    kept = [s for s in listing.samples if not any(fnmatchcase(s.source, p) for p in patterns)]
    if left := len(listing.samples) - len(kept):
        named = ", ".join(patterns)
        listing.warnings.append(f"{left:,} recordings are excluded by their names ({named})")
        listing.samples = kept


def _in_splits(
    listing: "Listing", splits: dict[str, Any], value: Callable[["Sample"], str], what: str
) -> None:
    divided: dict[str, list[Sample]] = {split: [] for split in splits}
    wanted = {split: _wanted(told, what) for split, told in splits.items()}
    rest = next((split for split, told in splits.items() if told == ["*"]), None)
    left = 0
    for sample in listing.samples:
        found = value(sample)
        split = next((s for s, has in wanted.items() if has(found)), rest)
        if split is None:
            left += 1
        else:
            divided[split].append(replace(sample, split=split))
    if left:
        listing.warnings.append(f"{left:,} recordings {what} that is in no split; left out")
    listing.samples = [sample for part in divided.values() for sample in part]


def _wanted(told: Any, what: str) -> Callable[[str], bool]:
    """Whether a value is of a split, which is told as [first, last] or as a list of texts."""
    if isinstance(told, list) and len(told) == 2 and all(type(n) is int for n in told):
        return lambda found: found.isdecimal() and told[0] <= int(found) <= told[1]
    return frozenset(_list(told, what)).__contains__


def _list(told: Any, what: str) -> list[str]:
    if not isinstance(told, list) or not all(isinstance(each, str) for each in told):
        raise OptionError(f"{what} is {told!r}, expected a list of texts or [first, last]")
    return told
