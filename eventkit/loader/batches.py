"""Batches made ahead of time by threads of this process, in memory that is used again."""

import itertools
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch.utils.data import Subset

from eventkit._platform import cpus
from eventkit.errors import OptionError
from eventkit.loader.dataset import EventDataset
from eventkit.loader.mixer import Mixer
from eventkit.loader.ring import Ring, Slot
from eventkit.loader.sampler import ResumableSampler
from eventkit.loader.ships import EventShip, ObjectShip, moved, usable

T = TypeVar("T")


class Waiting(Protocol):
    """A batch in work."""

    @property
    def futures(self) -> list[Future[Any]]: ...


P = TypeVar("P", bound=Waiting)


def loader(
    dataset: "EventDataset | Subset[Any]",
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    drop_last: bool = False,
    indices: Sequence[int] | np.ndarray | None = None,
    bucket: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    batches_ahead: int = 3,
    threads: int | None = None,
    device: str | torch.device | None = None,
    lengths: bool | None = None,
    send: Literal["frames", "events"] = "frames",
    mix: Sequence[str] = (),
) -> "Loader":
    """Batches of a dataset, read by threads of this process: for training, without workers.

    Each iteration is an epoch of (frames, labels), with lengths (N,) as third where samples differ
    in their number of frames (shorter ones end in zeros), and the list of targets of a dataset with
    targets=True after that: what `collate` gives. The order is that
    of `ResumableSampler(seed=seed, ...)`: the same whatever the number of threads, and
    `state_dict` and `load_state_dict` go on from any batch, in a run of another size too. `indices`
    are the samples to use, all by default; `bucket` keeps so many of similar length together.

    Of `world_size` processes, each gives every world_size-th sample of the common batches of
    world_size·batch_size. If samples are left over and `drop_last` is False, the last batch is
    filled up with repetitions, and every batch ends with a mask, bool (N,), of those that count.

    A batch is yours for as long as you hold it: its memory is used again when the last tensor that
    views it is gone. About `batches_ahead` + 2 batches are in memory. With a CUDA `device` they
    are pinned, copied in the type that is stored, and cast there. The threads (default: one per
    core) end with the iteration, by `break` or error too. An error while reading, such as
    StoreDamaged, is raised where its batch would come.

    With send="events", of a store of events, the events are sent and represented on the device:
    frames, voxel, time_surface and stacked_histogram, equal to those made here. `lengths=True` pads
    tensors that a function made (`represent=`). `mix` are augmentations of batches, as
    ["mixup", "cutmix:alpha=1"], one of which is drawn for each; labels are then float32
    (N, classes), shares that add up to 1.

    >>> for frames, labels in loader(dataset, 32, shuffle=True):                # doctest: +SKIP
    ...     train(frames, labels)
    """
    subset: Any = dataset
    while isinstance(subset, Subset):
        chosen = np.asarray(subset.indices, np.int64)
        indices = chosen if indices is None else chosen[np.asarray(indices, np.int64)]
        subset = subset.dataset
    dataset = subset
    if not isinstance(dataset, EventDataset):
        raise OptionError(f"loader needs an EventDataset, found {type(dataset).__name__}")
    numbers = dataset.chosen(indices)
    plan = dataset.plan
    if indices is not None:
        plan += f" {zlib.crc32(numbers.tobytes()):08x}"
    sampler = ResumableSampler(
        len(numbers),
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        drop_last=drop_last,
        rank=rank,
        world_size=world_size,
        lengths=dataset.lengths[numbers],
        bucket=bucket,
        plan=plan,
    )
    return Loader(
        dataset, sampler, numbers, batches_ahead, threads, device,
        lengths=lengths, send=send, mix=mix,
    )  # fmt: skip


class Loader:
    """What `loader` returns: iterate over it once an epoch."""

    def __init__(
        self,
        dataset: EventDataset,
        sampler: ResumableSampler,
        indices: np.ndarray,
        batches_ahead: int = 3,
        threads: int | None = None,
        device: str | torch.device | None = None,
        *,
        lengths: bool | None = None,
        send: Literal["frames", "events"] = "frames",
        mix: Sequence[str] = (),
    ) -> None:
        self.dataset, self.sampler, self.indices = dataset, sampler, indices
        self.threads, self.batches_ahead = check_threads(threads, batches_ahead)
        self._ship: Any  # one of three that start and end a batch alike
        if send not in ("frames", "events"):
            raise OptionError(f"send is {send!r}, expected 'frames' or 'events'")
        if send == "events":
            self._ship = EventShip(dataset, device)
        elif dataset.objects is not None:
            self._ship = ObjectShip(dataset, device, lengths)
        else:
            self._ship = Ship(dataset, self.batches_ahead, device)
        if mix and dataset.targets is not None:
            raise OptionError(
                f"mix={list(mix)} mixes labels, but not targets; leave one of them out"
            )
        self._mix = Mixer(mix, dataset, sampler.seed) if mix else None

    @property
    def batch_size(self) -> int:
        """Samples in a batch of this process."""
        return self.sampler.batch_size or 1

    @property
    def epoch(self) -> int:
        """The epoch that is, or was last, iterated over."""
        return self.sampler.epoch

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be this epoch, from its start or where a state was loaded."""
        self.sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands, after all batches handed out so far: a few numbers, for JSON."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state in the next iteration, exactly; OptionError if it is of other data."""
        self.sampler.load_state_dict(state)

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        groups, real = self.sampler.begin()
        epoch = self.sampler.epoch
        masked = self.sampler.world_size > 1 and not self.sampler.drop_last

        def start(pool: ThreadPoolExecutor, numbers: np.ndarray) -> Any:
            wanted = self.indices[numbers]
            longest = int(self.dataset.lengths[wanted].max())
            return self._ship.start(pool, self.threads, wanted, longest, epoch)

        made = ahead(groups, start, threads=self.threads, batches_ahead=self.batches_ahead)
        for (pending, numbers), n in zip(made, real, strict=True):
            wanted = self.indices[numbers]
            data, lengths = self._ship.batch(pending, wanted)
            del pending
            target = self._ship.moved(self.dataset.labels_of(wanted))
            if self._mix is not None:
                data, lengths, target = self._mix(data, lengths, target, epoch, wanted)
            batch = [data, target]
            if lengths is not None:
                batch.append(lengths)
            if self.dataset.targets is not None:
                found = [self.dataset.targets_of(index, epoch) for index in wanted.tolist()]
                batch.append(self._ship.moved(found))
            if masked:
                batch.append(self._ship.moved(torch.from_numpy(np.arange(len(numbers)) < n)))
            self.sampler.advance()
            yield tuple(batch)

    def __repr__(self) -> str:
        """The dataset, how its batches are made, and how many there are."""
        s = self.sampler
        order = f"shuffled with seed {s.seed}" if s.shuffle else "in order"
        where = "" if self._ship.device is None else f", on {self._ship.device}"
        return (
            f"Loader({self.dataset!r}: {len(self):,} batches of {self.batch_size}, {order}, "
            f"{self.threads} threads{where})"
        )


class Pending(NamedTuple):
    """A batch in work: its frames are filled in, or it is what the futures return."""

    futures: list[Future[Any]]
    slot: Slot
    frames: torch.Tensor


class Ship:
    """Brings samples of a dataset into memory of batches, and batches to the device."""

    def __init__(
        self, dataset: EventDataset, batches_ahead: int, device: str | torch.device | None
    ) -> None:
        self.dataset = dataset
        self.device = None if device is None else usable(device)
        self.on_gpu = self.device is not None and self.device.type == "cuda"
        self._ring = Ring(batches_ahead + 2, self.on_gpu)

    def start(
        self,
        pool: ThreadPoolExecutor,
        threads: int,
        samples: np.ndarray,
        length: int,
        epoch: int,
        first: np.ndarray | None = None,
        keys: np.ndarray | None = None,
    ) -> Pending:
        """Begin to read `length` frames of samples, from their frames `first` or 0, as a batch.

        They are augmented as the samples `keys`, by default as themselves.
        """
        dataset, n = self.dataset, len(samples)
        dtype = dataset.stored_dtype if self.on_gpu else dataset.batch_dtype
        sides = (length, n) if dataset.time_first else (n, length)
        shape = (*sides, *dataset.shape[1:])
        slot = self._ring.take(int(np.prod(shape)) * dtype.itemsize)
        frames = slot.tensor(shape, dtype)
        rows = frames.transpose(0, 1) if dataset.time_first else frames
        # One task per thread: a batch is done as early as it can be, at little cost per sample.
        cuts = np.linspace(0, n, min(threads, n) + 1).astype(int).tolist()
        numbers = samples.tolist()
        starts, drawn = (None if part is None else part.tolist() for part in (first, keys))
        futures = [
            pool.submit(
                dataset.fill,
                numbers[a:b],
                rows[a:b],
                epoch,
                starts and starts[a:b],
                drawn and drawn[a:b],
            )
            for a, b in itertools.pairwise(cuts)
        ]
        return Pending(futures, slot, frames)

    def batch(
        self, pending: Pending, samples: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The frames of a batch, and their lengths where samples differ in them."""
        frames, lengths = self.finish(pending), None
        if self.dataset.ragged:
            lengths = self.moved(torch.from_numpy(self.dataset.lengths[samples]))
        return frames, lengths

    def finish(self, pending: Pending) -> torch.Tensor:
        """The frames of a batch that was read, on the device and in the dataset's type."""
        if self.device is None:
            return pending.frames
        frames: torch.Tensor = self.moved(pending.frames)
        if self.on_gpu:
            pending.slot.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            pending.slot.copied.record(torch.cuda.current_stream(self.device))
        return frames.to(self.dataset.batch_dtype)

    def moved(self, part: Any) -> Any:
        """A tensor on the device; from pinned memory while the program goes on."""
        return moved(part, self.device)


def ahead(
    items: Iterable[T],
    start: Callable[[ThreadPoolExecutor, T], P],
    *,
    threads: int,
    batches_ahead: int,
) -> Iterator[tuple[P, T]]:
    """What `start` makes of each item, done, while the next ones are in work.

    The threads live as long as the iteration. A process forked meanwhile leaves them alone.
    """
    process = os.getpid()
    pool = ThreadPoolExecutor(threads, "eventkit-loader")
    waiting: deque[tuple[P, T]] = deque()

    def done() -> tuple[P, T]:
        for future in waiting[0][0].futures:
            future.result()
        return waiting.popleft()

    try:
        for item in items:
            waiting.append((start(pool, item), item))
            if len(waiting) > batches_ahead:
                yield done()
        while waiting:
            yield done()
    finally:
        if os.getpid() == process:
            pool.shutdown(wait=True, cancel_futures=True)


def check_threads(threads: int | None, batches_ahead: int) -> tuple[int, int]:
    """The number of threads, one per core unless given, and batches ahead; OptionError if wrong."""
    threads = min(cpus(), 32) if threads is None else threads
    if threads < 1 or batches_ahead < 0:
        raise OptionError(
            f"threads is {threads}, batches_ahead {batches_ahead}, expected at least 1 and 0"
        )
    return threads, batches_ahead
