"""Bounding boxes: the layouts of both generations, and files that are none."""

import numpy as np
import pytest

from eventkit import FormatError, OptionError
from eventkit.boxes import BOX, as_evaluated, read_boxes, write_boxes

ROWS = [
    (600_000, 1.5, 2, 30, 40, 1, 7, 0.5),
    (600_000, 1.5, 2, 19, 99, 0, 8, 1),
    (500_000, 1, 2, 90, 90, 0, 9, 1),
    (900_000, 1, 2, 20, 21, 0, 9, 1),
]
OLDER = {"t": "ts", "class_confidence": "confidence"}


def test_boxes_have_40_bytes_as_the_toolbox_says():
    assert BOX.itemsize == 40
    assert [BOX.fields[name][1] for name in BOX.names] == [0, 8, 12, 16, 20, 24, 28, 32]


def test_what_is_written_is_read(tmp_path):
    boxes = np.array(ROWS, BOX)
    write_boxes(tmp_path / "bbox.npy", boxes)
    assert read_boxes(tmp_path / "bbox.npy").tolist() == boxes.tolist()


def test_older_names_and_orders_are_read(tmp_path):
    fields = [(OLDER.get(name, name), BOX.fields[name][0]) for name in reversed(BOX.names)]
    np.save(tmp_path / "bbox.npy", np.array([row[::-1] for row in ROWS], fields))
    boxes = read_boxes(tmp_path / "bbox.npy")
    assert boxes.dtype == BOX
    assert boxes.tolist() == np.array(ROWS, BOX).tolist()


def test_the_evaluation_counts_late_and_large_boxes():
    boxes = np.array(ROWS, BOX)
    assert as_evaluated(boxes)["track_id"].tolist() == [7]
    assert as_evaluated(boxes, after=0, diagonal=0)["track_id"].tolist() == [7, 9, 9]


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "bbox.npy"
    for data, reason in (
        (b"", "is not a .npy file"),
        (b"\x93NUMPY\x01\x00\x10\x00junk junk junk!\n", "is not a .npy file"),
        (np.zeros(3), "one-dimensional structured array"),
        (np.zeros(3, [("t", "i8"), ("x", "f4")]), "lack the fields y, w, h"),
        (np.array([object()]), "is not a .npy file"),
    ):
        path.write_bytes(data) if isinstance(data, bytes) else np.save(path, data)
        with pytest.raises(FormatError, match=reason):
            read_boxes(path)
    with pytest.raises(OptionError, match=r"expected eventkit\.boxes\.BOX"):
        write_boxes(path, np.zeros(3))
