"""Code shared by the commands that list a registry: a table of all entries, or one in detail."""

import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import click

from eventkit.registry import Registry, signature, unknown
from eventkit.units import Microseconds

from ._text import print_facts, print_json, print_table

UNIONS = (typing.Union, types.UnionType)


def list_registry(
    registry: Registry[Any],
    options_of: Callable[[Any], Callable[..., Any]],
    name: str | None,
    as_json: bool,
    more: Callable[[Any], Mapping[str, str]] = lambda entry: {},
) -> None:
    """Print a table with one line per entry, or one entry with its options and documentation.

    `more` returns further facts about an entry; they become columns of the table.
    """
    facts = {key: _facts(registry, key, options_of, more) for key in registry}
    if name is not None and name not in facts:
        raise unknown(registry.kind, name, facts)
    if as_json:
        return print_json(facts if name is None else facts[name])
    if name is not None:
        return _show(facts[name])
    extra = list(next(iter(facts.values()))["more"]) if facts else []
    rows = [[key, *one["more"].values(), one["about"]] for key, one in facts.items()]
    return print_table(["name", *extra, "description"], rows)


def _facts(
    registry: Registry[Any],
    name: str,
    options_of: Callable[[Any], Callable[..., Any]],
    more: Callable[[Any], Mapping[str, str]],
) -> dict[str, Any]:
    entry = registry[name]
    function = options_of(entry)
    text = inspect.cleandoc(_documented(function, name).__doc__ or "")
    return {
        "name": name,
        "about": about(registry, name, options_of),
        "text": text.partition("\n\n>>>")[0],
        "options": {
            key: {"type": _type(hint), "default": default}
            for key, (hint, default) in signature(function).items()
        },
        "more": dict(more(entry)),
        "package": registry.plugin(name) or "eventkit",
    }


def about(
    registry: Registry[Any], name: str, options_of: Callable[[Any], Callable[..., Any]]
) -> str:
    """The first paragraph of an entry's documentation, without its full stop."""
    text = inspect.cleandoc(_documented(options_of(registry[name]), name).__doc__ or "")
    return " ".join(text.partition("\n\n")[0].split()).rstrip(".")


def _documented(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The public function of that name in the module of `function`, or `function` itself."""
    public = getattr(sys.modules.get(function.__module__), name, function)
    return public if callable(public) else function


def _type(hint: Any) -> str:
    """A type hint as text for the options table: "int", "time | none", "on | off"."""
    if typing.get_origin(hint) is typing.Annotated and hint != Microseconds:
        hint = typing.get_args(hint)[0]  # a limit of numbers is not part of the type
    kinds = typing.get_args(hint) if typing.get_origin(hint) in UNIONS else (hint,)
    words = []
    for kind in kinds:
        if kind is type(None):
            words.append("none")
        elif kind == Microseconds:
            words.append("time")
        elif typing.get_origin(kind) is typing.Literal:
            words += map(str, typing.get_args(kind))
        else:
            words.append(getattr(kind, "__name__", str(kind)))
    return " | ".join(words)


def _show(facts: dict[str, Any]) -> None:
    print_facts({"name": facts["name"], **facts["more"], "package": facts["package"]})
    click.echo(f"\n{facts['text']}\n")
    rows = []
    for key, one in facts["options"].items():
        default = "required" if one["default"] is inspect.Parameter.empty else str(one["default"])
        rows.append([key, one["type"], default.lower()])
    if rows:
        print_table(["option", "type", "default"], rows)
