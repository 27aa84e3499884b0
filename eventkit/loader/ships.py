"""How batches that are not frames filled in by threads come about: objects, and events to bin."""

import itertools
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch

from eventkit.errors import OptionError
from eventkit.loader.dataset import EventDataset
from eventkit.loader.objects import gather
from eventkit.loader.packed import PackedEvents, check_packed, represent_packed
from eventkit.loader.source import FramesOfEvents


class Job(NamedTuple):
    """A batch in work: it is what the futures return."""

    futures: list[Future[Any]]


def usable(device: str | torch.device) -> torch.device:
    """The device; OptionError if torch cannot use it here."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"device {str(device)!r} cannot be used: {reason}") from None
    return found


def moved(part: Any, device: torch.device | None) -> Any:
    """Tensors on the device, also those of a list or a dict; anything else as it is."""
    if device is None:
        return part
    if isinstance(part, torch.Tensor):
        return part.to(device, non_blocking=True)
    if isinstance(part, list):
        return [moved(one, device) for one in part]
    return {key: moved(one, device) for key, one in part.items()} if type(part) is dict else part


class ObjectShip:
    """Brings samples that are no frames into batches."""

    def __init__(
        self, dataset: EventDataset, device: str | torch.device | None, lengths: bool | None
    ) -> None:
        self.dataset, self._lengths = dataset, lengths
        self.device = None if device is None else usable(device)

    def start(
        self, pool: ThreadPoolExecutor, threads: int, samples: np.ndarray, length: int, epoch: int
    ) -> Job:
        """Begin to read samples, a share of them in each thread."""
        cuts = np.linspace(0, len(samples), min(threads, len(samples)) + 1).astype(int).tolist()
        numbers = samples.tolist()
        return Job(
            [pool.submit(self._read, numbers[a:b], epoch) for a, b in itertools.pairwise(cuts)]
        )

    def _read(self, numbers: list[int], epoch: int) -> list[Any]:
        return [self.dataset.object(number, epoch) for number in numbers]

    def batch(self, job: Job, samples: np.ndarray) -> tuple[Any, torch.Tensor | None]:
        """The samples as a list, a stacked or a padded tensor; with lengths if padded."""
        made = [one for future in job.futures for one in future.result()]
        padded = self.dataset.objects is not None and self.dataset.objects.padded
        data, lengths = gather(
            made, padded=padded, lengths=self._lengths, time_first=self.dataset.time_first
        )
        return self.moved(data), self.moved(lengths)

    def moved(self, part: Any) -> Any:
        """A tensor on the device."""
        return moved(part, self.device)


class EventShip:
    """Sends the events of a batch to the device and represents them there."""

    def __init__(self, dataset: EventDataset, device: str | torch.device | None) -> None:
        self.dataset = dataset
        self.device = usable("cpu" if device is None else device)
        source = dataset.source if dataset.objects is None else None
        if not isinstance(source, FramesOfEvents):
            raise OptionError(
                "send='events' needs an events store, a representation such as 'frames:n=16', no "
                "cache and no augmentation of frames"
            )
        self._spec = str(dataset.represent)
        check_packed(self._spec)

    def start(
        self, pool: ThreadPoolExecutor, threads: int, samples: np.ndarray, length: int, epoch: int
    ) -> Job:
        """Begin to read and pack a batch, in one thread: other batches have the others."""
        return Job([pool.submit(self._pack, samples.tolist(), epoch)])

    def _pack(self, samples: list[int], epoch: int) -> PackedEvents:
        pairs = [self.dataset.events(sample, epoch) for sample in samples]
        packed = PackedEvents.of(*map(list, zip(*pairs, strict=True)))
        return packed.pinned() if self.device.type == "cuda" else packed

    def batch(self, job: Job, samples: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The frames of a batch, made on the device, and their lengths where they differ."""
        packed = job.futures[0].result().to(self.device, non_blocking=True)
        frames = represent_packed(packed, self._spec).to(self.dataset.batch_dtype)
        if self.dataset.time_first:
            frames = frames.transpose(0, 1).contiguous()
        lengths = torch.from_numpy(self.dataset.lengths[samples]) if self.dataset.ragged else None
        return frames, self.moved(lengths)

    def moved(self, part: Any) -> Any:
        """A tensor on the device."""
        return moved(part, self.device)
