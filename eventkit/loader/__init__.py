"""Where the two halves meet: a store as a torch Dataset, and its batches."""

from eventkit.errors import MissingExtra

try:
    from eventkit.loader.batches import Loader, loader
    from eventkit.loader.chains import Chains
    from eventkit.loader.collating import Samples, TimeFirst, collate
    from eventkit.loader.dataset import EventDataset
    from eventkit.loader.sampler import ResumableSampler
    from eventkit.loader.sequences import Sequences, Window
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise MissingExtra("eventkit.loader needs torch", "torch") from None

__all__ = [
    "Chains",
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
