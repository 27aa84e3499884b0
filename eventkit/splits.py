"""Splits on request: by shares, by folds, with whole groups, or in the order of names.

    train=0.8,test=0.2                           shares of all samples, at random
    random:train=0.8,test=0.2,seed=1,stratify=true,group=user
    by-user:train=0.8,test=0.2                   the same, and the samples of a user stay together
    fold:k=0,n=5                                 fold k of n is `test`, the others are `train`
    first:train=0.9,test=0.1                     per class the first in the order of names

The same names give the same splits on every machine: the place of a sample in the random order is
the SHA-256 of "<seed>/<name>", whatever other samples there are. Functions here take names, labels
and groups, never files.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

import numpy as np

from eventkit.errors import OptionError
from eventkit.registry import Range, bind, format_spec, parse_spec, signature, unknown

ALL = "all"  # of=all: the samples of all splits together
TRAIN = "train"  # what is divided where there are several splits


def ranks(n: int, names: Iterable[str] | None = None, seed: int = 0) -> np.ndarray:
    """What sorts samples at random, by their names alone (without names, their numbers); texts."""
    keys = map(str, range(n) if names is None else names)
    return np.array([hashlib.sha256(f"{seed}/{key}".encode()).hexdigest() for key in keys])


def sample_name(source: object, start: object, stop: object, recording: object) -> str:
    """The name of a sample in its random order: its file, window, and number in a file of many."""
    return f"{source}/{start}/{stop}/{recording}"


def by_shares(
    shares: Sequence[Fraction | float],
    names: Sequence[str],
    *,
    labels: np.ndarray | None = None,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """The number of the share that each sample belongs to; int64 (n,).

    With `labels`, every share has its part of each class: the exact part rounded up or down.
    Without, the same holds for all samples. With `groups`, samples of a group stay together, and a
    share may miss its size, or its part of a class, by as much as a group has.
    """
    exact = [Fraction(str(share)) for share in shares]
    order = ranks(len(names), names, seed)
    kinds = np.zeros(len(names), np.int64) if labels is None else np.asarray(labels)
    if groups is not None:
        return _whole_groups(exact, kinds, np.asarray(groups), seed)
    found = np.zeros(len(names), np.int64)
    owed = [Fraction(0)] * len(exact)  # what earlier classes left to each share
    for kind in np.unique(kinds):
        members = np.flatnonzero(kinds == kind)
        members = members[np.argsort(order[members], kind="stable")]
        counts, owed = _rounded([share * len(members) for share in exact], owed)
        found[members] = np.repeat(np.arange(len(exact)), counts)
    return found


def _rounded(parts: list[Fraction], owed: list[Fraction]) -> tuple[list[int], list[Fraction]]:
    """Each part rounded up or down so that the sum stays, up where most is owed; what is owed."""
    counts = [math.floor(part) for part in parts]
    up = sorted(
        (place for place, part in enumerate(parts) if part.denominator > 1),
        key=lambda place: parts[place] - counts[place] + owed[place],
        reverse=True,
    )
    for place in up[: round(sum(parts)) - sum(counts)]:
        counts[place] += 1
    return counts, [o + p - c for o, p, c in zip(owed, parts, counts, strict=True)]


def _whole_groups(
    shares: list[Fraction], kinds: np.ndarray, groups: np.ndarray, seed: int
) -> np.ndarray:
    """Groups in random order, each to the share that lacks most of what the group has."""
    known, members = np.unique(groups, return_inverse=True)
    kind_numbers = np.unique(kinds, return_inverse=True)[1]
    table = np.zeros((len(known), int(kind_numbers.max(initial=0)) + 1), np.int64)
    np.add.at(table, (members, kind_numbers), 1)
    lacks = np.outer([float(share) for share in shares], table.sum(0))
    given = np.zeros(len(known), np.int64)
    for group in np.argsort(ranks(len(known), known.tolist(), seed), kind="stable"):
        given[group] = int(np.argmax(np.round(lacks @ table[group], 6)))
        lacks[given[group]] -= table[group]
    found: np.ndarray = given[members]
    return found


def in_order(shares: Sequence[float], names: Sequence[str], labels: np.ndarray) -> np.ndarray:
    """The number of the share of each sample, per class in the order of the names as texts.

    The first ceil(share x n) samples of a class of n belong to the first share, and so on, the rest
    to the last: `split_to_train_test_set` of SpikingJelly and of SEW-ResNet, where cifar10_cat_10
    comes before cifar10_cat_2.
    """
    found = np.full(len(names), len(shares) - 1, np.int64)
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label).tolist(), key=lambda i: names[i])
        ends = [math.ceil(len(members) * float(share)) for share in shares]
        first = 0
        for number, end in enumerate(ends[:-1]):
            found[members[first : first + end]] = number
            first += end
    return found


def hold_out(
    labels: np.ndarray, share: float, *, names: Iterable[str] | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of samples to train on, and of those held out: `share` of every class.

    Samples go by the hash of their names (without names, of their numbers), so that the same are
    held out whatever the seed of the run or the representation in the store.
    """
    order = ranks(len(labels), names, seed)
    held: list[int] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(order[members], kind="stable")]
        # One at least is trained on.
        held += members[: min(round(len(members) * share), len(members) - 1)].tolist()
    return np.setdiff1d(np.arange(len(labels)), held), np.sort(np.array(held, np.int64))


def folds(
    n: int,
    names: Iterable[str] | None,
    *,
    labels: np.ndarray | None = None,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    samples: int | None = None,
) -> np.ndarray:
    """The fold, from 0 to n - 1, of each sample; int64.

    The folds are of equal size, and with `labels` each class is spread evenly over them. With
    `groups`, samples of a group are in one fold. `names` may be None where `samples` says how many
    there are: then their numbers are their names.
    """
    listed = [str(i) for i in range(samples or 0)] if names is None else list(names)
    if groups is not None:
        return by_shares([Fraction(1, n)] * n, listed, labels=labels, groups=groups, seed=seed)
    kinds = np.zeros(len(listed), np.int64) if labels is None else np.asarray(labels)
    found = np.zeros(len(listed), np.int64)
    order, first = ranks(len(listed), listed, seed), 0
    for kind in np.unique(kinds):
        members = np.flatnonzero(kinds == kind)
        members = members[np.argsort(order[members], kind="stable")]
        found[members] = (first + np.arange(len(members))) % n
        first += len(members)  # so that small classes do not all miss the same folds
    return found


@dataclass(frozen=True)
class Rows:
    """Samples as a division sees them; `column` gives one of their columns as texts.

    `column` raises UnknownName for a column that there is not.
    """

    names: Sequence[str]
    labels: np.ndarray
    splits: Sequence[str]
    column: Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Division:
    """A request to divide samples: a kind (random, fold or first) and its options."""

    kind: str
    shares: Mapping[str, str]  # split -> its share, as text
    seed: int = 0
    stratify: bool = False
    group: str | None = None
    of: str | None = None
    k: int = 0
    n: int = 0

    @property
    def spec(self) -> str:
        """The request as text; `parse` takes it again."""
        shares = {"k": self.k, "n": self.n} if self.kind == "fold" else dict(self.shares)
        options = {
            key: value
            for key, (_, default) in signature(KINDS[self.kind]).items()
            if key not in shares and (value := getattr(self, key)) != default
        }
        return format_spec(self.kind, {**shares, **options})

    def divide(self, rows: Rows) -> tuple[list[str], list[str]]:
        """The split of each sample, and sentences on what is odd about the splits.

        Divided are the samples of the split `of`, or of all with of="all"; by default, those of
        `train`, or of the only split there is. The other splits stay as they are.

        Raises OptionError where a split would be empty or would have the name of one that stays.
        """
        there = list(dict.fromkeys(rows.splits))
        of = self._of(there)
        chosen = [i for i, split in enumerate(rows.splits) if of in (ALL, split)]
        parts = list(self.shares)
        kept = [] if of == ALL else [split for split in there if split != of]
        if taken := [name for name in parts if name in kept]:
            raise OptionError(
                f"split {self.spec}: there is a split {taken[0]!r} already, and only {of!r} is "
                f"divided; choose other names, such as train and validation, or of={ALL} to divide "
                "all samples"
            )
        numbers = self._numbers(rows, chosen)
        if empty := [name for i, name in enumerate(parts) if not (numbers == i).any()]:
            what = "samples"
            if self.group is not None:
                what = f"samples with {len(set(rows.column(self.group)))} values of {self.group}"
            raise OptionError(
                f"split {self.spec}: {empty[0]!r} would be empty, of {len(chosen):,} {what}"
            )
        found = list(rows.splits)
        for i, number in zip(chosen, numbers.tolist(), strict=True):
            found[i] = parts[number]
        notes = [f"the splits {', '.join(there)} are divided together, as {self.spec} asks"]
        return found, [*(notes if of == ALL and len(there) > 1 else []), *_missing(rows, found)]

    def _of(self, there: list[str]) -> str:
        if self.of is not None:
            if self.of != ALL and self.of not in there:
                raise unknown("split", self.of, there)
            return self.of
        if len(there) == 1:
            return there[0]
        if TRAIN not in there:
            raise OptionError(
                f"split {self.spec}: there are the splits {', '.join(there)}; say which is "
                f"divided, as of={there[0]}, or of={ALL} for all samples"
            )
        return TRAIN

    def _numbers(self, rows: Rows, chosen: list[int]) -> np.ndarray:
        names = [rows.names[i] for i in chosen]
        labels = np.asarray(rows.labels)[chosen]
        if self.kind == "first":
            return in_order([float(Fraction(s)) for s in self.shares.values()], names, labels)
        options: dict[str, Any] = {"labels": labels if self.stratify else None, "seed": self.seed}
        if self.group is not None:
            values = rows.column(self.group)
            options["groups"] = [values[i] for i in chosen]
        if self.kind == "random":
            return by_shares([Fraction(s) for s in self.shares.values()], names, **options)
        is_tested: np.ndarray = folds(self.n, names, **options) == self.k
        return is_tested.astype(np.int64)


def _missing(rows: Rows, found: list[str]) -> list[str]:
    """A sentence on each split in which classes are missing that others have."""
    labels = np.asarray(rows.labels)
    places = np.array(found)
    every = set(np.unique(labels).tolist())
    notes = []
    for split in dict.fromkeys(found):
        without = every - set(labels[places == split].tolist())
        if without:
            notes.append(
                f"{split}: {len(without):,} of {len(every):,} classes have no sample in it"
            )
    return notes


# The options of each kind; every other key is a split with its share.


def _random(
    *,
    seed: Annotated[int, Range(0)] = 0,
    stratify: bool = False,
    group: str | None = None,
    of: str | None = None,
) -> None: ...


def _fold(
    *,
    k: Annotated[int, Range(0)],
    n: Annotated[int, Range(2)],
    seed: Annotated[int, Range(0)] = 0,
    stratify: bool = True,
    group: str | None = None,
    of: str | None = None,
) -> None: ...


def _first(*, of: str | None = None) -> None: ...


KINDS: dict[str, Callable[..., None]] = {"random": _random, "fold": _fold, "first": _first}
_DEFAULT = {"train": "0.8", "test": "0.2"}


def parse(
    spec: str, *, stratify: bool = False, seed: int | None = None, group: str | None = None
) -> Division:
    """The request that a text is (see the module); the other arguments add to its options.

    >>> parse("train=0.8,test=0.2", stratify=True).spec
    'random:train=0.8,test=0.2,stratify=true'
    """
    text = spec.strip()
    if "=" in text.partition(":")[0]:
        text = f"random:{text}"
    kind, given = parse_spec(text)
    more: dict[str, Any] = {"stratify": stratify or None, "seed": seed, "group": group}
    if kind.startswith("by-"):
        kind, more["group"] = "random", kind.removeprefix("by-")
        if group is not None:
            raise OptionError(f"split {spec}: its group is given twice, also as {group}")
    if kind not in KINDS:
        raise unknown("way to split", kind, [*KINDS, "by-COLUMN"])
    for key, value in more.items():
        if value is not None and key in given:
            raise OptionError(f"split {spec}: its {key} is given twice, also as {value}")
        given |= {} if value is None else {key: value}
    names = signature(KINDS[kind])
    shares = {key: value for key, value in given.items() if key not in names}
    options = bind(KINDS[kind], {k: v for k, v in given.items() if k in names}, f"split {kind}")
    if kind == "fold":
        if shares:
            raise OptionError(f"split {spec}: fold has no option {next(iter(shares))!r}")
        if options["k"] >= options["n"]:
            raise OptionError(
                f"split {spec}: k is {options['k']}, expected 0 to {options['n'] - 1}"
            )
        shares = {"train": "", "test": ""}
    else:
        shares = _checked(shares or _DEFAULT, spec)
    return Division(kind, shares, **options)


def request(
    spec: str | None, *, stratify: bool = False, seed: int | None = None, group: str | None = None
) -> str | None:
    """The text of a request with the options that were given in addition to it.

    OptionError for options without a request.
    """
    options = {"stratify": stratify or None, "seed": seed, "group": group}
    given = [name for name, value in options.items() if value is not None]
    if spec is None and given:
        raise OptionError(f"{' and '.join(given)} belong to a split: give its shares too")
    if spec is None or not given:
        return spec
    return parse(spec, stratify=stratify, seed=seed, group=group).spec


def _checked(shares: Mapping[str, Any], spec: str) -> dict[str, str]:
    """Shares as texts. OptionError unless there are two and they add up to 1."""
    found: dict[str, Fraction] = {}
    for name, text in shares.items():
        try:
            found[name] = Fraction(str(text))
        except (ValueError, ZeroDivisionError):
            found[name] = Fraction(0)
        if not 0 < found[name] < 1 or not re.fullmatch(r"\w[\w.-]*", name):
            raise OptionError(
                f"split {spec}: {name}={text}, expected the name of a split and its share, as "
                "train=0.8,test=0.2"
            )
    if sum(found.values()) != 1:
        raise OptionError(
            f"split {spec}: its shares add up to {float(sum(found.values())):g}, expected 1"
        )
    return {name: str(shares[name]) for name in found}
