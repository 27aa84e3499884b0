"""A small task that only time tells, for the tests of training."""

import numpy as np
import torch

SMALL = "csnn_tiny:width=8,dropout=0"


class Directions:
    """A bar that crosses the field to one of four sides.

    The sums over time of left and right, and of up and down, are the same.
    """

    classes = ["right", "left", "down", "up"]  # noqa: RUF012

    def __init__(self, n, *, seed=0, steps=8, size=12):
        rng = np.random.default_rng(seed)
        self.labels = np.arange(n) % 4
        self.frames = torch.zeros(n, steps, 2, size, size)
        for sample, label, first in zip(
            self.frames, self.labels, rng.integers(0, 3, n), strict=True
        ):
            for t in range(steps):
                at = first + (t if label % 2 == 0 else steps - 1 - t)
                if label < 2:
                    sample[t, :, :, at] = 1
                else:
                    sample[t, :, at] = 1

    @property
    def shape(self):
        return tuple(self.frames.shape[1:])

    def __getitems__(self, indices):
        return [(self.frames[i], int(self.labels[i])) for i in indices]
