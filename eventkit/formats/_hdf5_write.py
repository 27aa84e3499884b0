"""How events are written as HDF5: in the layouts of DSEC and of Metavision."""

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Literal

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events

WRITTEN = 1 << 16  # rows written at once
METAVISION = np.dtype({"names": [*"xypt"], "formats": ["<u2", "<u2", "<i2", "<i8"]})


def write(
    file: BinaryIO,
    chunks: Iterable[Events],
    *,
    layout: Literal["dsec", "metavision"] = "dsec",
    compression: Literal["lzf", "gzip", "none"] = "lzf",
) -> None:
    """DSEC's layout, or Metavision's without ECF.

    DSEC needs times that do not go back and span less than 2^32 µs. The sensor's size is in
    attributes: geometry of the file, or width and height of DSEC's events.
    """
    import h5py

    settings = {"maxshape": (None,), "shuffle": compression != "none"}
    settings["compression"] = None if compression == "none" else compression
    with h5py.File(file.name, "w") as out:  # h5py reads back what it writes, which `file` cannot
        (_write_dsec if layout == "dsec" else _write_metavision)(out, _pieces(chunks), settings)


def _pieces(chunks: Iterable[Events]) -> Iterator[Events]:
    """The events in pieces of WRITTEN, but for the last; so that the file is always the same."""
    held: list[Events] = []
    n = 0
    for part in chunks:
        held, n = [*held, part.copy()], n + len(part)
        while n > WRITTEN:
            whole = Events.concat(held)
            yield whole[:WRITTEN]
            held, n = [whole[WRITTEN:]], n - WRITTEN
    yield Events.concat(held)


def _write_dsec(out: Any, pieces: Iterator[Events], settings: dict[str, Any]) -> None:
    group = out.create_group("events")
    columns = {
        name: group.create_dataset(name, (0,), kind, chunks=(WRITTEN,), **settings)
        for name, kind in zip("pxyt", ("u1", "u2", "u2", "u4"), strict=True)
    }
    first = last = None
    rows, n, ms = [np.zeros(1, np.uint64)], 0, 1
    for part in pieces:
        group.attrs["width"], group.attrs["height"] = part.size
        if not len(part):
            continue
        first = int(part.t[0]) if first is None else first
        if part.backward_steps or (last is not None and int(part.t[0]) < last):
            raise OptionError("the DSEC layout holds no times that go back: read with sort=True")
        last = int(part.t[-1])
        if last - first >= 1 << 32:
            raise OptionError("the DSEC layout holds less than 2^32 µs: layout=metavision has more")
        t = part.t - first
        found = np.searchsorted(t, np.arange(ms, t[-1] // 1000 + 1) * 1000)
        rows.append(found.astype(np.uint64) + np.uint64(n))
        ms += len(found)
        for name, column in columns.items():
            _append(column, t if name == "t" else getattr(part, name))
        n += len(part)
    out.create_dataset("ms_to_idx", data=np.concatenate(rows))
    out.create_dataset("t_offset", data=np.int64(first or 0))


def _write_metavision(out: Any, pieces: Iterator[Events], settings: dict[str, Any]) -> None:
    group = out.create_group("CD")
    place = group.create_dataset("events", (0,), METAVISION, chunks=(1 << 14,), **settings)
    out.attrs["version"], out.attrs["format"] = "1.0", "plain"
    for part in pieces:
        out.attrs["geometry"] = f"{part.width}x{part.height}"
        rows = np.zeros(len(part), METAVISION)
        for name in "xypt":
            rows[name] = getattr(part, name)
        _append(place, rows)


def _append(dataset: Any, rows: np.ndarray) -> None:
    n = len(dataset)
    dataset.resize(n + len(rows), axis=0)
    dataset[n:] = rows
