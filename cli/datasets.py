"""eventkit datasets: list the known datasets, or show one in detail."""

from dataclasses import asdict

import click

from eventkit import datasets
from eventkit.datasets import Dataset

from ._text import print_facts, print_json, print_table


@click.command("datasets")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(name: str | None, as_json: bool) -> None:
    """List the known datasets, or show one in detail: classes, files, checksums, licence.

    NAME is one of the listed names or the path of your own dataset description in TOML.
    """
    if name is not None:
        dataset = datasets.load(name)
        return print_json(asdict(dataset)) if as_json else _show(dataset)
    known = [datasets.load(each) for each in datasets.names()]
    if as_json:
        return print_json({dataset.name: asdict(dataset) for dataset in known})
    head = ["name", "title", "sensor", "classes", "samples", "licence"]
    print_table(head, [_row(dataset) for dataset in known], right="classes")
    return None


def _row(dataset: Dataset) -> list[str]:
    classes = str(dataset.n_classes or "")
    return [
        dataset.name,
        dataset.title,
        _sensor(dataset),
        classes,
        _samples(dataset),
        dataset.license,
    ]


def _show(dataset: Dataset) -> None:
    print_facts(
        {
            "name": dataset.name,
            "title": dataset.title,
            "homepage": dataset.homepage,
            "licence": dataset.license,
            "cite": dataset.cite,
            "sensor": _sensor(dataset),
            "format": dataset.format,
            "samples": _samples(dataset),
            "layout": dataset.layout["kind"],
            "classes": dataset.n_classes or None,
            "note": dataset.note,
        }
    )
    if dataset.classes:
        click.echo("\nlabel  class")
        for label, title in enumerate(dataset.classes):
            click.echo(f"{label:>5}  {title}")
    for source in dataset.files:
        click.echo(f"\n{source.name}" + ("" if source.urls else " (manual download)"))
        facts: list[tuple[str, str | None]] = [
            ("from", url) for url in source.urls or [source.page]
        ]
        facts += [("size", source.size), ("md5", source.md5), ("sha256", source.sha256)]
        for key, value in facts:
            if value:
                click.echo(f"  {key:<4}  {value}")


def _sensor(dataset: Dataset) -> str:
    return "{}x{}".format(*dataset.size) if dataset.size else ""


def _samples(dataset: Dataset) -> str:
    return " + ".join(f"{n:,} {split}" for split, n in dataset.samples.items())
