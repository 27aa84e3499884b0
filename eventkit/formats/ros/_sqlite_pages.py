"""The rows of a bag's tables, from the pages of a SQLite file that is damaged or cut off.

All pages are looked at, whether the trees of the database lead to them or not. A page of rows has
(big endian) the byte 13, uint16 at 3: its number of rows, and from 8 on uint16: where each begins
in the page. A row is its length, its number, its values; what does not fit the page goes on in a
chain of pages, each with the uint32 number of the next. Values are the length of their list of
types, the types, then the values. All numbers of rows and types have 7 bits in a byte, whose
highest bit says that more follow. Source: https://www.sqlite.org/fileformat2.html
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from eventkit.formats._inflate import LARGEST

ROWS = 13  # the first byte of a page of rows
SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # bytes of whole numbers, by their type
Type = tuple[int, int]  # of a value, and where it begins in the values


class Row(NamedTuple):
    """A message: its time [ns] and number, by which rows are sorted, its topic, and its data."""

    time: int
    number: int
    topic: int
    page: int
    place: int  # of the row in the page
    begin: int  # of the data in the values


class Pages:
    """The topics and messages that are whole, or begin, in the pages of a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        head = self._file.read(100)
        size = int.from_bytes(head[16:18], "big")
        self._size = 65536 if size == 1 else size
        self._use = self._size - head[20]  # bytes of a page, without what is reserved
        self._count = path.stat().st_size // max(1, self._size)
        if self._size < 512 or self._size & (self._size - 1) or self._use < 480:
            raise ValueError(f"a page of the database has {self._size} bytes")
        self.topics: list[tuple[int, str, str]] = []
        self.rows: list[Row] = []
        seen: set[int] = set()
        for page in range(1, self._count + 1):
            for number, place, values in self._starts(page):
                if topic := _topic(number, values):
                    self.topics.append(topic)
                elif (row := _message(number, values, page, place)) and number not in seen:
                    seen.add(number)
                    self.rows.append(row)
        self.rows.sort()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def data(self, row: Row) -> bytes:
        """The data of a message; ValueError if a part of them is not in the file."""
        length, at = _varint(page := self._page(row.page), row.place)
        _, at = _varint(page, at)
        here = self._here(length)
        parts, left = [page[at : at + here]], length - here
        after = int.from_bytes(page[at + here : at + here + 4], "big")
        if length > LARGEST or left > self._count * self._use:
            raise ValueError(f"a row of {length:,} bytes is too large to be true")
        while left > 0:
            if not 1 < after <= self._count:
                raise ValueError("a part of a row is missing")
            page = self._page(after)
            after = int.from_bytes(page[:4], "big")
            parts.append(page[4 : min(self._use, 4 + left)])
            left -= self._use - 4
        return b"".join(parts)[row.begin :]

    def _page(self, number: int) -> bytes:
        self._file.seek((number - 1) * self._size)
        return self._file.read(self._size)

    def _here(self, length: int) -> int:
        """How many of the bytes of a row are in its page."""
        most, least = self._use - 35, (self._use - 12) * 32 // 255 - 23
        if length <= most:
            return length
        rest = least + (length - least) % (self._use - 4)
        return rest if rest <= most else least

    def _starts(self, number: int) -> Iterator[tuple[int, int, bytes]]:
        """Of each row in a page: its number, its place, and those of its values that are there."""
        page, begin = self._page(number), 100 if number == 1 else 0
        if page[begin] != ROWS:
            return
        for i in range(int.from_bytes(page[begin + 3 : begin + 5], "big")):
            pointer = page[begin + 8 + 2 * i : begin + 10 + 2 * i]
            place = int.from_bytes(pointer, "big")
            if len(pointer) == 2 and begin + 8 < place < self._use:
                length, at = _varint(page, place)
                row, at = _varint(page, at)
                yield row, place, page[at : at + self._here(length)]


def _topic(number: int, values: bytes) -> tuple[int, str, str] | None:
    """A row of `topics`: number, name, type; None if it is of another table."""
    types = _types(values)
    if (
        len(types) < 4
        or types[0][0] != 0
        or any(kind < 13 or not kind & 1 for kind, _ in types[1:4])
    ):
        return None
    name, kind, coding = (
        values[at : at + (n - 13) // 2].decode("utf-8", "replace") for n, at in types[1:4]
    )
    return (number, name, kind) if coding == "cdr" else None


def _message(number: int, values: bytes, page: int, place: int) -> Row | None:
    """A row of `messages`: no number (it is the row's), topic, time, data; None if of another."""
    types = _types(values)
    if len(types) != 4 or types[0][0] != 0 or types[3][0] < 12 or types[3][0] & 1:
        return None
    topic, time = (_whole(values, one) for one in types[1:3])
    if topic is None or time is None:
        return None
    return Row(time, number, topic, page, place, types[3][1])


def _types(values: bytes) -> list[Type]:
    """The type and the begin of each value; [] if their list makes no sense."""
    end, at = _varint(values, 0)
    if not at < end <= min(len(values), 64):
        return []
    found, begin = [], end
    while at < end:
        kind, at = _varint(values, at)
        found.append((kind, begin))
        begin += SIZES.get(kind, 0) if kind < 12 else (kind - 12) // 2
    return found


def _whole(values: bytes, one: Type) -> int | None:
    """A whole number, or None if a value is none."""
    kind, at = one
    if kind in (8, 9):
        return kind - 8
    size = SIZES.get(kind)
    return None if size is None else int.from_bytes(values[at : at + size], "big", signed=True)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits in each byte (8 in the ninth), and what comes after it."""
    value = 0
    for i, byte in enumerate(data[at : at + 9]):
        if i == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 128:
            return value, at + i + 1
    return value, len(data)
