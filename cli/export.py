"""eventkit export: a trained network for other tools and for chips."""

from pathlib import Path

import click

from ._text import PATH, print_facts, print_json


@click.command()
@click.argument("run", type=PATH)
@click.option("--to", type=click.Choice(["nir", "onnx", "speck"]), required=True)
@click.option("--out", type=PATH, help="File to write.  [default: RUN/model.nir, ...]")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@click.option("--check", is_flag=True, help="Only say what the target cannot express.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    run: Path, to: str, out: Path | None, overwrite: bool, check: bool, as_json: bool
) -> int | None:
    """Write the network of the run folder RUN (or of a file of weights) for another tool.

    Layers that the target cannot express are named before anything is written. What was written is
    read back and compared with the network.
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
            click.echo("\n".join(problems) or f"{to} can express all of {about['model']}")
        return 1 if problems else None
    folder = run if run.is_dir() else run.parent
    name = "speck.safetensors" if to == "speck" else f"model.{to}"
    out = out or folder / name
    check_target(out, overwrite)
    told = export.export(net, out, to, in_shape=shape, steps=about["steps"])
    if as_json:
        print_json(told)
        return None
    cores = ", ".join(f"{core['layer']} on {core['core']}" for core in told.get("cores", []))
    compared = (
        f"{told['answers_equal']:.1%} equal answers on random frames, votes differ by "
        f"at most {told['largest_difference']:.2g}"
        if told["heard"]
        else "not compared: the net votes 0 on all random frames"
    )
    print_facts({
        "written": f"{told['path']}: {told['layers']} layers of {about['model']}",
        "cores": cores,
        "read back": compared,
    })  # fmt: skip
    return None
