"""HDF5 files of events, in the layouts of several data sets.

    CD/events {x, y, p, t}, plain or ECF       Prophesee Metavision (µs)
    events/{t, x, y, p}, t_offset, ms_to_idx   DSEC (µs from t_offset on)
    prophesee/{left, right}/{t, x, y, p}       M3ED (µs)
    davis/{left, right}/events (n, 4)          MVSEC: x, y, t (s), p
    spikes/{times, units}                      SHD, SSC: many recordings, s, 700 channels as x
    {ts, xs, ys, ps} or the like, anywhere     event_utils, others; also one table (n, 4)

The library h5py reads them; ECF chunks are decoded here, so that its plug-in is not needed. What
links to another file is refused. A file that was damaged on purpose can still keep the HDF5 library
itself busy without end, or make it crash: read files of strangers in a process of their own.
Sources: https://dsec.ifi.uzh.ch/data-format, https://m3ed.io, https://daniilidis-group.github.io/mvsec,
https://docs.prophesee.ai/stable/data/file_formats/hdf5.html, https://zenkelab.org/datasets
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eventkit.errors import FormatError, OptionError
from eventkit.events import Columns, Events
from eventkit.formats._limits import DEFAULT_EXPANSION
from eventkit.formats.base import FORMATS, Format, Report, Size, limits, parse_size
from eventkit.formats.tables import _hdf5_tracks
from eventkit.formats.tables._columns import (
    ROWS,
    Asked,
    Block,
    Table,
    Unit,
    by_name,
    check_numbers,
    damaged,
    events,
)
from eventkit.formats.tables._hdf5_read import (
    CHUNKS_READ,
    Part,
    Rows,
    Spans,
    check,
    get,
    is_table,
    read_rows,
)
from eventkit.formats.tables._hdf5_write import write
from eventkit.formats.tables._polarity import Polarity
from eventkit.formats.tracks import KINDS, Track, unchanged

MAGIC = b"\x89HDF\r\n\x1a\n"
DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, AttributeError)
UNLIMITED = 1 << 30  # of expansion: for arrays of which the shape is known
CHANNELS = 700  # of the cochlea of SHD and SSC
TRACKS = (
    f"/{_hdf5_tracks.GROUP}/",
    "/EXT_TRIGGER/",
    "/davis/left/image_raw",
    "/davis/right/image_raw",
    "/ovc/left/data",
    "/ovc/ts",
)
INDEXES = ("/ms_to_idx", "/ms_map_idx", "/t_offset", "/CD/indexes")


@dataclass(frozen=True)
class Found:
    """Where the events are: `place` is a group of columns or one dataset."""

    layout: str
    place: Any
    size: Size | None = None
    unit: Unit | None = None
    offset: int = 0
    polarity: Polarity | None = None
    index: tuple[Any, int, int] | None = None  # rows by time, its step and its first time (µs)


def stream(
    path: Path,
    report: Report,
    into: Columns,
    *,
    chunk: int,
    start: int | None,
    stop: int | None,
    strict: bool,
    size: Size | None = None,
    unit: Unit | None = None,
    columns: str | None = None,
    camera: Literal["left", "right"] = "left",
    group: str | None = None,
    recording: int | None = None,
    polarity: Polarity | None = None,
    round: bool = False,
    expansion: int = DEFAULT_EXPANSION,
) -> Iterator[Events]:
    """Events of an HDF5 file; those of a window without the others, where the file has an index.

    camera is that of M3ED and MVSEC; group (as a/b) is where the events are, if they are somewhere
    else; columns (as xytp) are those of a table without names; recording is one of SHD or SSC, from
    0. Their events have y = 0 and are ON. polarity=-1/+1 means that 0 is no event, 1/2 that 1 is
    OFF; it is found from the first rows by default; round rounds coordinates; a dataset may have
    `expansion` times the bytes of the file. Counts: invalid.
    """
    asked = Asked(chunk, start, stop, strict, size, unit, polarity, round, expansion)
    with _opened(path) as file:
        found = _find(path, file, group, camera)
        if found.layout == "shd":
            table = _spikes(path, found.place, recording)
        else:
            if recording is not None:
                raise OptionError(f"recording={recording}: {path} holds only one")
            table = _table(path, found, columns, asked)
        yield from events(path, report, into, table, asked)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file as h5py has it, whose errors become FormatError."""
    import h5py

    with damaged(path, DAMAGE), h5py.File(path, "r") as file:
        yield file


_spans = Spans()


def _find(path: Path, file: Any, group: str | None, camera: str) -> Found:
    """The layout of a file."""
    import h5py

    if group is not None:
        if (place := get(path, file, group)) is None:
            raise OptionError(f"{path} has no group or dataset {group!r}; {_listed(file)}")
        return Found("columns", place, _size(path, file, place))
    if (place := get(path, file, "CD/events")) is not None:
        return _metavision(path, file, place)
    if (place := get(path, file, "spikes")) is not None:
        return Found("shd", place)
    if (place := get(path, file, f"prophesee/{camera}")) is not None:
        rows = get(path, place, "ms_map_idx")
        index = None if rows is None else (rows, 1000, 0)
        return Found("m3ed", place, (1280, 720), "us", index=index)
    if (place := get(path, file, f"davis/{camera}/events")) is not None:
        return Found("mvsec", place, (346, 260), "s", polarity="-1/+1")
    place = get(path, file, "events")
    if isinstance(place, h5py.Group) and get(path, file, "t_offset") is not None:
        return _dsec(path, file, place)
    if place is None or (isinstance(place, h5py.Group) and not _has_columns(place)):
        places = [file] if _has_columns(file) else _places(file)
        if len(places) != 1:
            names = ", ".join(place.name for place in places)
            many = f"events may be in {names:.300}; group= says where"
            reason = many if places else f"no known layout of events; {_listed(file)}"
            raise FormatError(path, None, reason)
        place = places[0]
    return Found("columns", place, _size(path, file, place))


def _has_columns(group: Any) -> bool:
    return {"t", "x"} <= set(by_name(group))


def _places(file: Any) -> list[Any]:
    """All groups, wherever, that have columns of events; if there are none, all tables."""
    import h5py

    groups: list[Any] = []
    tables: list[Any] = []

    def visit(_: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and _has_columns(item):
            groups.append(item)
        if isinstance(item, h5py.Dataset) and not item.is_virtual:
            named = {"t", "x"} <= set(by_name(item.dtype.names or ()))
            if named or (is_table(item.shape or ()) and item.dtype.kind in "iuf"):
                tables.append(item)

    file.visititems(visit)
    return groups or tables


def _listed(file: Any) -> str:
    """What is in a file, for a message."""
    names: list[str] = []
    file.visit(lambda name: names.append(name) if len(names) < 9 else None)
    more = " ..." if len(names) > 8 else ""
    return f"it holds {', '.join(name[:40] for name in names[:8]) or 'nothing'}{more}"


def _metavision(path: Path, file: Any, place: Any) -> Found:
    size = _size(path, file, place)
    index = get(path, file, "CD/indexes")
    if index is None or not {"id", "ts"} <= set(index.dtype.names or ()) or len(index) < 2:
        return Found("metavision", place, size, "us")
    check(path, index)
    begin = -int(_text(index.attrs.get("offset", 0)) or 0)
    rows = (index.fields("id"), 2000, begin)
    return Found("metavision", place, size, "us", index=rows)


def _dsec(path: Path, file: Any, place: Any) -> Found:
    offset = _number(path, file, "t_offset")
    index = get(path, file, "ms_to_idx")
    size = _size(path, file, place) or (640, 480)
    rows = None if index is None else (index, 1000, offset)
    return Found("dsec", place, size, "us", offset, index=rows)


def _number(path: Path, file: Any, name: str) -> int:
    import h5py

    place = get(path, file, name)
    if not isinstance(place, h5py.Dataset) or place.size != 1:
        raise FormatError(path, None, f"{name} is not one number")
    check(path, place)
    value = np.asarray(place[()])
    if value.dtype.kind not in "iuf" or not abs(float(value.item())) < 2**61:
        raise FormatError(path, None, f"{name} is {value!r:.60}, expected one whole number")
    return int(value.item())


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _size(path: Path, file: Any, place: Any) -> Size | None:
    """The sensor's size: attributes geometry, width and height, or sensor_resolution, or numbers
    width and height beside the columns."""
    import h5py

    for attributes in (place.attrs, file.attrs):
        if "geometry" in attributes:
            return _parsed(path, _text(attributes["geometry"]))
        if {"width", "height"} <= set(attributes):
            return _parsed(path, f"{attributes['width']}x{attributes['height']}")
        if "sensor_resolution" in attributes:  # event_utils: height, width
            sides = np.ravel(attributes["sensor_resolution"])
            if len(sides) >= 2:
                return _parsed(path, f"{sides[1]}x{sides[0]}")
    for group in (place, file):
        if isinstance(group, h5py.Group) and {"width", "height"} <= set(group):
            width, height = (_number(path, group, name) for name in ("width", "height"))
            return _parsed(path, f"{width}x{height}")
    return None


def _parsed(path: Path, text: str) -> Size:
    try:
        return parse_size(text)
    except OptionError as error:
        raise FormatError(path, None, f"the file says that the {error}") from error


def _table(path: Path, found: Found, columns: str | None, asked: Asked) -> Table:
    """The rows of all layouts but SHD's."""
    rows = read_rows(path, found.place, columns, asked.expansion)
    part = (0, rows.length)
    if found.index is not None and rows.length and asked.unit is None:
        part = _window(found, found.index, rows, asked)
    elif rows.times is not None and rows.length and asked.has_window:
        unit = asked.unit or found.unit or rows.unit or "us"
        if unit == "us" and not found.offset:
            low, high = limits(asked.start, asked.stop)
            part = _spans.window(path, found.place.name, rows, low, high)
    step = min(max(1, ROWS // rows.step), CHUNKS_READ) * rows.step

    def blocks(at: int, stop: int) -> Iterator[Block]:
        while at < stop:
            end = min(stop, (at // step + 1) * step)
            yield rows.read((at, end))
            at = end

    whole = (0, rows.length)
    polarity = found.polarity
    if polarity is None and rows.unsigned and found.layout in ("dsec", "metavision"):
        polarity = "0/1"  # so that a window need not look at the first rows
    return Table(
        partial(blocks, *part),
        part[1] - part[0],
        found.size,
        found.unit or rows.unit,
        found.offset,
        polarity=polarity,
        whole=None if part == whole else partial(blocks, *whole),
    )


def _window(found: Found, index: tuple[Any, int, int], rows: Rows, asked: Asked) -> Part:
    """The rows in which a window of time lies, by the index; all of them if it does not fit."""
    first_rows, step, begin = index
    more = found.layout == "metavision"  # there is one row more, before the first

    def at(time: int | None, last: bool) -> int:
        if time is None:
            return rows.length if last else 0
        place = max((time - begin) // step + last + more, 0)
        if place >= len(first_rows):
            return rows.length if last else int(first_rows[len(first_rows) - 1])
        return int(first_rows[place])

    def time(row: int) -> int:
        return int(rows.read((row, row + 1))[0][0]) + found.offset

    first, end = at(asked.start, False), at(asked.stop, True)
    sound = 0 <= first <= end <= rows.length
    if sound and asked.start is not None and first > 0:
        sound = time(first - 1) < asked.start
    if sound and asked.stop is not None and end < rows.length:
        sound = time(end) >= asked.stop
    return (first, end) if sound else (0, rows.length)


def _spikes(path: Path, place: Any, recording: int | None) -> Table:
    """One recording of SHD or SSC."""
    times, units = get(path, place, "times"), get(path, place, "units")
    if times is None or units is None or len(times) != len(units):
        raise FormatError(path, None, "spikes has no times and units of the same length")
    n = len(times)
    if recording is None and n != 1:
        raise OptionError(f"{path} holds {n:,} recordings: recording=0 to {n - 1} chooses one")
    if not 0 <= (recording or 0) < n:
        raise OptionError(f"recording is {recording}, but {path} has 0 to {n - 1}")
    check(path, times)
    check(path, units)
    t, x = (np.asarray(column[recording or 0]) for column in (times, units))
    for name, column in (("times", t), ("units", x)):
        check_numbers(path, name, column.dtype)
    if t.shape != x.shape or t.ndim != 1:
        raise FormatError(path, None, f"a recording has {t.shape} times and {x.shape} units")

    def blocks() -> Iterator[Block]:
        yield t, x, None, None

    return Table(blocks, len(t), (CHANNELS, 1), "s")


def read_dataset(
    path: Path, name: str, part: Part, *, dtype: np.dtype, sides: tuple[int, ...]
) -> np.ndarray:
    """Rows of one dataset of a file, whose other axes are `sides`. FormatError for another one."""
    import h5py

    with _opened(path) as file:
        place = get(path, file, name)
        if not isinstance(place, h5py.Dataset) or not place.shape:
            raise FormatError(path, None, f"has no dataset {name}; {_listed(file)}")
        if place.dtype != dtype or place.shape[1:] != sides or len(place) < part[1]:
            reason = f"{name} is {place.dtype} {place.shape}, expected {dtype} ({part[1]} or more"
            raise FormatError(path, None, f"{reason}, {', '.join(map(str, sides))})")
        check(path, place, UNLIMITED)
        return np.asarray(place[slice(*part)])


def bound(path: Path) -> int:
    """At most so many events are in the file."""
    import h5py

    most = 0

    def visit(_: str, item: Any) -> None:
        nonlocal most
        if isinstance(item, h5py.Dataset) and not item.is_virtual and item.shape:
            most = max(most, *item.shape)

    with _opened(path) as file:
        file.visititems(visit)
        if get(path, file, "spikes") is not None:
            return path.stat().st_size
    return most


def header(
    path: Path, *, camera: Literal["left", "right"] = "left", group: str | None = None
) -> dict[str, Any]:
    """The layout, the root's attributes, and of SHD and SSC the number of recordings."""
    with _opened(path) as file:
        said = {name: _text(value) for name, value in file.attrs.items()}
        if (times := get(path, file, "spikes/times")) is not None:
            return {"layout": "shd", "recordings": len(times), **said}
        return {"layout": _find(path, file, group, camera).layout, **said}


def beside(
    path: Path, *, camera: Literal["left", "right"] = "left", group: str | None = None
) -> dict[str, int]:
    """Datasets that are neither the events nor an index of them."""
    import h5py

    names: list[str] = []
    with _opened(path) as file:
        place = _find(path, file, group, camera).place
        columns = place.dtype.names if isinstance(place, h5py.Dataset) else by_name(place).values()
        used = {place.name, *(f"{place.name}/{name}".replace("//", "/") for name in columns or ())}
        used |= {f"{place.name}/{name}" for name in ("times", "units")}
        file.visititems(
            lambda name, item: names.append(f"/{name}") if isinstance(item, h5py.Dataset) else None
        )
    others = [n for n in names if n not in used and not n.endswith(INDEXES)]
    return {"other datasets": sum(not n.startswith(TRACKS) for n in others)}


def tracks(
    path: Path,
    *,
    camera: Literal["left", "right"] = "left",
    _strict: bool = True,
    _report: Report | None = None,
) -> list[Track]:
    """Triggers of Metavision, images of MVSEC, and what eventkit wrote."""
    with _opened(path) as file:
        return _hdf5_tracks.tracks(path, file, _opened, camera)


def labels(path: Path) -> np.ndarray:
    """The labels of the recordings of SHD or SSC: int64 (recordings,)."""
    with _opened(path) as file:
        place = get(path, file, "labels")
        if place is None:
            raise FormatError(path, None, f"it has no labels; {_listed(file)}")
        check(path, place)
        return np.asarray(place[:]).astype(np.int64)


def keys(path: Path) -> np.ndarray:
    """The names of the classes of SHD or SSC, in the order of the labels: text (classes,)."""
    with _opened(path) as file:
        place = get(path, file, "extra/keys")
        if place is None:
            raise FormatError(path, None, f"it names no classes (extra/keys); {_listed(file)}")
        check(path, place)
        return np.array([_text(key) for key in place[:]], str)


def frame_times(path: Path) -> np.ndarray:
    """When the images of MVSEC (left DAVIS) or M3ED were taken: (n,) with the field t, int64 µs.

    Those of DSEC and TUM-VIE are beside the events; eventkit's are in the tracks.
    """
    with _opened(path) as file:
        for name, factor in (("davis/left/image_raw_ts", 1e6), ("ovc/ts", 1)):
            if (place := get(path, file, name)) is not None:
                check(path, place)
                times = np.ravel(place[:])
                check_numbers(path, name, times.dtype)
                if not np.isfinite(times).all() or (np.abs(times) * factor >= 2**61).any():
                    raise FormatError(path, None, f"{name} has times that no clock shows")
                return np.rint(times * factor).astype(np.int64).view([("t", np.int64)])
    return np.zeros(0, [("t", np.int64)])


FORMATS.register(
    Format(
        name="hdf5",
        title="HDF5: DSEC, M3ED, MVSEC, Metavision, SHD, SSC and others",
        suffixes=(".h5", ".hdf5"),
        stream=stream,
        expansion=True,
        write=write,
        detect=lambda head: head.startswith(MAGIC) or head[512:].startswith(MAGIC),
        bound=bound,
        bounded=True,
        header=header,
        extras={"labels": labels, "keys": keys, "frame_times": frame_times},
        beside=beside,
        tracks=tracks,
        holds=dict.fromkeys(KINDS, unchanged),
    )
)
