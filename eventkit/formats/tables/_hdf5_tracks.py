"""Tracks in HDF5 files: external triggers of Metavision, images of MVSEC, and ours.

Ours are in streams/NAME/PART/FIELD: a group with the attributes kind, source, width and height, of
parts 0, 1, ... with one dataset for each field, t among them. All rows of a part have one shape.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.formats.tables._hdf5_read import check, get
from eventkit.formats.tracks import KINDS, NEEDED, TRIGGER, Packet, Track, inside

GROUP = "streams"
ROWS = 1 << 14  # read at once
BYTES = 1 << 24
FORBIDDEN = set("/.")


class Sides:
    """Writes packets into an open file, and makes the datasets that they need."""

    def __init__(self, out: Any, tracks: Sequence[Track], settings: dict[str, Any]) -> None:
        self._out, self._tracks, self._settings = out, tracks, settings
        self._parts: dict[int, tuple[Any, Any]] = {}
        for track in tracks:
            if FORBIDDEN & set(track.name):
                raise OptionError(f"stream {track.name!r}: hdf5 wants a name without / and .")
            group = out.create_group(f"{GROUP}/{track.name}")
            group.attrs["kind"] = track.kind
            if "source" in track.about:
                group.attrs["source"] = str(track.about["source"])
            if "size" in track.about:
                group.attrs["width"], group.attrs["height"] = track.about["size"]

    def put(self, packet: Packet) -> None:
        rows = packet.rows
        kind, part = self._parts.get(packet.track, (None, None))
        if kind != rows.dtype:
            group = self._out[f"{GROUP}/{self._tracks[packet.track].name}"]
            part = group.create_group(str(len(group)))
            for name in rows.dtype.names or ():
                shape = rows[name].shape[1:]
                each = max(1, rows.dtype[name].itemsize)
                chunks = (max(1, min(ROWS, BYTES // 16 // each)), *shape)
                part.create_dataset(
                    name, (0, *shape), rows[name].dtype, chunks=chunks,
                    **{**self._settings, "maxshape": (None, *shape)},
                )  # fmt: skip
            self._parts[packet.track] = rows.dtype, part
        for name in rows.dtype.names or ():
            place = part[name]
            n = len(place)
            place.resize(n + len(rows), axis=0)
            place[n:] = rows[name]


def tracks(path: Path, file: Any, opened: Any, camera: str) -> list[Track]:
    """All tracks of a file; `opened(path)` opens it again when they are read."""
    found = [*_own(path, file, opened), *_images(path, file, opened, camera)]
    place = get(path, file, "EXT_TRIGGER/events")
    if place is not None and len(place.shape or ()) == 1 and place.shape[0]:
        names = {track.name for track in found}
        found.append(
            Track(
                "triggers" if "triggers" not in names else "triggers_metavision",
                "triggers",
                lambda low, high: _metavision(path, opened, low, high),
                int(place.shape[0]),
            )
        )
    return found


def _own(path: Path, file: Any, opened: Any) -> Iterator[Track]:
    import h5py

    streams = get(path, file, GROUP)
    for name in sorted(streams) if isinstance(streams, h5py.Group) else ():
        group = get(path, streams, name)
        kind = group.attrs.get("kind") if isinstance(group, h5py.Group) else None
        if kind not in KINDS:
            continue
        about: dict[str, Any] = {}
        if "source" in group.attrs:
            about["source"] = str(group.attrs["source"])
        if {"width", "height"} <= set(group.attrs):
            about["size"] = int(group.attrs["width"]), int(group.attrs["height"])
        n = sum(_length(path, name, part, kind) for part in _parts(path, group))

        def rows(low: int, high: int, name: str = name, kind: str = kind) -> Iterator[np.ndarray]:
            with opened(path) as file:
                for part in _parts(path, file[f"{GROUP}/{name}"]):
                    _length(path, name, part, kind)
                    yield from _rows(part, low, high)

        yield Track(name, kind, rows, n, about)


def _parts(path: Path, group: Any) -> list[dict[str, Any]]:
    """The datasets of each part of a track."""
    numbers = sorted(int(name) for name in group if name.isdecimal() and len(name) < 10)
    groups = [get(path, group, str(number)) for number in numbers]
    return [{name: get(path, part, name) for name in part} for part in groups]


def _length(path: Path, name: str, part: dict[str, Any], kind: str) -> int:
    """How many rows a part has; FormatError if its fields do not fit together."""
    import h5py

    for dataset in part.values():
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "iuf":
            raise FormatError(path, None, f"{GROUP}/{name} has a field that is not numbers")
        check(path, dataset)
    lengths = {len(dataset) if dataset.shape else -1 for dataset in part.values()}
    if len(lengths) != 1 or lengths == {-1} or not set(NEEDED[kind]) <= set(part):
        needed = ", ".join(NEEDED[kind])
        reason = f"{GROUP}/{name} has not the fields {needed} with one value for each row"
        raise FormatError(path, None, reason)
    return int(lengths.pop())


def _rows(part: dict[str, Any], low: int, high: int) -> Iterator[np.ndarray]:
    names = ["t", *(name for name in part if name != "t")]
    dtype = np.dtype([(name, part[name].dtype, part[name].shape[1:]) for name in names])
    step = max(1, min(ROWS, BYTES // max(1, dtype.itemsize)))
    for at in range(0, len(part["t"]), step):
        t = part["t"][at : at + step]
        if not ((t >= low) & (t < high)).any():
            continue
        rows = np.empty(len(t), dtype)
        for name in names:
            rows[name] = part[name][at : at + step]
        yield inside(rows, low, high)


def _metavision(path: Path, opened: Any, low: int, high: int) -> Iterator[np.ndarray]:
    with opened(path) as file:
        place = get(path, file, "EXT_TRIGGER/events")
        check(path, place)
        for at in range(0, len(place), ROWS):
            rows = place[at : at + ROWS]
            found = np.zeros(len(rows), TRIGGER)
            for name in TRIGGER.names or ():
                found[name] = rows[name]
            if len(part := inside(found, low, high)):
                yield part


def _images(path: Path, file: Any, opened: Any, camera: str) -> Iterator[Track]:
    """The images of a camera of MVSEC or M3ED."""
    for images_at, times_at, factor in (
        (f"davis/{camera}/image_raw", f"davis/{camera}/image_raw_ts", 1e6),
        (f"ovc/{camera}/data", "ovc/ts", 1.0),
    ):
        images, times = get(path, file, images_at), get(path, file, times_at)
        if images is None or times is None or len(images.shape or ()) < 3:
            continue
        if times.shape != images.shape[:1] or images.dtype.kind != "u":
            raise FormatError(path, None, f"{images_at} and {times_at} do not fit together")
        rows = partial(_image_rows, path, opened, images_at, times_at, factor)
        yield Track("frames", "frames", rows, len(images), {"source": images_at})
        return


def _image_rows(
    path: Path, opened: Any, images_at: str, times_at: str, factor: float, low: int, high: int
) -> Iterator[np.ndarray]:
    with opened(path) as file:
        images, times = get(path, file, images_at), get(path, file, times_at)
        check(path, times)
        t = np.rint(np.asarray(times[:], np.float64) * factor)
        for i in np.flatnonzero((t >= low) & (t < high)).tolist():
            pixels = images[i]
            pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
            sides = [(name, np.int64) for name in ("t", "begin", "end")]
            row = np.zeros(1, [*sides, ("pixels", pixels.dtype, pixels.shape)])
            row["t"], row["begin"], row["end"], row["pixels"] = t[i], -1, -1, pixels
            yield row
