"""Train a network on a store: one loop, and a run folder that says what was done and came out.

    RUN/
      config.json     model, recipe, seed, data, versions: what a repetition needs
      metrics.csv     a row for every epoch
      metrics.json    the result
      model.pt        the weights of the epoch that was best on the validation samples
      last.pt         the weights of the last epoch

Three accuracies are reported. `last` is the test accuracy after the last epoch,
`at_best_validation` that of the epoch which was best on samples held out from training, and
`best_optimistic` the best of all epochs: it is chosen on the test set, so it flatters.
"""

import ctypes
import io
import json
import math
import pickle
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eventkit import __version__
from eventkit.errors import FormatError, OptionError
from eventkit.loader import EventDataset, collate
from eventkit.models import MODELS, Recipe, create
from eventkit.registry import parse_spec
from eventkit.store import Store

Progress = Callable[[dict[str, Any]], None]


class Samples(Protocol):
    """What the loop needs of a dataset; EventDataset(store, split) is one."""

    labels: np.ndarray  # int64 (n,)

    @property
    def classes(self) -> list[str]: ...

    @property
    def shape(self) -> tuple[int, ...]: ...  # (T, C, H, W)

    def __getitems__(self, indices: list[int]) -> Any: ...  # what loader.collate takes


@dataclass(frozen=True)
class Part:
    """Some samples of a dataset."""

    dataset: Samples
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def batches(
        self, size: int, rng: np.random.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Frames float32 (N, T, C, H, W), their lengths in frames (N,), labels int64 (N,).

        `rng` shuffles the samples.
        """
        order = self.indices if rng is None else rng.permutation(self.indices)
        for first in range(0, len(order), size):
            samples = self.dataset.__getitems__(order[first : first + size].tolist())
            frames, labels, *lengths = collate(samples)
            full = torch.full(labels.shape, frames.shape[1])
            yield frames.float(), lengths[0] if lengths else full, labels.long()


def hold_out(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of samples to train on, and of those held out: `share` of every class."""
    rng = np.random.default_rng(seed)
    held: list[int] = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held += members[: round(len(members) * share)].tolist()
    return np.setdiff1d(np.arange(len(labels)), held), np.sort(np.array(held, np.int64))


def shift(frames: Tensor, rng: np.random.Generator, *, share: float) -> Tensor:
    """Frames (N, T, C, H, W), each sample moved by up to `share` of the sides, zeros moved in.

    All frames and channels of a sample move alike.
    """
    moved = torch.zeros_like(frames)
    for sample, target in zip(frames, moved, strict=True):
        windows = []
        for side in frames.shape[-2:]:
            by = int(rng.integers(-int(side * share), int(side * share) + 1))
            windows.append(
                (slice(max(-by, 0), side - max(by, 0)), slice(max(by, 0), side + min(by, 0)))
            )
        (rows, to_rows), (columns, to_columns) = windows
        target[..., to_rows, to_columns] = sample[..., rows, columns]
    return moved


def answer(net: nn.Module, frames: Tensor, lengths: Tensor) -> Tensor:
    """The mean over time of the net's votes on frames (N, T, C, H, W): float32 (N, classes).

    Votes on the padding behind a shorter sample do not count.
    """
    votes = net(frames.transpose(0, 1)).float()
    real = torch.arange(len(votes))[:, None] < lengths
    mean: Tensor = (votes * real[..., None]).sum(0) / lengths[:, None]
    return mean


def score(net: nn.Module, part: Part, *, batch: int) -> tuple[float, float]:
    """The accuracy, from 0 to 1, and the mean cross-entropy of the answers on `part`."""
    net.eval()
    right = loss = 0.0
    with torch.inference_mode():
        for frames, lengths, labels in part.batches(batch):
            answers = answer(net, frames, lengths)
            right += float((answers.argmax(1) == labels).sum())
            loss += float(functional.cross_entropy(answers, labels, reduction="sum"))
    return right / len(part), loss / len(part)


def learning_rate(done: float, recipe: Recipe) -> float:
    """The rate when the share `done` of the training is over: a linear warm-up, then a cosine."""
    if done < recipe.warmup:
        return recipe.lr * done / recipe.warmup
    return recipe.lr * (1 + math.cos(math.pi * (done - recipe.warmup) / (1 - recipe.warmup))) / 2


def adamw(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; biases, batch norms and time constants do not decay."""
    matrices = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr)


def fit(
    net: nn.Module,
    training: Part,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int = 0,
    minutes: float | None = None,
    progress: Progress = lambda event: None,
) -> Iterator[dict[str, Any]]:
    """Train `net` in place; after every epoch yield its number, learning rate and mean loss.

    With `minutes`, epochs that would not fit in that time are taken off the end, and the learning
    rate falls faster; what the caller does between epochs counts.
    """
    rng = np.random.default_rng(seed)
    optimizer = adamw(net, recipe)
    steps = math.ceil(len(training) / recipe.batch)
    start = time.monotonic()
    epoch = 0
    while epoch < epochs:
        net.train()
        losses = []
        for step, (frames, lengths, labels) in enumerate(training.batches(recipe.batch, rng)):
            lr = learning_rate((epoch * steps + step + 0.5) / (epochs * steps), recipe)
            for group in optimizer.param_groups:
                group["lr"] = lr
            answers = answer(net, shift(frames, rng, share=recipe.shift), lengths)
            loss = functional.cross_entropy(answers, labels)
            if not loss.isfinite():
                raise OptionError(f"the loss is {loss:g} in epoch {epoch + 1}; try a smaller lr")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
            optimizer.step()
            losses.append(loss.item())
            done = epoch * steps + step + 1
            progress({"event": "step", "done": done, "of": epochs * steps, "loss": losses[-1]})
        epoch += 1
        yield {"epoch": epoch, "lr": lr, "loss": float(np.mean(losses))}
        if minutes is not None:
            spent = time.monotonic() - start
            epochs = min(epochs, epoch + int((60 * minutes - spent) / (spent / epoch)))


class Run:
    """The folder of a run. Every file is replaced as a whole, so none is ever half written."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OptionError(f"{folder} exists already; choose another folder for the run")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = config
        self.rows: list[dict[str, Any]] = []
        self._write("config.json", json.dumps(config, indent=2).encode())

    @property
    def best(self) -> dict[str, Any]:
        """The row of the epoch that was best on the validation samples; without any, the last."""
        if "validation_accuracy" not in self.rows[-1]:
            return self.rows[-1]
        return max(self.rows, key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))

    def add(self, row: dict[str, Any], net: nn.Module) -> None:
        """Keep the numbers of an epoch and its weights."""
        self.rows.append(row)
        lines = [",".join(row), *(",".join(map(str, each.values())) for each in self.rows)]
        self._write("metrics.csv", "".join(line + "\n" for line in lines).encode())
        self.save("last.pt", net)
        if self.best is row:
            self.save("model.pt", net)

    def save(self, name: str, net: nn.Module) -> None:
        """Write the weights, with what `load` needs to build the net."""
        about = {key: self.config[key] for key in ("model", "num_classes", "in_shape", "classes")}
        buffer = io.BytesIO()
        torch.save({**about, "epoch": len(self.rows), "state": net.state_dict()}, buffer)
        self._write(name, buffer.getvalue())

    def result(self, **facts: Any) -> dict[str, Any]:
        """Write and return the content of metrics.json; numbers that nothing gave are None."""
        best = self.best if self.rows else {}
        tests = [row["test_accuracy"] for row in self.rows if "test_accuracy" in row]
        result = {
            "accuracy": {
                "last": tests[-1] if tests else None,
                "at_best_validation": best.get("test_accuracy"),
                "best_optimistic": max(tests, default=None),
            },
            "validation_accuracy": best.get("validation_accuracy"),
            "best_epoch": best.get("epoch"),
            "epochs": len(self.rows),
            "run": str(self.folder),
            **facts,
        }
        self._write("metrics.json", json.dumps(result, indent=2).encode())
        return result

    def _write(self, name: str, data: bytes) -> None:
        temporary = self.folder / f".{name}"
        temporary.write_bytes(data)
        temporary.replace(self.folder / name)


def load(path: str | Path) -> nn.Module:
    """The net of a run folder (its model.pt) or of a file of weights, in eval mode.

    A file of weights can hold no code. FormatError when it is none of eventkit's.
    """
    path = Path(path)
    path = path / "model.pt" if path.is_dir() else path
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        shape = tuple(saved["in_shape"])
        net = create(saved["model"], num_classes=saved["num_classes"], in_shape=shape)
        net.load_state_dict(saved["state"])
    except (
        pickle.UnpicklingError,
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
        EOFError,
    ) as error:
        raise FormatError(path, None, f"no weights of an eventkit net ({error})") from error
    return net.eval()


def train(
    data: str | Path | Mapping[str, Samples],
    *,
    model: str = "csnn_tiny",
    out: str | Path | None = None,
    seed: int = 0,
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    minutes: float | None = None,
    validation: float = 0.1,
    progress: Progress = lambda event: None,
) -> dict[str, Any]:
    """Train a model on the split `train` of a store, test it on `test`, write a run folder.

    `data` is a store, or datasets by the name of their split. `validation` is the share of every
    class that is held out from training, unless there is a split `validation`. Options left None
    come from the model's recipe; `minutes` bounds the time. The run folder `out` must be new or
    empty, and is made under runs/ if not given. `progress` gets a dictionary at the start, after
    every step and after every epoch. The same seed gives the same weights, on one machine with
    the same versions and number of threads, unless `minutes` cuts the training short.

    Returns the content of metrics.json. A KeyboardInterrupt leaves the run folder complete as far
    as the training came, and is raised again.
    """
    splits = data if isinstance(data, Mapping) else _open(Path(data))
    parts = _parts(splits, validation, seed)
    recipe = MODELS[parse_spec(model)[0]].recipe
    recipe = replace(recipe, batch=batch or recipe.batch, lr=lr or recipe.lr)
    epochs = epochs or min(100, max(10, round(recipe.samples / len(parts["train"]))))
    _prepare(seed)
    of = splits["train"]
    net = create(model, num_classes=len(of.classes), in_shape=of.shape[-3:])
    facts = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "samples": {name: len(part) for name, part in parts.items()},
    }
    config = {
        "model": model,
        "num_classes": len(of.classes),
        "in_shape": list(of.shape[-3:]),
        "classes": list(of.classes),
        "data": _describe(data),
        "seed": seed,
        "epochs": epochs,
        "minutes": minutes,
        "validation": validation,
        "recipe": asdict(recipe),
        "threads": torch.get_num_threads(),
        "versions": {"eventkit": __version__, "torch": torch.__version__},
        **facts,
    }
    run = Run(_folder(out, data, model), config)
    progress({"event": "start", "run": str(run.folder), **config})
    start = time.monotonic()
    try:
        for row in fit(
            net,
            parts["train"],
            recipe,
            epochs=epochs,
            seed=seed,
            minutes=minutes,
            progress=progress,
        ):
            for name in parts.keys() - {"train"}:
                accuracy, loss = score(net, parts[name], batch=recipe.batch)
                row |= {f"{name}_accuracy": accuracy, f"{name}_loss": loss}
            row["seconds"] = round(time.monotonic() - start, 2)
            run.add(row, net)
            progress({"event": "epoch", **row})
    except KeyboardInterrupt:
        run.save("last.pt", net)
        run.result(**facts, seconds=time.monotonic() - start, interrupted=True)
        raise
    return run.result(**facts, seconds=time.monotonic() - start, interrupted=False)


def _open(store: Path) -> dict[str, Samples]:
    opened = Store(store)
    return {name: EventDataset(opened, name) for name in opened.splits}


def _parts(splits: Mapping[str, Samples], share: float, seed: int) -> dict[str, Part]:
    """The parts train, validation and test, as far as there are samples for them."""
    if "train" not in splits:
        raise OptionError(f"there is no split 'train' to train on, only {', '.join(splits)}")
    if not 0 <= share < 1:
        raise OptionError(f"validation is {share}, expected a share from 0 to below 1")
    parts = {
        name: Part(splits[name], np.arange(len(splits[name].labels)))
        for name in ("train", "validation", "test")
        if name in splits
    }
    if "validation" not in parts:
        training, held = hold_out(splits["train"].labels, share, seed)
        parts["train"] = Part(splits["train"], training)
        parts["validation"] = Part(splits["train"], held)
    if not len(parts["train"]):
        raise OptionError("there are no samples to train on")
    return {
        name: parts[name] for name in ("train", "validation", "test") if len(parts.get(name, ()))
    }


def _prepare(seed: int) -> None:
    """Seed every generator, and keep freed memory in the process where the C library is glibc.

    Tensors of some megabytes otherwise go back to the system with every step, and touching fresh
    pages for the next ones takes a small net longer than its arithmetic.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for datasets that use it
    torch.manual_seed(seed)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            libc.mallopt(-4, 0)  # M_MMAP_MAX: no mapping of its own for a large block
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def _describe(data: str | Path | Mapping[str, Samples]) -> dict[str, Any]:
    if isinstance(data, Mapping):
        return {"splits": list(data)}
    attributes = Store(data).attributes
    keys = ("dataset", "represent", "transforms", "plan_digest")
    return {"store": str(data), **{key: attributes.get(key) for key in keys}}


def _folder(out: str | Path | None, data: str | Path | Mapping[str, Samples], model: str) -> Path:
    """`out`, or the first free runs/STORE-MODEL, runs/STORE-MODEL-2, ..."""
    if out is not None:
        return Path(out)
    store = "data" if isinstance(data, Mapping) else Path(data).stem
    stem = f"{store}-{parse_spec(model)[0]}"
    number = 1
    while (folder := Path("runs") / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return folder
