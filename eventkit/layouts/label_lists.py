"""One list per split, each line a recording and its label: HARDVS, parts of ES-ImageNet."""

from pathlib import Path, PurePosixPath
from typing import Any, Literal

from eventkit.datasets import Dataset
from eventkit.errors import FormatError
from eventkit.layouts import LAYOUTS, UNLABELLED, Layout, Listing, Sample, listed


def label_lists(
    dataset: Dataset,
    root: Path,
    *,
    splits: dict[str, str],
    source: str = "{name}",
    label: Literal["number", "folder", "none"] = "number",
    first_label: int = 0,
) -> Listing:
    """Recordings in the order of the lists; {name} in `source` is the first word of a line.

    The label is the second word, numbers from first_label on, or that of the class whose name the
    recording's folder has, or there is none. A recording that is not there is left out and counted.
    """
    samples: list[Sample] = []
    warnings: list[str] = []
    numbers = {name: number for number, name in enumerate(dataset.classes)}
    for split, list_name in splits.items():
        missing = 0
        for name, words in listed(root / list_name):
            path = PurePosixPath(source.replace("{name}", name))
            if label == "none":
                found = UNLABELLED
            elif label == "folder":
                found = numbers.get(path.parent.name, -1)
            else:
                found = int(words[0]) - first_label if words and words[0].isdigit() else -1
            if label != "none" and not 0 <= found < len(dataset.classes):
                what = path.parent.name if label == "folder" else " ".join(words[:1])
                raise FormatError(
                    root / list_name, None, f"{name} has the class {what!r}, which is not known"
                )
            if (root / path).is_file():
                samples.append(Sample(split, found, str(path)))
            else:
                missing += 1
        if missing:
            warnings.append(f"{list_name}: {missing:,} of its recordings are not there; left out")
    return Listing(root, list(dataset.classes), samples, warnings)


def _marks(dataset: Dataset, *, splits: dict[str, Any], **_: object) -> list[str]:
    return list(splits.values())


LAYOUTS.register(Layout("label_lists", label_lists, _marks))
