"""The names that users import, and what importing costs."""

import ast
import json
import subprocess
import sys

import pytest
from making import ROOT

import eventkit as ek

HEAVY = {"torch", "dask", "zarr", "h5py", "numba", "PIL", "rich"}


def modules_after(code: str) -> set[str]:
    """Top-level names of all modules that a fresh interpreter has loaded after `code`."""
    report = (
        "import sys, json; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_all_is_sorted_and_has_no_name_twice():
    assert ek.__all__ == sorted(set(ek.__all__))


@pytest.mark.parametrize("name", ek.__all__)
def test_public_name_resolves_to_what_says_so_itself(name):
    assert getattr(ek, name).__name__ == name
    assert name in dir(ek)


def test_public_name_is_documented():
    silent = [name for name in ek.__all__ if not getattr(ek, name).__doc__]
    assert not silent


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'frame'"):
        ek.frame  # noqa: B018


def test_import_loads_no_heavy_library():
    assert not modules_after("import eventkit") & HEAVY


def test_reading_loads_neither_torch_nor_the_store_libraries():
    loaded = modules_after("import eventkit; eventkit.read, eventkit.frames, eventkit.transform")
    assert "numba" in loaded
    assert not loaded & {"torch", "dask", "zarr", "h5py", "PIL", "rich"}


def test_help_loads_only_click():
    loaded = modules_after("from eventkit.cli import main; main(['--help'])")
    assert "click" in loaded
    assert not loaded & (HEAVY | {"numpy"})


def test_type_checkers_see_what_public_names_are(tmp_path):
    mypy = pytest.importorskip("mypy.api")
    path = tmp_path / "script.py"
    path.write_text(
        "import eventkit as ek\n"
        "reveal_type(ek.read('a.aedat'))\n"
        "reveal_type(ek.open('a.zarr'))\n"
        "ek.raed('a.aedat')\n"
    )
    cache = f"--cache-dir={ROOT / '.mypy_cache'}"
    found, _, code = mypy.run([cache, "--config-file", str(ROOT / "pyproject.toml"), str(path)])
    assert code == 1
    assert 'Revealed type is "eventkit.events.Events"' in found
    assert 'Revealed type is "eventkit.store.Store"' in found
    assert 'Module has no attribute "raed"' in found


def test_every_public_name_is_there_for_type_checkers():
    tree = ast.parse((ROOT / "eventkit" / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.name: node.module
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == ek._HOME
