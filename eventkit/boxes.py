"""Bounding boxes of Prophesee's automotive datasets (Gen1 and 1 Mpx), from `*_bbox.npy` files.

Layout: https://github.com/prophesee-ai/prophesee-automotive-dataset-toolbox (src/io/box_loading.py)
"""

from pathlib import Path

import numpy as np

from eventkit.errors import FormatError, OptionError

BOX = np.dtype(
    {
        "names": ["t", "x", "y", "w", "h", "class_id", "track_id", "class_confidence"],
        "formats": ["<i8", "<f4", "<f4", "<f4", "<f4", "<u4", "<u4", "<f4"],
        "offsets": [0, 8, 12, 16, 20, 24, 28, 32],
        "itemsize": 40,
    }
)
OLDER = {"ts": "t", "confidence": "class_confidence"}
GEN1 = ("car", "pedestrian")
MPX = ("pedestrian", "two wheeler", "car", "truck", "bus", "traffic sign", "traffic light")


def read_boxes(path: str | Path) -> np.ndarray:
    """The boxes of a file, in file order, as a structured array of dtype BOX.

    t is in µs; x, y (the top left corner), w and h are in pixels; class_id is an index into GEN1 or
    MPX. Raises FormatError if the file does not contain such boxes. Pickled objects are not loaded.
    """
    path = Path(path)
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise FormatError(path, None, f"is not a .npy file of boxes: {error}") from error
    if not isinstance(found, np.ndarray) or found.dtype.names is None or found.ndim != 1:
        raise FormatError(path, None, "expected boxes as a one-dimensional structured array")
    names = {OLDER.get(name, name): name for name in found.dtype.names}
    if missing := [name for name in BOX.names or () if name not in names]:
        raise FormatError(path, None, f"the boxes lack the fields {', '.join(missing)}")
    boxes = np.zeros(len(found), BOX)
    for name in BOX.names or ():
        boxes[name] = found[names[name]]
    return boxes


def write_boxes(path: str | Path, boxes: np.ndarray) -> None:
    """Write boxes (dtype BOX) in the file format of the datasets."""
    if boxes.dtype != BOX:
        raise OptionError(f"boxes have dtype {boxes.dtype}, expected eventkit.boxes.BOX")
    np.save(path, boxes, allow_pickle=False)


def as_evaluated(
    boxes: np.ndarray, *, after: int = 500_000, diagonal: float = 30, side: float = 20
) -> np.ndarray:
    """The boxes that count in the datasets' evaluation: later than `after` (µs) and large enough.

    `diagonal` and `side` are minimum sizes in pixels. The toolbox documents a diagonal of 30 for
    Gen1 and 60 for 1 Mpx; its evaluator uses after=100_000 and a side of 20 for Gen1, 10 for 1 Mpx.
    """
    large = boxes["w"] ** 2 + boxes["h"] ** 2 >= diagonal**2
    kept: np.ndarray = boxes[
        (boxes["t"] > after) & large & (boxes["w"] >= side) & (boxes["h"] >= side)
    ]
    return kept
