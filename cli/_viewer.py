"""The HTML page of `eventkit view`: a recording, or samples of a store."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from eventkit import pages
from eventkit.errors import OptionError
from eventkit.events import Events
from eventkit.pages import stores
from eventkit.pages.labels import find_labels, read_labels
from eventkit.pages.viewer import EVENTS, data, events_sample, frames_sample
from eventkit.representations import Whole

SAMPLES = 12
Chunks = Callable[[], Iterable[Events]]
Survey = tuple[Whole, tuple[int, int], int]


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that concern the page only."""
    for option in (
        click.option(
            "--labels",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Page: intervals (.csv: start, stop, label) or boxes (.npy) to draw.  "
            "[default: the file that a dataset keeps next to it]",
        ),
        click.option(
            "--max-events",
            type=click.IntRange(1),
            help=f"Page: most events in it, 4 bytes each; of more, some are drawn.  "
            f"[default: {EVENTS:,}]",
        ),
        click.option(
            "--samples",
            type=click.IntRange(1, 1000),
            help=f"Page: number of samples of a store, of all classes.  [default: {SAMPLES}]",
        ),
        click.option(
            "--html",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Write one HTML page to play it in a browser instead of a picture.",
        ),
    ):
        command = option(command)
    return command


def page(out: Path, title: str, shown: dict[str, Any]) -> str:
    """Write the page; one line about it."""
    pages.write(out, "viewer", title, shown)
    size = out.stat().st_size
    n, total = (sum(sample.get(key, 0) for sample in shown["samples"]) for key in ("n", "total"))
    what = f"{n:,} of {total:,} events" if total else f"{n:,} frames"
    return f"{out}: {what}, {size / 1e6:.1f} MB; open it in a browser"


def of_recording(
    path: Path,
    changed: Chunks,
    survey: Callable[[Iterable[Events]], Survey],
    *,
    labels: Path | None,
    limit: int | None,
    window: int | None,
) -> dict[str, Any]:
    """What the page of a recording shows."""
    whole, size, outside = survey(changed())
    file = labels or find_labels(path)
    intervals, boxes = read_labels(file, width=size[0]) if file else ([], [])
    sample = events_sample(
        changed(),
        n=whole.n - outside,
        t0=whole.t0,
        t1=whole.t1,
        limit=limit or EVENTS,
        name=path.name,
        intervals=intervals,
        boxes=boxes,
    )
    return data([sample], size, notes=_lost(outside, size), window=window)


def of_store(
    opened: Any,
    chosen: Sequence[tuple[str, int]],
    read: Callable[[Any, int], Chunks],
    survey: Callable[[Iterable[Events]], Survey],
    *,
    limit: int | None,
    window: int | None,
) -> dict[str, Any]:
    """What the page of a store shows: samples (split, number), events or frames."""
    size = opened.size
    samples: list[dict[str, Any]] = []
    notes: list[str] = []
    share = max(1, (limit or EVENTS) // max(1, len(chosen)))
    for split, number in chosen:
        part = opened[split]
        named: dict[str, Any] = {
            "name": f"{split} {number}",
            "label": stores.class_of(opened, int(part.labels[number])),
        }
        if opened.kind == "events":
            changed = read(part, number)
            whole, size, outside = survey(changed())
            notes += _lost(outside, size)
            named |= {"n": whole.n - outside, "t0": whole.t0, "t1": whole.t1, "limit": share}
            samples.append(events_sample(changed(), **named))
        else:
            frames = stores.pictures(opened, part.read([number])[0])
            size = frames.shape[3], frames.shape[2]
            samples.append(frames_sample(frames, **named))
            if sum(len(sample["data"]) for sample in samples) > 4 * (limit or EVENTS):
                notes.append(f"The page holds {len(samples)} samples; more would be too large.")
                break
    about = f"{opened.attributes['title']}; {opened.attributes['represent']}"
    return data(samples, size, about=about, notes=dict.fromkeys(notes), window=window)


def choose(
    opened: Any, split: str | None, sample: int | None, n: int | None
) -> list[tuple[str, int]]:
    """(split, number) of the samples to show: the one asked for, or n of all splits and classes."""
    if sample is not None:
        name = split or opened.splits[0]
        if sample >= len(opened[name]):
            found = f"{name} has {len(opened[name]):,} samples, found no {sample:,}"
            raise OptionError(f"{opened.path}: {found}")
        return [(name, sample)]
    return stores.choose(opened, [split] if split else opened.splits, n or SAMPLES)


def _lost(outside: int, size: Sequence[int]) -> list[str]:
    return [f"{outside:,} events outside {size[0]}x{size[1]} are not drawn."] if outside else []
