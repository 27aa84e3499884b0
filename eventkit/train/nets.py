"""The network of a training: of the zoo, a class of the user's by its name, or an object.

A run folder says which. A name is enough to build the network again, an object has to be given
again:

    csnn_tiny:width=32              a model of eventkit
    package.module:Net:width=32     a class that Python can import
    object:Net                      an object of the class Net, given as `model=net`
"""

import errno
import importlib
import inspect
import os
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from eventkit.errors import EventkitError, FormatError, OptionError
from eventkit.evaluate.activity import SYNAPSES
from eventkit.models import MODELS, Recipe, create
from eventkit.registry import bind, parse_spec

from .checkpoint import WEIGHTS, read

_IMPORTED = re.compile(r"([A-Za-z_][\w.]*:[A-Za-z_][\w.]*)(:.*)?")
_OBJECT = "object:"
_SIZES = ("num_classes", "in_shape", "steps")  # what a class is called with, if it takes them


def named(model: str | nn.Module) -> str:
    """The text that stands for a network in the settings of a run."""
    return model if isinstance(model, str) else f"{_OBJECT}{type(model).__name__}"


def is_object(model: str) -> bool:
    """Whether a run was trained on a network that was given as an object."""
    return model.startswith(_OBJECT)


def is_own(model: str) -> bool:
    """Whether the name is that of a network outside of the zoo."""
    return bool(_IMPORTED.fullmatch(model)) and parse_name(model) not in MODELS


def short(model: str) -> str:
    """The name of a network for the name of a folder: csnn_tiny, Net."""
    match = _IMPORTED.fullmatch(model) if is_own(model) else None
    return match[1].partition(":")[2] if match else parse_name(model)


def parse_name(model: str) -> str:
    """The name of a model without its options."""
    return model.partition(":")[0].strip()


def recipe_of(model: str, kind: str = "cpu") -> Recipe:
    """The recipe of a model: ours for two CPU cores, or that of its paper."""
    if is_own(model):
        if kind == "cpu":
            return Recipe()
    else:
        entry = MODELS[parse_spec(model)[0]]
        if kind == "cpu":
            return entry.recipe
        if entry.paper is not None:
            return entry.paper
    raise OptionError(f"{parse_name(model)} has no recipe {kind!r}; leave it out for ours")


def build(
    model: str, *, num_classes: int, in_shape: tuple[int, ...], steps: int,
    given: nn.Module | str | None = None,
) -> nn.Module:  # fmt: skip
    """The network of a name with fresh weights, or `given`, which stands in for an object.

    It takes float (T, N, C, H, W) and gives (T, N, classes). A class of the user's is called with
    those of num_classes, in_shape and steps that it takes, and with its options. UnknownName or
    OptionError if wrong.
    """
    sizes = {"num_classes": num_classes, "in_shape": tuple(in_shape), "steps": steps}
    if isinstance(given, nn.Module):
        return given
    model = given or model
    if is_object(model):
        kind = model.removeprefix(_OBJECT)
        raise OptionError(
            f"the network was given as an object of the class {kind}: give it again, as model=net"
        )
    if not is_own(model):
        return create(model, **sizes)  # type: ignore[arg-type]
    match = _IMPORTED.fullmatch(model)
    assert match is not None
    maker, options = _imported(match[1]), parse_spec(model.removeprefix(match[1]))[1]
    try:
        known = {key: sizes[key] for key in inspect.signature(maker).parameters if key in sizes}
        net = maker(**known, **bind(_options(maker), options, match[1]))
    except EventkitError:
        raise
    except Exception as error:
        raise OptionError(f"{match[1]} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(net, nn.Module):
        raise OptionError(f"{match[1]} gives {type(net).__name__}, expected a torch.nn.Module")
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def _imported(path: str) -> Callable[..., nn.Module]:
    """The class, or function said to return a Module, at `package.module:Net`.

    Only these: a file of weights may come from anywhere, and must not name what else can be called.
    """
    module, _, name = path.partition(":")
    if (here := str(Path.cwd())) not in sys.path:  # as for `python -m`
        sys.path.append(here)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise OptionError(
            f"no model {path!r}: {error}; expected one of {', '.join(MODELS)}, or "
            "package.module:Net that Python can import from here"
        ) from error
    returned = found if isinstance(found, type) else _hints(found).get("return")
    if not (isinstance(returned, type) and issubclass(returned, nn.Module)):
        raise OptionError(
            f"{path} is no network: expected a class of torch.nn.Module, or a function whose "
            "return type is annotated as one"
        )
    return found  # type: ignore[no-any-return]


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def _options(maker: Callable[..., Any]) -> Any:
    """A function for `bind`: its options are all parameters of `maker`, keyword-only or not."""
    hints = _hints(maker.__init__ if isinstance(maker, type) else maker)  # type: ignore[misc]
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(maker).parameters.values()
    wanted = [p for p in parameters if p.kind in kinds and p.name not in _SIZES]

    def function(**options: Any) -> None: ...

    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in wanted]
    )
    function.__annotations__ = {p.name: _kind(p, hints) for p in wanted}
    return function


def _kind(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    """The type of an option: as annotated, else that of its default."""
    if parameter.name in hints:
        return hints[parameter.name]
    of_default = type(parameter.default)
    return of_default if of_default in (int, float, bool, str) else str


def check_votes(net: nn.Module, *, classes: int, in_shape: tuple[int, ...], steps: int) -> None:
    """Try a network of the user's on zeros: OptionError unless it gives (T, N, classes)."""
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    samples = 3 if steps == 2 else 2  # another number than steps, so that axes are not confused
    frames, was = torch.zeros(steps, samples, *in_shape, device=device), net.training
    net.eval()
    try:
        with torch.no_grad():
            found = net(frames)
    except Exception as error:
        raise OptionError(
            f"{type(net).__name__} fails on frames (T, N, C, H, W) = {tuple(frames.shape)}: "
            f"{_first(error)}"
        ) from error
    finally:
        net.train(was)
    wanted = (steps, samples, classes)
    if not isinstance(found, Tensor) or tuple(found.shape) != wanted:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise OptionError(
            f"{type(net).__name__} gives {shape} for frames (T, N, C, H, W) = "
            f"{tuple(frames.shape)}, expected one vote a step, (T, N, classes) = {wanted}"
        )
    if not any(p.requires_grad for p in net.parameters()):
        raise OptionError(f"{type(net).__name__} has no weights to train")


def load(path: str | Path, *, model: nn.Module | str | None = None) -> nn.Module:
    """The network of a run folder (its model.safetensors) or a file of weights, in eval mode.

    A file of weights holds no code; it may name a network class of yours, which is imported. One
    trained as an object needs it again as `model`, which gets the weights. FormatError when the
    file is none of eventkit's.
    """
    return load_with_facts(path, model=model)[0]


def load_with_facts(
    path: str | Path, *, model: nn.Module | str | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """The net as `load` gives it, and model, num_classes, in_shape, steps, classes and epoch."""
    path = Path(path)
    if path.is_dir() and not (path / WEIGHTS).is_file():
        run = (path / "config.json").is_file()
        raise OptionError(
            f"{path} has no weights yet; eventkit train --resume {path} goes on with it"
            if run
            else f"{path} is no run folder; eventkit train makes one"
        )
    path = path / WEIGHTS if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    tensors, about = read(path)
    try:
        name, sizes = about["model"], _sizes(about)
        if not isinstance(name, str):
            raise TypeError("the model has no name")
        own = is_own(name) or model is not None
        if not own:
            # Layers on meta cost no memory, however many they claim to be; so a net is built there
            # first, and refused if it has far more of them than the file has tensors.
            with torch.device("meta"), _at_most(10 * len(tensors) + 1000):
                wanted = create(name, **sizes).state_dict()
            _check(tensors, wanted)
            net = create(name, **sizes)
    except (EventkitError, *_WRONG) as error:
        raise FormatError(path, None, f"no weights of an eventkit net ({_first(error)})") from error
    if own:
        try:
            net = build(name, **sizes, given=model)
        except OptionError as error:
            raise OptionError(f"{path}: {error}") from error
    try:
        _check(tensors, net.state_dict())
        net.load_state_dict(tensors)
    except _WRONG as error:
        text = f"no weights of this {type(net).__name__} ({_first(error)})"
        raise FormatError(path, None, text) from error
    return net.eval(), about


_WRONG = (KeyError, TypeError, ValueError, AttributeError, RuntimeError)


def _sizes(about: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {key: about[key] for key in ("num_classes", "steps")}
    options = {**sizes, "in_shape": tuple(about["in_shape"])}
    if not all(type(n) is int for n in (*sizes.values(), *options["in_shape"])):
        raise TypeError("sizes are no whole numbers")
    return options


def start_from(net: nn.Module, path: str | Path) -> list[str]:
    """Give a net the weights of a run folder or file; the names of those that stay as they are.

    These can only be of its last layer, the head, where that of the file has another shape. What
    else differs is an OptionError.
    """
    path = Path(path)
    path = path / WEIGHTS if path.is_dir() else path
    tensors, own = read(path)[0], net.state_dict()
    layers = [name for name, module in net.named_modules() if isinstance(module, SYNAPSES)]
    head = layers[-1] if layers else ""
    fits = {k: t for k, t in tensors.items() if k in own and own[k].shape == t.shape}
    fresh = [name for name in own if name not in fits]
    odd = [n for n in (*fresh, *(tensors.keys() - own.keys())) if n.rpartition(".")[0] != head]
    if odd:
        raise OptionError(
            f"init is {path}, which does not fit the network: {sorted(odd)[0]} differs, expected "
            f"the same layers except for the last one, {head}"
        )
    net.load_state_dict({**own, **fits})
    return fresh


@contextmanager
def _at_most(most: int) -> Iterator[None]:
    """Inside, a ValueError ends the building of a net with more parameters than a file can hold."""
    made = [0]

    def count(module: nn.Module, name: str, parameter: Any) -> None:
        made[0] += 1
        if made[0] > most:
            raise ValueError("the net has many more layers than the file has tensors")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _first(error: Exception) -> str:
    text = f"{error} is missing" if type(error) is KeyError else str(error)
    return text.splitlines()[0][:200] if text else type(error).__name__


def _check(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """ValueError unless the tensors are those of the net by name and shape."""
    if odd := sorted(tensors.keys() ^ wanted.keys()):
        where = "in the file alone" if odd[0] in tensors else "not in the file"
        raise ValueError(f"the tensor {odd[0]} is {where}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            found, expected = tuple(tensor.shape), tuple(wanted[name].shape)
            raise ValueError(f"the tensor {name} has the shape {found}, expected {expected}")
