"""How much a file may unpack to: a small file must not fill the memory or keep a reader busy."""

from pathlib import Path

from eventkit.errors import FormatError

DEFAULT_EXPANSION = 100  # times the bytes of the file
ALWAYS = 1 << 28  # bytes that every file may unpack to


def largest(path: Path, expansion: int) -> int:
    """The greatest number of bytes to which a file may unpack."""
    return max(ALWAYS, expansion * path.stat().st_size)


def check_expansion(path: Path, what: str, size: float, expansion: int) -> None:
    """FormatError if `what` unpacks to more bytes than `largest`."""
    if size > largest(path, expansion):
        stored = max(1, path.stat().st_size)
        reason = f"{what} would unpack to {size:,.0f} bytes, more than {expansion} times the "
        reason += f"{stored:,} of the file, as a decompression bomb does"
        hint = f"expansion={int(size // stored) + 1} reads it where you trust it"
        raise FormatError(path, None, f"{reason}; {hint}")
