"""Long recordings as parallel lanes of consecutive windows: for truncated backpropagation in time.

A lane walks through one recording after the other, a window of frames at a time; a batch is one
window of every lane. Every frame of every recording comes once in an epoch. The idea is that of
Prophesee's SequentialDataLoader; what a network keeps from one window to the next is up to it.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from eventkit.errors import OptionError
from eventkit.loader.batches import Pending, Ship, ahead, check_threads
from eventkit.loader.dataset import EventDataset
from eventkit.loader.sampler import Position, permutation

PLACELESS = (int, float, str, bytes, np.number, np.bool_, type(None))  # targets without a place


class Window(NamedTuple):
    """Some consecutive frames of each lane, N lanes and L frames.

    frames         (N, L, C, H, W), or (L, N, C, H, W) if the dataset is `time_first`
    labels         int64 (N,), the recording's label; -1 in a lane that has none left
    keep_state     bool (N,): the window goes on where the one before ended; where it is False, a
                   new recording begins and the network's state must start from rest
                   (`eventkit.snn.carry_over`)
    is_frame       bool (N, L): the frame is one of the recording; others are zeros at its end
    is_labeled     bool (N, L): something is known of the frame: `targets` has it, or without
                   targets, it is the last one of its recording
    samples        int64 (N,), numbers of the recordings, -1 for none
    first          int64 (N,), numbers of their first frames here
    targets        those of the labeled frames, lane by lane, in order of time
    """

    frames: torch.Tensor
    labels: torch.Tensor
    keep_state: torch.Tensor
    is_frame: torch.Tensor
    is_labeled: torch.Tensor
    samples: torch.Tensor
    first: torch.Tensor
    targets: list[Any]


class Sequences(Position):
    """Windows of `length` frames of the recordings of a dataset, `lanes` of them side by side.

    Each iteration is an epoch. The order of recordings (`shuffle`) is that of `ResumableSampler`;
    a lane that is done takes the next one. `targets` maps numbers of recordings to {frame: target},
    what is known at some of their frames, as boxes; by default, it is what the dataset gives with
    targets=True, at the frames that the times are in. by="recording" joins samples of one frame
    that are windows of one recording, as the store of a conversion into windows has them.

    `state_dict` and `load_state_dict` go on from any window (the state of the network is to be
    saved along). Of `world_size` processes each has `lanes` of the lanes; another number of them
    goes on if all lanes together are as many.

    Geometric augmentations are drawn once per recording and epoch, so that all its windows change
    alike, and targets that are boxes (structured arrays with x, y, w, h) with them; those of events
    or of the number of frames do not fit here. Memory, threads and `device`
    are as in `loader`.

    >>> data = EventDataset("long.zarr", represent="frames:duration=50000")      # doctest: +SKIP
    >>> states = None
    >>> for w in Sequences(data, lanes=8, length=20, shuffle=True):               # doctest: +SKIP
    ...     if states is not None:  # cut the gradient; recordings that begin here start from rest
    ...         states = snn.carry_over(net, states, w.keep_state)
    ...     votes, states = snn.run(net, w.frames.transpose(0, 1), states)        # (L, N, classes)
    ...     scores = votes.transpose(0, 1)[w.is_labeled]
    ...     loss = cross_entropy(scores, torch.tensor(w.targets))
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    """

    def __init__(
        self,
        dataset: EventDataset,
        *,
        lanes: int,
        length: int,
        shuffle: bool = False,
        seed: int = 0,
        targets: Mapping[int, Mapping[int, Any]] | None = None,
        by: Literal["sample", "recording"] = "sample",
        indices: Sequence[int] | np.ndarray | None = None,
        rank: int = 0,
        world_size: int = 1,
        batches_ahead: int = 3,
        threads: int | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        if lanes < 1 or length < 1 or not 0 <= rank < world_size:
            raise OptionError(
                f"lanes={lanes}, length={length}, rank={rank}, world_size={world_size}: expected "
                "at least 1, and rank below world_size"
            )
        dataset.expect_frames()
        if dataset.augment.on_events or dataset.augment.length(1 << 20) != 1 << 20:
            raise OptionError(
                f"{', '.join(dataset.augment.specs)}: windows of a recording take only "
                "augmentations of frames that keep their number"
            )
        self.dataset, self.lanes, self.length, self.shuffle = dataset, lanes, length, shuffle
        self.rank, self.world_size, self.targets = rank, world_size, targets
        if by not in ("sample", "recording"):
            raise OptionError(f"by is {by!r}, expected 'sample' or 'recording'")
        self.by = by
        self.indices, self._lengths = self._recordings(dataset.chosen(indices))
        self._at_frames: dict[int, tuple[int, dict[int, Any]]] = {}
        self.threads, self.batches_ahead = check_threads(threads, batches_ahead)
        self._ship = Ship(dataset, self.batches_ahead, device)
        known = np.concatenate([self.indices, self._lengths[self.indices]])
        identity = {
            "lanes": lanes * world_size,
            "length": length,
            "shuffle": shuffle,
            **({} if by == "sample" else {"by": by}),
            "plan": f"{dataset.plan} {zlib.crc32(known.tobytes()):08x}",
        }
        super().__init__(seed, int(self._lengths[self.indices].sum()), identity)

    def _recordings(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The number by which each recording goes, its first sample's, and the frames of each."""
        if self.by == "sample":
            return samples, self.dataset.lengths
        if (self.dataset.lengths[samples] != 1).any():
            raise OptionError(
                'by="recording" joins samples of a single frame; these have '
                f"{int(self.dataset.lengths[samples].max(initial=0))}"
            )
        source = self.dataset.split.column("source")[samples]
        follows = (np.diff(samples) == 1) & (np.diff(source) == 0)
        begins = np.concatenate([[True], ~follows])[: len(samples)]
        first = samples[begins]
        lengths = np.zeros(len(self.dataset), np.int64)
        lengths[first] = np.diff(np.append(np.flatnonzero(begins), len(samples)))
        return first, lengths

    def plan(self) -> tuple[np.ndarray, np.ndarray]:
        """Recordings and first frames of all windows of this epoch: int64 (windows, all lanes).

        A recording of -1 says that the lane has none left.
        """
        n = len(self.indices)
        order = permutation(n, self.seed, self.epoch) if self.shuffle else np.arange(n)
        recordings = self.indices[order]
        return lay_out(recordings, self._lengths[recordings], *self._grid)

    @property
    def _grid(self) -> tuple[int, int]:
        return self.lanes * self.world_size, self.length

    def __len__(self) -> int:
        """Windows in this epoch; with `shuffle`, epochs may differ by a few."""
        return len(self.plan()[0])

    def __iter__(self) -> Iterator[Window]:
        self.begin_at(self.consumed < len(self.plan()[0]))
        samples, first = self.plan()
        mine = slice(self.rank, None, self.world_size)
        steps = list(zip(samples[self.consumed :, mine], first[self.consumed :, mine], strict=True))
        epoch = self.epoch

        def start(pool: ThreadPoolExecutor, step: tuple[np.ndarray, np.ndarray]) -> Pending:
            if self.by == "recording":
                return self._joined(pool, step, epoch)
            return self._ship.start(pool, self.threads, step[0], self.length, epoch, step[1])

        made = ahead(steps, start, threads=self.threads, batches_ahead=self.batches_ahead)
        for pending, step in made:
            frames: torch.Tensor = self._ship.finish(pending)
            if self.by == "recording":
                sides = (self.lanes, self.length)
                sides = sides[::-1] if self.dataset.time_first else sides
                frames = frames.reshape(*sides, *frames.shape[2:])
            del pending
            self.consumed += 1
            yield self._window(frames, *step, epoch)

    def _joined(
        self, pool: ThreadPoolExecutor, step: tuple[np.ndarray, np.ndarray], epoch: int
    ) -> Pending:
        """Begin to read a window of each lane as samples of one frame."""
        recordings, first = (part[:, None] for part in step)
        numbers = first + np.arange(self.length)
        there = (recordings >= 0) & (numbers < self._lengths[recordings])
        samples = np.where(there, recordings + numbers, -1)
        keys = np.where(there, recordings, 0)
        if self.dataset.time_first:
            samples, keys = samples.T, keys.T
        flat = samples.reshape(-1), keys.reshape(-1)
        return self._ship.start(pool, self.threads, flat[0], 1, epoch, None, flat[1])

    def _known(self, recording: int, frame: int, epoch: int) -> Any:
        """The targets at a frame of a recording; None if there are none."""
        if self.targets is not None:
            known = self.targets.get(recording, {})
            return self._placed(recording, known[frame], epoch) if frame in known else None
        if self.by == "recording":
            found = self.dataset.targets_by_frame(recording + frame, epoch, key=recording)
            return found.get(0)
        if self._at_frames.get(recording, (None,))[0] != epoch:
            self._at_frames[recording] = epoch, self.dataset.targets_by_frame(recording, epoch)
        return self._at_frames[recording][1].get(frame)

    def _placed(self, sample: int, target: Any, epoch: int) -> Any:
        """A target where the augmentations of this epoch put what it is about."""
        if not self.dataset.augment.in_space or isinstance(target, PLACELESS):
            return target
        names = getattr(getattr(target, "dtype", None), "names", None) or ()
        if not {"x", "y", "w", "h"} <= set(names):
            raise OptionError(
                f"a target of recording {sample} is {type(target).__name__}, which "
                f"{', '.join(self.dataset.augment.specs)} cannot move: use numbers, text or boxes "
                "(a structured array with x, y, w and h), or leave the augmentations out"
            )
        return self.dataset.boxes(sample, target, epoch)

    def _window(
        self, frames: torch.Tensor, samples: np.ndarray, first: np.ndarray, epoch: int
    ) -> Window:
        lengths = np.where(samples >= 0, self._lengths[samples], 0)
        numbers = first[:, None] + np.arange(self.length)
        is_frame = numbers < lengths[:, None]
        targets: list[Any] = []
        plain = self.targets is None and self.dataset.targets is None
        if plain:
            is_labeled = numbers == lengths[:, None] - 1
            is_labeled &= is_frame
        else:
            is_labeled = np.zeros_like(is_frame)
            for lane, sample in enumerate(samples.tolist()):
                for k in np.flatnonzero(is_frame[lane]).tolist():
                    known = self._known(sample, int(numbers[lane, k]), epoch)
                    if known is not None:
                        is_labeled[lane, k] = True
                        targets.append(known)
            here = set(samples.tolist())
            self._at_frames = {s: kept for s, kept in self._at_frames.items() if s in here}
        labels = np.where(samples >= 0, self.dataset.labels[samples], -1)
        if plain:
            targets = labels[np.nonzero(is_labeled)[0]].tolist()
        keep_state = (first > 0) & (samples >= 0)

        def moved(column: np.ndarray) -> torch.Tensor:
            there: torch.Tensor = self._ship.moved(torch.from_numpy(np.ascontiguousarray(column)))
            return there

        return Window(
            frames=frames,
            labels=moved(labels),
            keep_state=moved(keep_state),
            is_frame=moved(is_frame),
            is_labeled=moved(is_labeled),
            samples=moved(samples),
            first=moved(first),
            targets=targets,
        )


def lay_out(
    recordings: np.ndarray, lengths: np.ndarray, lanes: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Recordings in windows of `length` frames, and those in lanes: int64 (windows, lanes) twice.

    The next recording goes to the lane that is free first, the leftmost of them. What is left of a
    lane after its last recording is -1.
    """
    windows = -(-lengths // length)
    ends = np.zeros(lanes, np.int64)
    begins, lane_of = [], []
    for n in windows.tolist():
        lane = int(ends.argmin())
        begins.append(int(ends[lane]))
        lane_of.append(lane)
        ends[lane] += n
    samples = np.full((int(ends.max(initial=0)), lanes), -1, np.int64)
    first = np.zeros_like(samples)
    for recording, n, begin, lane in zip(
        recordings.tolist(), windows.tolist(), begins, lane_of, strict=True
    ):
        samples[begin : begin + n, lane] = recording
        first[begin : begin + n, lane] = np.arange(n) * length
    return samples, first
