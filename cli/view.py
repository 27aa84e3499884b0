"""eventkit view: a picture, or a page to play, of a recording or of samples of a store."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
import numpy as np

from eventkit import film, formats, representations, transforms, viz
from eventkit._write import check_target
from eventkit.augment import AUGMENTATIONS, Augment
from eventkit.augment.mixing import Batch, parse_mix
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.formats import Report
from eventkit.registry import format_spec
from eventkit.representations import Whole

from . import _viewer
from ._text import (
    DURATION,
    FRAME_LENGTH,
    FROM_HELP,
    NOTHING,
    PATH,
    STORE,
    duration,
    format_options,
    in_order,
    is_store,
    live,
    live_options,
)

LIVE = "live input takes no"
FRAMES = 1_000_000  # of a film


@dataclass(frozen=True)
class View:
    """Frames (T, C, H, W) to draw, and their captions."""

    frames: np.ndarray
    name: str
    title: str
    captions: list[str] | None = None


@dataclass(frozen=True)
class Asked:
    """How events become pictures; start and stop are µs after the first event."""

    represent: str
    transform: tuple[str, ...]
    augment: tuple[str, ...]
    seed: int
    start: int | None
    stop: int | None


@click.command("view")
@click.argument("path", type=STORE)
@click.option("--out", type=PATH, help="NAME.png (a sheet), NAME.gif or NAME.mp4.")
@_viewer.options
@live_options
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Live input: port of the page.  [default: any]"
)
@click.option("--frames", "n", type=click.IntRange(1), help="Cut into N frames.  [default: 16]")
@click.option(
    "--by",
    type=click.Choice(["number", "time"]),
    help="Split by event count or by time.  [default: number]",
)
@click.option(
    "--duration", "length", type=FRAME_LENGTH, help="Cut into frames of this length: 50ms."
)
@click.option("--rep", metavar="SPEC", help="Any representation, as voxel:bins=9.")
@click.option(
    "--transform", metavar="SPEC", multiple=True, help="Change the events first; repeatable."
)
@click.option(
    "--augment",
    metavar="SPEC",
    multiple=True,
    help="Change the sample at random, as in training; repeatable.",
)
@click.option("--seed", type=click.IntRange(0), help="Seed of --augment.  [default: 0]")
@click.option("--start", type=DURATION, help="Begin this long after the first event.")
@click.option("--stop", type=DURATION, help="End this long after the first event.")
@click.option("--from", "spec", metavar="SPEC", help=FROM_HELP)
@click.option("--tolerant", is_flag=True, help="Draw what is sound in a damaged file.")
@click.option("--split", help="Split of a store.  [default: its first]")
@click.option("--sample", type=click.IntRange(0), help="Number of the sample.  [default: 0]")
@click.option(
    "--side",
    type=click.IntRange(16, 2000),
    help="Pixels of a frame's longer side, about.  [default: 200, GIF 400, MP4 720]",
)
@click.option(
    "--fps",
    type=click.FloatRange(0.1, 50),
    help="Frames per second.  [default: GIF 10, MP4 30]",
)
@click.option("--light", is_flag=True, help="White background.")
@click.option("--overwrite", is_flag=True, help="Replace the picture or page if it exists.")
def command(
    path: Any,
    out: Path | None,
    split: str | None,
    sample: int | None,
    side: int | None,
    fps: float | None,
    light: bool,
    overwrite: bool,
    html: Path | None,
    samples: int | None,
    max_events: int | None,
    labels: Path | None,
    port: int | None,
    follow: bool,
    seconds: float | None,
    idle_s: float | None,
    **cut: Any,
) -> None:
    """Draw PATH, a recording or a sample of a store, as a PNG sheet of all frames or as a GIF.

    Recordings and stores of events are cut into frames as the options say; a store of frames has
    its own. OFF is blue and ON is orange. Without --out, a PNG is written in the current folder.

    An MP4 shows every event in real time, a frame being as long as it is shown; --duration 5ms
    makes frames of 5 ms (slow motion at 30 frames per second).

    With --html, write one page that needs no network: play the events, scrub, turn the cloud of
    x, y and time. Of a store it holds some samples of all classes.

    Live input, a growing file with --follow or udp://HOST:PORT, is shown in the same viewer, on a
    page that only this machine can open, until --seconds, --idle or Ctrl-C.
    """
    if follow or str(path).startswith("udp://"):
        given = {"out": out, "html": html, "labels": labels, "samples": samples}
        _refuse({**given, "max-events": max_events, "split": split, "sample": sample}, LIVE)
        ends = {"follow": follow, "seconds": seconds, "idle_s": idle_s}
        _live(path, port or 0, ends, **cut)
        return
    _refuse({"port": port, "seconds": seconds, "idle": idle_s}, "only live input takes")
    if html is not None:
        _refuse({"out": out}, "--html takes no")
        check_target(html, overwrite)
        click.echo(_page(path, html, split, sample, samples, max_events, labels, **cut))
        return
    _refuse({"samples": samples, "max-events": max_events, "labels": labels}, "only --html takes")
    if out is not None and out.suffix.lower() not in (".png", ".gif", ".mp4"):
        raise click.BadParameter(f"{out} must end in .png, .gif or .mp4", param_hint="--out")
    theme: viz.Theme = "light" if light else "dark"
    looks = {"theme": theme, "side": side, "fps": fps}
    if out is not None and out.suffix.lower() == ".mp4":
        check_target(out, overwrite)
        click.echo(_film(path, out, split, sample, looks, **cut))
        return
    if is_store(path):
        view = _of_store(path, split, sample or 0, **cut)
    elif isinstance(path, str):
        raise click.BadParameter(f"{path} is not an address of a store", param_hint="PATH")
    else:
        _refuse({"split": split, "sample": sample}, "a recording has no")
        view = _of_recording(path, **cut)
    out = out or Path(f"{view.name}.png")
    check_target(out, overwrite)
    if out.suffix.lower() == ".gif":
        viz.animate(view.frames, out, fps=fps or 10, theme=theme, side=side or 2 * viz.SIDE)
    else:
        viz.sheet(
            view.frames,
            out,
            captions=view.captions,
            title=view.title,
            theme=theme,
            side=side or viz.SIDE,
        )
    n, _, height, width = view.frames.shape
    click.echo(f"{out}: {n} frames of {width}x{height}, {view.title}")


def _film(
    path: Any, out: Path, split: str | None, sample: int | None, looks: dict[str, Any], **cut: Any
) -> str:
    """Write an MP4: all events in real time, or the frames that are asked for; a line about it."""
    fps = looks["fps"] or 30
    more = {"fps": fps, "theme": looks["theme"], "side": looks["side"] or film.SIDE}
    stored = is_store(path)
    asked = ("n", "by", "rep", "augment")
    if any(cut[name] for name in asked) or (stored and not _holds_events(path)):
        view = _of_store(path, split, sample or 0, **cut) if stored else _of_recording(path, **cut)
        film.film(viz.palette_indices(view.frames), out, **more)
        return f"{out}: {len(view.frames)} frames, {view.title}"
    length = cut.pop("length") or round(1e6 / fps)
    changed = _stream_of(path, split, sample, **cut)
    whole, _, outside = _survey(changed())
    n = (whole.t1 - whole.t0) // length + 1
    if n > FRAMES:
        raise OptionError(f"{n:,} frames of {duration(length / 1e6)}; use a longer --duration")

    def frames() -> Iterator[np.ndarray]:
        return film.windows(changed(), whole.t0, length, n)

    film.film(film.coloured(frames(), film.full_scale(frames(), n)), out, **more)
    speed = length * fps / 1e6
    lost = f", {outside:,} events outside the sensor are not drawn" if outside else ""
    return f"{out}: {n:,} frames of {duration(length / 1e6)}, {speed:.3g} x real time{lost}"


def _holds_events(path: Any) -> bool:
    from eventkit import store

    return store.open(path).kind == "events"


def _stream_of(
    path: Any,
    split: str | None,
    sample: int | None,
    *,
    spec: str | None,
    tolerant: bool,
    **cut: Any,
) -> Callable[[], Iterator[Events]]:
    """A function that streams the events of a recording or of a store's sample, transformed."""
    how = _asked(length=None, **cut)
    if is_store(path):
        from eventkit import store

        _refuse({"spec": spec, "tolerant": tolerant}, "a store has no")
        opened = store.open(path)
        ((name, number),) = _viewer.choose(opened, split, sample or 0, None)
        return _changed(lambda **ends: _parts_of_sample(opened[name], number, **ends), how)
    _refuse({"split": split, "sample": sample}, "a recording has no")
    options = {"strict": not tolerant, **format_options(spec)}
    return _changed(lambda **window: formats.stream(path, **window, **options), how)


def _live(
    source: Any,
    port: int,
    ends: dict[str, Any],
    *,
    spec: str | None,
    tolerant: bool,
    length: int | None,
    transform: tuple[str, ...],
    **others: Any,
) -> None:
    """Serve the viewer of live input until it ends."""
    from eventkit.pages.live import LiveViewer

    _refuse(others, LIVE)
    how = {"strict": not tolerant, **format_options(spec)}
    steps = [transforms.begin(*transforms.parse(text)) for text in transform]
    title = source.name if isinstance(source, Path) else str(source)
    with live(source, **ends) as until:
        parts = formats.stream(source, **until, **how)
        with LiveViewer(title, port=port, window=length) as viewer:
            click.echo(f"open {viewer.url} in a browser; Ctrl-C ends")
            for events in parts:
                for step in steps:
                    events = step(events)
                viewer.add(events)


def _page(
    path: Any,
    html: Path,
    split: str | None,
    sample: int | None,
    samples: int | None,
    limit: int | None,
    labels: Path | None,
    *,
    spec: str | None,
    tolerant: bool,
    n: int | None,
    by: str | None,
    length: int | None,
    rep: str | None,
    **cut: Any,
) -> str:
    """Write the page of a recording or a store; one line about it."""
    unfit = {"n": n, "by": by, "rep": rep, "augment": cut["augment"], "seed": cut["seed"]}
    _refuse(unfit, "--html shows events, it takes no")
    how = _asked(n=None, by=None, length=None, rep=None, **cut)
    given: dict[str, Any] = {"limit": limit, "window": length}
    if not is_store(path):
        _refuse({"split": split, "sample": sample, "samples": samples}, "a recording has no")
        report = Report()
        options = {"strict": not tolerant, **format_options(spec)}
        changed = _changed(
            lambda **window: formats.stream(path, report=report, **window, **options), how
        )
        shown = _viewer.of_recording(path, changed, _survey, labels=labels, **given)
        shown["notes"] += list(dict.fromkeys(report.notes))
        return _viewer.page(html, path.name, shown)
    from eventkit import store

    _refuse({"spec": spec, "tolerant": tolerant, "labels": labels}, "a store has no")
    if sample is not None:
        _refuse({"samples": samples}, "--sample goes without")
    opened = store.open(path)
    if opened.kind != "events":
        part = {"start": how.start, "stop": how.stop, "transform": how.transform}
        _refuse(part, "a store's frames are as they were converted; it takes no")

    def read(part: Any, number: int) -> Any:
        return _changed(lambda **ends: _parts_of_sample(part, number, **ends), how)

    chosen = _viewer.choose(opened, split, sample, samples)
    shown = _viewer.of_store(opened, chosen, read, _survey, **given)
    return _viewer.page(html, opened.path.name, shown)


def _refuse(options: dict[str, Any], reason: str) -> None:
    for name, value in options.items():
        if value is not None and value is not False and value != ():
            shown = {"n": "frames", "length": "duration", "spec": "from"}.get(name, name)
            raise click.UsageError(f"{reason} --{shown}")


def _of_store(
    path: Any, split: str | None, sample: int, *, spec: str | None, tolerant: bool, **cut: Any
) -> View:
    from eventkit import store

    _refuse({"spec": spec, "tolerant": tolerant}, "a store has no")
    opened = store.open(path)
    name = split or opened.splits[0]
    part, captions = opened[name], None
    if opened.kind == "events":
        options = _asked(**cut)
        if sample >= len(part):
            raise OptionError(f"{path}: {name} has {len(part):,} samples, found no {sample:,}")
        partner = (sample + 1) % len(part)
        frames, whole, _, captions = _cut(
            lambda **cut: [_of_sample(part, sample, **cut)],
            options,
            lambda **cut: [_of_sample(part, partner, **cut)],
        )
        length = f", {whole.n:,} events in {duration((whole.t1 - whole.t0) / 1e6)}"
    else:
        _refuse(cut, "a store's frames are as they were converted; it takes no")
        frames, length = part.read([sample])[0], ""
    label = int(part.labels[sample])
    known = opened.classes[label] if 0 <= label < len(opened.classes) else str(label)
    stem = Path(opened.path.name).stem
    title = f"{stem} {name} {sample}: {known}{length}"
    return View(frames, f"{stem}-{name}-{sample}", title, captions)


def _of_sample(part: Any, sample: int, **ends: int) -> Events:
    """A sample of a store, or its events between times that count from its first."""
    if not ends:
        return cast(Events, part.events(sample))
    first = part.events(sample).t[:1]
    origin = int(first[0]) if len(first) else 0
    return cast(Events, part.events(sample, **{name: origin + end for name, end in ends.items()}))


def _parts_of_sample(part: Any, sample: int, **ends: int) -> Iterable[Events]:
    """As `_of_sample`, in chunks where it is read whole."""
    if ends or not int(part.column("count")[sample]):
        return [_of_sample(part, sample, **ends)]
    return cast(Iterable[Events], part.ragged.parts(sample))


def _of_recording(path: Path, *, spec: str | None, tolerant: bool, **cut: Any) -> View:
    options, report = _asked(**cut), Report()
    how = {"strict": not tolerant, **format_options(spec)}
    frames, whole, placed, captions = _cut(
        lambda **window: formats.stream(path, report=report, **window, **how),
        options,
    )
    for note in dict.fromkeys(report.notes):  # of several passes
        click.echo(f"eventkit: warning: {note}", err=True)
    title = f"{path.name}: {placed:,} events in {duration((whole.t1 - whole.t0) / 1e6)}"
    return View(frames, f"{path.stem}-view", title, captions)


def _asked(
    *,
    n: int | None,
    by: str | None,
    length: int | None,
    rep: str | None,
    transform: tuple[str, ...],
    augment: tuple[str, ...],
    seed: int | None,
    start: int | None,
    stop: int | None,
) -> Asked:
    """How events become pictures, checked."""
    if rep is not None and (n or by or length):
        raise click.UsageError("--rep goes without --frames, --by and --duration")
    if length is not None and (n or by):
        raise click.UsageError("--duration goes without --frames and --by")
    in_order(start, stop)
    cut = {"duration": length} if length is not None else {"n": n or 16, "by": by or "number"}
    if seed is not None and not augment:
        raise click.UsageError("--seed goes with --augment")
    return Asked(rep or format_spec("frames", cut), transform, augment, seed or 0, start, stop)


def _cut(
    read: Callable[..., Iterable[Events]],
    how: Asked,
    read_partner: Callable[..., Iterable[Events]] | None = None,
) -> tuple[Any, Whole, int, Any]:
    """Pictures of the events that `read` streams, all of them, how many are drawn, and captions.

    `read` takes start and stop (µs after the first event), and is called again for each pass;
    `read_partner` reads the sample that augmentations of batches mix with this one.
    """
    entry, options = representations.parse(how.represent)
    if options.get("bounds") == "raise":
        options["bounds"] = "drop"
    mixes = [spec for spec in how.augment if AUGMENTATIONS.parse(spec)[0].on == "batch"]
    if mixes and read_partner is None:
        raise click.UsageError(f"{mixes[0]} mixes two samples: view a store of events")
    augment = Augment([spec for spec in how.augment if spec not in mixes], seed=how.seed)

    def pictured(read: Callable[..., Iterable[Events]], number: int) -> tuple[Any, ...]:
        draw, chunks = augment.draw(0, number), _changed(read, how)
        if augment.on_events:  # draws depend on the sample's first and last time
            copies = [events.copy() for events in chunks()]
            found = [augment.events(Events.concat(copies), draw)] if copies else []
            chunks = functools.partial(iter, found)
        whole, size, outside = _survey(chunks())
        array, placed = representations.accumulate(chunks(), whole, size, entry, options)
        if augment.on_frames:
            array = augment.frames(np.ascontiguousarray(array), draw)
        return array, whole, size, placed, outside

    array, whole, size, placed, outside = pictured(read, 0)
    if read_partner is not None and mixes:
        array = _mixed(array, pictured(read_partner, 1)[0], mixes, how.seed)
    lost = [f"{outside:,} events outside {size[0]}x{size[1]} are not drawn"] if outside else []
    is_part = how.start is not None or how.stop is not None
    lost += [NOTHING] if is_part and not whole.n else []
    for note in lost:
        click.echo(f"eventkit: warning: {note}", err=True)
    pictures = representations.panels(entry, array, size, options)
    same = entry.name == "frames" and len(pictures) == len(array) and not how.augment
    return pictures, whole, placed, _times(len(array), whole, options) if same else None


def _changed(read: Callable[..., Iterable[Events]], how: Asked) -> Callable[[], Iterator[Events]]:
    """A function that streams the part of the events that is asked for, transformed."""
    limits = {"start": how.start, "stop": how.stop}
    part = {name: limit for name, limit in limits.items() if limit is not None}

    def changed() -> Iterator[Events]:
        steps = [transforms.begin(*transforms.parse(spec)) for spec in how.transform]
        for events in read(**part):
            for step in steps:
                events = step(events)
            yield events

    return changed


def _mixed(own: np.ndarray, other: np.ndarray, specs: list[str], seed: int) -> np.ndarray:
    """Frames (T, C, H, W) mixed with those of another sample, as long as the longer one."""
    if own.shape[1:] != other.shape[1:]:
        raise OptionError(f"samples of {own.shape[1:]} and {other.shape[1:]} cannot be mixed")
    length = max(len(own), len(other))
    own, other = (
        np.concatenate([frames, np.zeros((length - len(frames), *frames.shape[1:]), frames.dtype)])
        for frames in (own, other)
    )
    rng = np.random.default_rng(seed)
    for spec in specs:
        mix = parse_mix(spec)(Batch(2, *own.shape[2:]), rng)
        share = mix.own((length, *own.shape[2:]))[:, None]
        own = share * own + (1 - share.astype(np.float32)) * other
    return own


def _survey(chunks: Iterable[Events]) -> tuple[Whole, tuple[int, int], int]:
    """Count, first and last time, sensor size and events outside of it, in bounded memory."""
    whole, size, outside = None, (0, 0), 0
    for events in chunks:
        size = events.size
        outside += events.out_of_bounds
        part = Whole.of(events)
        if not part.n:
            continue
        if whole is None:
            whole = part
        else:
            t0, t1 = min(whole.t0, part.t0), max(whole.t1, part.t1)
            ordered = whole.ordered and part.ordered and part.t0 >= whole.t1
            whole = Whole(whole.n + part.n, t0, t1, ordered)
    return whole or Whole(0, 0, 0), size, outside


def _times(n: int, whole: Whole, frames: dict[str, Any]) -> list[str] | None:
    """When each frame begins, where frames are cut by time."""
    if frames["count"] is not None:
        return None
    if (length := frames["stride"] or frames["duration"]) is not None:
        starts = [i * length for i in range(n)]
    elif frames["by"] == "time":
        starts = [i * (whole.t1 - whole.t0 + 1) // n for i in range(n)]
    else:
        return None
    return [duration(start / 1e6) for start in starts]
