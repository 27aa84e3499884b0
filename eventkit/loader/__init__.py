"""Where the two halves meet: a store as a torch Dataset, and its batches."""

from eventkit.loader.batches import Loader, loader
from eventkit.loader.dataset import EventDataset, Samples, TimeFirst, collate
from eventkit.loader.sampler import ResumableSampler
from eventkit.loader.sequences import Sequences, Window

__all__ = [
    "EventDataset",
    "Loader",
    "ResumableSampler",
    "Samples",
    "Sequences",
    "TimeFirst",
    "Window",
    "collate",
    "loader",
]
