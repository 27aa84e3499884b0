"""Numbers for people: counts, bytes and durations at three digits."""

from collections.abc import Sequence


def number(value: float) -> str:
    """A count at three digits: 999, 12.3 k, 4.52 M.

    >>> [number(n) for n in (0, 999, 12_345, 4_518_827)]
    ['0', '999', '12.3 k', '4.52 M']
    """
    return _scaled(value, ("", " k", " M", " G", " T"))


def size(n_bytes: float) -> str:
    """An amount of bytes at three digits, in powers of 1000.

    >>> size(4_218_000)
    '4.22 MB'
    """
    return _scaled(n_bytes, (" B", " kB", " MB", " GB", " TB", " PB"))


def duration(seconds: float) -> str:
    """A length of time in the unit that suits it.

    >>> [duration(s) for s in (0, 0.00042, 0.35, 12.34, 754, 7380)]
    ['0 s', '420 µs', '350 ms', '12.3 s', '12 min 34 s', '2 h 3 min']
    """
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 99.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _scaled(value: float, units: Sequence[str]) -> str:
    step = 0
    while abs(value) >= 999.5 and step < len(units) - 1:
        value, step = value / 1000, step + 1
    digits = 0 if step == 0 and float(value).is_integer() else max(0, 2 - _exponent(value))
    return f"{value:.{digits}f}{units[step]}"


def _exponent(value: float) -> int:
    """The power of ten of the first digit that three digits of `value` show."""
    return int(f"{value:.2e}".partition("e")[2])
