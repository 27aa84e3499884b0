"""Run the tests that need no torch on other Pythons and on the lowest versions of the libraries.

Each Python from 3.11 on that is on PATH or in pyenv, except the one that runs this script, gets an
environment .venv-3.N with the newest libraries. The oldest of all Pythons also gets .venv-lowest
with the lowest versions that pyproject.toml allows. torch is left out: its wheels take several GB.
Tests marked `once` are left out, those marked `remote` run on the lowest versions only.

    python .ci/matrix.py [--list | --install | ARGUMENTS OF pytest]
"""

import hashlib
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OLDEST = tuple(map(int, re.findall(r"\d+", PROJECT["requires-python"])))
TESTED = [
    tuple(map(int, v)) for v in re.findall(r":: (3)\.(\d+)", "\n".join(PROJECT["classifiers"]))
]
OTHER = {"torch", "export", "triton", "docs"}  # extras that need torch, or that no test needs
EXTRAS = sorted(PROJECT["optional-dependencies"].keys() - OTHER - {"all"})
ASK = """import sys, venv, ensurepip
print(*sys.version_info[:3], sys.version_info.releaselevel, sys.executable)"""
Version = tuple[int, int]


def candidates() -> Iterator[Path]:
    """Programs that may be a Python: on PATH, and in the folder of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [*map(Path, os.environ.get("PATH", "").split(os.pathsep))]
    folders += sorted(pyenv.glob("versions/*/bin"))
    for folder in folders:
        yield from (p for p in folder.glob("python3.*") if re.fullmatch(r"python3\.\d+", p.name))


def pythons() -> dict[Version, Path]:
    """Every released Python from 3.11 on that can make an environment: its newest patch."""
    found: dict[Version, tuple[int, Path]] = {}
    for path in candidates():
        done = subprocess.run([path, "-c", ASK], capture_output=True, text=True, check=False)
        if done.returncode:  # a shim of pyenv that is not active; a Python without ensurepip
            continue
        *numbers, level, program = done.stdout.strip().split(" ", 4)
        major, minor, patch = map(int, numbers)
        version = (major, minor)
        if version >= OLDEST and level == "final" and patch > found.get(version, (-1,))[0]:
            found[version] = (patch, Path(program))
    return {version: path for version, (_, path) in sorted(found.items())}


def lowest() -> str:
    """Constraints for pip: the lowest versions that pyproject.toml allows."""
    extras = [PROJECT["optional-dependencies"][name] for name in EXTRAS]
    lines = set()
    for requirement in [*PROJECT["dependencies"], *(each for extra in extras for each in extra)]:
        match = re.match(r"([\w.-]+)(?:\[[^]]*\])?[^;]*?>=\s*([\w.]+)", requirement)
        if match is None:
            raise SystemExit(f"pyproject.toml: {requirement!r} has no lowest version (>=)")
        lines.add(f"{match[1]}=={match[2]}\n")
    return "".join(sorted(lines))


def install(name: str, python: Path, constraints: str) -> Path | None:
    """The Python of the environment .venv-NAME, made if it is not of this pyproject; or None."""
    folder = ROOT / f".venv-{name}"
    own, stamp, limits = folder / "bin/python", folder / "installed", folder / "constraints.txt"
    key = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + constraints.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == key:
        return own
    pip = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        limits.write_text(constraints)
        subprocess.run([*pip, "--upgrade", "pip"], check=True)
        source = f"{ROOT}[{','.join(EXTRAS)}]"
        subprocess.run([*pip, "--constraint", limits, "--editable", source], check=True)
    except subprocess.CalledProcessError:
        return None
    stamp.write_text(key)
    return own


def main(arguments: list[str]) -> int:
    """Run all; the exit code is 0 if the tests passed everywhere."""
    found = pythons()
    here = sys.version_info[:2]
    runs = {f"{v[0]}.{v[1]}": (v, path, "") for v, path in found.items() if v != here}
    oldest = min(found, default=here)
    runs["lowest"] = (oldest, found.get(oldest, Path(sys.executable)), lowest())
    results = {}
    for name, (version, path, constraints) in runs.items():
        if arguments[:1] == ["--list"]:
            print(name, path)
            continue
        print(f"matrix: {name} ({path})", flush=True)
        started = time.monotonic()
        python = install(name, path, constraints)
        if arguments[:1] == ["--install"]:
            continue
        if python is None and version > max(TESTED):
            results[name] = "left out: newer than the classifiers, and a library lacks wheels"
            continue
        if python is None:
            results[name] = "FAILED to install"
            continue
        which = ["-m", f"not slow and not once{'' if constraints else ' and not remote'}"]
        command = [python, "-m", "pytest", "-q", "-n", "2", *which, *arguments]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        seconds = time.monotonic() - started
        results[name] = f"{'passed' if code == 0 else 'FAILED'} in {seconds:.0f} s"
    for name, result in results.items():
        print(f"matrix: {name:8} {result}")
    return int(any("FAILED" in result for result in results.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
