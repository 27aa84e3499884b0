"""Networks for other tools and for chips: NIR, ONNX, Speck.

Every target can express less than torch. `check` says so before anything is written, layer by
layer; `export` writes, reads back what it wrote, and compares.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eventkit._write import check_target
from eventkit.errors import OptionError
from eventkit.registry import unknown
from eventkit.store.building import sync_folder

from . import graph, onnx, speck
from .chain import Layer, chain

__all__ = ["TARGETS", "Target", "check", "export", "from_nir"]

from_nir = graph.from_nir


@dataclass(frozen=True)
class Target:
    """`problems` of layers, `write` to a file, `run` what was written on frames (T, N, C, H, W)."""

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
    """What the target cannot express of a net for samples (C, H, W), by layer; [] if all is well.

    Batch norms count as folded into the layers before them.
    """
    if to not in TARGETS:
        raise unknown("target", to, TARGETS)
    layers, problems = chain(net, in_shape)
    return problems or TARGETS[to].problems(layers)


def export(
    net: nn.Module, path: str | Path, to: str, *, in_shape: tuple[int, ...], steps: int = 16
) -> dict[str, Any]:
    """Write a net for another tool, and say how far what was written agrees with the net.

    `steps` is T where the target needs it (ONNX, whose loop over time is unrolled). Returns path,
    target, layers, and for random frames the share of equal answers, the largest difference of
    votes, and `heard`, the share of samples to which the net votes anything but 0: at 0 the other
    two say nothing. OptionError with all problems if the target cannot express the net.
    """
    if problems := check(net, to, in_shape=in_shape):
        raise OptionError(f"{to} cannot express this net: {'; '.join(problems)}")
    net.eval()
    path, target = Path(path), TARGETS[to]
    if path.is_dir():
        raise OptionError(f"{path} is a folder; name a file to write")
    if not path.parent.is_dir():
        raise OptionError(f"there is no folder {path.parent} to write {path.name} to")
    layers, _ = chain(net, in_shape)
    frames, wanted = _heard(net, (steps, 8, *in_shape))
    with _in_place_of(path) as making:
        facts = target.write(layers, making, steps)
        with torch.no_grad():
            found = target.run(making, frames)
    same = found.mean(0).argmax(1) == wanted.mean(0).argmax(1)
    return {
        "path": str(path),
        "to": to,
        "layers": len(layers),
        "answers_equal": float(same.float().mean()),
        "largest_difference": float((found - wanted).abs().max()),
        "heard": float((wanted != 0).any(0).any(1).float().mean()),
        **facts,
    }


@contextmanager
def _in_place_of(path: Path) -> Iterator[Path]:
    """A path to write to; what is written there takes the name once it is whole and read back.

    So neither a kill nor a full disk leaves half a file, or none where there was one.
    """
    check_target(path, overwrite=True)
    making = path.with_name(f".{path.stem}.part{path.suffix}")  # tools go by the suffix
    try:
        yield making
        with making.open("rb") as file:
            os.fsync(file.fileno())
        making.replace(path)
    finally:
        making.unlink(missing_ok=True)
    sync_folder(path.parent)


def _heard(net: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Random frames (T, N, C, H, W) and the votes on them, with more events if they are all 0."""
    for rate in (0.3, 3.0, 30.0):
        frames = torch.poisson(torch.full(shape, rate), torch.Generator().manual_seed(0))
        with torch.no_grad():
            votes = net(frames).float()
        if votes.any():
            break
    return frames, votes
