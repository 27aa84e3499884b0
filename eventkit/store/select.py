"""Which samples of a split: by class, by the value of a column, by number."""

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eventkit.errors import OptionError
from eventkit.registry import unknown
from eventkit.store import Split, Store

COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


def select(
    store: Store,
    split: str,
    *,
    classes: Sequence[str | int] = (),
    where: Sequence[str] = (),
    indices: Sequence[int] | None = None,
) -> np.ndarray:
    """The numbers of the samples that fulfil all conditions, in their order; intp.

    `classes` are names or label numbers; `where` are conditions on columns as "user==3",
    "lighting!=led", "n_events>=1000" or "user in 1,2,3"; `indices` come in the order given.
    """
    part = store[split]
    chosen = np.ones(len(part), bool)
    if classes:
        chosen &= np.isin(part.labels, [_label(store, name) for name in classes])
    for condition in where:
        chosen &= _fulfils(store, part, condition)
    if indices is None:
        return np.flatnonzero(chosen)
    wanted = np.asarray(indices, np.intp)
    if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(part)):
        raise OptionError(
            f"indices go from {wanted.min()} to {wanted.max()}, {split} has {len(part)} samples"
        )
    if len(np.unique(wanted)) != len(wanted):
        raise OptionError("an index is given twice; a sample can be only once in a split")
    return wanted[chosen[wanted]]


def parse_indices(text: str) -> list[int]:
    """0,5,10:20 as whole numbers; 10:20 is 10 up to 19.

    >>> parse_indices("0,5,10:13")
    [0, 5, 10, 11, 12]
    """
    found: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,12})(?::(\d{1,12}))?\s*", piece)
        if match is None:
            raise OptionError(f"{piece!r} is no index; write them like 0,5,10:20")
        first = int(match[1])
        last = int(match[2]) if match[2] else first + 1
        if last - first > 1 << 26:
            raise OptionError(f"{piece!r} are more samples than any store has")
        found += range(first, last)
    return found


def label_numbers(store: Store, classes: Sequence[str | int]) -> list[int]:
    """The labels of classes given by name or number. OptionError for one that is given twice."""
    found = [_label(store, name) for name in classes]
    if twice := [
        name for name, label in zip(classes, found, strict=True) if found.count(label) > 1
    ]:
        raise OptionError(f"class {twice[0]!r} is given twice")
    return found


def _label(store: Store, name: str | int) -> int:
    if str(name) in store.classes:
        return store.classes.index(str(name))
    if str(name).isdigit() and int(name) < len(store.classes):
        return int(name)
    raise unknown("class", str(name), store.classes)


def _fulfils(store: Store, part: Split, condition: str) -> np.ndarray:
    match = re.fullmatch(r"\s*([\w/]+?)\s*(==|!=|<=|>=|<|>|\bin\b)\s*(.+?)\s*", condition)
    if match is None:
        raise OptionError(
            f"{condition!r} is no condition; write it like user==3, n_events>=1000 or "
            "'user in 1,2,3'"
        )
    name, compare, text = match.groups()
    column = part.column(name)
    names = store.nodes[f"{part.name}/{name}"]["attributes"].get("names")
    if name == "labels":
        names = store.classes
    if compare == "in":
        values = [_value(piece.strip(), names, name) for piece in text.split(",")]
        return np.isin(column, values)
    value = _value(text, names, name)
    return np.asarray(COMPARE[compare](column, value))


def _value(text: str, names: list[str] | None, column: str) -> int:
    if names is not None and text in names:
        return names.index(text)
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    if names is not None:
        raise unknown(f"value of {column}", text, names)
    raise OptionError(f"{column} is compared with {text!r}, expected a whole number")
