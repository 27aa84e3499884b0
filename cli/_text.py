"""Code shared by the commands: option types, readable numbers, tables, JSON, progress."""

import json
import math
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import click

from eventkit.registry import parse_spec
from eventkit.units import microseconds

from ._numbers import duration as duration
from ._numbers import number as number
from ._numbers import size as size
from ._terminal import drawing, visible

LEGIBLE = 12  # minimum width of a table column, in characters


# Python spellings in messages of the library, and the command-line options that replace them.
OPTIONS = (
    (r"\bstrict=False\b", "--tolerant"),
    (r"\boverwrite=True\b", "--overwrite"),
    (r"\bdoctor\.repair\b", "--repair OUT"),
    (r"\bthe full report lists\b", "--json lists"),
    (r'\bformat="(\w+)", (\w+)="(\w+)"', r"--from \1:\2=\3"),
)


def for_command(text: str) -> str:
    """A message of the library with Python arguments replaced by command-line options.

    >>> for_command("strict=False skips the incomplete record")
    '--tolerant skips the incomplete record'
    """
    for pattern, option in OPTIONS:
        text = re.sub(pattern, option, text)
    return text


def flag(name: str, value: str) -> str:
    """An option as the command line has it: --overwrite, --shard 0/2."""
    return f"--{name.replace('_', '-')} {'' if value == '...' else value}".strip()


class Duration(click.ParamType[int]):
    """A duration in µs: 50ms, 1.5s, 50000us, or a plain number of µs."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            length = microseconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if length < 0:
            self.fail(f"{value!r} is negative, expected a duration", param, ctx)
        return length


class FrameLength(Duration):
    """A duration that requires a unit for plain numbers below 1000.

    A plain 50 more often means 50 ms than 50 µs, which would give a thousand times more frames.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, str) and value.strip().isdecimal() and int(value) < 1000:
            given = value.strip()
            self.fail(f"{given} has no unit; write {given}ms for milliseconds or {given}us for µs")
        return super().convert(value, param, ctx)


class Size(click.ParamType[int]):
    """A number of bytes: 100MB, 1.5GB, 4096."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", value.strip())
        if match is None:
            self.fail(f"{value!r} is not a size, expected e.g. 100MB", param, ctx)
        return int(float(match[1]) * 1000 ** " kMGT".index(match[2] or " "))


class StoreAddress(click.ParamType[Any]):
    """A path, or a URL such as s3://bucket/name.zarr, which is kept as text."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if isinstance(value, Path) or "://" in value else Path(value)


def is_store(where: Any) -> bool:
    """Whether an argument names a store, not a recording: a URL, NAME.zarr or a Zarr folder."""
    if isinstance(where, Path):
        return where.suffix == ".zarr" or (where / "zarr.json").is_file()
    from eventkit.store.storage import is_remote

    return is_remote(where)


DURATION = Duration()
FRAME_LENGTH = FrameLength()
STORE = StoreAddress()
ROOT_HELP = "Folder of the dataset's files.  [default: $EVENTKIT_DATA/NAME or data/NAME]"
# Readability is checked by the library, so that errors have the same wording everywhere.
PATH = click.Path(readable=False, path_type=Path)


class Source(click.ParamType[Any]):
    """A path, or as text: - (standard input) or a URL such as udp://HOST:PORT."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "-" or "://" in str(value) else Path(value)


SOURCE = Source()
# In all commands, --from is the input format and --format the output format.
FROM_HELP = "Input format and its options, e.g. aedat2:chip=dvs128.  [default: detected]"


def live_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that read live input."""
    for option in (
        click.option(
            "--idle", "idle_s", type=float, metavar="S",
            help="Live input: stop after this many seconds without data.",
        ),
        click.option(
            "--seconds", type=float, metavar="S",
            help="Live input: stop after this many seconds.",
        ),
        click.option(
            "--follow", is_flag=True, help="Keep reading as the file grows (like tail -f)."
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@contextmanager
def live(
    source: Any, follow: bool, seconds: float | None, idle_s: float | None
) -> Iterator[dict[str, Any]]:
    """Yield the keyword arguments for reading live input, which Ctrl-C stops cleanly.

    SIGTERM (sent by systemd, Docker and SLURM) and, unless ignored (nohup), SIGHUP also stop it.
    A second signal has its usual effect.
    """
    if follow and isinstance(source, Path) and source.is_dir():
        raise click.UsageError(f"--follow requires a growing file; {source} is a folder")
    if not (follow or isinstance(source, str)):
        if seconds is not None or idle_s is not None:
            name = "--seconds" if seconds is not None else "--idle"
            raise click.UsageError(f"{name} requires --follow, standard input or udp://HOST:PORT")
        yield {}
        return
    stopped: list[int] = []

    def stop(number: int, frame: Any) -> None:
        stopped.append(number)
        for one, handler in before.items():
            signal.signal(one, handler)

    ends = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        ends.append(signal.SIGHUP)
    how: dict[str, Any] = {"follow": follow, "ended": lambda: bool(stopped)}
    before = {number: signal.getsignal(number) for number in ends}
    try:
        for number in ends:
            signal.signal(number, stop)
        yield how | {
            name: value
            for name, value in (("seconds", seconds), ("idle_s", idle_s))
            if value is not None
        }
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def format_options(spec: str | None) -> dict[str, Any]:
    """The keyword arguments for a reader that `--from SPEC` stands for."""
    if spec is None:
        return {}
    name, options = parse_spec(spec)
    if taken := sorted(options.keys() & {"chunk", "start", "stop", "strict", "report", "into"}):
        reason = f"{taken[0]} is not an option of a file format"
        raise click.BadParameter(reason, param_hint="--from")
    return {"format": name, **options}


def in_order(start: int | None, stop: int | None) -> None:
    """Raise a usage error for a time window that ends before it starts."""
    if start is not None and stop is not None and stop <= start:
        raise click.UsageError("--stop must be later than --start")


# An empty time window usually means a wrong unit.
NOTHING = "no events between --start and --stop; check the unit of the times"


def most_events(path: Any, format: str | None) -> int | None:
    """An upper bound of the event count, for a progress bar; None if no bar is shown."""
    from eventkit import formats
    from eventkit.errors import EventkitError

    if not (sys.stderr.isatty() and isinstance(path, Path) and path.is_file()):
        return None
    with suppress(EventkitError):
        fmt = formats.FORMATS[format] if format else formats.guess(path)
        return None if fmt.bound is None else fmt.bound(path)
    return None


@contextmanager
def as_options() -> Iterator[None]:
    """Within this context, errors about a Python argument name the command's option instead.

    `save_minutes is -1` becomes `--save-minutes is -1`, and `represent="frames:n=16"` becomes
    `--rep frames:n=16`.
    """
    from eventkit.errors import OptionError

    named = {
        param.name: param.opts[-1]
        for param in click.get_current_context().command.params
        if isinstance(param, click.Option) and param.name
    }
    names = "|".join(named)
    try:
        yield
    except OptionError as error:
        text = re.sub(rf"^(?:train: )?({names})(?= is )", lambda m: named[m[1]], str(error))
        given = rf"(?<![\w:,.])({names})=(\"[^\"]*\"|[\w.]+)"
        text = re.sub(given, lambda m: f"{named[m[1]]} " + m[2].strip('"'), text)
        raise OptionError(text) from None


def counted(n: int, what: str) -> str:
    """A count with its noun: 1 file, 2,000 files."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def print_json(value: Any) -> None:
    """Print one JSON object on stdout; NumPy values become plain numbers and lists, NaN null."""
    click.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)


def print_facts(facts: dict[str, Any]) -> None:
    """Print names and values in two columns; None and empty values are omitted."""
    facts = {name: value for name, value in facts.items() if value not in (None, "")}
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        click.echo(f"{name:<{width}}  {value}")


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]], *, right: str = "") -> None:
    """Print a table: formatted on a terminal, aligned columns otherwise.

    `right` lists the right-aligned columns, separated by spaces. On a terminal that is too narrow,
    each row is printed as a block with one line per cell.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    numeric = [name in right.split() for name in head]
    columns = list(zip(head, *texts, strict=True))
    if sys.stdout.isatty():
        widths = [max(map(len, column)) for column in columns]
        needed = widths[0] + sum(min(width, LEGIBLE) for width in widths[1:]) + 2 * len(widths)
        if needed > shutil.get_terminal_size().columns:
            _print_blocks(head, texts)
        else:
            _print_rich(head, texts, numeric)
        return
    widths = [max(map(len, column)) for column in columns]
    for row in [list(head), *texts]:
        cells = zip(row, widths, numeric, strict=True)
        line = (cell.rjust(width) if n else cell.ljust(width) for cell, width, n in cells)
        click.echo("  ".join(line).rstrip())


def _print_blocks(head: Sequence[str], rows: list[list[str]]) -> None:
    for first, *cells in rows:
        click.echo(first)
        for name, cell in zip(head[1:], cells, strict=True):
            if cell:
                click.echo(f"  {name} {cell}")


def _print_rich(head: Sequence[str], rows: list[list[str]], numeric: list[bool]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for place, (name, right) in enumerate(zip(head, numeric, strict=True)):
        whole = right or not place  # never wrap the first column: names are copied from it
        side: Any = "right" if right else "left"
        table.add_column(name, justify=side, no_wrap=whole, overflow="fold")
    for row in rows:
        table.add_row(*(escape(visible(cell)) for cell in row))
    Console(file=drawing(sys.stdout)).print(table)


class Bar(Protocol):
    """A progress display."""

    def update(self, done: int, total: int | None, label: str | None = None) -> None:
        """Show that `done` of `total` (None if unknown) is finished; `label` replaces the label."""


def mention_compiling() -> None:
    """Say on a terminal that kernels are compiled, if none has been on this machine."""
    from eventkit._jit import nothing_compiled

    if sys.stderr.isatty() and nothing_compiled():
        text = "eventkit: compiling kernels for this machine; this happens once and takes seconds"
        click.echo(text, err=True)


class _Silent:
    def update(self, done: int, total: int | None, label: str | None = None) -> None:
        pass


@contextmanager
def progress(unit: str, label: str) -> Iterator[Bar]:
    """Show a progress bar with rate and remaining time on stderr if it is a terminal.

    It appears at the first `update`. `unit` names what is counted ("samples", "files"); "B" is
    shown as kB, MB, ...
    """
    if not sys.stderr.isatty():
        yield _Silent()
        return
    from ._progress import bar

    with bar(unit, label) as shown:
        yield shown
