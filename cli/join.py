"""eventkit join: join recordings, one after the other or merged by time."""

from typing import Any

import click

from ._text import DURATION, FROM_HELP, SOURCE
from .translate import copy_and_report


@click.command("join")
@click.argument("sources", metavar="IN...", type=SOURCE, nargs=-1, required=True)
@click.argument("target", metavar="OUT", type=SOURCE)
@click.option("--merge", is_flag=True, help="Merge the recordings by time.")
@click.option(
    "--gap", type=DURATION, metavar="TIME",
    help="Move each recording to begin this long after the end of the one before.",
)  # fmt: skip
@click.option(
    "--format", "to", metavar="SPEC",
    help="Output format, e.g. evt3:t0=first.  [default: by suffix]",
)  # fmt: skip
@click.option("--from", "spec", metavar="SPEC", help=FROM_HELP)
@click.option("--rezero", is_flag=True, help="Subtract the time of the first event from all times.")
@click.option("--tolerant", is_flag=True, help="Skip damaged data instead of failing.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    sources: tuple[Any, ...],
    target: Any,
    merge: bool,
    gap: int | None,
    to: str | None,
    spec: str | None,
    rezero: bool,
    tolerant: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Join the recordings IN to one file OUT, with every stream that its format can hold.

    By default the recordings follow each other and keep their times: each must begin after the
    end of the one before, as parts of one session do. --gap moves later recordings in time.
    --merge sorts the events of all recordings into one stream; each must be in the order of time.
    Streams of the same name become one; with --merge they are numbered (imu, imu_2).
    """
    if len(sources) < 2:
        raise click.UsageError("join needs two recordings or more, and OUT")
    if merge and gap is not None:
        raise click.UsageError("--merge keeps all times: it cannot be combined with --gap")
    how = "time" if merge else "sequence" if gap is None else "append"
    ends = {"follow": False, "seconds": None, "idle_s": None}
    copy_and_report(
        "join", sources, target, to, spec, as_json, ends,
        how=how, gap=gap or 0, rezero=rezero, strict=not tolerant, overwrite=overwrite,
    )  # fmt: skip
