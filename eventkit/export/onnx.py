"""ONNX: the chain with the loop over time unrolled, so T is fixed; the batch is free."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eventkit.errors import MissingExtra

from .chain import Layer
from .plain import Plain


def problems(layers: list[Layer]) -> list[str]:
    """What ONNX cannot say: only sums of windows that the border cuts."""
    return [
        f"layer {layer.name} sums windows that the border cuts: {layer.in_shape} pixels"
        for layer in layers
        if layer.kind == "pool" and layer.how["way"] == "cut"
    ]


def write(layers: list[Layer], path: Path, steps: int) -> dict[str, Any]:
    """One model with the input `frames` (T, N, C, H, W) and the output `votes` (T, N, classes)."""
    try:
        import onnxscript  # noqa: F401 - what torch's exporter writes with
    except ImportError:
        raise MissingExtra("ONNX needs onnxscript", "export") from None
    frames = torch.zeros(steps, 2, *layers[0].in_shape)
    program = torch.onnx.export(
        Plain(layers).eval(),
        (frames,),
        dynamo=True,
        input_names=["frames"],
        output_names=["votes"],
        dynamic_shapes=({1: torch.export.Dim("batch")},),
        verbose=False,
        optimize=False,  # the loop makes many nodes, and runtimes fold constants themselves
    )
    assert program is not None
    program.save(str(path))
    return {"T": steps}


def run(path: Path, frames: Tensor) -> Tensor:
    """Votes by onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra("checking ONNX needs onnxruntime", "export") from None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (votes,) = session.run(None, {"frames": np.ascontiguousarray(frames.numpy())})
    return torch.from_numpy(votes)
