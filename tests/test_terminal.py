"""Control characters in names of files do not reach the terminal."""

import json
import os
import pty
import subprocess
import sys

import pytest
from making import ROOT, make_events

import eventkit as ek

EVIL = "a\x1b]0;owned\x07\x1b[2J\x1bc\x9b1m\u202eb"
SHOWN = r"a\u001b]0;owned\u0007\u001b[2J\u001bc\u009b1m\u202eb"


@pytest.fixture
def folder(tmp_path):
    """A folder with a recording and a file that is none, of such a name."""
    ek.write(tmp_path / f"{EVIL}.npz", make_events())
    (tmp_path / f"{EVIL}.raw").write_bytes(b"nothing")
    return tmp_path


def shown(text):
    assert not {*"\x1b\x07\x9b\u202e"} & {*text}
    return SHOWN in text


@pytest.mark.parametrize(
    "words",
    [
        ["info", f"{EVIL}.npz"],
        ["info", "."],
        ["info", f"{EVIL}.missing"],
        ["view", f"{EVIL}.npz"],
        ["doctor", f"{EVIL}.raw"],
        ["translate", f"{EVIL}.npz", f"{EVIL}.es"],
        ["convert", f"{EVIL}.toml", "--frames", "4"],
        ["inspect", EVIL],
        ["inspect", ".", EVIL],
    ],
    ids=lambda words: "-".join(words[:2]).partition("\x1b")[0],
)
def test_no_command_prints_control_characters(words, folder, run, monkeypatch):
    monkeypatch.chdir(folder)
    _, out, err = run(*words)
    assert shown(out + err)


def test_json_reads_back_as_the_name(folder, run):
    code, out, _ = run("info", folder / f"{EVIL}.npz", "--json")
    assert code == 0
    assert shown(out)
    assert json.loads(out)["path"] == str(folder / f"{EVIL}.npz")


def test_tables_and_bars_draw_on_a_terminal_but_names_do_not(folder):
    """What rich draws has control characters of its own."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "200"}
    line = [sys.executable, "-m", "eventkit", "info", str(folder)]
    process = subprocess.Popen(line, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    told = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # the end, on Linux
            break
        if not part:
            break
        told += part
    os.close(ours)
    assert process.wait() == 0
    text = told.decode()
    assert "\x1b[" in text
    assert r"\u001b]0;owned" in text
    assert not any(bad in text for bad in ("\x1b]", "\x07", "\x1bc", "\x9b", "\u202e", "\x1b[2J"))
