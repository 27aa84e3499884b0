"""Run the code blocks of the pages that are marked `<!-- runs -->`: python docs/pages.py [PAGE ...]

Blocks of a page run in order, in one new folder: `console` blocks by a shell, with what each
command prints below it; `python` blocks in one process, followed by a `text` block with what they
print. By default what is printed is written into the page; with --check it is compared with the
page, except for times, rates, sizes on disk and results of training, which differ between machines.
"""

import argparse
import contextlib
import difflib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.M | re.S)
UNIT = r"\s?(?:%|(?:[kMGµm]?[sBJ]|[kMG]|min)(?!\w))"
NUMBER = re.compile(rf"\d[\d,]*(?:\.\d+)?(?:{UNIT})?")
LEFT_OUT = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "OMP_WAIT_POLICY": "passive"}


def pages() -> list[Path]:
    """The pages whose blocks are run."""
    found = [path for path in DOCS.rglob("*.md") if "<!-- runs -->\n" in path.read_text("utf-8")]
    return sorted(found)


def shell(lines: str, folder: Path) -> str:
    """The commands of a console block, each with what it prints on stdout."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    out = []
    for command in re.findall(r"^\$ ((?:.*\\\n)*.*)", lines, re.M):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=os.environ | LEFT_OUT | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"$ {command}\n{done.stdout}{done.stderr}exit code {done.returncode}")
        out.append(f"$ {command}\n{done.stdout}")
    return "".join(out)


def python(code: str, names: dict[str, Any]) -> str:
    """What the code prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "<page>", "exec"), names)
    return printed.getvalue()


def run(page: Path) -> str:
    """The page, with what its blocks print now."""
    text, names = page.read_text("utf-8"), {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):

        def block(found: re.Match[str]) -> str:
            kind, code = found[1], found[2]
            if kind == "console":
                return f"```console\n{shell(code, Path(folder))}```\n"
            printed = python(code, names)
            return f"```python\n{code}```\n" + (f"\n```text\n{printed}```\n" if printed else "")

        return BLOCK.sub(block, text)


def comparable(text: str) -> list[str]:
    """Lines without numbers that depend on the machine: those about time, sizes or training."""
    lines = []
    vague = (
        *("time ", "store ", "test", "validation", "trained", "Classification", "Activation"),
        *("Synaptic", "Footprint", "energy", "latency", "accuracy after", "decision"),
    )
    for line in text.splitlines():
        if line.startswith(("versions ", "plan digest ")):
            line = line.split()[0]
        mentions = line.startswith(vague) or re.search(rf"\d{UNIT}", line)
        lines.append(re.sub(r" +", " ", NUMBER.sub("#", line)) if mentions else line)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path, help="pages [all that are marked]")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    differ = 0
    for page in [path.resolve() for path in arguments.pages] or pages():
        before, after = page.read_text("utf-8"), run(page)
        if not arguments.check:
            page.write_text(after, "utf-8")
            continue
        changed = list(difflib.unified_diff(comparable(before), comparable(after), lineterm=""))
        differ += bool(changed)
        print("\n".join([f"{page.relative_to(DOCS)}: {'differs' if changed else 'ok'}", *changed]))
    if differ:
        print("run python docs/pages.py")
    return int(differ > 0)


if __name__ == "__main__":
    if shutil.which("bash") is None:
        raise SystemExit("the pages need bash")
    sys.exit(main())
