"""What the polarities of a table mean: one decision for all formats of columns.

    0/1     0 OFF, 1 ON
    -1/+1   -1 OFF, 1 ON; 0 is no event: it is counted as invalid and left out
    1/2     1 OFF, 2 ON, as MATLAB programs write them

A file does not state its convention, so the first rows tell it: a -1 among them means -1/+1, else a
0 means 0/1, else a 2 means 1/2. Rows of nothing but 1 are ON under the first two and tell nothing,
so the next ones are asked. A later value of another convention is an error that names the option
`polarity`, because the events before it may have been read wrong.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from eventkit.errors import FormatError

Polarity = Literal["0/1", "-1/+1", "1/2"]
OFF_ON = {"0/1": (0, 1), "-1/+1": (-1, 1), "1/2": (1, 2), None: (1, 1)}
MARKS: tuple[tuple[int, Polarity], ...] = ((-1, "-1/+1"), (0, "0/1"), (2, "1/2"))


def convention(p: np.ndarray) -> Polarity | None:
    """The convention of these values; None if none but 1 are in it."""
    if p.dtype == bool:
        return "0/1"
    return next((name for mark, name in MARKS if (p == mark).any()), None)


def contradicts(value: float, meaning: Polarity | None) -> bool:
    """Whether a value shows that an earlier decision for `meaning` was wrong.

    A 0 in -1/+1 is no event, and a value of no convention is an invalid event: neither does.
    """
    return value == {"0/1": -1, "1/2": 0, None: 2}.get(meaning, np.nan)


def contradiction(path: Path, where: str, value: float, meaning: Polarity | None) -> FormatError:
    """The error for a value that contradicts a decision; `where` names its event or line."""
    seen = "only 1 comes" if meaning is None else f"polarities of {meaning} come"
    wanted = next(name for mark, name in MARKS if mark == value)
    if meaning == "1/2":
        reason = "the file mixes 0, 1 and 2; polarity=0/1 or polarity=1/2 with strict=False"
        reason += " leaves out the others"
    else:
        hint = " (-1 OFF, 1 ON, 0 no event)" if wanted == "-1/+1" else " (1 OFF, 2 ON)"
        reason = f"set polarity={wanted}{hint}"
        if meaning is not None:
            reason += f", or polarity={meaning} with strict=False to leave such values out"
    return FormatError(path, None, f"{where} has p = {value:g}, but {seen} before it; {reason}")


def decoded(
    p: np.ndarray, meaning: Polarity | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """uint8 (0 OFF, 1 ON), which are valid (None: all), and which are no events (None: none)."""
    if p.dtype == bool:
        return p.view(np.uint8), None, None
    off, on = OFF_ON[meaning]
    if p.dtype == np.uint8 and (off, on) == (0, 1):
        return p, p <= 1, None
    ons = p == on
    good = ons | (p == off)
    none = p == 0 if meaning == "-1/+1" else None
    return ons.view(np.uint8), good if none is None else good | none, none
