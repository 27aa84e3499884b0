"""All benchmarks of the README: python benchmarks/run.py [--peers ENVIRONMENT] [NAME ...]

ENVIRONMENT is a virtual environment in which SpikingJelly, Tonic and the other libraries are
installed; without it only our own numbers are printed. Each module beside this one has a function
`run(peers) -> list of rows` with the keys what, ours, peer, peer_name, ratio, unit, bar.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
NAMES = [
    "decode",
    "decode_prophesee",
    "decode_inivation",
    "decode_containers",
    "decode_real",
    "frames",
    "representations",
    "convert",
    "events_store",
    "cluster",
    "loading",
    "startup",
    "neurons",
    "steps",
]


def machine() -> str:
    """The machine in one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = models[0].partition(":")[2].strip() if models else model
    return f"{len(os.sched_getaffinity(0))} cores of {model}, Python {platform.python_version()}"


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = ["| what | eventkit | compared with | ratio | bar |", "|---|--:|--:|--:|--:|"]
    for row in rows:
        beside = f"{shown(row['peer'])} {row['unit']} ({row['peer_name']})" if row["peer"] else ""
        ratio = f"{shown(row['ratio'])} ×" if row["ratio"] else ""
        ours = f"{shown(row['ours'])} {row['unit']}"
        lines.append(f"| {row['what']} | {ours} | {beside} | {ratio} | {row['bar']} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)} [all]")
    parser.add_argument("--peers", type=Path, help="a virtual environment with the other libraries")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    sys.path.insert(0, str(HERE))
    rows = []
    for name in options.names or NAMES:
        began = time.perf_counter()
        made = importlib.import_module(name).run(options.peers)
        rows += made
        seconds = time.perf_counter() - began
        print(f"{name}, {seconds:.0f} s\n\n{table(made)}\n", file=sys.stderr, flush=True)
        if options.json:
            options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))
    print(f"{machine()}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
