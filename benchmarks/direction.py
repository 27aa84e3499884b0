"""Only time tells: python benchmarks/direction.py [--epochs N] [--sweeps N]

A bar sweeps over a simulated event camera. Every sweep is there twice: its frames in order, and in
the opposite order. Both have the same frame sums, pixel for pixel, so whatever is made of the sums
is right for exactly half of the samples; csnn_tiny sees the frames. The events are simulated, and
the accuracies say nothing about any dataset.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

import eventkit as ek
from eventkit.events import Events
from eventkit.models import MODELS, Model, Recipe
from eventkit.simulate.camera import Camera
from eventkit.train import train

SIDE, STEPS, FRAMES = 24, 8, 40


class Sums(nn.Module):
    """An ordinary convolutional net on the sum of all frames, its answer repeated in each step."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(32 * 9, classes),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x.sum(0)).expand(len(x), -1, -1)


def sums(num_classes: int, in_shape: tuple[int, ...]) -> nn.Module:
    return Sums(num_classes, in_shape[0])


MODELS.register(Model("frame_sums", sums, "blind to time", Recipe()))


def sweep(rng: np.random.Generator) -> Events:
    """A bar of random angle, width and speed that crosses the field of a simulated camera."""
    camera = Camera((SIDE, SIDE), shot_hz=1.0, seed=int(rng.integers(2**31)))
    angle, width = rng.uniform(-0.5, 0.5), rng.uniform(2, 4)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    along = x * np.cos(angle) + y * np.sin(angle)
    place = (np.arange(FRAMES) / FRAMES - 0.5)[:, None, None] * 1.4 * SIDE
    light = (0.15 + 0.8 * (np.abs(along - place) < width)).astype(np.float32)
    return camera.steps(light, 2_500 * np.arange(FRAMES))


class Sweeps:
    """`n` sweeps, each forwards (class 0) and backwards (class 1): 2 n samples."""

    classes = ["forwards", "backwards"]  # noqa: RUF012
    shape = (STEPS, 2, SIDE, SIDE)

    def __init__(self, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        forwards = [ek.frames(sweep(rng), n=STEPS, by="time").astype(np.float32) for _ in range(n)]
        both = [frames[::order] for frames in forwards for order in (1, -1)]
        self.frames, self.labels = torch.from_numpy(np.stack(both)), np.arange(2 * n) % 2

    def __getitems__(self, indices: list[int]) -> list:
        return [(self.frames[i], int(self.labels[i])) for i in indices]


def compare(
    samples: int, epochs: int, models: tuple[str, ...] = ("frame_sums", "csnn_tiny")
) -> dict:
    splits = {"train": Sweeps(samples, 0), "test": Sweeps(samples // 2, 1)}
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            result = train(splits, out=Path(folder) / model, model=model, epochs=epochs,
                           augment=["shift:share=0.1"], page=False)  # fmt: skip
            results[model] = {"seconds": result["seconds"], **result["accuracy"]}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=150)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    for model, result in compare(options.sweeps, options.epochs).items():
        print(f"{model}: {json.dumps(result)}")


if __name__ == "__main__":
    main()
