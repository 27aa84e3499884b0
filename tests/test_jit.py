"""Compiled kernels are kept apart from the sources, so that uninstalling leaves nothing there."""

import os
import subprocess
import sys

import pytest

KERNEL = """
import numba
from eventkit._jit import folder, jit

@jit
def add(a, b):
    return a + b

assert add(1, 2) == 3
print(folder(), repr(numba.config.CACHE_DIR))
"""


@pytest.fixture
def compiled(tmp_path):
    """A function that compiles a kernel in a process and gives what it prints."""
    (tmp_path / "kernel.py").write_text(KERNEL)

    def run(**environment):
        inherited = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "HOME")}
        done = subprocess.run(
            [sys.executable, "-c", "import kernel"],
            env={**inherited, "PYTHONPATH": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        assert not list(tmp_path.rglob("__pycache__/*.nb?"))
        return done.stdout.strip()

    return run


def test_kernels_are_cached_in_the_users_cache_folder(compiled, tmp_path):
    cache = tmp_path / "cache"
    printed = compiled(XDG_CACHE_HOME=str(cache))
    assert printed == f"{cache}/eventkit/kernels ''"  # and Numba's own setting is as it was
    assert list(cache.rglob("kernel.add-*.nbi"))
    home = str(tmp_path)
    assert compiled(HOME=home, XDG_CACHE_HOME="") == f"{home}/.cache/eventkit/kernels ''"


def test_a_folder_that_the_user_chose_is_kept(compiled, tmp_path):
    chosen = tmp_path / "chosen"
    assert compiled(NUMBA_CACHE_DIR=str(chosen)) == f"{chosen} {str(chosen)!r}"
    assert list(chosen.rglob("kernel.add-*.nbi"))


def test_without_a_home_that_can_be_written_a_temporary_folder_is_used(compiled, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "tmp").mkdir()
    places = {"XDG_CACHE_HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path / "tmp")}
    assert compiled(**places).startswith(f"{tmp_path}/tmp/eventkit-numba-")


def test_a_first_conversion_says_on_a_terminal_that_it_compiles(tmp_path, monkeypatch, capsys):
    from eventkit.cli import _text

    from eventkit import _jit

    monkeypatch.setattr(_jit, "folder", lambda: str(tmp_path))
    _text.mention_compiling()
    assert capsys.readouterr().err == ""  # not on a terminal
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    _text.mention_compiling()
    assert "compiling kernels" in capsys.readouterr().err
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kernel.nbi").touch()
    _text.mention_compiling()
    assert capsys.readouterr().err == ""
