"""Write the generated tables of README.md anew: python docs/readme.py [--benchmarks ROWS.json]

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
        lines.append(
            f"| `{name}` | {title} | {len(known.classes)} | {samples} | {size} | {known.license} |"
        )
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


if __name__ == "__main__":
    main()
