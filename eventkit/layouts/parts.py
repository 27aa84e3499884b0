"""A dataset whose splits are arranged in different ways: ES-ImageNet."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from eventkit.datasets import Dataset
from eventkit.layouts import LAYOUTS, Layout, Listing, Sample, listing, marks


def parts(dataset: Dataset, root: Path, *, parts: list[Any]) -> Listing:
    """The samples of all parts, each a layout with its own kind and options."""
    samples: list[Sample] = []
    warnings: list[str] = []
    classes = list(dataset.classes)
    for part in parts:
        found = listing(replace(dataset, layout=part, samples={}, defects=()), root)
        samples += found.samples
        warnings += found.warnings
        classes = classes or found.classes
    return Listing(root, classes, samples, warnings)


def _marks(dataset: Dataset, *, parts: list[Any]) -> list[str]:
    return [mark for part in parts for mark in marks(replace(dataset, layout=part))]


LAYOUTS.register(Layout("parts", parts, _marks))
