"""The results of a run as one HTML file: curves, confusion, layers, samples, spikes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eventkit import pages, viz
from eventkit.pages.pack import pack_pixels
from eventkit.pages.viewer import PALETTES

SIDE = 140  # pixels of a sample's longer side, at most


class Sample(NamedTuple):
    """One sample to show: its frames (T, C, H, W), the true class and the answer."""

    frames: np.ndarray
    label: str
    answer: str


def page(
    path: str | Path,
    *,
    title: str,
    facts: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    measured: Mapping[str, Any],
    layers: Sequence[Mapping[str, Any]] = (),
    titles: Mapping[str, str] | None = None,
    samples: Sequence[Sample] = (),
    spikes: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write the page: `rows` and `layers` are those of the epochs, `measured` is what `evaluate`
    gives, `titles` names the layers, and `spikes` are those of the first sample (see `trace`).

    Sample pictures need frames of one or two channels and are left out for others.
    """
    shown = {
        "about": "",
        "facts": facts,
        "rows": rows,
        "layers": layers,
        "titles": titles or {},
        "measured": measured,
        "palette": PALETTES["blue, orange"],
        "samples": [_packed(sample) for sample in samples if sample.frames.shape[1] <= 2],
        "spikes": [
            {"layer": layer["layer"], "rate": layer["rate"], **_pixels(layer["pixels"])}
            for layer in spikes
        ],
    }
    return pages.write(path, "run", title, shown)


def _packed(sample: Sample) -> dict[str, Any]:
    frames = sample.frames
    if max(frames.shape[2:]) > SIDE:
        frames = viz.reduced(frames, -(-max(frames.shape[2:]) // SIDE))
    names = {"name": sample.label, "label": sample.label, "answer": sample.answer}
    return {**names, **_pixels(viz.palette_indices(frames))}


def _pixels(indices: np.ndarray) -> dict[str, Any]:
    n, height, width = indices.shape
    return {"n": n, "height": height, "width": width, "data": pack_pixels(indices)}
