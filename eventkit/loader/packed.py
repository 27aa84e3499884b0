"""Representations of a batch of raw events as torch operations, on the CPU or a GPU.

They give the values of the compiled kernels in `eventkit.representations`. Sending events instead
of frames to a GPU moves fewer bytes where frames are sparse, and leaves the counting to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch

from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.representations import MAX_BYTES, Representation, Whole, parse


@dataclass(frozen=True)
class PackedEvents:
    """The events of several samples one after the other, all of one sensor size, as tensors.

    t int64 µs since the first event of its sample (so that no precision is needed for the clock),
    x, y and p int32, sample int64: the number of each event's sample. `counts` and `spans` (N,)
    are the number of events of each sample and its last time, µs after the first.
    """

    t: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    p: torch.Tensor
    sample: torch.Tensor
    counts: torch.Tensor
    spans: torch.Tensor
    size: tuple[int, int]

    @classmethod
    def of(cls, samples: Sequence[Events], wholes: Sequence[Whole] | None = None) -> Self:
        """Pack samples, empty ones too; OptionError if there are none or they differ in size.

        `wholes` are the first and last times of the samples, if not those of their events.
        """
        sizes = {events.size for events in samples}
        if len(sizes) != 1:
            raise OptionError(f"a batch needs samples of one sensor size, found {sorted(sizes)}")
        if wholes is None:
            wholes = [Whole.of(events) for events in samples]
        times = [events.t - whole.t0 for events, whole in zip(samples, wholes, strict=True)]
        counts = torch.tensor([whole.n for whole in wholes])
        x, y, p = (
            torch.from_numpy(np.concatenate([getattr(e, name) for e in samples]).astype(np.int32))
            for name in "xyp"
        )
        return cls(
            torch.from_numpy(np.concatenate(times)),
            x,
            y,
            (p != 0).int(),
            torch.repeat_interleave(counts),
            counts,
            torch.tensor([whole.t1 - whole.t0 for whole in wholes]),
            sizes.pop(),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "PackedEvents":
        """The same events on another device."""
        names = ("t", "x", "y", "p", "sample", "counts", "spans")
        moved = {name: getattr(self, name).to(device, non_blocking=non_blocking) for name in names}
        return PackedEvents(**moved, size=self.size)

    def pinned(self) -> "PackedEvents":
        """The same events in pinned memory, from which a GPU copies while the program goes on."""
        names = ("t", "x", "y", "p", "sample", "counts", "spans")
        pinned = {name: getattr(self, name).pin_memory() for name in names}
        return PackedEvents(**pinned, size=self.size)

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.counts)


def represent_packed(packed: PackedEvents, spec: str) -> torch.Tensor:
    """The representation of every sample: (N, T, C, H, W), zero where a sample has fewer frames.

    `spec` names frames, voxel, time_surface or stacked_histogram with the options that hold for
    batches (not `like`, not `count`). The type is int32 for counts, float32 otherwise, and the
    values are those of `eventkit.represent`. Events outside the sensor are refused, unless
    bounds=drop leaves them out.
    """
    entry, options = check_packed(spec)
    spans = packed.spans.tolist()
    shapes = [
        entry.shape(Whole(n, 0, span, True), packed.size, **options)
        for n, span in zip(packed.counts.tolist(), spans, strict=True)
    ]
    length, (channels, height, width) = max(shape[0] for shape in shapes), shapes[0][1:]
    n_bytes = 4 * len(packed) * length * channels * height * width
    if n_bytes > 4 * MAX_BYTES:
        raise OptionError(f"{entry.name} of this batch would have {n_bytes / 1e9:,.1f} GB")
    lengths = torch.tensor([shape[0] for shape in shapes], device=packed.t.device)
    inside = (packed.x < packed.size[0]) & (packed.y < packed.size[1])
    if options.get("bounds") == "raise" and not bool(inside.all()):
        outside = int((~inside).sum())
        raise OptionError(
            f"{outside:,} events of the batch lie outside the sensor of "
            f"{packed.size[0]}x{packed.size[1]}; leave them out with bounds='drop'"
        )
    if not (packed.counts > 0).any():
        kind = torch.int32 if np.issubdtype(entry.dtype_of(options), np.integer) else torch.float32
        shape = (len(packed), length, channels, height, width)
        return torch.zeros(shape, dtype=kind, device=packed.t.device)
    batch = _Batch(packed, inside, lengths, (len(packed), length, channels, height, width))
    return _TWINS[entry.name](batch, **options)


def check_packed(spec: str) -> tuple[Representation, dict[str, Any]]:
    """The representation that a spec names, with its options; OptionError if it has no twin."""
    entry, options = parse(spec)
    if entry.name not in _TWINS:
        known = ", ".join(_TWINS)
        raise OptionError(f"{entry.name} cannot be made from a batch of events; use {known}")
    for key in ("like", "count", "stride"):
        if options.get(key) is not None:
            raise OptionError(f"{entry.name}: {key} is not available for batches of events")
    if options.get("downsample", 1) != 1:
        raise OptionError(f"{entry.name}: downsample is not available for batches of events")
    return entry, options


@dataclass(frozen=True)
class _Batch:
    """What every twin needs: the events, which of them count, and the shape of the result."""

    events: PackedEvents
    inside: torch.Tensor
    lengths: torch.Tensor
    shape: tuple[int, int, int, int, int]

    def slices(self, n: int | None, duration: int | None) -> torch.Tensor:
        """The slice of time that holds each event: int64, as in `representations`."""
        events = self.events
        if duration is not None:
            return events.t // duration
        return events.t * (n or 1) // (events.spans[events.sample] + 1)

    def cells(self, k: torch.Tensor, channel: torch.Tensor | int) -> torch.Tensor:
        """The index of each event's cell in the flat result."""
        _, length, channels, height, width = self.shape
        frame = (self.events.sample * length + k) * channels + channel
        return (frame * height + self.events.y) * width + self.events.x

    def sum(self, cells: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Add values to their cells."""
        flat = torch.zeros(int(np.prod(self.shape)), dtype=values.dtype, device=values.device)
        return flat.index_add_(0, cells[self.inside], values[self.inside]).view(self.shape)


def _frames(
    batch: _Batch,
    *,
    n: int | None,
    by: str,
    duration: int | None,
    value: str,
    polarity: str,
    **options: Any,
) -> torch.Tensor:
    events = batch.events
    if by == "number" and duration is None:
        starts = torch.cumsum(events.counts, 0) - events.counts
        number = torch.arange(len(events.t), device=events.t.device) - starts[events.sample]
        k = number * (16 if n is None else n) // events.counts[events.sample]
    else:
        k = batch.slices(16 if n is None else n, duration)
    weights = 2 * events.p - 1 if value == "signed" else torch.ones_like(events.p)
    if polarity in ("on", "off"):
        weights = weights * (events.p == int(polarity == "on"))
    channel = events.p if polarity == "split" else 0
    counts = batch.sum(batch.cells(k, channel), weights)
    if value == "binary":
        return (counts > 0).int()
    limit = 32_767 if value == "signed" else 65_535
    if bool((counts.abs() > limit).any()):
        raise OptionError(f"frames: more than {limit:,} events in a pixel of a frame")
    return counts


def _voxel(
    batch: _Batch, *, bins: int, polarity: str, normalize: str, **options: Any
) -> torch.Tensor:
    if normalize != "none":
        raise OptionError("voxel: normalize is not available for batches of events")
    events = batch.events
    scale = (bins - 1) / events.spans.clamp(min=1).double()
    # Rounded to steps of 2^-24, as in the kernel.
    at = (events.t.double() * scale[events.sample] + 268435456.0) - 268435456.0
    at = at.clamp(0, bins - 1)
    left = at.long().clamp(max=max(bins - 2, 0))
    share = (at - left).float()
    weight = torch.ones_like(share) if polarity == "split" else (2 * events.p - 1).float()
    channel = events.p if polarity == "split" else 0
    out = batch.sum(batch.cells(left, channel), weight * (1 - share))
    if bins > 1:
        right = batch.cells(left + 1, channel)[batch.inside]
        out.view(-1).index_add_(0, right, (weight * share)[batch.inside])
    return out


def _time_surface(
    batch: _Batch,
    *,
    tau: int,
    n: int | None,
    duration: int | None,
    decay: str,
    polarity: str,
    **options: Any,
) -> torch.Tensor:
    events, (_, length, *_) = batch.events, batch.shape
    k = batch.slices(n, duration)
    cells = batch.cells(k, events.p if polarity == "split" else 0)[batch.inside]
    last = torch.full((int(np.prod(batch.shape)),), -1, dtype=torch.int64, device=events.t.device)
    last = last.scatter_reduce(0, cells, events.t[batch.inside], "amax").view(batch.shape)
    last = last.cummax(dim=1).values
    frame = torch.arange(1, length + 1, device=events.t.device)
    spans = events.spans[:, None]
    if duration is None:
        ends = -(-frame * (spans + 1) // length) - 1
    else:
        ends = torch.minimum(frame * duration - 1, spans)
    age = (ends[:, :, None, None, None] - last).double() / tau
    value = (1 - age).clamp(min=0) if decay == "linear" else torch.exp(-age)
    absent = (last < 0) | (frame[None] > batch.lengths[:, None])[:, :, None, None, None]
    return torch.where(absent, 0.0, value).float()


def _stacked_histogram(
    batch: _Batch, *, bins: int, window: int | None, cutoff: int | None, **options: Any
) -> torch.Tensor:
    events = batch.events
    if window is None:
        k, b = torch.zeros_like(events.t), batch.slices(bins, None)
    else:
        k, b = events.t // window, events.t % window * bins // window
    counts = batch.sum(batch.cells(k, events.p * bins + b), torch.ones_like(events.p))
    return counts.clamp(max=cutoff or 255)


_TWINS: dict[str, Callable[..., torch.Tensor]] = {
    "frames": _frames,
    "voxel": _voxel,
    "time_surface": _time_surface,
    "stacked_histogram": _stacked_histogram,
}
