"""Published rules of which labels count, and where the windows that they belong to lie.

A set of rules is an object in a module of this folder:

    boxes(boxes, classes, split, size)   which boxes count, and the boxes as they are kept
    times(boxes, classes)                the times of the labels that count, int64, later and later
    windows(boxes, classes, length)      starts and stops of the windows of `length` µs, if
                                         own_windows; labels are at the ends of windows
    classes(names)                       the names of the classes that are left, by their numbers
    at_start                             labels of a window between images are those at its start
    raised                               times that go back are raised to the latest before them
"""

from dataclasses import dataclass

import numpy as np

from eventkit.registry import Registry
from eventkit.targets import Size


@dataclass(frozen=True)
class LabelRules:
    """Rules that change nothing; others override what they have to say."""

    name: str
    about: str
    at_start: bool = False
    raised: bool = False
    own_windows: bool = False

    def boxes(
        self, boxes: np.ndarray, classes: tuple[str, ...], split: str, size: Size
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which boxes count, bool (n,), and all boxes as they are kept."""
        return np.ones(len(boxes), bool), boxes

    def times(self, boxes: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
        """The times of labels that count, among those of `boxes` which do."""
        return np.unique(boxes["t"])

    def windows(
        self, boxes: np.ndarray, classes: tuple[str, ...], length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Starts and stops of the windows of the recording with these boxes, which all count."""
        raise NotImplementedError

    def classes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The names of the classes that are left."""
        return names


LABEL_RULES: Registry[LabelRules] = Registry(
    "set of label rules", __name__, options=lambda entry: entry.classes
)
