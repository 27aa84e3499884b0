"""eventkit inspect: show the contents of a store and how it was created."""

from pathlib import Path
from typing import Any

import click

from ._text import PATH, STORE, print_facts, print_json, print_table, size


@click.command()
@click.argument("store", type=STORE)
@click.option(
    "--provenance",
    is_flag=True,
    help="Show the provenance: command, versions, codec, every source file.",
)
@click.option(
    "--sha256",
    "root",
    type=PATH,
    metavar="DIR",
    help="With --provenance: verify the source files in DIR and add their SHA-256.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(store: str, provenance: bool, root: Path | None, as_json: bool) -> None:
    """Show the contents of a store, the command that created it, and its event counts.

    The last table lists, by split, how many events were read, dropped for each reason, and used.
    """
    if root is not None and not provenance:
        raise click.UsageError("--sha256 requires --provenance")
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
            "contents": tensors,
            "transforms": ", ".join(facts["transforms"]),
            "classes": f"{len(facts['classes'])}: {', '.join(facts['classes'])}"
            if facts["classes"]
            else "",
            "created by": facts["command"],
            "versions": ", ".join(f"{name} {ver}" for name, ver in facts["versions"].items()),
            "plan digest": facts["plan_digest"],
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

    record = provenance(opened, root)
    if as_json:
        print_json(record)
        return
    codec = ", ".join(f"{name} {value}" for name, value in record["codec"].items())
    print_facts(
        {
            "store": record["store"],
            "created by": record["command"],
            "versions": ", ".join(f"{name} {ver}" for name, ver in record["versions"].items()),
            "plug-ins": ", ".join(f"{name} of {pkg}" for name, pkg in record["plugins"].items()),
            "codec": codec,
            "plan digest": record["plan_digest"],
            "store digest": record["digest"],
            **{f"split {name}": entry["sha256"] for name, entry in record["splits"].items()},
            **{f"from {parent['name']}": parent["digest"] for parent in record["parents"]},
            "sources": f"{len(record['sources']):,} files, {size(record['source_bytes'])}",
        }
    )
    click.echo()
    head = ["source", "bytes", "crc32c", *(["sha256"] if root else [])]
    rows = [
        [source["name"], f"{source['bytes']:,}", source["crc32c"], source.get("sha256", "")]
        for source in record["sources"]
    ]
    print_table(head, [row[: len(head)] for row in rows], right="bytes")


def describe(opened: Any) -> dict[str, Any]:
    """The facts about a store, as printed with --json."""
    from eventkit.registry import format_spec

    record = opened.attributes
    first = opened[opened.splits[0]]
    return {
        "store": str(opened.path),
        **{
            key: record[key] for key in ("kind", "dataset", "title", "represent", "classes", "size")
        },
        **_tensors(opened, first),
        "transforms": [
            format_spec(step["name"], {k: v for k, v in step.items() if k != "name"})
            for step in record["plan"]["transforms"]
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
        **{key: record[key] for key in ("command", "versions", "plan_digest", "splits", "cite")},
        **{key: record[key] for key in ("license", "warnings")},
    }


def _along(ledger: dict[str, int]) -> dict[str, int]:
    """The ledger columns in processing order: read, dropped by reason, binned."""
    ends = {"read": 0, "invalid": 1, "out_of_bounds": 3, "unbinned": 4, "binned": 5}
    place = {name: ends.get(name, 2) for name in ledger} | {"backward_steps": 6}
    return {name: ledger[name] for name in sorted(ledger, key=lambda name: (place[name], name))}


def _tensors(opened: Any, first: Any) -> dict[str, Any]:
    """Shape and dtype of a sample, or the dtypes of its event columns."""
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
