"""The command `eventkit`: a table of commands, each a module imported only when it runs.

A command is the module of its name in this folder, holding a click command called `command`,
and one line of the table below. It raises EventkitError for what a user can mend and returns
None, or an exit code: 0 ok, 1 failure, 2 usage, 3 damage found, 4 data that is not there, with
the steps to get it, 5 locked, 6 partly done, 130 interrupted. With --json, a failure too is one
object on stdout: `error` and `exit_code`.
"""

import difflib
import errno
import os
import re
import select
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
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
    "Begin here": {
        "demo": "The whole way in minutes: simulate, convert, load, train, draw.",
    },
    "Recordings": {
        "info": "Show what a recording holds: format, size, events, time; or all below a folder.",
        "view": "Draw a recording or a sample of a store: PNG sheet or GIF.",
        "doctor": "Find what is wrong with a recording, and write a sound copy of it.",
        "translate": "Write a recording in another format.",
    },
    "Datasets": {
        "datasets": "List the known datasets, or all about one.",
        "fetch": "Download a dataset, check and unpack it.",
        "adopt": "Use archives or a folder that are there as a dataset's data.",
        "simulate": "Write a simulated stand-in of a dataset, in its own layout.",
    },
    "Stores": {
        "convert": "Make one Zarr store of training tensors from raw recordings.",
        "finalize": "Finish a conversion that was done in parts, as by a job array.",
        "inspect": "Show what a store holds and the command that made it.",
        "verify": "Find any changed, cut or missing file of a store.",
        "repair": "Make what is damaged in a store anew, from itself and the raw recordings.",
        "merge": "Put several stores into one.",
        "subset": "Make a store of some samples of another.",
        "bench": "Time how fast a store is read here, and say what would make it faster.",
    },
    "Methods": {
        "representations": "List the representations, or show one in detail.",
        "transforms": "List the transforms of events, or show one in detail.",
        "augmentations": "List the augmentations, or show one in detail.",
    },
    "Networks": {
        "models": "List the networks, or all about one.",
        "train": "Train a spiking network on a store.",
        "evaluate": "Measure a trained network: accuracy, operations, energy, latency.",
        "export": "Write a trained network as NIR, ONNX or for the Speck chip.",
    },
}
COMMANDS = {name: about for section in SECTIONS.values() for name, about in section.items()}

# Libraries that whole commands rest on, and the extras they come with.
EXTRAS = {"torch": "torch"}

# What to do about the failures of the operating system that a user can mend.
ADVICE = {
    errno.ENOENT: "check the path",
    errno.EACCES: "check who may read and write there",
    errno.EPERM: "check who may read and write there",
    errno.EROFS: "choose another folder",
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "free some space and run the same command again",
    errno.EMFILE: "raise the limit with ulimit -n",
}


class Table(click.Group):
    """A group that lists its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f".{name}", __package__).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
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
                raise  # as `| head` does: click ends quietly
            raise OSError("the connection to another process broke") from None
        return result


@click.command(cls=Table, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="eventkit %(version)s")
def group() -> None:
    """From raw event-camera recordings to training tensors and spiking networks."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; `argv` is without the program's name.

    Expected errors become one line on stderr, and a traceback too where EVENTKIT_TRACEBACK=1.
    """
    # Before torch is loaded: its idle threads would otherwise spin on cores that others could use.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    _open_streams()
    with _filtered(), warnings.catch_warnings():
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        try:
            # With color, click removes nothing from names, so they are shown as they are.
            code = group.main(argv, prog_name="eventkit", standalone_mode=False, color=True)
            return int(code or 0)
        except click.ClickException as error:
            error.show()
            return _failed(argv, error.format_message(), error.exit_code)
        except click.Abort as abort:
            told = f"interrupted; {str(abort.__cause__ or '') or 'run the same command again'}"
            _say(told)
            return _failed(argv, told, 130)
        except (EventkitError, OSError, ModuleNotFoundError) as error:
            if isinstance(error, ModuleNotFoundError) and error.name not in EXTRAS:
                raise
            if os.environ.get("EVENTKIT_TRACEBACK") == "1":
                traceback.print_exc()
            _drop_unwritten()
            _say(f"error: {_sentence(error)}")
            return _failed(argv, _sentence(error), getattr(error, "exit_code", 1))


def _open_streams() -> None:
    """Let words go nowhere where a stream is closed (>&-), and names of any bytes be printed."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 until the process ends
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # in JSON, an escape that reads back


@contextmanager
def _filtered() -> Iterator[None]:
    """Let no control character of a name reach the terminal, whoever prints it."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(Filtered, before)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _failed(argv: Sequence[str] | None, told: str, code: int) -> int:
    """The exit code of a failure; with --json, stdout gets an object that says the same."""
    if "--json" in (sys.argv[1:] if argv is None else argv):
        from ._text import print_json

        with suppress(OSError):
            print_json({"error": told, "exit_code": code})
    return code


def _sentence(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        return str(MissingExtra(f"this needs {error.name}", EXTRAS[error.name]))
    if isinstance(error, EventkitError) or not isinstance(error, OSError):
        from ._text import flag, for_command

        return for_command(error.text(flag) if isinstance(error, EventkitError) else str(error))
    # What is not yet complete has a name of its own, which the user did not give.
    named = re.sub(r"\.([^/]+?)(\.[0-9a-f]{8})?\.part$", r"\1", str(error.filename or ""))
    where = f"{named}: " if named else ""
    advice = ADVICE.get(error.errno or 0)
    return f"{where}{error.strerror or error}{f'; {advice}' if advice else ''}"


def _say(text: str) -> None:
    click.echo(f"eventkit: {text}", err=True, color=True)


def _show_warning(message: Warning | str, *_: Any) -> None:
    _say(f"warning: {message}")


def _reader_left() -> bool:
    """Whether stdout is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def _drop_unwritten() -> None:
    """Forget what stdout cannot take, as on a full disk; at exit Python would try it again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
