"""EVIMO2: the columns of a recording in three NumPy files beside each other.

    dataset_events_t.npy    (n,) or (n, 1)   times in s, float32
    dataset_events_xy.npy   (n, 2)           x and y
    dataset_events_p.npy    (n,) or (n, 1)   polarities, 0 and 1

A recording is told by the path of its times. The polarity of the Samsung camera is inverted
(polarity=reversed). Source: https://better-flow.github.io/evimo/docs/data-format.html
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from eventkit.errors import FormatError
from eventkit.events import Columns, Events
from eventkit.formats.base import FORMATS, Format, Report, Size
from eventkit.formats.tables import npz
from eventkit.formats.tables._columns import (
    Asked,
    Block,
    Table,
    Unit,
    check_lengths,
    check_numbers,
    damaged,
    events,
)

ENDING = "_t.npy"


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
    unit: Unit = "s",
    polarity: Literal["normal", "reversed"] = "normal",
) -> Iterator[Events]:
    """Events of three files, of which path is that of the times. Counts: invalid."""
    asked = Asked(chunk, start, stop, strict, size, unit)
    if not path.name.endswith(ENDING):
        raise FormatError(path, None, f"expected the file of the times, *{ENDING}")
    stem = path.name.removesuffix(ENDING)
    with contextlib.ExitStack() as stack:
        stack.enter_context(damaged(path, npz.DAMAGE))
        found = {}
        for name, width in (("t", 1), ("xy", 2), ("p", 1)):
            other = path.with_name(f"{stem}_{name}.npy")
            if not other.is_file():
                raise FormatError(path, None, f"{other.name} is missing beside it")
            array = stack.enter_context(npz._arrays(other, report, strict))["array"]
            array = array.flat() if width == 1 else array
            check_numbers(other, name, array.dtype)
            if array.shape[1:] != ((2,) if width == 2 else ()):
                raise FormatError(
                    other, None, f"has the shape {array.shape}, expected {width} wide"
                )
            found[name] = array
        n = check_lengths(path, {name: range(array.stored) for name, array in found.items()})

        def blocks() -> Iterator[Block]:
            parts = (found[name].columns() for name in ("t", "xy", "p"))
            for (t,), (x, y), (p,) in zip(*parts, strict=True):
                yield t, x, y, (p <= 0 if polarity == "reversed" else p)

        yield from events(path, report, into, Table(blocks, n), asked)


FORMATS.register(
    Format(
        name="evimo2",
        title="EVIMO2 (columns in three .npy files)",
        suffixes=(".npy",),
        stream=stream,
        detect=lambda head: False,  # only where it is named
    )
)
