"""How events are written as HDF5: in the layouts of DSEC and of Metavision."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Literal

import numpy as np

from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.formats.filling import pieces
from eventkit.formats.tables._ecf import FILTER
from eventkit.formats.tables._ecf_write import LARGEST, ROOM, encode
from eventkit.formats.tables._hdf5_tracks import Sides
from eventkit.formats.tracks import Packet, Track, without

WRITTEN = 1 << 16  # rows written at once
CHUNK, PERIOD = 1 << 14, 2000  # events of an ECF chunk, µs of a row of its index
LONGEST = 1 << 36  # µs of a recording with such an index: that of 19 hours has half a gigabyte
INDEX = np.dtype([("id", "<u8"), ("ts", "<i8")])
TRIGGER = np.dtype(
    {
        "names": ["p", "t", "id"],
        "formats": ["<i2", "<i8", "<i2"],
        "offsets": [0, 8, 16],
        "itemsize": 24,
    }
)
METAVISION = np.dtype(
    {
        "names": [*"xypt"],
        "formats": ["<u2", "<u2", "<i2", "<i8"],
        "offsets": [0, 2, 4, 8],
        "itemsize": 16,
    }
)


def write(
    file: BinaryIO,
    chunks: Iterable[Events | Packet],
    *,
    layout: Literal["dsec", "metavision"] | None = None,
    compression: Literal["gzip", "lzf", "none", "ecf"] = "gzip",
    _tracks: Sequence[Track] = (),
) -> None:
    """DSEC's layout, or Metavision's; compression=ecf is that of Metavision itself.

    DSEC needs times that do not go back and span less than 2^32 µs; ECF such that span less than
    2^36 µs, and coordinates below 2,048. The sensor's size is in attributes: geometry of the file,
    or width and height of DSEC's events; tracks are in the group streams. The same events give
    the same bytes, except with lzf.
    """
    import h5py

    if compression == "ecf":
        if layout == "dsec":
            raise OptionError("compression=ecf goes with layout=metavision, not with dsec")
        with h5py.File(file.name, "w") as out:
            sides = Sides(out, _tracks, {"shuffle": True, "compression": "gzip"})
            _write_ecf(out, pieces(without(chunks, sides.put), CHUNK))
        return
    layout = layout or "dsec"
    settings = {"maxshape": (None,), "shuffle": compression != "none"}
    # HDF5's LZF starts each chunk with a hash table of whatever the stack held (INIT_HTAB is 0 in
    # h5py's copy): its files decompress to the same events, but their bytes differ between runs.
    settings["compression"] = None if compression == "none" else compression
    with h5py.File(file.name, "w") as out:  # h5py reads back what it writes, which `file` cannot
        sides = Sides(out, _tracks, settings)
        (_write_dsec if layout == "dsec" else _write_metavision)(
            out, pieces(without(chunks, sides.put), WRITTEN), settings
        )


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


def _write_ecf(out: Any, pieces: Iterator[Events]) -> None:
    """As the Metavision SDK does: a chunk for each piece, and for every 2 ms the first event of the
    latest period before it that has events."""
    import h5py

    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((CHUNK,))
    plan.set_filter(FILTER, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((0,), (h5py.h5s.UNLIMITED,))
    kind = h5py.h5t.py_create(METAVISION, logical=True)
    group = out.create_group("CD")
    place = h5py.h5d.create(group.id, b"events", kind, space, plan)
    growing = {"shape": (0,), "maxshape": (None,), "chunks": (CHUNK,)}
    index = group.create_dataset("indexes", dtype=INDEX, **growing)
    for name, row in (("events", TRIGGER), ("indexes", INDEX)):
        out.create_dataset(f"EXT_TRIGGER/{name}", dtype=row, **growing)
    out.attrs["version"], out.attrs["format"] = "1.0", "ECF"
    n, first, last = 0, 0, -1
    latest = np.array([(0, -1)], INDEX)  # the first event of the latest period with events
    for part in pieces:
        out.attrs["geometry"] = f"{part.width}x{part.height}"
        if not len(part):
            continue
        first = int(part.t[0]) if n == 0 else first
        _check_ecf(part, first, last if n else first)
        last = int(part.t[-1])
        data = np.empty(32 + ROOM * len(part), np.uint8)
        size = encode(part.t, part.x, part.y, part.p, data)
        place.set_extent((n + len(part),))
        place.write_direct_chunk((n,), data[:size].tobytes())
        latest = _index(index, latest, part.t - first, n)
        n += len(part)
    if n:
        _append(index, latest)
        index.attrs["offset"] = str(-first)


def _index(index: Any, latest: np.ndarray, t: np.ndarray, n: int) -> np.ndarray:
    """Append the rows of the periods that events begin, the first of which is number n."""
    period = t // PERIOD
    begins = np.flatnonzero(np.diff(period, prepend=latest["ts"][-1] // PERIOD))
    starts = np.empty(len(begins), INDEX)
    starts["id"], starts["ts"] = begins + n, t[begins]
    for number, start in zip(period[begins].tolist(), range(len(starts)), strict=True):
        for at in range(len(index), number + 1, CHUNK):
            _append(index, np.repeat(latest, min(CHUNK, number + 1 - at)))
        latest = starts[start : start + 1]
    return latest


def _check_ecf(part: Events, first: int, last: int) -> None:
    if part.backward_steps or int(part.t[0]) < last:
        raise OptionError("ECF holds no times that go back: read with sort=True")
    if first < 0 or int(part.t[-1]) - first >= LONGEST:
        raise OptionError(
            f"ECF holds times from 0 on that span less than 2^36 µs, found {first} to "
            f"{part.t[-1]}: compression=gzip has more"
        )
    x, y = int(part.x.max()), int(part.y.max())
    if max(x, y) >= LARGEST:
        raise OptionError(
            f"ECF holds coordinates below 2,048, found x {x}, y {y}: compression=gzip has more"
        )


def _append(dataset: Any, rows: np.ndarray) -> None:
    n = len(dataset)
    dataset.resize(n + len(rows), axis=0)
    dataset[n:] = rows
