"""A page for each dataset, docs/datasets/NAME.md, from its description; docs/readme.py writes them.

A test compares the pages with what `pages` returns.
"""

from pathlib import Path

from eventkit import datasets
from eventkit.datasets import Dataset, SourceFile

FOLDER = Path(__file__).parent / "datasets"
MANY = 120  # classes that are listed one by one
ENDS = 10  # of more classes, this many are shown at either end


def pages() -> dict[str, str]:
    """The text of every page by the name of its file."""
    return {f"{name}.md": page(datasets.load(name)) for name in datasets.names()}


def write() -> None:
    """Write the pages, and remove those of datasets that there are no more."""
    FOLDER.mkdir(exist_ok=True)
    made = pages()
    for old in FOLDER.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def page(dataset: Dataset) -> str:
    """One page: card, commands, splits, defects, classes, files, BibTeX."""
    parts = [f"# {dataset.title}", dataset.about, _facts(dataset), *_commands(dataset)]
    if dataset.note:
        parts.append(dataset.note)
    parts += _list("Splits", [f"`--split {n}`: {s['about']}" for n, s in dataset.splits.items()])
    parts += _list("Known defects", dataset.defects)
    parts += _list("Unverified", dataset.unverified)
    parts += _structure(dataset)
    parts += _files(dataset)
    parts += _classes(dataset)
    if dataset.bibtex:
        parts.append(f"## Cite\n\n```bibtex\n{dataset.bibtex}\n```")
    elif dataset.cite:
        parts.append(f"## Cite\n\n{dataset.cite}.")
    parts.append("All datasets: [datasets](../datasets.md).")
    return "\n\n".join(filter(None, parts)) + "\n"


def _facts(dataset: Dataset) -> str:
    size = " × ".join(map(str, dataset.size or ()))
    facts = {
        "name": f"`{dataset.name}`",
        "task": dataset.task,
        "homepage": f"<{dataset.homepage}>",
        "licence": dataset.license or "not stated",
        "terms": dataset.terms,
        "sensor": " ".join(filter(None, [dataset.sensor, size])),
        "format": dataset.spec and f"`{dataset.spec}`",
        "labels": ", ".join(dataset.labels),
        "classes": str(dataset.n_classes or ""),
        "samples": ", ".join(f"{n:,} {split}" for split, n in dataset.samples.items()),
        "layout": f"`{dataset.layout['kind']}`" if dataset.layout else "",
    }
    rows = [f"| {key} | {_cell(value)} |" for key, value in facts.items() if value]
    return "\n".join(["| | |", "|---|---|", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _commands(dataset: Dataset) -> list[str]:
    if not dataset.layout:
        return [f"It cannot be converted yet: {dataset.missing}."]
    name = dataset.name
    automatic = bool(dataset.files) and all(source.urls for source in dataset.files)
    if automatic:
        accept = " --accept-license" if dataset.terms else ""
        first = f"$ eventkit fetch {name}{accept}"
    else:
        files = " ".join(source.name for source in dataset.files) or "FOLDER"
        first = f"$ eventkit adopt {name} {files}     # downloaded by hand"
    how = "--frames 16" if dataset.n_classes else "--every 50ms --rep voxel:bins=5"
    return [f"```console\n{first}\n$ eventkit convert {name} {how}\n```"]


def _list(title: str, texts: object) -> list[str]:
    lines = [f"- {text}" for text in texts]  # type: ignore[attr-defined]
    return [f"## {title}", "\n".join(lines)] if lines else []


def _structure(dataset: Dataset) -> list[str]:
    paths = dict.fromkeys(row[0] for row in dataset.example.get("recordings", ()))
    texts = dict.fromkeys(dataset.example.get("text", ()))
    listed = "\n".join(sorted([*paths, *texts]))
    head = "## Folder structure\n\nAn example; names of recordings may be made up."
    return [f"{head}\n\n```text\n{listed}\n```"] if listed else []


def _files(dataset: Dataset) -> list[str]:
    if not dataset.files:
        return []
    lines = ["## Files", "| file | size | checksum | from |\n|---|---|---|---|"]
    rows = [_file(source, dataset) for source in dataset.files]
    return [lines[0], "\n".join([lines[1], *rows])]


def _file(source: SourceFile, dataset: Dataset) -> str:
    sums = " ".join(f"{name} `{value}`" for name, value in source.sums.items())
    places = [f"<{url}>" for url in source.urls or [source.page or dataset.homepage]]
    hand = "" if source.urls else "by hand: "
    return f"| {_cell(source.name)} | {source.size} | {sums} | {hand}{' '.join(places)} |"


def _classes(dataset: Dataset) -> list[str]:
    names = [f"{label} {name}" for label, name in enumerate(dataset.classes)]
    if len(names) > MANY:
        names = [*names[:ENDS], "...", *names[-ENDS:]]
    return ["## Classes", "; ".join(names).replace("<", "&lt;")] if names else []
