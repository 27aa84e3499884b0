"""eventkit verify: check a store against its checksums."""

import click

from ._text import STORE, counted, for_command, print_json, progress, size


@click.command()
@click.argument("store", type=STORE)
@click.option(
    "--deep",
    is_flag=True,
    help="Also decode every sample; check its checksum, ledger, label and split hash.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Number of threads.  [default: CPU count]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(store: str, deep: bool, workers: int | None, as_json: bool) -> int:
    """Check every byte of a store against its checksums.

    Damaged, truncated, missing and unexpected files are listed; the exit code is then 3.
    """
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
            click.echo(for_command(problem))
        if problems:
            advice = f"to rebuild the damaged parts, run: eventkit repair {store}"
            click.echo(
                f"eventkit: {store}: {counted(len(problems), 'problem')}; {advice}", err=True
            )
        else:
            decoded = ", all samples decoded and verified" if deep else ""
            click.echo(f"{store}: no damage found{decoded} ({size(n_bytes)})")
    return 3 if problems else 0
