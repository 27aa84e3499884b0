"""Where the two halves meet: a store as a torch Dataset, and its batches."""

from eventkit.loader.dataset import EventDataset, Samples, TimeFirst, collate

__all__ = ["EventDataset", "Samples", "TimeFirst", "collate"]
