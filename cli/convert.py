"""eventkit convert: raw recordings into one store."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ._text import (
    FRAME_LENGTH,
    FROM_HELP,
    PATH,
    STORE,
    Bar,
    duration,
    flag,
    for_command,
    mention_compiling,
    number,
    print_facts,
    print_json,
    progress,
)
from ._text import size as size_text

SIDES = ["before", "after", "centre", "between", "front", "back"]


def spec(
    frames: int | None,
    by: str | None,
    length: int | None,
    rep: str | None,
    like: str | None,
    events: bool = False,
) -> str:
    """The representation that the options ask for, as text."""
    given = [
        name
        for name, value in (
            ("--frames", frames),
            ("--duration", length),
            ("--rep", rep),
            ("--events", events),
        )
        if value
    ]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise click.UsageError(
            f"give one of --frames N, --duration TIME, --rep SPEC, --events; found {found}"
        )
    if events:
        if by or like:
            raise click.UsageError("--by and --like go with --frames, not with --events")
        return "events"
    if rep and (by or like):
        raise click.UsageError("--by and --like go with --frames; write them into --rep SPEC")
    if length and by:
        raise click.UsageError("--by goes with --frames, not with --duration")
    if rep:
        return rep
    options = [f"n={frames}" if frames else f"duration={length}"]
    options += [f"by={by}"] if by else []
    options += [f"like={like}"] if like else []
    return "frames:" + ",".join(options)


@click.command()
@click.argument("name", metavar="NAME|TOML|FOLDER|FILE")
@click.option("--frames", type=click.IntRange(min=1), metavar="N", help="N frames per sample.")
@click.option(
    "--by",
    type=click.Choice(["number", "time"]),
    help="Frames of equal numbers of events (the default) or of equal time.",
)
@click.option(
    "--duration",
    "length",
    type=FRAME_LENGTH,
    help="Frames of this duration each, as 50ms; a plain number is µs (from 1000 on).",
)
@click.option(
    "--rep", "--represent", "rep", metavar="SPEC", help="Any representation, as voxel:bins=9."
)
@click.option(
    "--events",
    is_flag=True,
    help="Keep the events; any representation is then made while loading.",
)
@click.option(
    "--like",
    type=click.Choice(["spikingjelly", "tonic"]),
    help="Cut exactly as that library does.",
)
@click.option(
    "--at",
    metavar="FILE|labels|frames",
    help="One sample per time: of a file (txt, csv, npy; {stem} names the recording), of the "
    "labels or of the images.",
)
@click.option("--window", type=FRAME_LENGTH, help="With --at: duration of each window, as 50ms.")
@click.option(
    "--side",
    metavar="SIDE",
    type=click.Choice(SIDES),
    help="With --at: position of the window: before (default), after, centre, between (from one "
    "time to the next), front or back (dsec-det: the image at the end or at the start).",
)
@click.option(
    "--at-unit", type=click.Choice(["ns", "us", "ms", "s"]), help="Unit of the times in FILE [us]."
)
@click.option("--every", type=FRAME_LENGTH, help="Samples of this duration, one after the other.")
@click.option("--sliding", metavar="LENGTH/STRIDE", help="Overlapping samples, as 50ms/25ms.")
@click.option(
    "--label-rules",
    metavar="NAME",
    help="Published rules of which boxes count: rvt (Gen1, 1 Mpx) or dsec_det.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    metavar="N",
    help="Samples of N events, one after the other.",
)
@click.option(
    "--active",
    metavar="auto|OPTIONS",
    help="Samples where the recording is active: at least rate= events/s [mean] in each bin= "
    "[10ms]; pauses below gap= [100ms] belong to them; at least least= [100ms] long.",
)
@click.option(
    "--split",
    metavar="SPEC",
    help="Splits: one that the dataset names, shares as train=0.8,test=0.2, by-user, fold:k=0,n=5 "
    "or first:train=0.9,test=0.1.  [default: the dataset's own]",
)
@click.option("--stratify", is_flag=True, help="With --split: the same shares of every class.")
@click.option("--seed", type=click.IntRange(min=0), help="With --split: random seed.  [default: 0]")
@click.option(
    "--group",
    metavar="COLUMN",
    help="With --split: keep samples of equal value together, as user or recording.",
)
@click.option("--size", metavar="WxH", help="Size of the sensor, as 346x260.")
@click.option("--from", "source", metavar="SPEC", help=FROM_HELP)
@click.option(
    "--labels",
    type=PATH,
    metavar="FILE",
    help="CSV or JSON table of the samples: file, label, and optionally start, end, split.",
)
@click.option("--root", type=PATH, help="Where the raw data is [$EVENTKIT_DATA/NAME or data/NAME].")
@click.option("--out", type=STORE, help="The store to make [NAME-<spec>.zarr].")
@click.option(
    "--transform", "transforms", multiple=True, metavar="SPEC", help="As crop:width=64; repeatable."
)
@click.option("--codec", type=click.Choice(["fast", "small"]), default="fast", show_default=True)
@click.option(
    "--engine",
    type=click.Choice(["threads", "processes", "dask"]),
    default="threads",
    show_default=True,
    help="What the workers are.",
)
@click.option("--workers", type=click.IntRange(min=1), help="How many [the processors].")
@click.option(
    "--scheduler",
    metavar="ADDRESS|FILE|local",
    help="For dask: tcp://..., a scheduler file (.json), a profile of a batch system (.toml).",
)
@click.option("--report", type=PATH, help="For dask: write its performance report, an HTML page.")
@click.option(
    "--shard", metavar="I/N", help="Do part I of N (from 0), as a job of an array; then finalize."
)
@click.option(
    "--keep-going", is_flag=True, help="Make the store without samples that fail; exit code 6."
)
@click.option("--tolerant", is_flag=True, help="Take what is sound in damaged recordings.")
@click.option(
    "--exclude",
    multiple=True,
    metavar="FILE",
    help="Leave out a recording, named as below the root or by its path; repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--overwrite", is_flag=True, help="Replace an eventkit store at the target.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    name: str,
    frames: int | None,
    by: str | None,
    length: int | None,
    rep: str | None,
    events: bool,
    like: str | None,
    at: str | None,
    window: int | None,
    side: Any,
    at_unit: str | None,
    every: int | None,
    sliding: str | None,
    label_rules: str | None,
    count: int | None,
    active: str | None,
    split: str | None,
    stratify: bool,
    seed: int | None,
    group: str | None,
    size: str | None,
    source: str | None,
    labels: Path | None,
    root: str | None,
    out: str | None,
    transforms: tuple[str, ...],
    codec: str,
    engine: str,
    workers: int | None,
    scheduler: str | None,
    report: Path | None,
    shard: str | None,
    keep_going: bool,
    tolerant: bool,
    exclude: tuple[str, ...],
    dry_run: bool,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Make one Zarr store of training tensors from a dataset's raw recordings.

    NAME is a known dataset (see eventkit datasets) or a dataset description in TOML. Own data is a
    FOLDER of class folders, of recordings, or with a table labels.csv or labels.json (columns file,
    label, start, end, split), or one recording, FILE. An interrupted conversion continues when the
    same command is run again.
    """
    represent = spec(frames, by, length, rep, like, events)
    from eventkit.conversion import convert

    mention_compiling()
    with progress("samples", "convert") as bar, resumable(), partly(as_json) as left, advised():
        summary = convert(
            name,
            represent=represent,
            root=root,
            out=out,
            at=at,
            window=window,
            side=side,
            at_unit=at_unit,
            every=every,
            sliding=sliding,
            label_rules=label_rules,
            count=count,
            active=active,
            split=split,
            stratify=stratify,
            seed=seed,
            group=group,
            size=size,
            source=source,
            labels=labels,
            transform=transforms,
            codec=codec,
            engine=engine,
            workers=workers,
            scheduler=scheduler,
            report=report,
            shard=shard,
            keep_going=keep_going,
            tolerant=tolerant,
            exclude=exclude,
            overwrite=overwrite,
            dry_run=dry_run,
            progress=watch(bar),
        )
    if left:
        return 6
    if as_json:
        print_json(summary)
    elif dry_run:
        _print_plan(summary)
    elif shard and not summary["note"]:
        _print_part(summary)
    else:
        print_summary(summary)
    return 0


@contextmanager
def partly(as_json: bool, word: str = "failed") -> Iterator[list[str]]:
    """List what could not be done, if anything; the list is also what it gives."""
    from eventkit.errors import PartlyDone

    left: list[str] = []
    try:
        yield left
    except PartlyDone as error:
        left += map(for_command, error.failed)
        if as_json:
            answer = {"error": error.text(flag), "exit_code": error.exit_code, "failed": left}
            print_json({**(error.summary or {}), **answer})
        elif error.summary:
            print_summary(error.summary)
        for line in left:
            click.echo(f"eventkit: {word}: {line}", err=True)
        click.echo(f"eventkit: error: {error.text(flag)}", err=True)


@contextmanager
def advised() -> Iterator[None]:
    """Add to the error about a recording how to convert the others without it."""
    from eventkit.errors import FormatError

    try:
        yield
    except FormatError as error:
        if not Path(error.path).is_file():
            raise  # about a folder: there is nothing to leave out
        advice = "--keep-going and --exclude FILE convert the others without it"
        hint = f"{error.hint}; {advice}" if error.hint else advice
        raise FormatError(error.path, error.offset, error.reason, hint) from None


@contextmanager
def resumable() -> Iterator[None]:
    """Say, on Ctrl-C, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "what is converted is kept; run the same command again, it continues"
        ) from None


def watch(bar: Bar) -> Callable[[dict[str, Any]], None]:
    """A progress function that shows the samples done on a bar."""
    return lambda now: bar.update(now["samples"], now["total"])


def print_summary(summary: Mapping[str, Any]) -> None:
    """What a conversion made, and where its events went."""
    ledger = summary["ledger"]
    lost = {k: v for k, v in ledger.items() if k not in ("read", "binned", "backward_steps") and v}
    seconds, shape = summary["seconds"], summary["shape"]
    samples = ", ".join(f"{count:,} {split}" for split, count in summary["samples"].items())
    places = "".join(f", {value:,} {key.replace('_', ' ')}" for key, value in lost.items())
    again = (
        f" ({summary['resumed_shards']} shards were done before)"
        if summary["resumed_shards"]
        else ""
    )
    facts = {
        "store": f"{summary['out']} ({size_text(summary['bytes'])})",
        "samples": samples + (f", each {' x '.join(map(str, shape))}" if shape else ""),
        "events": f"{ledger['read']:,} read, {ledger['binned']:,} "
        f"{'binned' if shape else 'stored'}{places}",
        "sorted": f"{ledger['backward_steps']:,} backward steps in time"
        if ledger["backward_steps"]
        else "",
        "time": f"{duration(seconds)}, {number(ledger['read'] / seconds)} events/s{again}",
    }
    if summary["note"]:
        facts["time"] = f"{summary['note']}: the store is already there"
    print_facts(facts)
    for warning in summary["warnings"]:
        click.echo(f"eventkit: warning: {warning}", err=True)


def _print_part(part: Mapping[str, Any]) -> None:
    print_facts(
        {
            "store": f"{part['out']}, unfinished",
            "shard": f"{part['shard']}: {part['jobs']:,} jobs, {part['samples']:,} samples",
            "events": f"{part['events']:,} kept, {size_text(part['bytes'])}",
            "next": f"eventkit finalize {part['out']}, when all shards are done",
        }
    )


def _print_plan(plan: Mapping[str, Any]) -> None:
    each = plan["represent"]
    if plan["shape"]:
        frames, *rest = plan["shape"]
        each += f", {' x '.join(map(str, [frames or 'T', *rest]))} {plan['dtype']}"
    dense = plan["dense_bytes"]
    shards = sum(plan["shards"].values())
    print_facts(
        {
            "dataset": plan["dataset"],
            "store": plan["out"] + (f" ({plan['there']})" if plan["there"] else ""),
            "samples": ", ".join(f"{count:,} {split}" for split, count in plan["samples"].items()),
            "each": each,
            "read": f"{plan['sources']:,} files, {size_text(plan['source_bytes'])}",
            "write": f"{shards:,} shards"
            + (f", {size_text(dense)} before compression" if dense else ""),
            "memory": f"at most {size_text(plan['memory_bytes'])} with {plan['workers']} workers",
            "time": f"about {duration(plan['seconds'])}",
        }
    )
    for warning in plan["warnings"]:
        click.echo(f"eventkit: warning: {warning}", err=True)
