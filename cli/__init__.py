"""The command `eventkit`: a table of commands, each in a module that is imported when it runs.

A command is the module of the same name in this folder, which defines a click command called
`command`, plus one line in the table below. It raises EventkitError for failures that a user can
fix and returns None or an exit code: 0 success, 1 failure, 2 usage error, 3 damage found,
4 data missing (the message lists the steps to get it), 5 locked by another process, 6 partly
done, 130 interrupted. With --json, a failure is also reported as one JSON object on stdout, with
the keys `error` and `exit_code`.
"""

import difflib
import errno
import os
import re
import select
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from eventkit import __version__
from eventkit.errors import EventkitError, MissingExtra

from ._terminal import Filtered

# In the order in which a new user needs them.
SECTIONS = {
    "Getting started": {
        "demo": "Run the whole pipeline in minutes: simulate, convert, train, draw.",
    },
    "Recordings": {
        "info": "Show format, sensor size, event count and duration of recordings.",
        "view": "Play a recording or a store in a browser, or draw it as PNG or GIF.",
        "doctor": "Check a recording for damage and noise; write a cleaned copy.",
        "translate": "Convert a recording to another file format.",
        "join": "Join recordings, one after the other or merged by time.",
        "split": "Split a recording or live input by time, count, size or triggers.",
    },
    "Datasets": {
        "datasets": "List the known datasets, or show one in detail.",
        "fetch": "Download, verify and unpack a dataset.",
        "adopt": "Use archives or folders you already have as a dataset's files.",
        "simulate": "Write simulated recordings in the layout of a dataset.",
    },
    "Stores": {
        "convert": "Convert raw recordings to one Zarr store of training tensors.",
        "finalize": "Finish a conversion that ran in parts, e.g. as a job array.",
        "inspect": "Show the contents of a store and the command that created it.",
        "report": "Write a page about a store: classes, rates, outliers, duplicates.",
        "verify": "Find changed, truncated or missing files in a store.",
        "repair": "Rebuild the damaged parts of a store.",
        "merge": "Combine several stores into one.",
        "subset": "Create a store from selected samples of another.",
        "push": "Upload a store to the Hugging Face Hub.",
        "bench": "Measure how fast a store is read and what limits the speed.",
    },
    "Methods": {
        "representations": "List the representations, or show one in detail.",
        "transforms": "List the event transforms, or show one in detail.",
        "augmentations": "List the augmentations, or show one in detail.",
        "bench-filters": "Measure how well noise filters tell noise from signal.",
    },
    "Networks": {
        "models": "List the models, or show one in detail.",
        "train": "Train a spiking network on a store.",
        "evaluate": "Measure a trained network: accuracy, operations, energy, latency.",
        "spiking": "Convert a network trained without spikes, and measure it.",
        "compare": "Compare trainings: accuracy, cost, settings that differ.",
        "export": "Export a trained network to NIR, ONNX or Speck.",
    },
}
COMMANDS = {name: about for section in SECTIONS.values() for name, about in section.items()}

# Libraries that entire commands depend on, and the extra that installs each.
EXTRAS = {"torch": "torch"}

NARROW = 60  # columns of a help text

# Advice for operating system errors that a user can fix.
ADVICE = {
    errno.ENOENT: "check the path",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.EROFS: "choose another folder",
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "free some space and run the same command again",
    errno.EMFILE: "raise the limit with ulimit -n",
}


class Formatter(click.HelpFormatter):
    """Wraps help texts at the width of the terminal, even below click's minimum of 50 columns."""

    def __init__(
        self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None
    ) -> None:
        columns = min(shutil.get_terminal_size().columns, max_width or 80)
        super().__init__(indent_increment, width or max(columns - 2, 20), max_width)

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        # On a narrow terminal, descriptions start below the names.
        super().write_dl(rows, 6 if self.width < NARROW else col_max, col_spacing)


class Context(click.Context):
    formatter_class = Formatter


class Table(click.Group):
    """A group that lists its commands without importing them."""

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f".{name.replace('-', '_')}", __package__).command
        command.context_class = Context
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS)) if formatter.width >= NARROW else 0
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), about) for name, about in commands.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0].lower(), COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        if not hasattr(os, "pread"):
            raise EventkitError("eventkit runs on Linux and macOS; on Windows, run it inside WSL")
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            if _reader_left():
                raise  # as with `| head`: click exits quietly
            raise OSError("the connection to another process was lost") from None
        return result


@click.command(cls=Table, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="eventkit %(version)s")
def group() -> None:
    """Turn raw event-camera recordings into training tensors and train spiking networks."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; `argv` excludes the program name.

    Expected errors are printed as one line on stderr, preceded by a traceback if
    EVENTKIT_TRACEBACK=1.
    """
    # Must be set before torch is imported: its idle OpenMP threads would otherwise spin on cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    _open_streams()
    with _filtered(), warnings.catch_warnings():
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        try:
            # With color=True, click does not strip escape sequences; Filtered makes them visible.
            code = group.main(argv, prog_name="eventkit", standalone_mode=False, color=True)
            return int(code or 0)
        except click.ClickException as error:
            error.show()
            return _failed(argv, error.format_message(), error.exit_code)
        except click.Abort as abort:
            reason = str(abort.__cause__ or "") or "run the same command again"
            _print_error(f"interrupted; {reason}")
            return _failed(argv, f"interrupted; {reason}", 130)
        except (EventkitError, OSError, ModuleNotFoundError) as error:
            if isinstance(error, ModuleNotFoundError) and error.name not in EXTRAS:
                raise
            if os.environ.get("EVENTKIT_TRACEBACK") == "1":
                traceback.print_exc()
            _drop_unwritten()
            _print_error(f"error: {_message(error)}")
            return _failed(argv, _message(error), getattr(error, "exit_code", 1))


def _open_streams() -> None:
    """Replace closed streams (>&-) by the null device; escape undecodable bytes in names."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 open until exit
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # valid JSON escapes as well


@contextmanager
def _filtered() -> Iterator[None]:
    """Escape control characters in all output, so that file names cannot control the terminal."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(Filtered, before)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _failed(argv: Sequence[str] | None, message: str, code: int) -> int:
    """Return the exit code of a failure; with --json, print the failure as JSON on stdout."""
    if "--json" in (sys.argv[1:] if argv is None else argv):
        from ._text import print_json

        with suppress(OSError):
            print_json({"error": message, "exit_code": code})
    return code


def _message(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        return str(MissingExtra(f"this command needs {error.name}", EXTRAS[error.name]))
    if isinstance(error, EventkitError) or not isinstance(error, OSError):
        from ._text import flag, for_command

        return for_command(error.text(flag) if isinstance(error, EventkitError) else str(error))
    # Incomplete files have temporary names; show the name that the user gave.
    name = re.sub(r"\.([^/]+?)(\.[0-9a-f]{8})?\.part$", r"\1", str(error.filename or ""))
    where = f"{name}: " if name else ""
    advice = ADVICE.get(error.errno or 0)
    return f"{where}{error.strerror or error}{f'; {advice}' if advice else ''}"


def _print_error(text: str) -> None:
    click.echo(f"eventkit: {text}", err=True, color=True)


def _show_warning(message: Warning | str, *_: Any) -> None:
    from ._text import for_command

    _print_error(f"warning: {for_command(str(message))}")


def _reader_left() -> bool:
    """Whether stdout is a pipe whose reader has exited."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def _drop_unwritten() -> None:
    """Discard output that cannot be written (full disk); Python would retry it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
