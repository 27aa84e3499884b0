"""Samples that are not frames of one shape: events, points, sparse tensors, what a function makes.

`points` is float32 (n, 4), a row (t, x, y, p) for each event in order of time: t in µs since the
sample's first event (exact up to 16.7 s; dtype=None gives int64), p 0 or 1. With normalize=true all
four are in 0..1: t by the sample's duration, x and y by the last pixel. A batch is
(N, longest, 4), zeros after the last event, and always has lengths (N,).

`sparse_coo` is a representation (`of`) as a sparse torch tensor (T, C, H, W), coalesced; a batch
is one sparse tensor (N, T, C, H, W).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from eventkit import representations
from eventkit.augment import Augment, Draw, Own
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.loader.reading import Reader, Transforms
from eventkit.registry import bind, parse_spec
from eventkit.representations import Whole, accumulate
from eventkit.store import Split


def points(events: Events, whole: Whole, *, normalize: bool = False) -> np.ndarray:
    """The events as rows (t, x, y, p): int64 (n, 4), or float32 in 0..1."""
    rows = np.empty((len(events), 4), np.float32 if normalize else np.int64)
    rows[:, 0] = events.t - whole.t0
    for column, name in enumerate("xyp", 1):
        rows[:, column] = getattr(events, name)
    if normalize:
        # The difference of int64 is divided in float64: a float32 would not be exact.
        rows[:, 0] = (events.t - whole.t0) / max(whole.t1 - whole.t0, 1)
        rows[:, 1:3] /= np.maximum(np.array(events.size, np.float32) - 1, 1)
    return rows


def sparse_coo(events: Events, whole: Whole, *, of: str) -> np.ndarray:
    """The dense array that is sent as a sparse tensor."""
    entry, options = representations.parse(of)
    return accumulate([events], whole, events.size, entry, options)[0]


MADE: dict[str, Callable[..., np.ndarray]] = {"points": points, "sparse_coo": sparse_coo}


def is_object(represent: Any) -> bool:
    """Whether samples are made here: of None, a function or a spec of this module."""
    return not isinstance(represent, str) or parse_spec(represent)[0] in MADE


class Objects:
    """Samples of a split of events: Events (represent=None), or what is made of them."""

    def __init__(
        self, split: Split, represent: Any, augment: Augment, transform: Transforms
    ) -> None:
        self._split, self._augment = split, augment
        self.reader = Reader(split, transform, augment, "txyp")
        self.name = "events" if represent is None else "own"
        self._make: Callable[..., Any] | None = None
        self._options: dict[str, Any] = {}
        if isinstance(represent, str):
            self.name, options = parse_spec(represent)
            self._make = MADE[self.name]
            self._options = bind(self._make, options, self.name)
            if self.name == "sparse_coo":
                representations.parse(self._options["of"])
        elif represent is not None:
            self._make = Own(represent, "represent")
        self.padded = self.name == "points"
        self.dense = self.name in ("own", "sparse_coo")
        if augment.only_frames and not self.dense:
            raise OptionError(
                f"{augment.only_frames[0]} works on frames, found represent={represent!r}; leave "
                "it out or represent the events as frames"
            )
        self.lengths = self.reader.counts()

    def read(self, index: int, draw: Draw | None, dtype: torch.dtype | None) -> Any:
        """A sample in memory of its own: Events, a tensor, or what else a function returned."""
        try:
            return self._read(index, draw, dtype)
        except OptionError as error:
            raise OptionError(f"sample {index} of {self._split.name}: {error}") from None

    def _read(self, index: int, draw: Draw | None, dtype: torch.dtype | None) -> Any:
        events, whole = self.reader.read(index, draw)
        if draw is not None and not self.dense:
            events = self._augment.warped(events, draw)
        if self._make is None:
            return events.copy()
        if isinstance(self._make, Own):
            made = self._make(events.copy())
        else:
            made = self._make(events, whole, **self._options)
        if self.dense and draw is not None and self._augment.on_frames:
            made = self._augment.frames(np.ascontiguousarray(made), draw)
        if self.name == "sparse_coo":
            return _sparse(made, dtype)
        if isinstance(made, np.ndarray) and made.dtype.kind in "biuf":
            made = torch.from_numpy(np.ascontiguousarray(made))
        return made.to(dtype) if isinstance(made, torch.Tensor) and dtype is not None else made


def _sparse(dense: np.ndarray, dtype: torch.dtype | None) -> torch.Tensor:
    """The values that are not zero; of dtype None as stored, but int32 for unsigned ones."""
    places = np.nonzero(dense)  # in the order of the array: coalesced
    values = dense[places]
    if dtype is None and values.dtype.kind == "u":  # of which torch adds no sparse ones
        values = values.astype(np.int32)
    found = torch.from_numpy(values)
    return torch.sparse_coo_tensor(
        torch.from_numpy(np.stack(places)),
        found if dtype is None else found.to(dtype),
        dense.shape,
        is_coalesced=True,
        check_invariants=False,
    )


def gather(
    samples: Sequence[Any], *, padded: bool, lengths: bool | None, time_first: bool
) -> tuple[Any, torch.Tensor | None]:
    """A batch of samples, and their lengths (N,) where they are padded.

    Tensors of one shape are stacked; others, with `lengths`, are padded with zeros at the end of
    their first axis. What are no tensors is a list.
    """
    if not samples or not all(isinstance(sample, torch.Tensor) for sample in samples):
        return list(samples), None
    axis = 1 if time_first else 0
    if samples[0].is_sparse:
        return torch.stack(list(samples), axis).coalesce(), None
    shapes = {tuple(sample.shape) for sample in samples}
    if not (padded or lengths):
        if len(shapes) > 1:
            raise OptionError(
                f"samples of a batch have the shapes {sorted(shapes)}; give them one, or pad them "
                "and get their lengths: loader(..., lengths=True), or for a DataLoader "
                "functools.partial(collate, lengths=True)"
            )
        return torch.stack(list(samples), axis), None
    if len({shape[1:] for shape in shapes}) > 1 or () in shapes:
        raise OptionError(f"samples of the shapes {sorted(shapes)} differ in more than their first")
    whole = torch.nn.utils.rnn.pad_sequence(list(samples), batch_first=not time_first)
    return whole, torch.tensor([len(sample) for sample in samples])
