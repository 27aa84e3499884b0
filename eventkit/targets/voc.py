"""Boxes in the XML of PASCAL VOC: one file for each image."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from eventkit.errors import FormatError

MOST = 1 << 24  # bytes


def read(path: Path) -> dict[str, np.ndarray]:
    """The columns class (names), x, y, x2, y2 of the objects of a file, in its order.

    Corners are as the file has them. FormatError for what is no such file; one that declares
    entities is refused.
    """
    data = path.read_bytes()
    if len(data) > MOST:
        raise FormatError(path, None, f"has {len(data):,} bytes, expected at most {MOST:,}")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise FormatError(path, None, "declares entities, which no file of boxes needs")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError) as error:
        raise FormatError(path, None, f"is not XML: {error}") from None
    if root.tag != "annotation":
        raise FormatError(path, None, f"is <{root.tag:.40}>, expected <annotation>")
    rows = []
    for number, found in enumerate(root.iter("object"), 1):
        texts = [found.findtext("name")]
        texts += [found.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        if any(text is None or not text.strip() for text in texts):
            raise FormatError(path, None, f"object {number} lacks its name or a side of its bndbox")
        rows.append([(text or "").strip() for text in texts])
    names = ("class", "x", "y", "x2", "y2")
    return {name: np.array([row[i] for row in rows], str) for i, name in enumerate(names)}
