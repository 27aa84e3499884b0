"""eventkit export: export a trained network to NIR, ONNX or Speck."""

from pathlib import Path

import click

from ._text import PATH, print_facts, print_json


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "--to", type=click.Choice(["nir", "onnx", "speck"]), required=True, help="Target format."
)
@click.option(
    "--out", type=PATH,
    help="Output file.  [default: model.nir, model.onnx or speck.safetensors in RUN]",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the output file if it exists.")
@click.option("--check", is_flag=True, help="Only list what the target does not support.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    run: Path, to: str, out: Path | None, overwrite: bool, check: bool, as_json: bool
) -> int | None:
    """Export the network of the run folder RUN, or of a weights file, to another tool's format.

    Unsupported layers are reported before anything is written. The exported file is read back and
    its outputs are compared with those of the network.
    """
    from eventkit import export
    from eventkit._write import check_target
    from eventkit.train import load_with_facts

    net, about = load_with_facts(run)
    shape = tuple(about["in_shape"])
    if check:
        problems = export.check(net, to, in_shape=shape)
        if as_json:
            print_json({"to": to, "problems": problems})
        else:
            click.echo("\n".join(problems) or f"{to} supports all layers of {about['model']}")
        return 1 if problems else None
    folder = run if run.is_dir() else run.parent
    name = "speck.safetensors" if to == "speck" else f"model.{to}"
    out = out or folder / name
    check_target(out, overwrite)
    report = export.export(net, out, to, in_shape=shape, steps=about["steps"])
    if as_json:
        print_json(report)
        return None
    cores = ", ".join(f"{core['layer']} on {core['core']}" for core in report.get("cores", []))
    compared = (
        f"{report['answers_equal']:.1%} equal predictions on random frames; largest difference of "
        f"the outputs {report['largest_difference']:.2g}"
        if report["heard"]
        else "not compared: the network outputs only zeros on random frames"
    )
    print_facts({
        "written": f"{report['path']}: {report['layers']} layers of {about['model']}",
        "cores": cores,
        "verified": compared,
    })  # fmt: skip
    return None
