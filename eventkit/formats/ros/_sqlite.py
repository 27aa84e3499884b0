"""Bags of version 2 in SQLite: tables `topics` and `messages`, from files that others made.

SQLite runs what a file says: a view may compute rows without end. Only real tables are read, with
limits on the length of a value and on the steps of a query. Where the database is damaged or cut
off, its pages are read without SQLite (`_sqlite_pages`) if strict=False.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eventkit.errors import FormatError
from eventkit.formats._inflate import LARGEST, Budget
from eventkit.formats.ros._sqlite_pages import Pages

MAGIC, ZSTD = b"SQLite format 3\0", b"\x28\xb5\x2f\xfd"
STEPS = 10_000  # of SQLite's machine, between two counts of them
TABLES = ("topics", "messages")
ROW = np.dtype([("time", "i8"), ("number", "i8"), ("size", "i8")])


class SqliteBag:
    """The topics and messages of a .db3 file; `losses` are sentences about what is not read."""

    version = 2

    def __init__(self, path: Path, strict: bool, budget: Budget) -> None:
        self.losses: list[str] = []
        self._path, self._strict, self._budget = path, strict, budget
        self._unsaved = _unsaved(path)
        if strict and self._unsaved:
            raise FormatError(path, None, f"{self._unsaved}; strict=False reads without it")

    def topics(self) -> list[tuple[str, str]]:
        """Each topic with the type of its messages."""
        try:
            with _database(self._path) as database:
                found = database.execute("SELECT name, type FROM topics").fetchall()
        except sqlite3.Error:
            if self._strict:
                raise
            with contextlib.closing(Pages(self._path)) as pages:
                found = [(name, kind) for _, name, kind in pages.topics]
        return sorted({(str(name), str(kind)) for name, kind in found})

    def messages(self, topic: str) -> Iterator[bytes]:
        """The messages of a topic in order of time; if each is compressed, they are unpacked."""
        self.losses[:] = [self._unsaved] if self._unsaved else []
        self._budget.begin()
        try:
            with _database(self._path) as database:
                rows = self._rows(database, topic)
                yield from self._each(rows["number"].tolist(), database)
        except sqlite3.Error as error:
            if self._strict:
                raise
            self.losses.append(f"the database is damaged or cut off: {error}")
            yield from self._rescued(topic)

    def _rows(self, database: sqlite3.Connection, topic: str) -> np.ndarray:
        """The messages of a topic in order of time (ROW)."""
        # Without the index, which may say something else than the table.
        query = (
            "SELECT timestamp, rowid, length(data) FROM messages NOT INDEXED "
            "WHERE topic_id IN (SELECT id FROM topics WHERE name = ?)"
        )
        rows = np.fromiter(database.execute(query, (topic,)), ROW)
        if rows["size"].astype(float).sum() > self._path.stat().st_size:
            raise ValueError("the messages are longer than the file: they share bytes")
        rows.sort(order=("time", "number"))
        return rows

    def _each(self, numbers: list[int], database: sqlite3.Connection) -> Iterator[bytes]:
        """The messages with these numbers; those that cannot be read are lost if not strict."""
        lost = 0
        for number in numbers:
            try:
                query = "SELECT data FROM messages WHERE rowid = ?"
                ((data,),) = database.execute(query, (number,)).fetchall()
            except sqlite3.Error:
                if self._strict:
                    raise
                lost += 1
                continue
            if not isinstance(data, bytes):
                raise ValueError("a message is not bytes")
            yield self._unpacked(data)
        self._lose(lost)

    def _rescued(self, topic: str) -> Iterator[bytes]:
        """The messages that are whole in the pages of a damaged file."""
        lost = 0
        with contextlib.closing(Pages(self._path)) as pages:
            wanted = {number for number, name, _ in pages.topics if name == topic}
            for row in pages.rows:
                if row.topic in wanted:
                    try:
                        data = pages.data(row)
                    except ValueError:
                        lost += 1
                    else:
                        yield self._unpacked(data)
        self._lose(lost)

    def _unpacked(self, data: bytes) -> bytes:
        """A message, inflated if it was compressed alone."""
        if not data.startswith(ZSTD):
            return data
        import zstandard

        try:
            whole = zstandard.ZstdDecompressor().decompress(data, max_output_size=LARGEST)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error
        self._budget.take(len(whole))
        return whole

    def _lose(self, n: int) -> None:
        if n:
            self.losses.append(f"{n:,} messages cannot be read, as parts of them are missing")


def _unsaved(path: Path) -> str:
    """A sentence about what was recorded but is in a file beside the database, or nothing."""
    for kind, what in (("-wal", "messages that are"), ("-journal", "a change that is")):
        beside = path.with_name(path.name + kind)
        if beside.is_file() and (size := beside.stat().st_size):
            return (
                f"{beside.name} ({size:,} bytes) has {what} not in the database yet, as its "
                f"recorder was killed; `sqlite3 {path.name} .tables` takes them over"
            )
    return ""


def _check_length(path: Path) -> None:
    """sqlite3.DatabaseError for a file that is cut off: SQLite reads zeros behind its end."""
    with path.open("rb") as file:
        head = file.read(100)
        size = file.seek(0, 2)
    page = int.from_bytes(head[16:18], "big")
    whole = int.from_bytes(head[28:32], "big") * (65536 if page == 1 else page)
    # The number of pages is right if it was set with the last change, as all do since 2010.
    if head[24:28] == head[92:96] and size < whole:
        raise sqlite3.DatabaseError(f"it has {size:,} of {whole:,} bytes")


@contextlib.contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    """A database that is only read, of which both tables are real ones; its queries end."""
    _check_length(path)
    address = f"{path.absolute().as_uri()}?immutable=1&mode=ro"
    left = 1000 + path.stat().st_size // 500  # looks; a row of a table takes some 10 steps

    def look() -> int:
        nonlocal left
        left -= 1
        return left < 0

    with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
        database.set_progress_handler(look, STEPS)
        database.execute("PRAGMA trusted_schema = OFF")
        query = "SELECT lower(name), type, rootpage FROM sqlite_master WHERE lower(name) IN (?, ?)"
        found = {name: (kind, page) for name, kind, page in database.execute(query, TABLES)}
        for name in TABLES:
            kind, page = found.get(name, ("missing", 0))
            columns = database.execute(f"PRAGMA table_xinfo({name})").fetchall()
            if kind != "table" or not page or any(column[-1] for column in columns):
                what = "computed" if kind == "table" else kind
                reason = f"{name} is {what}, expected a table as rosbag2 makes it"
                raise FormatError(path, None, reason)
        yield database
