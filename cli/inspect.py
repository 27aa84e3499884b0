"""eventkit inspect: what a store is and how it was made."""

from pathlib import Path
from typing import Any

import click

from ._text import PATH, STORE, print_facts, print_json, print_table, size


@click.command()
@click.argument("store", type=STORE)
@click.option(
    "--provenance",
    is_flag=True,
    help="What it was made from, by what: command, versions, codec, every source.",
)
@click.option(
    "--sha256",
    "root",
    type=PATH,
    metavar="DIR",
    help="With --provenance: check the sources in DIR and add the SHA-256 of each.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(store: str, provenance: bool, root: Path | None, as_json: bool) -> None:
    """Show what a store holds, where its events went, and the command that made it."""
    if root is not None and not provenance:
        raise click.UsageError("--sha256 goes with --provenance")
    from eventkit.store import open

    opened = open(store)
    if provenance:
        _provenance(opened, root, as_json)
        return
    facts = describe(opened)
    if as_json:
        print_json(facts)
        return
    tensors = facts["represent"]
    if facts["kind"] == "events":
        tensors += f", {facts['columns']}; {facts['bytes_per_event']:.2f} bytes each"
    else:
        tensors += f", {' x '.join(map(str, facts['shape']))} {facts['dtype']}"
    print_facts(
        {
            "store": facts["store"],
            "dataset": facts["title"],
            "holds": tensors,
            "transforms": ", ".join(facts["transforms"]),
            "classes": f"{len(facts['classes'])}: {', '.join(facts['classes'])}"
            if facts["classes"]
            else "",
            "made by": facts["command"],
            "with": ", ".join(f"{name} {version}" for name, version in facts["versions"].items()),
            "plan": facts["plan_digest"],
            "cite": facts["cite"],
            "licence": facts["license"],
        }
    )
    head = ["split", "samples", *facts["ledger"][opened.splits[0]]]
    rows = [
        [
            split,
            f"{facts['samples'][split]:,}",
            *(f"{n:,}" for n in facts["ledger"][split].values()),
        ]
        for split in opened
    ]
    click.echo()
    print_table(head, rows, right=" ".join(head[1:]))
    for warning in facts["warnings"]:
        click.echo(f"warning: {warning}")


def _provenance(opened: Any, root: Path | None, as_json: bool) -> None:
    from eventkit.store.provenance import provenance

    told = provenance(opened, root)
    if as_json:
        print_json(told)
        return
    codec = ", ".join(f"{name} {value}" for name, value in told["codec"].items())
    print_facts(
        {
            "store": told["store"],
            "made by": told["command"],
            "with": ", ".join(f"{name} {version}" for name, version in told["versions"].items()),
            "plug-ins": ", ".join(f"{name} of {pkg}" for name, pkg in told["plugins"].items()),
            "codec": codec,
            "plan": told["plan_digest"],
            "store digest": told["digest"],
            **{f"split {name}": entry["sha256"] for name, entry in told["splits"].items()},
            **{f"from {parent['name']}": parent["digest"] for parent in told["parents"]},
            "sources": f"{len(told['sources']):,} files, {size(told['source_bytes'])}",
        }
    )
    click.echo()
    head = ["source", "bytes", "crc32c", *(["sha256"] if root else [])]
    rows = [
        [source["name"], f"{source['bytes']:,}", source["crc32c"], source.get("sha256", "")]
        for source in told["sources"]
    ]
    print_table(head, [row[: len(head)] for row in rows], right="bytes")


def describe(opened: Any) -> dict[str, Any]:
    """The facts of a store, as JSON has them."""
    from eventkit.registry import format_spec

    told = opened.attributes
    first = opened[opened.splits[0]]
    return {
        "store": str(opened.path),
        **{key: told[key] for key in ("kind", "dataset", "title", "represent", "classes", "size")},
        **_tensors(opened, first),
        "transforms": [
            format_spec(step["name"], {k: v for k, v in step.items() if k != "name"})
            for step in told["plan"]["transforms"]
        ],
        "samples": {split: len(opened[split]) for split in opened},
        "per_class": {
            split: [
                int((opened[split].labels == label).sum()) for label in range(len(opened.classes))
            ]
            for split in opened
        },
        "ledger": {
            split: _along({n: int(column.sum()) for n, column in opened[split].ledger.items()})
            for split in opened
        },
        **{key: told[key] for key in ("command", "versions", "plan_digest", "splits", "cite")},
        **{key: told[key] for key in ("license", "warnings")},
    }


def _along(ledger: dict[str, int]) -> dict[str, int]:
    """The columns in the order in which events went: read, what was left out, binned."""
    ends = {"read": 0, "invalid": 1, "out_of_bounds": 3, "unbinned": 4, "binned": 5}
    place = {name: ends.get(name, 2) for name in ledger} | {"backward_steps": 6}
    return {name: ledger[name] for name in sorted(ledger, key=lambda name: (place[name], name))}


def _tensors(opened: Any, first: Any) -> dict[str, Any]:
    """What a sample is: the shape and type of its array, or the types of its columns."""
    if opened.kind != "events":
        return {"shape": list(first.frames.shape[1:]), "dtype": first.frames.dtype.name}
    events = sum(int(split.column("count").sum()) for split in opened.values())
    n_bytes = sum(
        int(opened.small(f"integrity/{name}/events/{column}/shard_bytes").sum())
        for name in opened
        for column in "txyp"
    )
    return {
        "shape": None,
        "dtype": None,
        "columns": ", ".join(f"{name} {kind}" for name, kind in first.ragged.dtypes.items()),
        "events": events,
        "bytes_per_event": n_bytes / max(events, 1),
    }
