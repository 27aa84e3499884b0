"""Files that hold many recordings each: SHD and SSC, N-TIDIGITS18, EBSSA, HFirst's characters."""

from pathlib import Path
from typing import Any, Literal

from eventkit import formats
from eventkit.datasets import Dataset
from eventkit.errors import FormatError
from eventkit.formats import FORMATS
from eventkit.layouts import LAYOUTS, UNLABELLED, Layout, Listing, Sample


def many_in_file(
    dataset: Dataset,
    root: Path,
    *,
    splits: dict[str, str],
    count: int | None = None,
    label: Literal["file", "cycle", "none"] = "file",
) -> Listing:
    """One file per split, its recordings in their order, with the labels in the file.

    The names of the classes are those in the first file, if the dataset does not state them;
    `count` says how many there should be. With label="cycle" the classes follow each other again
    and again, with "none" there are none. A file that says of each recording to which split it
    belongs is asked; one that has names for its recordings gives the column `name`. Recordings that
    show none of the classes are left out and counted.
    """
    fmt = FORMATS[dataset.format or ""]
    there = {split: name for split, name in splits.items() if (root / name).is_file()}
    classes = list(dataset.classes)
    if not classes and there and label == "file":
        first = root / next(iter(there.values()))
        classes = [str(key) for key in formats.extra(first, "keys", format=fmt.name)]
        if count is not None and len(classes) != count:
            raise FormatError(first, None, f"names {len(classes)} classes, expected {count}")
    found = Listing(root, classes, [])
    for split, name in there.items():
        if label == "file":
            labels = formats.extra(root / name, "labels", format=fmt.name).tolist()
        else:
            n = fmt.header(root / name)["recordings"] if fmt.header else 1
            labels = [i % len(classes) if label == "cycle" else UNLABELLED for i in range(n)]
        lowest = 0 if "names" not in fmt.extras and label == "file" else UNLABELLED
        wrong = [each for each in labels if not lowest <= each < max(len(classes), 1)]
        if wrong:
            last = len(classes) - 1
            raise FormatError(root / name, None, f"has the label {wrong[0]}, expected 0..{last}")
        extra = {
            key: formats.extra(root / name, key, format=fmt.name).tolist()
            for key in ("splits", "names")
            if key in fmt.extras
        }
        kept = [n for n, each in enumerate(labels) if label != "file" or each != UNLABELLED]
        for n in kept:
            columns = {"recording": str(n)}
            if "names" in extra:
                columns["name"] = extra["names"][n]
            where = extra["splits"][n] if "splits" in extra else split
            found.samples.append(
                Sample(where or split, int(labels[n]), name, columns=columns, recording=n)
            )
        if len(kept) < len(labels):
            left = len(labels) - len(kept)
            found.warnings.append(f"{name}: {left:,} recordings show none of the classes; left out")
    return found


def _marks(dataset: Dataset, *, splits: dict[str, Any], **_: object) -> list[str]:
    return list(splits.values())


LAYOUTS.register(Layout("many_in_file", many_in_file, _marks))
