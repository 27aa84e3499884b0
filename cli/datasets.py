"""eventkit datasets: list the known datasets, or show one in detail."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from eventkit import datasets
from eventkit.datasets import Dataset
from eventkit.errors import OptionError

from ._text import PATH, print_facts, print_json, print_table


@click.command("datasets")
@click.argument("name", required=False)
@click.option(
    "--task",
    metavar="TASK",
    type=click.Choice(datasets.TASKS),
    help=f"Only datasets for this task: {', '.join(datasets.TASKS)}.",
)
@click.option("--sensor", help="Only datasets of this camera or size: davis346, 1280x720.")
@click.option("--licence", "--license", "licence", help="Only datasets under this licence: cc.")
@click.option("--here", is_flag=True, help="Only datasets whose files are on this disk.")
@click.option(
    "--new",
    "folder",
    type=PATH,
    metavar="FOLDER",
    help="Write a description (TOML) of your own data in FOLDER here, and say what to check.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    name: str | None,
    task: str | None,
    sensor: str | None,
    licence: str | None,
    here: bool,
    folder: Path | None,
    as_json: bool,
) -> None:
    """List the known datasets, or show one in detail: classes, files, checksums, licence.

    NAME is one of the listed names or the path of your own dataset description in TOML. Datasets
    that are known only in part cannot be converted yet; their page says what is missing.
    """
    if folder is not None:
        return _new(folder, as_json)
    if name is not None:
        dataset = datasets.load(name)
        return print_json(_facts(dataset)) if as_json else _show(dataset)
    known = [datasets.load(each) for each in datasets.names()]
    known = [
        dataset
        for dataset in known
        if task in (None, dataset.task)
        and _has(f"{dataset.sensor} {_size(dataset)}", sensor)
        and _has(dataset.license, licence)
        and (not here or _root(dataset))
    ]
    if as_json:
        return print_json({dataset.name: _facts(dataset) for dataset in known})
    head = ["name", "title", "sensor", "classes", "samples", "licence", "state"]
    print_table(head, [_row(dataset) for dataset in known], right="classes")
    return None


def _new(folder: Path, as_json: bool) -> None:
    """Write NAME.toml here, unless it exists."""
    from eventkit.layouts.new import description

    folder = folder.resolve()
    out = Path(f"{folder.name}.toml")
    if out.exists():
        raise OptionError(f"{out}: exists already; move it away")
    text, checks = description(folder)
    out.write_text(text, encoding="utf-8")
    if as_json:
        return print_json({"description": str(out), "check": checks})
    click.echo(f"{text}\nwritten to {out}; please check:")
    for each in checks:
        click.echo(f"  {each}")
    click.echo(f"then: eventkit convert {out.name} --root {shlex.quote(str(folder))} --frames 16")
    return None


def _has(text: str, wanted: str | None) -> bool:
    return wanted is None or wanted.lower().replace("-", " ") in text.lower().replace("-", " ")


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {**asdict(dataset), "bibtex": dataset.bibtex, "here": _root(dataset)}


def _row(dataset: Dataset) -> list[str]:
    return [
        dataset.name,
        dataset.title,
        _size(dataset),
        str(dataset.n_classes or ""),
        _samples(dataset),
        dataset.license,
        "here" if _root(dataset) else "" if dataset.layout else "in part",
    ]


def _show(dataset: Dataset) -> None:
    print_facts(
        {
            "name": dataset.name,
            "title": dataset.title,
            "about": dataset.about,
            "task": dataset.task,
            "homepage": dataset.homepage,
            "licence": dataset.license,
            "terms": dataset.terms,
            "cite": dataset.cite,
            "sensor": " ".join(filter(None, [dataset.sensor, _size(dataset)])),
            "format": dataset.spec,
            "labels": ", ".join(dataset.labels),
            "samples": _samples(dataset),
            "layout": dataset.layout.get("kind"),
            "classes": dataset.n_classes or None,
            "data": _root(dataset),
            "missing": dataset.missing,
            "note": dataset.note,
        }
    )
    paths = [row[0] for row in dataset.example.get("recordings", ())]
    for head, lines in (
        ("splits", [f"{name}: {split['about']}" for name, split in dataset.splits.items()]),
        ("known defects", dataset.defects),
        ("unverified", dataset.unverified),
        ("files lie as in this example (names of recordings may be made up)", paths),
    ):
        if lines:
            click.echo(f"\n{head}")
            for each in dict.fromkeys(lines):
                click.echo(f"  {each}")
    if dataset.bibtex:
        click.echo(f"\n{dataset.bibtex}")
    if dataset.classes:
        click.echo("\nlabel  class")
        for label, title in enumerate(dataset.classes):
            click.echo(f"{label:>5}  {title}")
    for source in dataset.files:
        click.echo(f"\n{source.name}" + ("" if source.urls else " (manual download)"))
        facts: list[tuple[str, str | None]] = [
            ("from", url) for url in source.urls or [source.page]
        ]
        facts += [("size", source.size), *source.sums.items()]
        for key, value in facts:
            if value:
                click.echo(f"  {key:<4}  {value}")


def _size(dataset: Dataset) -> str:
    return "{}x{}".format(*dataset.size) if dataset.size else ""


def _samples(dataset: Dataset) -> str:
    return " + ".join(f"{n:,} {split}" for split, n in dataset.samples.items())


def _root(dataset: Dataset) -> str:
    """Where the files of a dataset are, if they are on this disk."""
    from eventkit import layouts

    root = datasets.default_root(dataset.name)
    return str(root) if dataset.layout and root.is_dir() and layouts.find(dataset, root) else ""
