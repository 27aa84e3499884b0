"""The results of a run as one HTML file that needs nothing else: curves, confusion, samples."""

import base64
import html
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eventkit import viz
from eventkit.errors import MissingExtra

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222 }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse } td, th { padding: .15rem .8rem .15rem 0; text-align: left }
td.n { text-align: right } img { max-width: 100%; vertical-align: top }
figure { display: inline-block; margin: .3rem; font-size: .8rem } .wrong { color: #b00 }
"""
COLOURS = {"train": "#888888", "validation": "#0068be", "test": "#de5c00"}


class Sample(NamedTuple):
    """One sample to show: its frames (T, C, H, W), the true class and the answer."""

    frames: np.ndarray
    label: str
    answer: str


def page(
    path: str | Path,
    *,
    title: str,
    facts: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    measured: dict[str, Any],
    samples: Sequence[Sample] = (),
) -> Path:
    """Write the page: `rows` are those of the epochs, `measured` is what `evaluate` gives.

    Sample pictures need frames of one or two channels and are left out for others.
    """
    plt = _pyplot()
    per_class = [
        [row["class"], row["samples"], *(_percent(row[key]) for key in ("recall", "precision"))]
        for row in measured["per_class"]
    ]
    anytime = [100 * share for share in measured["anytime"]]
    energy = measured["energy"]
    operations = measured["SynapticOperations"]
    costs = {
        "parameters": f"{measured['ParameterCount']:,}",
        "activation sparsity": _percent(measured["ActivationSparsity"]),
        "synaptic operations a sample": f"{operations['Effective_MACs']:,.0f} MACs, "
        f"{operations['Effective_ACs']:,.0f} ACs of {operations['Dense']:,.0f}",
        "energy a sample, estimated": f"{energy['microjoules']:.3g} µJ ({energy['model']})",
        "latency of one sample": f"{measured['latency_ms']:.3g} ms on this machine",
    }
    layers = [
        [row["layer"], "" if "rate" not in row else f"{row['rate']:.4f}",
         "" if "synops" not in row else f"{row['synops']:,.0f} {row['of']}"]
        for row in measured["layers"]
    ]  # fmt: skip
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _table([], list(facts.items())),
        "<h2>Epochs</h2>", _curves(plt, rows),
        "<h2>Confusion (rows: true class)</h2>",
        _confusion(plt, np.array(measured["confusion"]), [row[0] for row in per_class]),
        "<h2>Classes</h2>", _table(["class", "samples", "recall", "precision"], per_class),
        "<h2>Accuracy against T</h2>", _anytime(plt, anytime),
        "" if measured["causal"] else "<p>Steps of this net see later ones: no early answer.</p>",
        "<h2>Cost</h2>", _table([], list(costs.items())),
        "<h2>Layers</h2>", _table(["layer", "spikes a step", "operations a sample"], layers),
        "<h2>Samples</h2>", *(_figure(sample) for sample in samples),
    ]  # fmt: skip
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )
    path = Path(path)
    # Names of files may have bytes that are no text: they are written as they are.
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    return path


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{cells}</tr>{body}</table>"


def _curves(plt: Any, rows: Sequence[dict[str, Any]]) -> str:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    left.plot(epochs, [row["loss"] for row in rows], color=COLOURS["train"], label="train")
    for name in ("validation", "test"):
        if rows and f"{name}_loss" in rows[0]:
            colour = COLOURS[name]
            left.plot(epochs, [row[f"{name}_loss"] for row in rows], color=colour, label=name)
            shares = [100 * row[f"{name}_accuracy"] for row in rows]
            right.plot(epochs, shares, color=colour, label=name)
    left.set(xlabel="epoch", ylabel="loss")
    right.set(xlabel="epoch", ylabel="accuracy, %")
    for axes in (left, right):
        axes.legend(frameon=False)
    return _image(plt, figure, "curves")


def _confusion(plt: Any, counts: np.ndarray, classes: Sequence[str]) -> str:
    side = min(9.0, 2 + 0.45 * len(classes))
    figure, axes = plt.subplots(figsize=(side, side), layout="constrained")
    axes.imshow(np.sqrt(counts), cmap="Blues")
    axes.set(xlabel="answer", ylabel="true class")
    if len(classes) <= 30:
        # A name is a name, also one with two $, which matplotlib would read as a formula.
        axes.set_xticks(range(len(classes)), classes, rotation=90, parse_math=False)
        axes.set_yticks(range(len(classes)), classes, parse_math=False)
        for (i, j), n in np.ndenumerate(counts):
            if n:
                ink = "white" if n > counts.max() / 2 else "black"
                axes.text(j, i, int(n), ha="center", va="center", color=ink, fontsize=8)
    return _image(plt, figure, "confusion matrix")


def _anytime(plt: Any, shares: Sequence[float]) -> str:
    figure, axes = plt.subplots(figsize=(5, 2.6), layout="constrained")
    axes.plot(range(1, len(shares) + 1), shares, marker=".", color=COLOURS["test"])
    axes.set(xlabel="time steps", ylabel="accuracy, %")
    return _image(plt, figure, "accuracy against time steps")


def _image(plt: Any, figure: Any, words: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    return _inline("png", buffer.getvalue(), words)


def _inline(kind: str, data: bytes, words: str) -> str:
    text = base64.b64encode(data).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/{kind};base64,{text}">'


def _figure(sample: Sample) -> str:
    if sample.frames.shape[1] > 2:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        file = viz.animate(sample.frames, Path(folder) / "sample.gif", fps=5, side=140)
        picture = _inline("gif", file.read_bytes(), sample.label)
    kind = "" if sample.label == sample.answer else ' class="wrong"'
    words = f"{html.escape(sample.label)}: answered {html.escape(sample.answer)}"
    return f"<figure>{picture}<figcaption{kind}>{words}</figcaption></figure>"


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise MissingExtra("pages need matplotlib", "viz") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt
