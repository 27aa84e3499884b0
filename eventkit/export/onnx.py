"""ONNX: the chain with the loop over time unrolled; T is fixed, the batch size is dynamic."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eventkit.errors import MissingExtra

from .chain import Layer
from .plain import Plain


def problems(layers: list[Layer]) -> list[str]:
    """The layers that ONNX does not support: sum pooling with partial windows at the border."""
    return [
        f"layer {layer.name}: partial windows at the border: {layer.in_shape}"
        for layer in layers
        if layer.kind == "pool" and layer.how["way"] == "cut"
    ]


def write(layers: list[Layer], path: Path, steps: int) -> dict[str, Any]:
    """Write a model with input `frames` (T, N, C, H, W) and output `votes` (T, N, classes)."""
    try:
        import onnxscript  # noqa: F401 - required by torch's exporter
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
        optimize=False,  # slow for the many nodes of the loop; runtimes fold constants anyway
    )
    assert program is not None
    program.save(str(path))
    return {"T": steps}


def run(path: Path, frames: Tensor) -> Tensor:
    """The outputs of the file, computed by onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra("checking ONNX needs onnxruntime", "export") from None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (votes,) = session.run(None, {"frames": np.ascontiguousarray(frames.numpy())})
    return torch.from_numpy(votes)
