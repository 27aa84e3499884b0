"""The settings and the folder of a training run, for what must not wait for torch to be loaded.

What is in the folder of a run is told in `eventkit.train.run`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from eventkit.errors import FormatError, OptionError
from eventkit.registry import BelowOne, NotNegative, Positive, Range, Share


@dataclass(frozen=True)
class Help:
    """How the command offers a setting: its help text, what stands for its value, its flags."""

    text: str
    metavar: str | None = None
    flags: str | None = None  # default: --NAME


AtLeast1 = Annotated[int, Range(1)]
FromZero = Annotated[int, Range(0)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train. `loss`, `optimizer`, `schedule`, `method`, `augment` are specs.

    The command `eventkit train` has an option for each of them.
    """

    model: Annotated[
        str,
        Help(
            "Network: csnn_tiny:width=32, or your own as package.module:Net. [default: csnn_tiny]",
            "SPEC",
        ),
    ] = "csnn_tiny"
    init: Annotated[
        str | None,
        Help("Trained network to start from: a run folder; its last layer may differ.", "RUN"),
    ] = None
    recipe: Annotated[
        Literal["cpu", "paper"],
        Help("Recipe for all settings not given: cpu (ours) or paper. [default: cpu]"),
    ] = "cpu"
    represent: Annotated[
        str | None,
        Help("Representation to make from a store of events, as frames:n=16.", "SPEC", "--rep"),
    ] = None
    # None: as many as show the net the recipe's number of samples
    epochs: Annotated[
        int | None,
        Range(1),
        Help("Maximum number of epochs. [default: recipe.samples / samples, 10 to 100]"),
    ] = None
    minutes: Annotated[
        float | None, Range(0, above=True), Help("Time limit in minutes; the schedule follows it.")
    ] = None
    batch: Annotated[AtLeast1, Help("Batch size, of each process. [default: 16]")] = 16
    accumulate: Annotated[
        AtLeast1, Help("Batches accumulated per optimizer step. [default: 1]")
    ] = 1
    optimizer: Annotated[str, Help("Optimizer: adamw, adam, lamb or sgd:momentum=0.9.", "SPEC")] = (
        "adamw"
    )
    lr: Annotated[Positive, Help("Learning rate.")] = 3e-3
    weight_decay: Annotated[NotNegative, Help("Weight decay; skips norms, biases, neurons.")] = 0.05
    decay_all: Annotated[
        bool,
        Help(
            "Decay norms, biases and neurons too. [default: matrices only]",
            flags="--decay-all/--decay-matrices",
        ),
    ] = False
    schedule: Annotated[
        str,
        Help(
            "Learning rate schedule: cosine, step:epochs=64, onecycle, plateau or constant.", "SPEC"
        ),
    ] = "cosine"
    warmup: Annotated[Share, Help("Share of the training used for warm-up.")] = 0.05
    clip: Annotated[NotNegative, Help("Clip the gradient norm; 0 disables.")] = 1.0
    ema: Annotated[
        Share, Help("Decay of the moving average of the weights; 0 disables. [default: 0]")
    ] = 0.0
    loss: Annotated[
        str, Help("Loss: ce_mean, rate_mse, tet:weight=0.05, ttfs and others.", "SPEC")
    ] = "ce_mean"
    smoothing: Annotated[Share, Help("Label smoothing.")] = 0.0
    class_weights: Annotated[
        bool,
        Help(
            "Weight the loss of each class by the inverse of its frequency.",
            flags="--class-weights/--no-class-weights",
        ),
    ] = False
    augment: Annotated[
        tuple[str, ...],
        Help("Augmentation, as flip or shift:share=0.1; repeatable; `none` clears.", "SPEC"),
    ] = ()
    mixup: Annotated[NotNegative, Help("Mixup: alpha of its Beta distribution; 0 disables.")] = 0.0
    cutmix: Annotated[NotNegative, Help("CutMix: alpha of its Beta distribution; 0 disables.")] = (
        0.0
    )
    mix_share: Annotated[Share, Help("Share of the batches that are mixed. [default: 1]")] = 1.0
    mix_until: Annotated[
        Share, Help("Share of the training in which batches are mixed. [default: 1]")
    ] = 1.0
    teacher: Annotated[str | None, Help("Trained network to distil from: a run folder.", "RUN")] = (
        None
    )
    distill: Annotated[Share, Help("Weight of the teacher in the loss. [default: 0.5]")] = 0.5
    temperature: Annotated[Positive, Help("Distillation temperature. [default: 2]")] = 2.0
    method: Annotated[
        str,
        Help(
            "Learning rule: bptt, checkpoint:chunks=4, tbptt:window=4, sltt, ottt, eprop.", "SPEC"
        ),
    ] = "bptt"
    sparsity: Annotated[
        str | None,
        Help(
            "Sparse training: gradr, deepr, soft_deepr, stds, slats, pgh or lats, as "
            "stds:threshold=0.1. [default: none]",
            "SPEC",
        ),
    ] = None
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Help("Precision of matrix products; auto: bfloat16 where it is fast. [default: auto]"),
    ] = "auto"
    validation: Annotated[
        BelowOne,
        Help(
            "Share of each class held out of training to choose the best epoch; unused if the "
            "store has a split `validation`. [default: 0.1]"
        ),
    ] = 0.1
    test: Annotated[
        bool,
        Help(
            "Measure the test accuracy after every epoch; --no-test never reads the test split. "
            "[default: test]",
            flags="--test/--no-test",
        ),
    ] = True
    folds: Annotated[
        int | None,
        Range(2, 1000),
        Help(
            "Cross-validate: K runs, each tested on one of K parts of the train split; the test "
            "split is never read. Reports mean ± std.",
            "K",
        ),
    ] = None
    fold: Annotated[
        int | None, Range(0), Help("Train one of the K folds only, from 0 to K - 1.", "N")
    ] = None
    patience: Annotated[
        FromZero, Help("Early-stopping patience in epochs; 0 disables. [default: 0]")
    ] = 0
    seed: Annotated[int, Range(0, 2**32), Help("Random seed. [default: 0]")] = 0
    seeds: Annotated[int, Range(1, 1000), Help("Train N seeds; report mean ± std.", "N")] = 1
    save_minutes: Annotated[
        NotNegative, Help("Minutes between checkpoints within an epoch. [default: 5]")
    ] = 5.0
    device: Annotated[
        str, Help("Device: cpu, cuda, cuda:1. [default: a GPU, else the CPU]", "NAME")
    ] = "auto"
    tensorboard: Annotated[
        bool, Help("Write curves for TensorBoard too.", flags="--tensorboard/--no-tensorboard")
    ] = False
    page: Annotated[bool, Help("Write page.html. [default: page]", flags="--page/--no-page")] = True


STARTING = {"config.json", ".config.json.part", ".run.toml.part"}  # before a run has begun


def has_begun(folder: Path) -> bool:
    """Whether there is a run in the folder, which can be resumed."""
    return all((folder / name).is_file() for name in ("config.json", "run.toml"))


def check_begun(folder: Path) -> None:
    """OptionError unless there is a run in the folder."""
    if not has_begun(folder):
        raise OptionError(f"{folder} is no run folder; eventkit train makes one")


def check_free(folder: Path) -> None:
    """OptionError unless a run may begin there: nothing is, or only what a killed start wrote."""
    if not folder.exists() or _is_free(folder):
        return
    more = f", or go on with it: eventkit train --resume {folder}" if has_begun(folder) else ""
    raise OptionError(f"{folder} exists already; choose another folder for the run{more}")


def _is_free(folder: Path) -> bool:
    if not folder.is_dir() or not {path.name for path in folder.iterdir()} <= STARTING:
        return False
    config = folder / "config.json"
    try:
        return not config.is_file() or isinstance(read_json(config).get("data"), dict)
    except FormatError:
        return False


def read_json(path: Path) -> dict[str, Any]:
    """An object that a run folder holds; FormatError if it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(path, None, f"no JSON ({error})") from error
    if not isinstance(found, dict):
        raise FormatError(path, None, "no JSON object")
    return found
