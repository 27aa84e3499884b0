"""eventkit view: a picture of a recording, or of a sample of a store."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from eventkit import formats, representations, viz
from eventkit.events import Events
from eventkit.formats import Report
from eventkit.registry import format_spec
from eventkit.representations import Whole

from ._text import (
    DURATION,
    FRAME_LENGTH,
    FROM_HELP,
    NOTHING,
    PATH,
    duration,
    format_options,
    in_order,
)


@dataclass(frozen=True)
class View:
    """Frames (T, C, H, W) to draw, and the words beside them."""

    frames: np.ndarray
    name: str
    title: str
    captions: list[str] | None = None


@click.command("view")
@click.argument("path", type=PATH)
@click.option("--out", type=PATH, help="NAME.png (a sheet) or NAME.gif.")
@click.option("--frames", "n", type=click.IntRange(1), help="Cut into N frames.  [default: 16]")
@click.option("--by", type=click.Choice(["number", "time"]), help="Equal parts of what.")
@click.option(
    "--duration", "length", type=FRAME_LENGTH, help="Cut into frames of this length: 50ms."
)
@click.option("--start", type=DURATION, help="Begin this long after the first event.")
@click.option("--stop", type=DURATION, help="End this long after the first event.")
@click.option("--from", "spec", metavar="SPEC", help=FROM_HELP)
@click.option("--tolerant", is_flag=True, help="Draw what is sound in a damaged file.")
@click.option("--split", help="Split of a store.  [default: its first]")
@click.option("--sample", type=click.IntRange(0), help="Number of the sample.  [default: 0]")
@click.option("--fps", type=click.FloatRange(0.1, 50), default=10, show_default=True)
@click.option("--light", is_flag=True, help="A white ground.")
def command(
    path: Path,
    out: Path | None,
    split: str | None,
    sample: int | None,
    fps: float,
    light: bool,
    **cut: Any,
) -> None:
    """Draw PATH, a recording or a store, as a PNG sheet of all frames or as a GIF.

    OFF is blue and ON is orange. Without --out, a PNG is written in the current folder.
    """
    if out is not None and out.suffix.lower() not in (".png", ".gif"):
        raise click.BadParameter(f"{out} must end in .png or .gif", param_hint="--out")
    if path.suffix == ".zarr" or (path / "zarr.json").is_file():
        _refuse(cut, "a store's frames are as they were converted; it takes no")
        view = _of_store(path, split, sample or 0)
    else:
        _refuse({"split": split, "sample": sample}, "a recording has no")
        view = _of_recording(path, **cut)
    out = out or Path(f"{view.name}.png")
    theme: viz.Theme = "light" if light else "dark"
    if out.suffix.lower() == ".gif":
        viz.animate(view.frames, out, fps=fps, theme=theme)
    else:
        viz.sheet(view.frames, out, captions=view.captions, title=view.title, theme=theme)
    n, _, height, width = view.frames.shape
    click.echo(f"{out}: {n} frames of {width}x{height}, {view.title}")


def _refuse(options: dict[str, Any], reason: str) -> None:
    for name, value in options.items():
        if value is not None and value is not False:
            shown = {"n": "frames", "length": "duration", "spec": "from"}.get(name, name)
            raise click.UsageError(f"{reason} --{shown}")


def _of_store(path: Path, split: str | None, sample: int) -> View:
    from eventkit import store

    opened = store.open(path)
    name = split or opened.splits[0]
    part = opened[name]
    frames = part.read([sample])[0]
    label = int(part.labels[sample])
    known = opened.classes[label] if 0 <= label < len(opened.classes) else str(label)
    title = f"{path.stem} {name} {sample}: {known}"
    return View(frames, f"{path.stem}-{name}-{sample}", title)


def _of_recording(
    path: Path,
    *,
    n: int | None,
    by: str | None,
    length: int | None,
    start: int | None,
    stop: int | None,
    spec: str | None,
    tolerant: bool,
) -> View:
    if length is not None and (n or by):
        raise click.UsageError("--duration goes without --frames and --by")
    in_order(start, stop)
    slices = {"duration": length} if length is not None else {"n": n or 16, "by": by or "number"}
    entry, options = representations.parse(format_spec("frames", {**slices, "bounds": "drop"}))
    report = Report()
    how = {"strict": not tolerant, **format_options(spec)}
    part: dict[str, Any] = {}
    if start is not None or stop is not None:
        first = next(formats.stream(path, 1, **how))
        origin = int(first.t[0]) if len(first) else 0
        part["start"] = None if start is None else origin + start
        part["stop"] = None if stop is None else origin + stop
    whole, size = _survey(formats.stream(path, report=report, **part, **how))
    frames, placed = representations.accumulate(
        formats.stream(path, **part, **how), whole, size, entry, options
    )
    outside = whole.n - placed
    lost = [f"{outside:,} events outside {size[0]}x{size[1]} are not drawn"] if outside else []
    lost += [NOTHING] if part and not whole.n else []
    for note in [*report.notes, *lost]:
        click.echo(f"eventkit: warning: {note}", err=True)
    title = f"{path.name}: {placed:,} events in {duration((whole.t1 - whole.t0) / 1e6)}"
    return View(frames, f"{path.stem}-view", title, _times(len(frames), whole, by, length))


def _survey(chunks: Iterable[Events]) -> tuple[Whole, tuple[int, int]]:
    """Count, first and last time of a recording, and its size, in bounded memory."""
    whole, size = None, (0, 0)
    for events in chunks:
        size = events.size
        part = Whole.of(events)
        if not part.n:
            continue
        if whole is None:
            whole = part
        else:
            t0, t1 = min(whole.t0, part.t0), max(whole.t1, part.t1)
            whole = Whole(whole.n + part.n, t0, t1)
    return whole or Whole(0, 0, 0), size


def _times(n: int, whole: Whole, by: str | None, length: int | None) -> list[str] | None:
    """When each frame begins, where frames are cut by time."""
    if length is not None:
        starts = [i * length for i in range(n)]
    elif by == "time":
        starts = [i * (whole.t1 - whole.t0 + 1) // n for i in range(n)]
    else:
        return None
    return [duration(start / 1e6) for start in starts]
