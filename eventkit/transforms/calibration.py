"""Transforms that need facts about the camera: its lens, a rectification map, a list of pixels."""

import functools
import zipfile
from pathlib import Path

import numpy as np

from eventkit._jit import jit
from eventkit.errors import FormatError, OptionError
from eventkit.events import Events
from eventkit.targets import Placed
from eventkit.transforms import TRANSFORMS
from eventkit.transforms.geometry import masked

_ROUNDS = 20  # of the fixed-point iteration, which gains about a digit in each


@TRANSFORMS.register
def undistort(
    events: Events,
    *,
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    k1: float = 0.0,
    k2: float = 0.0,
    p1: float = 0.0,
    p2: float = 0.0,
    k3: float = 0.0,
) -> Events:
    """The events where a camera without lens distortion would see them, to the nearest pixel.

    The lens is described as in OpenCV and ROS (plumb bob): focal lengths `fx`, `fy` and the centre
    `cx`, `cy` in pixels, radial k1, k2, k3 and tangential p1, p2. The sensor keeps its size and
    camera matrix; events that leave it are dropped.
    """
    if fx <= 0 or fy <= 0 or not np.isfinite([fx, fy, cx, cy, k1, k2, p1, p2, k3]).all():
        raise OptionError(f"undistort: fx={fx}, fy={fy}, expected focal lengths above 0 in pixels")
    places = _undistorted(*events.size, fx, fy, cx, cy, k1, k2, p1, p2, k3)
    return _moved(events, places)


def _undistort_targets(placed: Placed, **lens: float) -> Placed:
    """Boxes and points where the same camera would see them."""
    return _by_map(placed, _undistorted(*placed.size, **lens))


undistort.targets = _undistort_targets  # type: ignore[attr-defined]


@TRANSFORMS.register
def rectify(events: Events, *, file: str) -> Events:
    """The events where a map puts them, to the nearest pixel: the rectification maps of DSEC.

    `file` is .npy, .npz or .h5 with one array (H, W, 2) that holds the new (x, y) of each pixel, in
    .h5 as `rectify_map`. The sensor keeps its size; events that leave it are dropped.
    """
    return _moved(events, _map_for(file, events.size))


def _rectify_targets(placed: Placed, *, file: str) -> Placed:
    """Boxes and points where the same map puts them."""
    return _by_map(placed, _map_for(file, placed.size))


rectify.targets = _rectify_targets  # type: ignore[attr-defined]


@TRANSFORMS.register
def drop_pixels(events: Events, *, file: str) -> Events:
    """The events without those of listed pixels, as hot ones.

    `file` is .npy with an array bool (H, W), true where events are dropped, or text with one pixel
    per line as "x y" or "x,y"; what follows # is ignored.
    """
    wanted = np.ones((events.height, events.width), bool)
    pixels = _read_pixels(file, Path(file).stat().st_mtime_ns)
    if pixels.dtype == np.bool_:
        if pixels.shape != wanted.shape:
            raise OptionError(
                f"{file}: the mask is (H, W) = {pixels.shape}, the sensor {wanted.shape}"
            )
        return masked(events, np.logical_not(pixels))
    x, y = pixels[:, 0], pixels[:, 1]
    inside = (x >= 0) & (x < events.width) & (y >= 0) & (y < events.height)
    wanted[y[inside], x[inside]] = False
    return masked(events, wanted)


def _map_for(file: str, size: tuple[int, int]) -> np.ndarray:
    """The map in a file; OptionError if it is for a sensor of another size."""
    places = _read_map(file, Path(file).stat().st_mtime_ns)
    height, width = places.shape[:2]
    if (width, height) != size:
        raise OptionError(
            f"{file}: the map is for a sensor of {width}x{height}, "
            f"the events are of one of {size[0]}x{size[1]}"
        )
    return places


def _by_map(placed: Placed, places: np.ndarray) -> Placed:
    """Targets moved by the places (H, W, 2) of pixels, bilinear between their centres."""
    height, width = places.shape[:2]

    def move(xy: np.ndarray) -> np.ndarray:
        x, y = (xy[..., 0] - 0.5).clip(0, width - 1), (xy[..., 1] - 0.5).clip(0, height - 1)
        column = np.floor(x).astype(int).clip(0, max(width - 2, 0))
        row = np.floor(y).astype(int).clip(0, max(height - 2, 0))
        right, below = (column + 1).clip(max=width - 1), (row + 1).clip(max=height - 1)
        u, v = (x - column)[..., None], (y - row)[..., None]
        top = places[row, column] * (1 - u) + places[row, right] * u
        lower = places[below, column] * (1 - u) + places[below, right] * u
        # What lies beyond the centres of the outermost pixels keeps its distance from them.
        beyond = xy - 0.5 - np.stack([x, y], -1)
        found: np.ndarray = top * (1 - v) + lower * v + beyond + 0.5
        return found

    return placed.moved(placed.size, move)


@functools.lru_cache(maxsize=8)
def _undistorted(
    width: int,
    height: int,
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    k1: float,
    k2: float,
    p1: float,
    p2: float,
    k3: float,
) -> np.ndarray:
    """The undistorted position of each pixel: float64 (H, W, 2), NaN where there is none."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    u0, v0 = (x - cx) / fx, (y - cy) / fy
    u, v = u0.copy(), v0.copy()
    with np.errstate(all="ignore"):
        for _ in range(_ROUNDS):
            r = u * u + v * v
            radial = 1 + r * (k1 + r * (k2 + r * k3))
            shift = 2 * p1 * u * v + p2 * (r + 2 * u * u), p1 * (r + 2 * v * v) + 2 * p2 * u * v
            u, v = (u0 - shift[0]) / radial, (v0 - shift[1]) / radial
        # Far outside of the lens's range the iteration does not converge: such pixels are dropped.
        r = u * u + v * v
        radial = 1 + r * (k1 + r * (k2 + r * k3))
        again = (
            u * radial + 2 * p1 * u * v + p2 * (r + 2 * u * u),
            v * radial + p1 * (r + 2 * v * v) + 2 * p2 * u * v,
        )
        off = np.maximum(np.abs(again[0] - u0) * fx, np.abs(again[1] - v0) * fy)
        u[~(off < 0.5)] = np.nan
    return np.stack([u * fx + cx, v * fy + cy], axis=-1)


@functools.lru_cache(maxsize=8)
def _read_map(file: str, changed: int) -> np.ndarray:
    """The map in a file, read once for each of its versions."""
    path = Path(file)
    if path.suffix in (".h5", ".hdf5"):
        import h5py

        try:
            with h5py.File(path) as opened:
                found = opened.get("rectify_map")
                array = None if found is None else np.asarray(found)
        except OSError as error:
            raise FormatError(file, None, f"cannot be read as HDF5: {error}") from None
        if array is None:
            raise FormatError(file, None, "has no rectify_map")
    else:
        array = _load(path)
    if array.ndim != 3 or array.shape[2] != 2 or array.dtype.kind not in "fiu":
        raise FormatError(
            file, None, f"holds {array.dtype} {array.shape}, expected numbers (H, W, 2)"
        )
    return array.astype(np.float64)


@functools.lru_cache(maxsize=8)
def _read_pixels(file: str, changed: int) -> np.ndarray:
    """A mask bool (H, W), or pixels int64 (n, 2) as (x, y)."""
    path = Path(file)
    if path.suffix == ".npy":
        mask = _load(path)
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise FormatError(file, None, f"holds {mask.dtype} {mask.shape}, expected bool (H, W)")
        return np.asarray(mask)
    pixels = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            x, y = np.array(words, np.int64)
        except (ValueError, OverflowError):
            shown = line.strip()[:60]
            raise FormatError(file, None, f"line {number}: {shown!r}, expected 'x y'") from None
        pixels.append((x, y))
    return np.array(pixels, np.int64).reshape(-1, 2)


def _load(path: Path) -> np.ndarray:
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            if len(found.files) != 1:
                raise FormatError(path, None, f"holds {len(found.files)} arrays, expected one")
            array: np.ndarray = found[found.files[0]]
            return array
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(path, None, f"cannot be read as a NumPy array: {error}") from None


def _moved(events: Events, places: np.ndarray) -> Events:
    """The events at the places (H, W, 2) of their pixels, without those that leave the sensor."""
    width, height = events.size
    rounded = np.floor(places + 0.5)
    with np.errstate(invalid="ignore"):
        inside: np.ndarray = np.all((rounded >= 0) & (rounded < [width, height]), axis=-1)
    table = np.where(inside[..., None], rounded, -1).astype(np.int32)
    return Events.trusted(*_look_up(events.t, events.x, events.y, events.p, table), events.size)


@jit
def _look_up(
    t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, table: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    n = len(t)
    height, width, _ = table.shape
    columns = np.empty(n, t.dtype), np.empty(n, x.dtype), np.empty(n, y.dtype), np.empty(n, p.dtype)
    times, xs, ys, ps = columns
    kept = 0
    for i in range(n):
        if x[i] >= width or y[i] >= height:
            continue
        column, row = table[y[i], x[i], 0], table[y[i], x[i], 1]
        # Written first and kept afterwards: no branch to guess wrong.
        times[kept], xs[kept], ys[kept], ps[kept] = t[i], column, row, p[i]
        kept += column >= 0
    return times[:kept], xs[:kept], ys[:kept], ps[:kept]
