"""The journal of a conversion: a line for each job that is done, with its files."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from eventkit.errors import StoreDamaged
from eventkit.store.local import Local

Key = tuple[str, int]  # split, shard number
Line = tuple[bytes, Key, dict[str, Any]]


def read(journal: Path, tree: Local, contents: bool) -> list[Line]:
    """The lines whose files are in the tree as they were written: the line, its job, its entry.

    The last line may be torn. The contents of files are looked at, or their sizes only.
    """
    lines = list(_lines(journal))

    def whole(line: Line) -> bool:
        return all(_is(tree / name, row, contents) for name, row in line[2]["files"].items())

    with ThreadPoolExecutor(4) as pool:
        good = list(pool.map(whole, lines))
    return [line for line, right in zip(lines, good, strict=True) if right]


def _lines(journal: Path) -> Iterator[Line]:
    for line in journal.read_bytes().split(b"\n"):
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            entry = json.loads(line)
            key = (entry.pop("split"), entry.pop("shard"))
            if all({"bytes", "crc"} <= row.keys() for row in entry["files"].values()):
                yield line, key, entry


def _is(path: Local, row: dict[str, int], contents: bool) -> bool:
    try:
        if contents:
            return path.checksum(row["bytes"]) == (row["bytes"], row["crc"])
        return path.stat().st_size == row["bytes"]
    except (FileNotFoundError, StoreDamaged):
        return False
