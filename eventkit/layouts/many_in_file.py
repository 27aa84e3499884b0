"""Files that hold many recordings and their labels each: SHD and SSC."""

from pathlib import Path
from typing import Any

from eventkit import formats
from eventkit.datasets import Dataset
from eventkit.errors import FormatError
from eventkit.layouts import LAYOUTS, Layout, Listing, Sample


def many_in_file(
    dataset: Dataset, root: Path, *, splits: dict[str, str], count: int | None = None
) -> Listing:
    """One file per split, its recordings in their order, with the labels in the file.

    The names of the classes are those in the first file, if the dataset does not state them;
    `count` says how many there should be.
    """
    samples: list[Sample] = []
    there = {split: name for split, name in splits.items() if (root / name).is_file()}
    classes = list(dataset.classes)
    if not classes and there:
        first = root / next(iter(there.values()))
        classes = [str(key) for key in formats.extra(first, "keys", format=dataset.format)]
        if count is not None and len(classes) != count:
            raise FormatError(first, None, f"names {len(classes)} classes, expected {count}")
    for split, name in there.items():
        labels = formats.extra(root / name, "labels", format=dataset.format).tolist()
        wrong = [label for label in labels if not 0 <= label < len(classes)]
        if wrong:
            last = len(classes) - 1
            raise FormatError(root / name, None, f"has the label {wrong[0]}, expected 0..{last}")
        samples += [
            Sample(split, int(label), name, columns={"recording": str(n)}, recording=n)
            for n, label in enumerate(labels)
        ]
    return Listing(root, classes, samples)


def _marks(dataset: Dataset, *, splits: dict[str, Any], **_: object) -> list[str]:
    return list(splits.values())


LAYOUTS.register(Layout("many_in_file", many_in_file, _marks))
