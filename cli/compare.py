"""eventkit compare: trainings side by side."""

from pathlib import Path
from typing import Any

import click

from ._text import PATH, duration, number, print_json, print_table


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option("--html", type=PATH, metavar="FILE", help="Write a page with curves too.")
@click.option("--overwrite", is_flag=True, help="Replace the page if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(runs: tuple[Path, ...], html: Path | None, overwrite: bool, as_json: bool) -> None:
    """Compare the run folders RUNS: accuracy, cost, and the settings that differ.

    A folder of several seeds or folds counts as one run, with mean and standard deviation.
    """
    from eventkit import pages
    from eventkit._write import check_target
    from eventkit.pages import compare

    if html is not None:
        check_target(html, overwrite)
    found = compare.data(runs)
    if html is not None:
        pages.write(html, "compare", f"{len(runs)} runs", found)
    if as_json:
        print_json({key: found[key] for key in ("runs", "settings", "notes")})
        return
    head = ["run", "model", "test", "last", "validation", "epochs", "parameters", "energy", "time"]
    print_table(head, [_row(run) for run in found["runs"]], right=" ".join(head[2:]))
    if found["settings"]:
        click.echo()
        print_table(
            ["setting", *(run["name"] for run in found["runs"])],
            [[name, *map(_text, values)] for name, values in found["settings"].items()],
        )
    for text in found["notes"]:
        click.echo(f"note: {text}")
    if html is not None:
        click.echo(f"page: {html}; open it in a browser")


def _row(run: dict[str, Any]) -> list[str]:
    def share(key: str) -> str:
        mean, spread = run["accuracy"].get(key), run["spread"].get(key)
        return "-" if mean is None else f"{mean:.1%}" + (f" ± {spread:.1%}" if spread else "")

    def known(value: float | None, text: str) -> str:
        return "-" if value is None else text

    return [
        run["name"],
        run["model"],
        share("at_best_validation"),
        share("last"),
        known(run["validation"], f"{run['validation'] or 0:.1%}"),
        str(run["epochs"]),
        known(run["parameters"], number(run["parameters"] or 0)),
        known(run["microjoules"], f"{run['microjoules'] or 0:.3g} µJ"),
        known(run["seconds"], duration(run["seconds"] or 0)),
    ]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)
