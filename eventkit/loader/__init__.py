"""Where the two halves meet: a store as a torch Dataset, and its batches."""

from eventkit.loader.batches import Loader, loader
from eventkit.loader.dataset import EventDataset, Samples, TimeFirst, collate
from eventkit.loader.sampler import ResumableSampler

__all__ = [
    "EventDataset",
    "Loader",
    "ResumableSampler",
    "Samples",
    "TimeFirst",
    "collate",
    "loader",
]
