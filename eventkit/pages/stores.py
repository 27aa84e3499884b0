"""What pages show of a store: which samples, as which pictures, under which names."""

from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest

import numpy as np

from eventkit import representations
from eventkit.errors import EventkitError
from eventkit.store import Store


def class_of(store: Store, label: int) -> str:
    """The name of a class, or its number where it has none."""
    return store.classes[label] if 0 <= label < len(store.classes) else str(label)


def choose(store: Store, splits: Sequence[str], n: int) -> list[tuple[str, int]]:
    """n samples (split, number), of all splits and classes in turn."""
    per_split = zip_longest(*(by_class(name, store[name].labels) for name in splits))
    chosen = (each for row in per_split for each in row if each is not None)
    return list(islice(chosen, n))


def by_class(split: str, labels: np.ndarray) -> Iterator[tuple[str, int]]:
    """All samples (split, number) of a split, one of each class in turn."""
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    for turn in range(int(counts.max(initial=0))):
        for start in starts[counts > turn].tolist():
            yield split, int(order[start + turn])


def pictures(store: Store, frames: np.ndarray) -> np.ndarray:
    """A sample of a dense store as frames to draw, (N, 1 or 2, H, W)."""
    try:
        entry, bound = representations.parse(store.attributes["represent"])
    except EventkitError:  # of a function or a plug-in that is not here
        if frames.shape[1] <= 2:
            return frames
        return representations.scaled(frames.reshape(-1, 1, *frames.shape[2:]))
    return representations.panels(entry, frames, store.size, bound)
