"""The wheel: what it owns, and that it works far from the checkout. Examples in docstrings."""

import ast
import doctest
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

import eventkit
from eventkit.errors import DISTRIBUTION

ROOT = Path(__file__).parents[1]
FOLDERS = ("eventkit", "cli", "datasets_meta")
BESIDE = ("tests", "docs", "benchmarks", ".ci")
LEARNING = ("snn", "models", "loader", "train", "evaluate", "export")


def packages() -> list[str]:
    """The installed names of all folders with an __init__.py."""
    found = []
    for folder in FOLDERS:
        for init in (ROOT / folder).rglob("__init__.py"):
            name = ".".join(init.parent.relative_to(ROOT).parts)
            found.append(name if folder == "eventkit" else f"eventkit.{name}")
    return sorted(found)


def modules() -> list[str]:
    """The installed names of all modules."""
    names = list(packages())
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if path.name not in ("__init__.py", "__main__.py"):
                names.append(name if folder == "eventkit" else f"eventkit.{name}")
    return sorted(names)


def test_advice_to_install_is_written_in_one_place():
    """On the package index the name eventkit is another project's."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert known["name"] == DISTRIBUTION
    assert "`pip install eventkit` installs another project" in (ROOT / "README.md").read_text()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert path.name == "errors.py" or "pip install" not in text, path
            for call in re.findall(r'MissingExtra\([^)]*?,\s*"(\w+)"', text, re.DOTALL):
                assert call in known["optional-dependencies"], path


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_are_true(name):
    if name.split(".")[1:2] and name.split(".")[1] in LEARNING:
        pytest.importorskip("torch")
    if name == "eventkit.snn.triton":
        pytest.importorskip("triton")
    assert doctest.testmod(import_module(name)).failed == 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from an sdist built from a copy of the sources, without the network."""
    pytest.importorskip("build")
    copy = tmp_path_factory.mktemp("sources")
    ignored = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
    for folder in (*FOLDERS, *BESIDE):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    for name in ROOT.iterdir():
        if name.is_file():
            shutil.copy(name, copy)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", copy / "dist"]
    subprocess.run([*command, copy], check=True, capture_output=True)
    return next((copy / "dist").glob("*.whl"))


def test_sdist_has_all_that_its_tests_need(wheel):
    sources = wheel.parents[1]
    with tarfile.open(next(wheel.parent.glob("*.tar.gz"))) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    folders = [sources / folder for folder in (*FOLDERS, *BESIDE)]
    wanted = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    wanted += [sources / name for name in ("Makefile", "README.md", "CHANGELOG.md", ".gitignore")]
    assert not {str(file.relative_to(sources)) for file in wanted} - packed
    assert not [name for name in packed if name.endswith((".pyc", ".nbi", ".nbc"))]


@pytest.mark.slow
def test_an_unpacked_sdist_passes_tests_that_read_the_sources(wheel, tmp_path):
    with tarfile.open(next(wheel.parent.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (home,) = tmp_path.iterdir()
    quick = ["tests/test_architecture.py", "tests/test_readme.py", "tests/test_packaging.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *quick]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_wheel_owns_one_top_level_name_and_carries_everything(wheel):
    sources = wheel.parents[1]  # the copy it was built from
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"eventkit"}
    files = {name for name in names if ".dist-info/" not in name}
    home = {folder: f"eventkit/{folder}" for folder in FOLDERS} | {"eventkit": "eventkit"}
    wanted = {
        f"{home[folder]}/{path.relative_to(sources / folder)}"
        for folder in FOLDERS
        for suffix in ("*.py", "*.toml", "py.typed", "assets/*")
        for path in (sources / folder).rglob(suffix)
    }
    assert files == wanted


def test_installed_wheel_works_outside_the_checkout(wheel, tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", site, wheel], check=True, capture_output=True)

    def run(*command):
        environment = {**os.environ, "PYTHONPATH": str(site)}
        done = subprocess.run(
            command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    where = (
        "import eventkit.cli, eventkit.datasets_meta as m; print(eventkit.cli.__file__, m.__file__)"
    )
    assert all(Path(p).is_relative_to(site) for p in run(sys.executable, "-c", where).split())
    assert "convert" in run(sys.executable, "-m", "eventkit", "--help")
    assert eventkit.__version__ in run(site / "bin" / "eventkit", "--version")
    listed = run(sys.executable, "-m", "eventkit", "datasets")
    known = [path.stem for path in (ROOT / "datasets_meta").glob("*.toml")]
    assert known
    assert all(name in listed for name in known)


def test_test_files_that_need_torch_skip_without_it():
    """A file that imports torch, or what imports it, says so to pytest before it does."""
    learning = tuple(f"eventkit.{room}" for room in LEARNING)
    guilty = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [
            (node.lineno, name)
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
            )
        ]
        needing = [
            line
            for line, name in names
            if name.split(".")[0] in ("torch", "directions") or name.startswith(learning)
        ]
        told = [node.lineno for node in tree.body if "importorskip('torch'" in ast.unparse(node)]
        if needing and min(needing) < min(told, default=10**9):
            guilty.append(f"{path.relative_to(ROOT)}:{min(needing)}")
    assert not guilty, 'pytest.importorskip("torch") comes first in these'
