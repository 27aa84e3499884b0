"""Write the generated parts of README.md and of docs/: docs/readme.py

With --benchmarks ROWS.json also that of the benchmarks.

Formats and datasets come from the registries, the benchmark table from the file that
`python benchmarks/run.py --json ROWS.json` wrote. A test compares the file with the first two.
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from eventkit import datasets
from eventkit.formats import FORMATS

# What the README has of the benchmarks; docs/benchmarks.md has all.
MAIN = (
    "AEDAT 3.1, streamed$", "EVT[23], streamed$", "AEDAT 4, (plain|LZ4), streamed$",
    "DSEC, streamed$", "frames by (number|time)$", "convert", "read . decode", r"2\^20\)$",
    "peak memory", "csnn_small step", "load, 1 thread", "while loading, 1 thread",
    "size, drawn gestures$", "eventkit",
)  # fmt: skip

ROOT = Path(__file__).parents[1]
ASKED = ("chunk", "start", "stop", "strict")  # what every reader takes


def formats_table() -> str:
    """The formats: name, suffixes, what can be done."""
    lines = ["| format | suffixes | read | write |", "|---|---|:-:|:-:|"]
    for fmt in FORMATS.values():
        suffixes = " ".join(f"`{suffix}`" for suffix in fmt.suffixes)
        lines.append(f"| {fmt.title} | {suffixes} | ✓ | {'✓' if fmt.write else ''} |")
    return "\n".join(lines)


def formats_page() -> str:
    """What each format takes as options, and what its reader counts: from the code itself."""
    parts = []
    for fmt in FORMATS.values():
        suffixes = " ".join(f"`{suffix}`" for suffix in fmt.suffixes)
        parts.append(f"### {fmt.name}\n\n{fmt.title}; {suffixes}\n\n{_told(fmt.stream)}")
        parts.append(f"- reads: {_options(fmt.stream, ASKED)}")
        if fmt.write:
            parts.append(f"- writes: {_options(fmt.write, ())}. {_told(fmt.write)}")
        if fmt.extras:
            parts.append("- `extra(path, name)`: " + ", ".join(f"`{name}`" for name in fmt.extras))
        live = "as its bytes come" if fmt.live else "standard input only, by way of a file"
        parts.append(f"- while it is being made: {live}\n")
    return "\n".join(parts).replace("\n- reads", "\n\n- reads").rstrip()


def _told(function: Callable[..., Any]) -> str:
    """The docstring as one paragraph."""
    return " ".join((inspect.getdoc(function) or "").split())


def _options(function: Callable[..., Any], without: Iterable[str]) -> str:
    """The options of a reader or writer with what they may be and what they are unless told."""
    hints = get_type_hints(function)
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or name in without:
            continue
        told = "" if parameter.default is None else f" [{parameter.default}]"
        found.append(f"`{name}` {_kind(hints[name])}{told}")
    return ", ".join(found) or "no options"


def _kind(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        return "width and height, as 346x260"
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] or [hint]
    if kinds != [hint]:
        return " or ".join(map(_kind, kinds))
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(hint, str(hint))


def datasets_table() -> str:
    """The datasets: name, classes, samples, size, licence, source."""
    lines = [
        "| name | dataset | classes | samples | sensor | licence |",
        "|---|---|--:|--:|--:|---|",
    ]
    for name in datasets.names():
        known = datasets.load(name)
        samples = " + ".join(f"{n:,} {split}" for split, n in known.samples.items())
        size = "×".join(map(str, known.size)) if known.size else ""
        title = f"[{known.title}]({known.homepage})"
        classes = known.n_classes or ""
        lines.append(f"| `{name}` | {title} | {classes} | {samples} | {size} | {known.license} |")
    return "\n".join(lines)


def sources_table() -> str:
    """The datasets: how each is got, what a folder of it looks like, what to know."""
    lines = ["| name | files | got by | note |", "|---|--:|---|---|"]
    for name in datasets.names():
        known = datasets.load(name)
        automatic = sum(bool(source.urls) for source in known.files)
        how = "by hand, then `adopt`" if automatic < len(known.files) or not known.files else ""
        files = len(known.files) or ""
        lines.append(f"| `{name}` | {files} | {how or '`fetch`'} | {known.note} |")
    return "\n".join(lines)


def benchmark_table(rows: Path, brief: bool = False) -> str:
    """The rows of a benchmark run, with the machine; `brief` keeps the main ones."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from run import table

    told = json.loads(rows.read_text())
    kept = [row for row in told["rows"] if not brief or _is_main(row)]
    return f"{told['machine']}:\n\n{table(kept)}"


def _is_main(row: dict[str, Any]) -> bool:
    return bool(row["bar"]) and re.search("|".join(MAIN), row["what"]) is not None


def replaced(text: str, name: str, table: str) -> str:
    """The text with what stands between the two marks of that name replaced."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{table}\n{found[2]}", text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmarks", type=Path, help="rows of a benchmark run")
    options = parser.parse_args()
    path = ROOT / "README.md"
    text = replaced(path.read_text(), "formats", formats_table())
    text = replaced(text, "datasets", datasets_table())
    page = ROOT / "docs" / "formats.md"
    page.write_text(replaced(page.read_text(), "formats", formats_page()))
    if options.benchmarks:
        text = replaced(text, "benchmarks", benchmark_table(options.benchmarks, brief=True))
        page = ROOT / "docs" / "benchmarks.md"
        whole = benchmark_table(options.benchmarks)
        page.write_text(replaced(page.read_text(), "benchmarks", whole))
    path.write_text(text)
    page = ROOT / "docs" / "datasets.md"
    page.write_text(replaced(page.read_text(), "sources", sources_table()))


if __name__ == "__main__":
    main()
