"""eventkit adopt: use archives and folders on disk as a dataset's files."""

from pathlib import Path

import click

from ._text import PATH, ROOT_HELP, STORE, print_json, progress
from .fetch import print_summary, watch


@click.command()
@click.argument("name", metavar="NAME|TOML")
@click.argument("sources", metavar="ARCHIVE|FOLDER...", nargs=-1, required=True, type=PATH)
@click.option("--root", type=PATH, help=ROOT_HELP)
@click.option("--copy", is_flag=True, help="Copy folders instead of linking to them.")
@click.option("--out", type=STORE, help="Of tensors that RVT has made: the store [NAME-rvt.zarr].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    name: str,
    sources: tuple[Path, ...],
    root: Path | None,
    copy: bool,
    out: str | None,
    as_json: bool,
) -> None:
    """Use archives or folders you already have as the files of a dataset.

    NAME is a known dataset (see eventkit datasets) or the path of a dataset description in TOML.
    Archives are verified and unpacked. Folders, including those created by SpikingJelly or Tonic,
    are recognised and linked to. The sources are left unchanged. Of a folder of Gen1 or 1 Mpx that
    RVT has preprocessed, a store is made.
    """
    if len(sources) == 1 and any(sources[0].glob("*/*/event_representations_v2")):
        _preprocessed(name, sources[0], out, as_json)
        return
    if out is not None:
        raise click.UsageError("--out is for a folder that RVT has preprocessed")
    from eventkit.fetch import adopt

    with progress("B", "adopt") as bar:
        summary = adopt(name, list(sources), root=root, copy=copy, progress=watch(bar))
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)


def _preprocessed(name: str, folder: Path, out: str | None, as_json: bool) -> None:
    """Make a store of tensors."""
    from eventkit.conversion.preprocessed import adopt

    from . import convert

    with progress("samples", "adopt") as bar:
        summary = adopt(name, folder, out=out, progress=convert.watch(bar))
    if as_json:
        print_json(summary)
    else:
        convert.print_summary(summary)
