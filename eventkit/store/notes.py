"""What a store tells of its samples in words: short, however many they are."""

import re
from collections.abc import Sequence
from typing import Any

MOST = 50  # sentences in a root
_OF_EMPTY = re.compile(r"no events in this sample$| ha(s|ve) (no events|frames without events)\b")


def of_empty(
    split: str,
    samples: Sequence[Sequence[Any]],
    n_events: Sequence[int],
    empty_frames: Sequence[int] = (),
) -> list[str]:
    """How many samples have no events, the first by name, and how many have frames without any.

    `samples` begin with the source and its part, start and stop (None: its own ends).
    """
    notes = []
    empty = [number for number, n in enumerate(n_events) if n == 0]
    if empty:
        source, start, stop = samples[empty[0]][:3]
        first = source if start is None and stop is None else f"{source}, {start}..{stop} µs"
        which = "1 sample has" if len(empty) == 1 else f"{len(empty):,} samples have"
        notes.append(f"{split}: {which} no events; the first is {first}")
    gaps = sum(n > 0 and gap > 0 for n, gap in zip(n_events, empty_frames, strict=False))
    if gaps:
        which = "1 sample has" if gaps == 1 else f"{gaps:,} samples have"
        notes.append(f"{split}: {which} frames without events; they are zero")
    return notes


def is_of_empty(note: str) -> bool:
    """Whether a sentence is one of `of_empty`, or one that took its place in older stores."""
    return _OF_EMPTY.search(note) is not None


def bounded(notes: Sequence[str]) -> list[str]:
    """Each sentence once, and a count in the place of those beyond the first ones."""
    notes = list(dict.fromkeys(notes))
    if len(notes) <= MOST:
        return notes
    left = f"{len(notes) - MOST + 1:,} more warnings are left out; the ledger has all numbers"
    return [*notes[: MOST - 1], left]
