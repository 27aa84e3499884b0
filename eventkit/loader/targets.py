"""Targets of samples as training has them: moved as the samples are, and made tensors."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from eventkit import representations
from eventkit.augment import Augment, Draw
from eventkit.errors import OptionError
from eventkit.loader.reading import Reader, Transforms
from eventkit.store import Split
from eventkit.targets import Placed, Size


class TargetReader:
    """The targets of a split, moved by the transforms and by what an augmentation drew.

    `reader` reads the events, of a store of events; `size` is that of its frames, after all that.
    """

    def __init__(
        self,
        split: Split,
        transform: Transforms,
        augment: Augment,
        reader: Reader | None,
        size: Size,
    ) -> None:
        self._stored = split.targets
        if not self._stored.kinds:
            raise OptionError(
                f"{split.store.path} holds no targets of {split.name}; the description of the "
                "dataset says where they are ([targets.boxes]), then convert again"
            )
        self._split, self._transform, self._augment = split, transform, augment
        self._reader, self._size = reader, size
        before = split.size if reader is None else reader.final
        self._scale = 1.0 if reader is None else size[0] / before[0]
        if self._scale != 1 and augment.in_space:
            raise OptionError(
                f"targets cannot follow {', '.join(augment.specs)} on frames that are smaller than "
                "the sensor; transform the events instead (resize, downsample)"
            )
        _ = self._stored.rows(self._stored.kinds[0], slice(0))  # now, for all workers

    def placed(self, index: int, draw: Draw | None) -> Placed:
        """The targets of a sample in the pixels of its frames, in order of time."""
        rows, start = self._stored[index], int(self._stored.t0[index])
        if self._reader is None:
            placed = Placed(rows, self._size, start)
            times = None
        else:
            placed = Placed(rows, self._split.size, start)
            placed = self._transform.move(placed, lambda: self._reader_events(index))
            whole = None
            if draw is not None and self._augment.on_events:
                whole = self._reader.whole(index)
            times = (whole.t0, whole.t1) if whole is not None and whole.n else None
        if draw is not None:
            placed = self._augmented(placed, draw, times)
        if self._scale != 1:
            scale = self._scale
            placed = placed.moved(self._size, lambda xy: xy * scale)
        return placed

    def __call__(self, index: int, draw: Draw | None) -> dict[str, Any]:
        """A dictionary for a sample: see `EventDataset`."""
        return self._made(self.placed(index, draw))

    def by_frame(
        self, index: int, draw: Draw | None, frame_at: Callable[[np.ndarray], np.ndarray]
    ) -> dict[int, dict[str, Any]]:
        """A dictionary for each frame of a sample that has targets."""
        placed = self.placed(index, draw)
        first = {kind: frame_at(rows["t"]) for kind, rows in placed.rows.items()}
        last = dict(first)
        if "intervals" in last:
            last["intervals"] = frame_at(placed.rows["intervals"]["stop"] - 1)
        frames = {
            frame
            for kind in first
            for a, b in zip(first[kind].tolist(), last[kind].tolist(), strict=True)
            for frame in range(a, b + 1)
        }
        made = {}
        for frame in sorted(frames):
            rows = {
                kind: found[(first[kind] <= frame) & (last[kind] >= frame)]
                for kind, found in placed.rows.items()
            }
            made[frame] = self._made(replace(placed, rows=rows))
        return made

    def _made(self, placed: Placed) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for kind, rows in placed.rows.items():
            found |= _MADE[kind](rows, placed, self._stored.names(kind))
        return found

    def _reader_events(self, index: int) -> Any:
        assert self._reader is not None
        return self._reader.stored_events(index)

    def _augmented(self, placed: Placed, draw: Draw, times: tuple[int, int] | None) -> Placed:
        moved = {}
        for kind, rows in placed.rows.items():
            move = getattr(self._augment, kind if kind in ("boxes", "points") else "intervals")
            found = move(rows, draw, size=placed.size, times=times)
            moved[kind] = found[np.argsort(found["t"], kind="stable")]
        return replace(placed, rows=moved, size=self._augment.size(placed.size))


def frame_at(spec: str, n: int, first: int, last: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function of times that gives the frames which they are in.

    Of a sample of `n` frames by a spec, whose events are at `first` to `last`. OptionError where
    the times of frames are not known.
    """
    if n == 1:
        return lambda t: np.zeros(len(t), np.int64)
    _, options = representations.parse(spec)
    if options.get("duration") is not None and options.get("stride") is None:
        duration = int(options["duration"])
        return lambda t: ((t - first) // duration).clip(0, n - 1)
    if options.get("by") == "time":
        return lambda t: ((t - first) * n // (last - first + 1)).clip(0, n - 1)
    raise OptionError(
        f"{spec} does not say at which times its frames are, so targets cannot be put there; "
        "use frames of a duration, or by=time"
    )


def _boxes(rows: np.ndarray, placed: Placed, names: list[str]) -> dict[str, Any]:
    x, y, w, h = (rows[name] for name in "xywh")
    corners = torch.from_numpy(np.stack([x, y, x + w, y + h], -1).astype(np.float32))
    width, height = placed.size
    return {
        "boxes": _bounding(corners, (height, width)),
        "labels": _whole(rows["class"]),
        "t": _whole(rows["t"] - placed.start),
        "tracks": _whole(rows["track"]),
    }


def _points(rows: np.ndarray, placed: Placed, names: list[str]) -> dict[str, Any]:
    places = np.stack([rows["x"], rows["y"]], -1).astype(np.float32)
    return {
        "points": torch.from_numpy(places),
        "point_labels": _whole(rows["class"]),
        "point_t": _whole(rows["t"] - placed.start),
    }


def _intervals(rows: np.ndarray, placed: Placed, names: list[str]) -> dict[str, Any]:
    ends = np.stack([rows["t"], rows["stop"]], -1) - placed.start
    return {"intervals": _whole(ends), "interval_labels": _whole(rows["class"])}


def _text(rows: np.ndarray, placed: Placed, names: list[str]) -> dict[str, Any]:
    texts = [names[number] for number in rows["text"].tolist()]
    return {"text": texts, "text_t": _whole(rows["t"] - placed.start)}


_MADE = {"boxes": _boxes, "points": _points, "intervals": _intervals, "text": _text}


def _whole(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64))


def _bounding(corners: torch.Tensor, canvas: tuple[int, int]) -> torch.Tensor:
    """Boxes XYXY as torchvision has them, where it is installed."""
    try:
        from torchvision.tv_tensors import BoundingBoxes
    except ImportError:
        return corners
    boxes: torch.Tensor = BoundingBoxes(corners, format="XYXY", canvas_size=canvas)
    return boxes
