"""eventkit verify: is a store what was written?"""

import click

from ._text import STORE, counted, print_json, progress, size


@click.command()
@click.argument("store", type=STORE)
@click.option(
    "--deep",
    is_flag=True,
    help="Decode every sample too: its checksum, its ledger, labels, split hashes.",
)
@click.option("--workers", type=click.IntRange(min=1), help="How many threads [the processors].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(store: str, deep: bool, workers: int | None, as_json: bool) -> int:
    """Check every byte of a store against its checksums; exit code 3 if any differs."""
    from eventkit.store.verify import verify

    total = 0
    with progress("B", "verify") as bar:

        def show(done: int, in_all: int) -> None:
            nonlocal total
            total = in_all
            bar.update(done, in_all)

        problems = verify(store, show, deep=deep, workers=workers)
    n_bytes = total // 2 if deep else total
    if as_json:
        found = {"store": store, "bytes": n_bytes, "deep": deep, "ok": not problems}
        print_json({**found, "problems": problems})
    else:
        for problem in problems:
            click.echo(problem)
        if problems:
            advice = f"eventkit repair {store} mends what is damaged"
            click.echo(
                f"eventkit: {store}: {counted(len(problems), 'problem')}; {advice}", err=True
            )
        else:
            whole = ", every sample decodes to what was made" if deep else ""
            click.echo(f"{store}: every byte is as written{whole} ({size(n_bytes)})")
    return 3 if problems else 0
