"""Export networks to other tools and chips: NIR, ONNX, Speck.

Every target supports fewer layers than torch. `check` lists the unsupported layers before anything
is written; `export` writes the file, reads it back and compares the outputs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eventkit._write import check_target, sync
from eventkit.errors import OptionError
from eventkit.registry import unknown

from . import graph, onnx, speck
from .chain import Layer, chain

__all__ = ["TARGETS", "Target", "check", "export", "from_nir"]

from_nir = graph.from_nir


@dataclass(frozen=True)
class Target:
    """An export target.

    `problems` lists what it does not support, `write` writes a file, and `run` returns the outputs
    (T, N, classes) of a written file for frames (T, N, C, H, W).
    """

    suffix: str
    problems: Callable[[list[Layer]], list[str]]
    write: Callable[[list[Layer], Path, int], dict[str, Any]]
    run: Callable[[Path, Tensor], Tensor]


TARGETS = {
    "nir": Target(".nir", graph.problems, graph.write, graph.run),
    "onnx": Target(".onnx", onnx.problems, onnx.write, onnx.run),
    "speck": Target(".safetensors", speck.problems, speck.write, speck.run),
}


def check(net: nn.Module, to: str, *, in_shape: tuple[int, ...]) -> list[str]:
    """The layers of a net for samples (C, H, W) that a target does not support; [] if none.

    Batch norms are folded into the layers before them. Raises UnknownName for unknown targets.
    """
    if to not in TARGETS:
        raise unknown("target", to, TARGETS)
    layers, problems = chain(net, in_shape)
    return problems or TARGETS[to].problems(layers)


def export(
    net: nn.Module, path: str | Path, to: str, *, in_shape: tuple[int, ...], steps: int = 16
) -> dict[str, Any]:
    """Export a net to a file, and compare the file's outputs with the net's on random frames.

    `steps` is T for targets that need it (ONNX, whose loop over time is unrolled). Returns a dict
    with the keys path, to, layers, answers_equal (the fraction of equal predictions),
    largest_difference (of the outputs) and heard (the fraction of samples with nonzero output; if
    it is 0, the comparison is meaningless). Raises OptionError with all unsupported layers.
    """
    if problems := check(net, to, in_shape=in_shape):
        raise OptionError(f"{to} does not support this net: {'; '.join(problems)}")
    net.eval()
    path, target = Path(path), TARGETS[to]
    if path.is_dir():
        raise OptionError(f"{path} is a folder; expected a file name")
    if not path.parent.is_dir():
        raise OptionError(f"{path}: the folder {path.parent} does not exist; create it first")
    layers, _ = chain(net, in_shape)
    frames, expected = _reference_outputs(net, (steps, 8, *in_shape))
    with _replacing(path) as temporary:
        facts = target.write(layers, temporary, steps)
        with torch.no_grad():
            found = target.run(temporary, frames)
    same = found.mean(0).argmax(1) == expected.mean(0).argmax(1)
    return {
        "path": str(path),
        "to": to,
        "layers": len(layers),
        "answers_equal": float(same.float().mean()),
        "largest_difference": float((found - expected).abs().max()),
        "heard": float((expected != 0).any(0).any(1).float().mean()),
        **facts,
    }


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary path, renamed to `path` after the file has been written and read back.

    A kill or a full disk thus leaves neither a partial file nor a deleted one.
    """
    check_target(path, overwrite=True)
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")  # tools need the suffix
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def _reference_outputs(net: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Random frames (T, N, C, H, W) and the outputs for them; with more events if all are 0."""
    for rate in (0.3, 3.0, 30.0):
        frames = torch.poisson(torch.full(shape, rate), torch.Generator().manual_seed(0))
        with torch.no_grad():
            outputs = net(frames).float()
        if outputs.any():
            break
    return frames, outputs
