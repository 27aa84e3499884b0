"""Write the generated tables of README.md and docs/datasets.md anew: python docs/readme.py

With --benchmarks ROWS.json also that of the benchmarks.

Formats and datasets come from the registries, the benchmark table from the file that
`python benchmarks/run.py --json ROWS.json` wrote. A test compares the file with the first two.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from eventkit import datasets
from eventkit.formats import FORMATS

ROOT = Path(__file__).parents[1]


def formats_table() -> str:
    """The formats: name, suffixes, what can be done."""
    lines = ["| format | suffixes | read | write |", "|---|---|:-:|:-:|"]
    for fmt in FORMATS.values():
        suffixes = " ".join(f"`{suffix}`" for suffix in fmt.suffixes)
        lines.append(f"| {fmt.title} | {suffixes} | ✓ | {'✓' if fmt.write else ''} |")
    return "\n".join(lines)


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


def benchmark_table(rows: Path) -> str:
    """The rows of a benchmark run, with the machine."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from run import table

    told = json.loads(rows.read_text())
    return f"{told['machine']}:\n\n{table(told['rows'])}"


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
    if options.benchmarks:
        text = replaced(text, "benchmarks", benchmark_table(options.benchmarks))
    path.write_text(text)
    page = ROOT / "docs" / "datasets.md"
    page.write_text(replaced(page.read_text(), "sources", sources_table()))


if __name__ == "__main__":
    main()
