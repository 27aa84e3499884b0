"""eventkit bench: how fast a store is read here."""

from typing import Any

import click

from eventkit.errors import OptionError

from ._text import STORE, number, print_facts, print_json, print_table, progress, size


@click.command()
@click.argument("store", type=STORE)
@click.option("--split", help="Which split [the first].")
@click.option("--batch", "batch_size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, max=600, min_open=True),
    default=1.0,
    show_default=True,
    help="How long each measurement takes.",
)
@click.option(
    "--rep", metavar="SPEC",
    help="Of a store of events: the representation to load as.  [default: frames:n=16]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    store: Any, split: str | None, batch_size: int, seconds: float, rep: str | None, as_json: bool
) -> None:
    """Time shuffled batches of a store, say where the time goes and what would make it faster."""
    from eventkit.store import open
    from eventkit.store.bench import bench

    if rep is not None and open(store).kind != "events":
        raise OptionError(f"{store} holds frames as they were converted; it takes no --rep")
    with progress("measurements", "bench") as bar:
        told = bench(
            store,
            split=split,
            batch_size=batch_size,
            seconds=seconds,
            progress=lambda done, total: bar.update(done, total),
        )
    told["loader"] = _loader(store, told, seconds, rep)
    if as_json:
        print_json(told)
    else:
        _print(told)


def _loader(
    store: Any, told: dict[str, Any], seconds: float, rep: str | None
) -> dict[str, Any] | None:
    """Batches of eventkit.loader, as training gets them; None without torch."""
    import time
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return None
    from eventkit.loader import EventDataset, loader

    represent = rep or "frames:n=16" if told["kind"] == "events" else None
    dataset = EventDataset(store, split=told["split"], represent=represent)
    batches = loader(dataset, told["batch_size"], shuffle=True)
    samples, started = 0, None
    while started is None or time.perf_counter() - started < seconds:
        for batch in batches:
            if started is None:  # the first batch compiles and fills the pipe
                started = time.perf_counter()
                continue
            samples += len(batch[1])
            if time.perf_counter() - started > seconds:
                break
        if not samples:
            return None  # a single batch: nothing to measure
    rate = samples / (time.perf_counter() - started)
    return {"represent": represent, "dtype": "float32", "samples_per_s": rate}


def _print(told: dict[str, Any]) -> None:
    disk, limits, codec = told["disk"], told["limits"], told["codec"]
    encoded = f"{size(told['encoded_bytes'])} on disk"
    loaded = told["loader"]
    facts = {
        "store": f"{told['store']}, {told['split']}: {told['samples']:,} samples",
        "sample": f"{size(told['sample_bytes'])}, {encoded} ({codec['cname']}, {codec['shuffle']})",
        "disk": f"{disk['type']} at {disk['mount']}, {size(limits['disk_mb_per_s'] * 1e6)}/s"
        f" cold, {size(limits['memory_mb_per_s'] * 1e6)}/s from memory",
        "cold": f"{number(limits['cold_samples_per_s'])} samples/s in the first batches",
        "limit": f"{number(limits['decompress_samples_per_s_all'])} samples/s if all processors "
        "did nothing but decompress",
    }
    if loaded is not None:
        what = f" as {loaded['represent']}" if loaded["represent"] else ""
        facts["loader"] = (
            f"{number(loaded['samples_per_s'])} samples/s{what}, float32, for training"
        )
    print_facts(facts)
    click.echo()
    total = sum(told["stages"].values()) or 1
    rows = [
        [name, f"{value:,.1f}", f"{value / total:.0%}"] for name, value in told["stages"].items()
    ]
    print_table(["one sample, one thread", "µs", "share"], rows, right="µs share")
    click.echo()
    rows = [
        [str(row["threads"]), number(row["samples_per_s"]), size(row["mb_per_s"] * 1e6)]
        for row in told["threads"]
    ]
    head = ["threads", "samples/s", "decoded/s"]
    print_table(head, rows, right=" ".join(head))
    click.echo()
    for sentence in told["advice"]:
        click.echo(f"advice: {sentence}")
