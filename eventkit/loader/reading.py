"""Events of a sample as they are represented: read, transformed, then changed at random."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eventkit import transforms
from eventkit.augment import Augment, Draw, Own
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.loader.scratch import Scratch
from eventkit.registry import format_spec
from eventkit.representations import Whole
from eventkit.store import Split
from eventkit.targets import Placed

Given = str | Callable[[Events], Any]


class Transforms:
    """Specs and functions in turn, for each sample anew: Transforms(["resize:width=48", f])."""

    def __init__(self, given: Given | Sequence[Given]) -> None:
        one = isinstance(given, str) or not isinstance(given, Sequence)
        listed: Sequence[Any] = [given] if one else given  # type: ignore[assignment]
        self._steps: list[Own | tuple[str, dict[str, Any]]] = [
            transforms.parse(one) if isinstance(one, str) else Own(one, "transform")
            for one in listed
        ]
        self.specs = [
            str(step) if isinstance(step, Own) else format_spec(*step) for step in self._steps
        ]
        self.own = [step.__name__ for step in self._steps if isinstance(step, Own)]
        # Whether targets can be moved only by who has seen the events.
        self._looks = any(
            isinstance(step, Own) or isinstance(transforms.TRANSFORMS[step[0]], type)
            for step in self._steps
        )

    def __bool__(self) -> bool:
        return bool(self._steps)

    def __call__(self, events: Events) -> Events:
        """The transformed events, in order of time; the given ones stay as they are."""
        for step in self._steps:
            if isinstance(step, Own):
                events = step.events(events)
            else:
                events = transforms.begin(*step)(events)
        return events

    def move(self, placed: Placed, events: Callable[[], Events]) -> Placed:
        """The targets of a sample moved as its events are, which `events` gives where needed."""
        if not self._steps:
            return placed
        passing = events() if self._looks else Events.empty(placed.size)
        for step in self._steps:
            if isinstance(step, Own):
                passing, before = step.events(passing), passing.size
                if (move := getattr(step.function, "targets", None)) is not None:
                    placed = move(placed)
                elif passing.size != before:
                    raise OptionError(
                        f"transform: {step.__name__} changes the size of the sensor and does not "
                        "say how targets move; give it an attribute targets, a function(placed) -> "
                        "Placed"
                    )
            else:
                begun = transforms.begin(*step)
                passing = begun(passing)
                placed = transforms.move_targets(begun, placed)
        return placed


class Reader:
    """Reads samples of a split of events; `size` is the sensor's after transforms, `final` at last.

    What it returns may be views of the thread's memory, which the next reading fills again.
    """

    def __init__(self, split: Split, transform: Transforms, augment: Augment, columns: str) -> None:
        self._split, self._transform, self._augment = split, transform, augment
        whole = bool(transform) or augment.on_events
        self._columns = "txyp" if whole else columns
        self._memory = Scratch()
        # Of `ragged`, so that what workers share of it is there before they are forked.
        counts, starts, ends = split.ragged.counts, split.column("t_start"), split.column("t_end")
        numbers = zip(counts.tolist(), starts.tolist(), ends.tolist(), strict=True)
        self.stored = [Whole(n, t0, t1, ordered=True) for n, t0, t1 in numbers]
        self.size = transform(Events.empty(split.size)).size if transform else split.size
        self.final = augment.size(self.size)

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def as_stored(self) -> bool:
        """Whether nothing changes the events."""
        return not self._transform and not self._augment.on_events

    def counts(self) -> np.ndarray:
        """Events of each sample as stored, int64 (N,)."""
        return np.array([whole.n for whole in self.stored], np.int64)

    def whole(self, index: int) -> Whole:
        """What is known of a sample before it is changed at random; read for it if transformed."""
        return Whole.of(self._transformed(index)) if self._transform else self.stored[index]

    def read(self, index: int, draw: Draw | None) -> tuple[Events, Whole]:
        """The events of a sample, and their number within the times that they had before `draw`."""
        events = self._transformed(index)
        whole = Whole.of(events) if self._transform else self.stored[index]
        if draw is not None and self._augment.on_events:
            if whole.n:
                draw.times = whole.t0, whole.t1
            events = self._augment.events(events, draw)
            whole = dataclasses.replace(whole, n=len(events))
            self._check(events, whole)
        return events, whole

    def stored_events(self, index: int) -> Events:
        """The events of a sample as they are stored."""
        return self._split.read_events([index], self._memory.events(), columns=self._columns)[0]

    def _transformed(self, index: int) -> Events:
        events = self.stored_events(index)
        if not self._transform:
            return events
        found = self._transform(events)
        if found.size != self.size:
            raise OptionError(
                f"transform gives a sensor of {found.width}x{found.height}, but one of "
                f"{self.size[0]}x{self.size[1]} for a sample without events; it must not depend on "
                "the events"
            )
        return found

    def _check(self, events: Events, whole: Whole) -> None:
        """Kernels rely on times within the sample and on the size."""
        if events.size != self.final:
            raise OptionError(
                f"augment gives a sensor of {events.width}x{events.height}, expected "
                f"{self.final[0]}x{self.final[1]}"
            )
        if len(events) and (events.t[0] < whole.t0 or events.t[-1] > whole.t1):
            raise OptionError(
                f"augment gives times from {events.t[0]} to {events.t[-1]} µs, expected within the "
                f"sample's {whole.t0} to {whole.t1}"
            )
