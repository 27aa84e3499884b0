"""eventkit models: list the models with cost and published accuracy, or show one in detail."""

import re
import textwrap
from typing import Any

import click

from eventkit.errors import OptionError, UnknownName

from ._text import number, print_facts, print_json, print_table


class Shape(click.ParamType[tuple[int, int, int]]):
    """The shape of a frame: channels, height and width, as 2x128x128."""

    name = "CxHxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d*)[x×]([1-9]\d*)[x×]([1-9]\d*)", value.strip())
        if match is None:
            self.fail(f"{value!r} is not a frame shape; expected e.g. 2x128x128", param, ctx)
        return int(match[1]), int(match[2]), int(match[3])


@click.command("models")
@click.argument("name", required=False, metavar="[NAME|SPEC|PATTERN]")
@click.option(
    "--input",
    "in_shape",
    type=Shape(),
    metavar="CxHxW",
    help="Shape of a frame.  [default: as published]",
)
@click.option(
    "--steps", type=click.IntRange(1), help="Number of time steps T.  [default: as published]"
)
@click.option(
    "--classes", type=click.IntRange(1), help="Number of classes.  [default: as published]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(name: str | None, as_json: bool, **sizes: Any) -> None:
    """List the models, or show one in detail.

    A PATTERN such as 'shd*' selects models by name. A SPEC such as csnn_tiny:width=16 shows a
    model with these options. Parameters, multiply-accumulates (MAC, dense) and neurons are counted
    on the built network, for one sample and one time step.
    """
    from eventkit.models import describe, list_models

    if name is not None and "*" not in name:
        facts = describe(name, **sizes)
        return print_json(facts) if as_json else _show(facts)
    if given := [key for key, value in sizes.items() if value is not None]:
        option = "--input" if given[0] == "in_shape" else f"--{given[0]}"
        raise OptionError(f"{option} requires one model: eventkit models NAME {option} ...")
    known = [describe(each) for each in list_models(name or "*")]
    if not known:
        raise UnknownName(f"no model matches {name!r}; list all with: eventkit models")
    if as_json:
        return print_json({facts["name"]: facts for facts in known})
    head = ["name", "input", "T", "parameters", "MAC/step", "neurons", "published"]
    print_table(head, [_row(facts) for facts in known], right="T parameters MAC/step neurons")
    return None


def _row(facts: dict[str, Any]) -> list[str]:
    return [
        facts["name"],
        _shape(facts),
        str(facts["steps"]),
        f"{facts['parameters']:,}",
        number(facts["macs"]),
        number(facts["neurons"]),
        "; ".join(_published(each) for each in facts["published"][:1]),
    ]


def _shape(facts: dict[str, Any]) -> str:
    return "x".join(map(str, facts["in_shape"]))


def _published(each: dict[str, Any]) -> str:
    note = f", {each['note']}" if each["note"] else ""
    return f"{each['accuracy']:.2f} % on {each['data']}{note} ({each['source']})"


def _show(facts: dict[str, Any]) -> None:
    shown = {
        "name": facts["name"],
        "about": facts["about"],
        "cite": facts["cite"],
        "input": f"{_shape(facts)}, T = {facts['steps']}, {facts['num_classes']:,} classes",
        "parameters": f"{facts['parameters']:,}",
        "MAC": f"{number(facts['macs'])} per time step, "
        f"{number(facts['macs'] * facts['steps'])} per sample",
        "neurons": f"{number(facts['neurons'])} per time step",
        "published": None if facts["published"] else "no accuracy with an accessible source",
    }
    print_facts(shown)
    for each in facts["published"]:
        click.echo(f"published   {_published(each)}")
    for title, key in (("options", "options"), ("recipe", "recipe"), ("paper's recipe", "paper")):
        if facts[key]:
            click.echo(f"\n{title}")
            width = max(map(len, facts[key]))
            for name, value in facts[key].items():
                value = ", ".join(value) if isinstance(value, tuple) else value
                if value not in (None, ""):
                    click.echo(f"  {name:<{width}}  {value}")
    if facts["differences"]:
        click.echo("\ndifferences from the authors' model and training")
        for text in facts["differences"]:
            click.echo(textwrap.fill(text, 98, initial_indent="  - ", subsequent_indent="    "))
