"""eventkit bench: measure how fast a store is read."""

from typing import Any

import click

from eventkit.errors import OptionError

from ._text import STORE, for_command, number, print_facts, print_json, print_table, progress, size


@click.command()
@click.argument("store", type=STORE)
@click.option("--split", metavar="NAME", help="Split to read.  [default: the first]")
@click.option(
    "--batch", "batch_size", type=click.IntRange(min=1), default=32, show_default=True,
    help="Samples per batch.",
)  # fmt: skip
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, max=600, min_open=True),
    default=1.0,
    show_default=True,
    help="Duration of each measurement.",
)
@click.option(
    "--rep", metavar="SPEC",
    help="Events stores only: representation to load.  [default: frames:n=16]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    store: Any, split: str | None, batch_size: int, seconds: float, rep: str | None, as_json: bool
) -> None:
    """Measure how fast shuffled batches of a store are read, and what limits the speed.

    Prints the time per sample by stage, the throughput by number of threads, and advice.
    """
    from eventkit.store import open
    from eventkit.store.bench import bench

    if rep is not None and open(store).kind != "events":
        raise OptionError(f"{store} contains converted frames; --rep requires an events store")
    with progress("measurements", "bench") as bar:
        report = bench(
            store,
            split=split,
            batch_size=batch_size,
            seconds=seconds,
            progress=lambda done, total: bar.update(done, total),
        )
    report["loader"] = _loader(store, report, seconds, rep)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _loader(
    store: Any, report: dict[str, Any], seconds: float, rep: str | None
) -> dict[str, Any] | None:
    """Throughput of eventkit.loader, as used in training; None without torch."""
    import time
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return None
    from eventkit.loader import EventDataset, loader

    represent = rep or "frames:n=16" if report["kind"] == "events" else None
    dataset = EventDataset(store, split=report["split"], represent=represent)
    batches = loader(dataset, report["batch_size"], shuffle=True)
    samples, started = 0, None
    while started is None or time.perf_counter() - started < seconds:
        for batch in batches:
            if started is None:  # the first batch includes compilation and filling the queue
                started = time.perf_counter()
                continue
            samples += len(batch[1])
            if time.perf_counter() - started > seconds:
                break
        if not samples:
            return None  # a single batch: nothing to measure
    rate = samples / (time.perf_counter() - started)
    return {"represent": represent, "dtype": "float32", "samples_per_s": rate}


def _print(report: dict[str, Any]) -> None:
    disk, limits, codec = report["disk"], report["limits"], report["codec"]
    encoded = f"{size(report['encoded_bytes'])} on disk"
    how = f"{codec['cname']}, {codec['shuffle']}"
    loaded = report["loader"]
    facts = {
        "store": f"{report['store']}, {report['split']}: {report['samples']:,} samples",
        "sample": f"{size(report['sample_bytes'])}, {encoded} ({how})",
        "disk": f"{disk['type']} at {disk['mount']}, {size(limits['disk_mb_per_s'] * 1e6)}/s"
        f" cold, {size(limits['memory_mb_per_s'] * 1e6)}/s from memory",
        "cold": f"{number(limits['cold_samples_per_s'])} samples/s in the first batches",
        "limit": f"{number(limits['decompress_samples_per_s_all'])} samples/s if all CPUs only "
        "decompressed",
    }
    if loaded is not None:
        what = f" as {loaded['represent']}" if loaded["represent"] else ""
        facts["loader"] = (
            f"{number(loaded['samples_per_s'])} samples/s{what}, float32, for training"
        )
    print_facts(facts)
    click.echo()
    total = sum(report["stages"].values()) or 1
    rows = [
        [name, f"{value:,.1f}", f"{value / total:.0%}"] for name, value in report["stages"].items()
    ]
    print_table(["stage (one sample, one thread)", "µs", "share"], rows, right="µs share")
    click.echo()
    rows = [
        [str(row["threads"]), number(row["samples_per_s"]), size(row["mb_per_s"] * 1e6)]
        for row in report["threads"]
    ]
    head = ["threads", "samples/s", "decoded/s"]
    print_table(head, rows, right=" ".join(head))
    click.echo()
    for sentence in report["advice"]:
        click.echo(f"advice: {for_command(sentence)}")
