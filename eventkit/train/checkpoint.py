"""Weights and the state of a training as safetensors: numbers and JSON, no code to be run.

A file holds tensors by name and, as its metadata, one JSON text and the crc32 of all bytes. A file
that is none of ours, is damaged, or does not fit the net that it names, is refused before any net
is built at full size.
"""

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eventkit._write import replace
from eventkit.errors import FormatError, MissingExtra

WEIGHTS = "model.safetensors"  # the epoch that was best on the validation samples
LAST = "last.safetensors"
STATE = "state.safetensors"  # what a training needs to go on
ABOUT = ("model", "num_classes", "in_shape", "steps", "classes")


_CHECKSUM = re.compile(rb'"crc32":"([0-9a-f]{8})"')
_LARGEST = 100_000_000  # bytes of a header, safetensors' own limit
_ZEROS = b"0" * 8  # stands for the checksum while it is computed


def write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write the file, JSON and tensors, in place of what is there."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"eventkit": json.dumps(about), "crc32": _ZEROS.decode()}
    data = bytearray(_safetensors().torch.save(_unshared(plain), metadata))
    place = _checksum(data)
    assert place is not None  # the JSON text has its quotes escaped
    data[slice(*place)] = b"%08x" % zlib.crc32(data)
    replace(path, data)


def _checksum(data: bytes | bytearray) -> tuple[int, int] | None:
    """Where in the header the checksum stands; None in files of before there was one."""
    found = _CHECKSUM.search(data, 8, 8 + int.from_bytes(data[:8], "little"))
    return found.span(1) if found else None


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies where two names share memory, which safetensors refuses."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        out[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return out


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name and what is said about them.

    FormatError if the file is damaged or none of ours; of a file that is not, only the header is
    read.
    """
    safetensors = _safetensors()
    try:
        with path.open("rb") as file:
            data = file.read(8)
            size = int.from_bytes(data, "little")
            if size > _LARGEST:
                raise ValueError(f"its header would have {size:,} bytes")
            data += file.read(size)
            metadata = json.loads(data[8:])["__metadata__"]
            about = json.loads(metadata["eventkit"])
            data += file.read()
        if not isinstance(about, dict):
            raise TypeError("its description is no JSON object")
        place = _checksum(data)
        if (metadata.keys() != {"eventkit"}) if place is None else not _is_whole(data, place):
            raise ValueError("its checksum is wrong: it is damaged")
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RecursionError,
            AttributeError) as error:  # fmt: skip
        said = "it does not say what it holds" if isinstance(error, KeyError) else error
        raise FormatError(path, None, f"no file of weights that eventkit wrote ({said})") from error
    return tensors, about


def _is_whole(data: bytes, place: tuple[int, int]) -> bool:
    start, end = place
    crc = zlib.crc32(_ZEROS, zlib.crc32(memoryview(data)[:start]))
    return data[start:end] == b"%08x" % zlib.crc32(memoryview(data)[end:], crc)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer by number of the parameter and name."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{key}": torch.as_tensor(value)
        for number, entry in state.items()
        for key, value in entry.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors` on a fresh optimizer of the same net."""
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        if tensor.ndim and tensor.shape != parameters[int(number)].shape:
            raise ValueError(f"{name} of the optimizer has the shape {tuple(tensor.shape)}")
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _safetensors() -> Any:
    try:
        import safetensors
        import safetensors.torch
    except ImportError:
        raise MissingExtra("weights need safetensors", "torch") from None
    return safetensors
