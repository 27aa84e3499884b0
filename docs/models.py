"""Write docs/models.md from the registry of models: python docs/models.py

A test compares the page with what this returns.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HEAD = """# Choose a network

`eventkit models` lists the networks; `eventkit models NAME` shows the options, recipe and sources
of one. Each can be created for any input size, number of steps, number of classes and width:

```python
from eventkit.models import create

net = create("sew7b_dvsgesture:width=16", num_classes=11, in_shape=(2, 128, 128))
logits = net(frames)  # (T, N, 2, H, W) -> (T, N, classes); the prediction is the mean over T
```

Parameter count, operations per step and initial weights are those of the code of its paper, which
tests check. This page is written by `python docs/models.py`.

## All networks

The table is for the sizes a network was published for. Parameters, multiply-accumulates (MAC) and
neurons are counted on the running network, for one sample and one time step. MACs are dense: every
product counts, as if all inputs were spikes.
"""
PUBLISHED = """
## Published accuracies

Accuracies are those of the authors, not ours, with the place where we read them. Numbers that could
not be read at their source are left out. Most are the best of all test epochs, which is optimistic;
where the authors' logs state it, the accuracy after the last epoch is listed too.
"""
RECIPES = """
## Recipes of the papers

`eventkit train STORE --model NAME --recipe paper` uses them. The default recipe is ours, for two
CPU cores.
"""


def read_models() -> list[dict[str, Any]]:
    """The description of every network."""
    from eventkit.models import describe, list_models

    return [describe(name) for name in list_models()]


def shown(value: float) -> str:
    """Three digits with a unit: 841 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return str(value)


def table(models: list[dict[str, Any]]) -> str:
    """One row for each network."""
    lines = [
        "| name | network | input | T | classes | parameters | MAC per step | neurons per step |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for m in models:
        size = "×".join(map(str, m["in_shape"]))
        lines.append(
            f"| `{m['name']}` | {m['about']} | {size} | {m['steps']} | {m['num_classes']} "
            f"| {m['parameters']:,} | {shown(m['macs'])} | {shown(m['neurons'])} |"
        )
    return "\n".join(lines)


def published(models: list[dict[str, Any]]) -> str:
    """One row for each published accuracy."""
    lines = ["| name | data | accuracy | epoch, settings | source |", "|---|---|--:|---|---|"]
    for m in models:
        for each in m["published"]:
            lines.append(
                f"| `{m['name']}` | {each['data']} | {each['accuracy']:.2f} % | {each['note']} "
                f"| {each['source']} |"
            )
    return "\n".join(lines)


def recipes(models: list[dict[str, Any]]) -> str:
    """One row for each recipe of a paper."""
    lines = [
        "| name | epochs | batch | optimizer | lr | decay | schedule | loss | augmentation |",
        "|---|--:|--:|---|--:|--:|---|---|---|",
    ]
    for m in models:
        if r := m["paper"]:
            loss = r["loss"] + (f", smoothing {r['smoothing']:g}" if r["smoothing"] else "")
            decay = f"{r['weight_decay']:g}" + (" of all" if r["decay_all"] else "")
            lines.append(
                f"| `{m['name']}` | {r['epochs'] or ''} | {r['batch']} | {r['optimizer']} "
                f"| {r['lr']:g} | {decay} | {r['schedule']} | {loss} "
                f"| {', '.join([*r['augment'], *mixing(r)])} |"
            )
    return "\n".join(lines)


def mixing(recipe: dict[str, Any]) -> list[str]:
    """How batches are mixed: mixup 0.5 of 50 % of the batches in the first 71 %."""
    kinds = [f"{kind} {recipe[kind]:g}" for kind in ("mixup", "cutmix") if recipe[kind]]
    if not kinds:
        return []
    part = f" of {recipe['mix_share']:.0%} of the batches" if recipe["mix_share"] < 1 else ""
    part += f" in the first {recipe['mix_until']:.0%}" if recipe["mix_until"] < 1 else ""
    return [" or ".join(kinds) + part]


def differences(models: list[dict[str, Any]]) -> str:
    """One line for each difference from the authors' training, with the networks it applies to."""
    own: dict[str, list[str]] = {}
    for m in models:
        for text in m["differences"]:
            own.setdefault(text, []).append(m["name"])
    everywhere = sum(m["paper"] is not None for m in models)
    lines = []
    for text, names in sorted(own.items(), key=lambda item: -len(item[1])):
        names = ["all"] if len(names) == everywhere else [f"`{name}`" for name in names]
        lines.append(f"- {', '.join(names)}: {text}")
    return "\n".join(lines)


def cited(models: list[dict[str, Any]]) -> str:
    """The paper of each network."""
    papers: dict[str, list[str]] = {}
    for m in models:
        papers.setdefault(m["cite"], []).append(f"`{m['name']}`")
    return "\n".join(f"- {', '.join(names)}: {paper}" for paper, names in papers.items())


def page(models: list[dict[str, Any]]) -> str:
    """The whole page."""
    parts = [
        HEAD,
        table(models),
        PUBLISHED,
        published(models),
        RECIPES,
        recipes(models),
        "\nDifferences from how the authors train:\n",
        differences(models),
        "\n## Papers\n",
        cited(models),
        "",
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    (ROOT / "docs" / "models.md").write_text(page(read_models()))
