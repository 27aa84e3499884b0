"""eventkit verify: is a store what was written?"""

import click

from ._text import PATH, print_json, progress, size


@click.command()
@click.argument("store", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(store: str, as_json: bool) -> int:
    """Check every byte of a store against its checksums; exit code 3 if any differs."""
    from eventkit.store.verify import verify

    total = 0
    with progress("B", "verify") as bar:

        def show(done: int, in_all: int) -> None:
            nonlocal total
            total = in_all
            bar.update(done, in_all)

        problems = verify(store, show)
    if as_json:
        print_json({"store": store, "bytes": total, "ok": not problems, "problems": problems})
    else:
        for problem in problems:
            click.echo(problem)
        if problems:
            click.echo(f"eventkit: {store}: {len(problems)} problems; convert it again", err=True)
        else:
            click.echo(f"{store}: every byte is as written ({size(total)})")
    return 3 if problems else 0
