"""eventkit evaluate: what a trained network is worth and what it costs."""

from pathlib import Path
from typing import Any

import click

from ._text import PATH, STORE, as_options, number, print_facts, print_json, size


@click.command()
@click.argument("run", type=PATH)
@click.argument("store", type=STORE, required=False)
@click.option("--split", default="test", show_default=True)
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True)
@click.option(
    "--rep", "represent", metavar="SPEC", help="Of a store of events.  [default: the run's]"
)
@click.option("--weights", type=click.Choice(["best", "last"]), default="best", show_default=True)
@click.option(
    "--model",
    metavar="SPEC",
    help="Network of a run that was trained on an object: package.module:Net.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    run: Path, store: Any, split: str, batch: int, represent: str | None, weights: str,
    model: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Evaluate the network of the run folder RUN on STORE, by default the store of its training.

    The metrics have NeuroBench's names; each is of one sample, the mean over the split. Energy is
    an estimate by the model that is named, not a measurement.
    """
    from eventkit.train import evaluate_run

    with as_options():
        measured = evaluate_run(
            run,
            store,
            split=split,
            batch=batch,
            represent=represent,
            weights=weights,
            model=model,
        )
    if as_json:
        print_json(measured)
    else:
        print_facts(readable(measured))


def readable(measured: dict[str, Any]) -> dict[str, str | None]:
    """What was measured, in words."""
    operations, energy = measured["SynapticOperations"], measured["energy"]
    macs, acs, dense = (number(operations[k]) for k in ("Effective_MACs", "Effective_ACs", "Dense"))
    anytime = measured["anytime"]
    shown = sorted({1, 2, *(len(anytime) * k // 4 for k in (1, 2, 3, 4))} - {0})
    curve = ", ".join(f"{t}: {anytime[t - 1]:.1%}" for t in shown if t <= len(anytime))
    first = measured["first_spike"]
    return {
        "ClassificationAccuracy": f"{measured['ClassificationAccuracy']:.1%} of "
        f"{measured['samples']:,} samples of {measured['split']}",
        "Footprint": f"{size(measured['Footprint'])}, {measured['ParameterCount']:,} parameters",
        "ConnectionSparsity": _connected(measured["ConnectionSparsity"]),
        "ActivationSparsity": _share(measured["ActivationSparsity"]),
        "SynapticOperations": f"{macs} effective MACs, {acs} effective ACs, of {dense} dense",
        "not counted": ", ".join(measured["uncounted"]),
        "energy": f"{energy['microjoules']:.3g} µJ, {energy['microjoules_if_dense']:.3g} µJ if all "
        f"were dense MACs; {energy['model']}",
        "latency": f"{measured['latency_ms']:.3g} ms for one sample on this machine",
        "accuracy after T": curve if measured["causal"] else None,
        "decision": f"after step {measured['decision_step']:.1f} of {len(anytime)}, on average"
        if measured["causal"]
        else None,
        "first spike": f"{first['accuracy']:.1%} by the first output spike, after step "
        f"{first['step']:.1f} on average; {first['silent']:.1%} of the samples have none"
        if first and measured["causal"]
        else None,
    }


def _connected(sparsity: float | None) -> str | None:
    if sparsity is None:
        return None
    return f"{sparsity:.1%}; {1 - sparsity:.1%} of the weights are not zero"


def _share(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"
