"""Times as people write them: "50ms", "1.5s", or a number of µs."""

import re
from fractions import Fraction
from typing import Annotated

LIMIT = 1 << 61  # µs, so that no sum or difference of two times exceeds int64
UNITS = {"us": 1, "µs": 1, "μs": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "": 1}


def microseconds(value: int | float | str) -> int:
    """A time in µs as a whole number. ValueError for text that is not a time.

    >>> microseconds("50ms"), microseconds("-1.5s"), microseconds(20)
    (50000, -1500000, 20)
    """
    match = re.fullmatch(r"([+-]?(?:\d+\.?\d*|\.\d+))\s*([a-zµμ]*)", str(value).strip())
    if match is None or match[2] not in UNITS:
        raise ValueError(f"{value!r}, expected a time such as 50ms, 1.5s or 20000us")
    time = Fraction(match[1]) * UNITS[match[2]]
    if time.denominator != 1:
        raise ValueError(f"{value!r}, which is not a whole number of µs")
    if abs(time) >= LIMIT:
        raise ValueError(f"{value!r}, which is more than 73,000 years")
    return int(time)


# An option of this type accepts text with a unit and arrives as a whole number of µs.
Microseconds = Annotated[int, microseconds]
