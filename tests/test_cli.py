"""The command line: exit codes, sentences, JSON, pictures; each bad input gets its sentence."""

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from eventkit.cli import COMMANDS, SECTIONS, main
from eventkit.cli._text import DURATION, duration, number, print_json, progress, size
from making import interrupt, make_events

import eventkit as ek

EVENTKIT = [sys.executable, "-m", "eventkit"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def aedat(here) -> Path:
    """A recording of a thousand random events, in the current folder."""
    ek.write("a.aedat", make_events())
    return Path("a.aedat")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A store of two classes: six tiny recordings to train on, two to test."""
    folder = tmp_path_factory.mktemp("raw")
    for seed, name in enumerate(
        [f"train/{kind}/{i}" for kind in ("cat", "dog") for i in range(3)]
        + ["test/cat/0", "test/dog/0"]
    ):
        path = folder / "pets" / f"{name}.aedat"
        path.parent.mkdir(parents=True, exist_ok=True)
        ek.write(path, make_events(500 + seed, seed=seed))
    out = folder / "pets.zarr"
    command = ["convert", str(folder / "pets"), "--frames", "4", "--out", str(out), "--json"]
    assert main(command) == 0
    return out


def error_of(result) -> str:
    """The one line of an expected error, with nothing on stdout."""
    code, out, err = result
    assert code == 1
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("eventkit: error: ")
    return lines[0].removeprefix("eventkit: error: ")


def test_help_lists_every_command(run):
    code, out, _ = run("--help")
    assert code == 0
    assert all(f"  {name} " in out for name in COMMANDS)
    assert [line[:-1] for line in out.splitlines() if line.endswith(":")][1:] == list(SECTIONS)


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # as if it were not installed
from eventkit.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "argv",
    [["models"], ["evaluate", "r"], ["export", "r", "--to", "nir"], ["demo"]],
)
def test_what_needs_torch_says_so_in_one_sentence(here, argv):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *argv], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "eventkit: error: this command needs torch: pip install 'eventkit-dvs[torch]'\n"
    )
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("argv", "code", "sentence"),
    [
        (["info", ".", "--follow"], 2, "--follow requires a growing file; . is a folder"),
        (["convert", "./nope", "--frames", "4"], 1, "./nope: no such folder"),
        (["translate", "a.es", "b.es", "--start", "2s", "--stop", "1s"], 2, "--stop must be later"),
        (["models", "x*"], 1, "no model matches 'x*'"),
        (["export", ".", "--to", "nir"], 1, ". is no run folder; eventkit train makes one"),
        (["export", "nope", "--to", "nir"], 1, "nope: No such file or directory; check the path"),
    ],
)
def test_what_a_user_gets_wrong_is_said(run, here, argv, code, sentence):
    if argv[0] in ("models", "export"):
        pytest.importorskip("torch")
    got, _, err = run(*argv)
    assert got == code
    assert sentence in err


def test_bench_of_frames_takes_no_representation(run, store):
    code, _, err = run("bench", store, "--rep", "frames:n=3")
    assert code == 1
    assert "contains converted frames; --rep requires an events store" in err


def test_unfinished_file_has_the_name_that_was_given(run, here, aedat):
    code, _, err = run("translate", aedat, "nodir/b.es")
    assert (code, err) == (
        1,
        "eventkit: error: nodir/b.es: No such file or directory; check the path\n",
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_has_a_help_of_its_own(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert f"Usage: eventkit {name}" in out


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_a_narrow_terminal(run, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    _, out, _ = run(*filter(None, [name]), "--help")
    assert max(map(len, out.splitlines())) <= 40


def test_version(run):
    assert run("--version") == (0, f"eventkit {ek.__version__}\n", "")


def test_unknown_command_suggests_the_near_one(run):
    code, _, err = run("convrt")
    assert code == 2
    assert "no command 'convrt'. Did you mean 'convert'?" in err


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ("info", "Missing argument 'FILE|FOLDER'"),
        ("info a b", "unexpected extra argument"),
        ("view a --fps 99", "99.0 is not in the range"),
        ("view a --fps fast", "'fast' is not a valid float"),
        ("view a --frames 0", "0 is not in the range x>=1"),
        ("view a --by size", "'size' is not one of 'number', 'time'"),
        ("view a --duration 5parsec", "'5parsec', expected a time such as 50ms"),
        ("view a --duration -3ms", "'-3ms' is negative, expected a duration"),
        ("view a --out a.jpg", "a.jpg must end in .png, .gif or .mp4"),
        ("view a --frames 3 --duration 5ms", "--duration goes without --frames and --by"),
        ("view a --sample 0", "a recording has no --sample"),
        ("simulate dvsgesture", "Missing option '--root'"),
        ("simulate dvsgesture --root x --subjects 1", "1 is not in the range x>=2"),
        ("train a --epochs 0", "0 is not in the range x>=1"),
        ("train", "give a STORE to train on, or --resume RUN"),
        ("train --resume run --lr 1", "leave out --lr"),
        ("train a --lr 0", "0.0 is not in the range x>0"),
        ("train a --validation 1", "1.0 is not in the range 0<=x<1"),
    ],
)
def test_wrong_usage_is_named_and_exits_2(run, argv, sentence):
    code, out, err = run(*argv.split())
    assert (code, out) == (2, "")
    assert sentence in err


def test_expected_error_has_a_traceback_only_on_request(run, monkeypatch):
    monkeypatch.setenv("EVENTKIT_TRACEBACK", "1")
    code, _, err = run("datasets", "nmnst")
    assert code == 1
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("eventkit: error: no dataset 'nmnst'")


def test_closed_stdout_ends_quietly():
    reading, writing = os.pipe()
    os.close(reading)
    for argv in (["--help"], ["datasets"], ["datasets", "--json"]):
        done = subprocess.run([*EVENTKIT, *argv], stdout=writing, stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr) == (1, b"")
    os.close(writing)


@pytest.mark.parametrize("command", ["translate", "view"])
def test_a_part_without_events_is_said(command, run, tmp_path):
    events = make_events(100)
    gap = ek.Events(events.t + 10**7, events.x, events.y, events.p, events.size)
    ek.write(tmp_path / "a.es", ek.Events.concat([events, gap]))
    out = tmp_path / "b.csv" if command == "translate" else "--out"
    rest = [] if command == "translate" else [tmp_path / "b.png"]
    given = [str(word) for word in (command, tmp_path / "a.es", out, *rest)]
    code, _, err = run(*given, "--start", "60s")
    assert (code, "start is 60,000,000 µs after the first event, but the last" in err) == (1, True)
    code, told, err = run(*given, "--start", "1s", "--stop", "2s")
    assert (code, "no events between --start and --stop" in told + err) == (0, True)
    code, _, err = run(*given, "--start", "2s", "--stop", "1s")
    assert (code, "--stop must be later than --start" in err) == (2, True)


def test_the_ledger_reads_as_events_went():
    from eventkit.cli.inspect import _along

    names = ["backward_steps", "binned", "dropped_crop", "invalid", "out_of_bounds", "read"]
    assert list(_along(dict.fromkeys([*names, "unbinned"], 0))) == [
        *("read", "invalid", "dropped_crop", "out_of_bounds", "unbinned", "binned"),
        "backward_steps",
    ]


def test_no_stdout_at_all_is_no_failure():
    code = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = [sys.executable, "-c", code, *EVENTKIT[1:], "datasets"]
    assert EVENTKIT[0] == sys.executable
    done = subprocess.run(command, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_store_is_no_dataset_to_convert(run, tmp_path):
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "zarr.json").write_text("{}")
    code, _, err = run("convert", str(tmp_path / "b.zarr"), "--frames", "4")
    assert (code, "is already a store" in err) == (1, True)


def test_the_steps_to_get_data_end_with_the_folder_that_was_given(run, tmp_path):
    code, _, err = run("convert", "nmnist", "--frames", "4", "--root", str(tmp_path / "raw"))
    assert code == 4
    assert f"run: eventkit convert nmnist --frames 4 --root {tmp_path / 'raw'}\n" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_disk_has_its_sentence(unbuffered):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*EVENTKIT, "datasets"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    assert done.stderr == (
        "eventkit: error: No space left on device; free some space and run the same command again\n"
    )


def test_interrupt_exits_130_with_a_sentence(here):
    # The list of recordings is a pipe: the command waits in it, and it opens for us when it does.
    os.mkfifo("trials_to_train.txt")
    command = [*EVENTKIT, "convert", "dvsgesture", "--root", ".", "--frames", "4"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    pipe = None
    while pipe is None and running.poll() is None:
        with contextlib.suppress(OSError):
            pipe = os.open("trials_to_train.txt", os.O_WRONLY | os.O_NONBLOCK)
    interrupt(running)
    _, err = running.communicate()
    assert pipe is not None, err
    os.close(pipe)
    assert running.returncode == 130
    kept = "what is converted is kept; run the same command again, it continues"
    assert err.strip() == f"eventkit: interrupted; {kept}"


def test_datasets_lists_every_description(run):
    code, out, _ = run("datasets")
    assert code == 0
    assert out.split()[0] == "name"
    assert "nmnist" in out
    assert "1,176 train + 288 test" in out


def test_dataset_shows_its_classes_by_label(run):
    code, out, _ = run("datasets", "dvsgesture")
    assert code == 0
    assert "    0  hand clapping\n" in out
    assert "8a5c71fb11e24e5ca5b11866ca6c00a1" in out


def test_datasets_as_json(run):
    listed = json.loads(run("datasets", "--json")[1])
    one = json.loads(run("datasets", "nmnist", "--json")[1])
    assert listed["nmnist"] == one
    assert one["size"] == [34, 34]
    assert one["samples"] == {"train": 60000, "test": 10000}


def test_datasets_are_chosen_by_task_sensor_licence_and_what_is_here(run, tmp_path, monkeypatch):
    def names(*options):
        code, out, err = run("datasets", "--json", *options)
        assert code == 0, err
        return set(json.loads(out))

    assert {"gen1", "nerdd"} <= names("--task", "detection") < names()
    assert names("--sensor", "1280x720") & names("--task", "tracking") == {"eventvot"}
    assert "dvsgesture" in names("--sensor", "dvs128") & names("--licence", "cc")
    monkeypatch.setenv("EVENTKIT_DATA", str(tmp_path))
    assert not names("--here")
    folder = tmp_path / "nmnist" / "Train" / "3"
    folder.mkdir(parents=True)
    ek.write(folder / "1.bin", make_events(9))
    assert names("--here") == {"nmnist"}
    told = next(line for line in run("datasets")[1].splitlines() if line.startswith("nmnist"))
    assert told.endswith("here")


def test_a_card_tells_what_is_missing_unverified_and_defective(run):
    told = run("datasets", "dailyaction_dvs")[1]
    assert "known defects\n  the archive has copies" in told
    assert "unverified\n" in told
    assert "@misc{dailyaction_dvs,\n  author = {Liu and others}," in told
    assert "DailyAction-DVS/bend/bend_1.aedat" in told
    assert "missing   it is published as images" in run("datasets", "celexhar")[1]
    assert "split" in run("datasets", "n_omniglot")[1]


def test_unknown_dataset_suggests_the_near_one(run):
    assert "Did you mean 'dvsgesture'?" in error_of(run("datasets", "dvsgestur"))


def test_info_says_what_a_recording_holds(run, aedat):
    events = make_events()
    code, out, err = run("info", aedat)
    assert (code, err) == (0, "")
    facts = dict(line.split(maxsplit=1) for line in out.splitlines() if len(line.split()) > 1)
    assert facts["format"] == "aedat3"
    assert facts["events"] == "1,000"
    assert facts["polarity"].startswith(f"{int(events.p.sum())} ON")


def test_info_as_json_is_one_object(run, aedat):
    events = make_events()
    facts = json.loads(run("info", aedat, "--json")[1])
    assert facts["events"] == 1000
    assert (facts["t0"], facts["t1"]) == (events.t[0], events.t[-1])
    assert facts["on"] + facts["off"] == 1000


def test_info_of_a_cut_file_names_the_byte_and_can_go_on(run, aedat):
    aedat.write_bytes(aedat.read_bytes()[:-5])
    assert error_of(run("info", aedat)).startswith("a.aedat at byte ")
    code, out, _ = run("info", aedat, "--tolerant", "--json")
    assert code == 0
    assert json.loads(out)["events"] == 999


@pytest.mark.parametrize("command", ["info", "view"])
@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.aedat", b"", "empty.aedat: the file is empty; expected a recording"),
        ("text.aedat", b"once upon a time\n", "text.aedat: no known format: starts with b'once"),
        ("text.bin", b"no multiple of five", "text.bin"),
        ("picture.png", b"\x89PNG\r\n\x1a\n", "picture.png: no known format"),
    ],
)
def test_what_is_no_recording_is_named(run, here, command, name, content, sentence):
    Path(name).write_bytes(content)
    assert error_of(run(command, name)).startswith(sentence)
    assert [path.name for path in here.iterdir()] == [name]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("info", "folder: contains no recordings (0 files checked)"),
        ("view", "folder: is a folder; expected one recording"),
        ("doctor", "folder: is a folder; expected one recording"),
    ],
)
def test_folder_and_missing_file_are_named(run, here, command, sentence):
    Path("folder").mkdir()
    assert error_of(run(command, "folder")) == sentence
    missing = "no.aedat: No such file or directory; check the path"
    assert error_of(run(command, "no.aedat")) == missing


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("command", ["info", "view"])
def test_file_without_permission_is_named(run, aedat, command):
    aedat.chmod(0)
    wanted = "a.aedat: Permission denied; check the permissions"
    assert error_of(run(command, aedat)) == wanted


def test_format_and_its_options_can_be_said(run, here):
    ek.write("a.bin", make_events())
    for command in ("info", "view"):
        code, out, _ = run(command, "a.bin", "--from", "atis:size=40x36")
        assert code == 0
        assert "40x36" in out
    assert "atis has no option 'sise'. Did you mean 'size'?" in error_of(
        run("info", "a.bin", "--from", "atis:sise=40x36")
    )
    assert "no file format 'aedat'" in error_of(run("view", "a.bin", "--from", "aedat"))
    code, _, err = run("info", "a.bin", "--from", "atis:strict=false")
    assert code == 2
    assert "strict is not an option of a file format" in err


def test_info_of_a_folder_lists_recordings_and_what_is_none(run, here):
    for name, seed in (("a/one.aedat", 1), ("a/b/two.es", 2), ("cut.aedat", 3), (".hidden.es", 4)):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        ek.write(name, make_events(seed=seed))
    Path("cut.aedat").write_bytes(Path("cut.aedat").read_bytes()[:-5])
    Path("labels.md").write_text("once upon a time")
    told = json.loads(run("info", ".", "--json")[1])
    assert [facts["path"] for facts in told["recordings"]] == ["a/b/two.es", "a/one.aedat"]
    assert {facts["events"] for facts in told["recordings"]} == {1000}
    assert set(told["unreadable"]) == {"cut.aedat", "labels.md"}
    assert "it is cut off" in told["unreadable"]["cut.aedat"]
    code, out, err = run("info", ".", "--tolerant")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == (
        ["file", "format", "sensor", "events", "duration", "events/s", "bytes", "warnings"]
    )
    assert "3 recordings, 3.00 k events" in out
    assert out.splitlines()[-1].startswith("unreadable: labels.md: no known format: starts with")


def test_info_of_a_store_points_to_inspect(run, store):
    assert f"run: eventkit inspect {store}" in error_of(run("info", store))


def test_view_draws_a_recording_as_a_sheet_here(run, aedat):
    code, out, err = run("view", aedat)
    assert (code, err) == (0, "")
    assert out.startswith("a-view.png: 16 frames of 34x34, a.aedat: 1,000 events in ")
    assert Path("a-view.png").read_bytes().startswith(b"\x89PNG")


def test_view_draws_a_gif_of_what_was_asked(run, aedat):
    image = pytest.importorskip("PIL.Image")
    code, out, _ = run("view", aedat, "--duration", "5ms", "--out", "x.gif", "--fps", 20)
    frames = ek.frames(make_events(), duration=5000)
    assert code == 0
    assert f"{len(frames)} frames" in out
    with image.open("x.gif") as picture:
        assert picture.n_frames == len(frames)
        assert picture.info["duration"] == 50


def test_view_cuts_relative_to_the_first_event(run, aedat):
    events = make_events()
    t0 = int(events.t[0])
    part = events.between(t0 + 2000, t0 + 9000)
    code, out, _ = run("view", aedat, "--start", "2ms", "--stop", "9ms", "--frames", 3)
    assert code == 0
    assert f"3 frames of 34x34, a.aedat: {len(part):,} events" in out


def test_view_of_a_recording_without_events_is_dark(run, here):
    ek.write("a.aedat", ek.Events.empty((34, 34)))
    code, out, _ = run("view", "a.aedat", "--frames", 2)
    assert code == 0
    assert "0 events" in out


def test_view_says_how_many_events_it_cannot_draw(run, here):
    events = make_events()
    ek.write("a.aedat", ek.Events(events.t, events.x, events.y, events.p, size=(30, 34)))
    code, out, err = run("view", "a.aedat", "--frames", 2)
    outside = int((events.x >= 30).sum())
    assert code == 0
    assert f"{outside} events outside 30x34 are not drawn" in err
    assert f"{1000 - outside} events" in out


def test_view_draws_a_sample_of_a_store(run, store):
    code, out, _ = run("view", store, "--split", "train", "--sample", 4)
    assert code == 0
    assert out == "pets-train-4.png: 4 frames of 34x34, pets train 4: dog\n"
    assert run("view", store)[1].startswith("pets-test-0.png: ")


@pytest.mark.parametrize(("option", "value"), [("--start", 0), ("--frames", 3), ("--by", "time")])
def test_view_does_not_cut_frames_that_are_cut_already(run, store, option, value):
    code, _, err = run("view", store, option, value)
    assert code == 2
    assert f"it takes no {option}" in err


def test_view_cuts_a_sample_of_an_events_store_as_a_recording(run, here):
    """A store of events has no frames of its own; view said that they should be made elsewhere."""
    ek.write("a.aedat", make_events(2000))
    for label in ("cat", "dog"):
        Path("raw/train", label).mkdir(parents=True)
        ek.write(f"raw/train/{label}/0.aedat", make_events(2000))
    assert run("convert", "raw", "--events", "--out", "e.zarr", "--json")[0] == 0
    cuts = (["--frames", 3], ["--duration", "9ms"], ["--by", "time"], ["--start", "2ms"], [])
    for i, cut in enumerate(cuts):
        name = f"{i}.png"
        code, out, err = run("view", "e.zarr", "--sample", 1, *cut, "--out", name)
        assert (code, err) == (0, "")
        assert out.startswith(f"{name}: ")
        assert "e train 1: dog, " in out
        frames = out.split(": ")[1].split(" frames")[0]
        _, out, _ = run("view", "a.aedat", *cut, "--out", f"same{i}.png")
        assert out.startswith(f"same{i}.png: {frames} frames of 34x34")
    assert "has 2 samples" in error_of(run("view", "e.zarr", "--sample", 2))
    code, _, err = run("view", "e.zarr", "--tolerant")
    assert code == 2
    assert "a store has no --tolerant" in err


def test_view_of_a_sample_that_is_not_there_says_so(run, store):
    assert "99" in error_of(run("view", store, "--sample", 99))
    assert "no split 'tset'" in error_of(run("view", store, "--split", "tset"))
    assert "a.zarr: no such store" in error_of(run("view", "a.zarr"))


def test_view_into_a_folder_that_is_not_there_says_so(run, aedat):
    assert "No such file or directory" in error_of(run("view", aedat, "--out", "no/x.png"))


def test_train_reports_three_accuracies_and_which_one_counts(run, store):
    pytest.importorskip("torch")
    code, out, err = run(
        "train", store, "--epochs", 2, "--validation", 0.34, "--batch", 4, "--out", "run"
    )
    assert code == 0
    assert all(": layer " in line for line in err.splitlines())  # dead ones, after so few steps
    result = json.loads(Path("run/metrics.json").read_text())
    assert result["samples"] == {"train": 4, "validation": 2, "test": 2}
    assert result["epochs"] == 2
    facts = dict(line.split("  ", 1) for line in out.splitlines())
    for name, accuracy in (
        ("test, last", result["accuracy"]["last"]),
        ("test, best", result["accuracy"]["best_optimistic"]),
        ("test", result["accuracy"]["at_best_validation"]),
        ("validation", result["validation_accuracy"]),
    ):
        assert facts[name].strip().startswith(f"{accuracy:.1%} ")
    assert "report this one" in facts["test"]


def test_train_names_what_it_cannot_use(run, here, store):
    pytest.importorskip("torch")
    assert "Did you mean 'csnn_tiny'?" in error_of(run("train", store, "--model", "csnn_tniy"))
    assert "here.zarr" in error_of(run("train", "here.zarr"))
    Path("full").mkdir()
    Path("full/thesis.tex").write_text("x")
    assert "full exists already" in error_of(run("train", store, "--out", "full"))
    assert sorted(path.name for path in here.rglob("*")) == ["full", "thesis.tex"]


def test_train_refuses_what_is_wrong_before_torch_is_loaded(here, store):
    Path("full").mkdir()
    Path("full/thesis.tex").write_text("x")
    wrong = {
        "no such store": ["nowhere.zarr"],
        "is no run folder": ["--resume", "full"],
        "full exists already": [str(store), "--out", "full"],
        "expected key=value": [str(store), "--loss", "tet:0.5"],
        "Did you mean 'rotate'": [str(store), "--augment", "rotat"],
        "Did you mean 'frames'": [str(store), "--rep", "frame:n=3"],
        "run.toml: No such file": [str(store), "--config", "run.toml"],
        "teacher: No such file": [str(store), "--teacher", "teacher"],
    }
    code = (
        "import sys\nfrom eventkit.cli import main\n"
        f"for words in {list(wrong.values())!r}:\n    assert main(['train', *words]) == 1\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    for message, line in zip(wrong, done.stderr.splitlines(), strict=True):
        assert message in line


def test_a_full_disk_while_training_says_how_to_go_on(run, here, store, monkeypatch):
    checkpoint = pytest.importorskip("eventkit.train.checkpoint")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device", "run/metrics.csv")

    def stop(*args):
        monkeypatch.setattr("eventkit.train.run.replace", full)
        return checkpoint.replace(*args)

    written = iter([checkpoint.replace, stop])
    monkeypatch.setattr("eventkit.train.run.replace", lambda *args: next(written)(*args))
    options = ["--epochs", "1", "--out", "run", "--no-page"]
    code, _, err = run("train", store, "--model", "csnn_tiny:width=4", *options)
    assert code == 1
    assert err.splitlines()[-1].startswith("eventkit: error: [Errno 28] No space left on device")
    assert err.splitlines()[-1].endswith("go on with: eventkit train --resume run")
    assert Path("run/run.toml").is_file()


@pytest.mark.slow
def test_interrupted_training_keeps_what_it_has(here, store):
    pytest.importorskip("torch")
    pty = pytest.importorskip("pty")
    controller, terminal = pty.openpty()
    command = [*EVENTKIT, "train", store, "--epochs", "100000", "--out", "run"]
    running = subprocess.Popen(command, stderr=terminal, stdout=subprocess.DEVNULL)
    os.close(terminal)
    drawn = b""
    while b"loss" not in drawn:  # the bar comes with the first step
        drawn += os.read(controller, 4096)
    running.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # Linux says so when nobody holds the terminal any more
        while part := os.read(controller, 4096):
            drawn += part
    os.close(controller)
    assert running.wait() == 130, drawn[-3000:].decode()
    assert b"eventkit: interrupted; go on with: eventkit train --resume run" in drawn
    assert json.loads(Path("run/metrics.json").read_text())["interrupted"] is True


def test_simulate_names_what_it_does_not_know(run, here):
    sentence = error_of(run("simulate", "dvsgestur", "--root", "x"))
    assert "Did you mean 'dvsgesture'?" in sentence
    assert not list(here.iterdir())


def test_simulate_leaves_files_that_are_not_its_own(run, here):
    Path("thesis.tex").write_text("x")
    assert "is not empty" in error_of(run("simulate", "dvsgesture", "--root", "."))
    assert [path.name for path in here.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("50ms", 50_000),
        ("50000us", 50_000),
        ("50000", 50_000),
        ("1.5s", 1_500_000),
        (".25 ms", 250),
        ("7µs", 7),
        ("2min", 120_000_000),
        ("0.1s", 100_000),
    ],
)
def test_durations_are_exact_microseconds(text, us):
    assert DURATION.convert(text, None, None) == us


@pytest.mark.parametrize("text", ["", "ms", "1e3", "1,5s", "0.5us", "-1s", "5 weeks", "nan"])
def test_other_durations_are_refused(text):
    with pytest.raises(Exception, match=r"expected a time|expected a duration|whole number"):
        DURATION.convert(text, None, None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (999.4, "999"),
        (999.6, "1.00 k"),
        (1000, "1.00 k"),
        (12_345, "12.3 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (0.25, "0.250"),
        (2.5, "2.50"),
    ],
)
def test_numbers_for_people_have_three_digits(value, text):
    assert number(value) == text


def test_sizes_and_durations_for_people():
    assert [size(n) for n in (0, 999, 4_218_000, 3.2e12)] == ["0 B", "999 B", "4.22 MB", "3.20 TB"]
    assert [duration(s) for s in (0, 1e-6, 0.9996, 99.96)] == ["0 s", "1 µs", "1 s", "1 min 40 s"]


def test_json_holds_plain_values_in_the_order_given(capsys):
    print_json(
        {
            "b": np.int64(3),
            "a": np.arange(3, dtype=np.uint16),
            "c": (np.float32(0.5), float("nan"), None, True),
            "path": Path("x"),
        }
    )
    text = capsys.readouterr().out
    assert json.loads(text) == {"b": 3, "a": [0, 1, 2], "c": [0.5, None, None, True], "path": "x"}
    assert text.index('"b"') < text.index('"a"')


def test_progress_is_silent_without_a_terminal(capsys):
    with progress("files", "copy") as bar:
        bar.update(10, 10)
    assert capsys.readouterr() == ("", "")


def on_a_terminal(code, columns=80, stream="stderr"):
    """What a program writes to a terminal of so many columns, and to the other stream."""
    pty = pytest.importorskip("pty")
    controller, terminal = pty.openpty()
    streams = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, stream: terminal}
    environment = {**os.environ, "COLUMNS": str(columns)}
    running = subprocess.Popen([sys.executable, "-c", code], env=environment, **streams)
    os.close(terminal)
    drawn = b""
    try:
        while part := os.read(controller, 4096):
            drawn += part
    except OSError:  # Linux reports a terminal that nobody holds any more as an error
        pass
    os.close(controller)
    other = "".join(part.decode() for part in running.communicate() if part)
    assert running.returncode == 0, other
    return drawn.decode().replace("\r\n", "\n"), other


def test_progress_draws_on_a_terminal():
    code = (
        "from eventkit.cli._text import progress\n"
        "with progress('files', 'copy') as bar:\n"
        "    bar.update(1200, 3000)\n"
        "    bar.update(3000, 3000, 'copied')\n"
    )
    drawn, other = on_a_terminal(code)
    assert other == ""
    assert "copied" in drawn
    assert "3,000 / 3,000 files" in drawn


def test_a_table_on_a_narrow_terminal_keeps_its_words_whole():
    code = "from eventkit.cli import main; main(['datasets'])"
    narrow, _ = on_a_terminal(code, columns=40, stream="stdout")
    assert (
        "dvsgesture\n  title DVS128 Gesture\n  sensor 128x128\n  classes 11\n"
        "  samples 1,176 train + 288 test\n  licence CC BY 4.0\n" in narrow
    )
    middle, _ = on_a_terminal(code, columns=80, stream="stdout")
    assert "cifar10dvs_aedat4" in middle
    wide, _ = on_a_terminal(code, columns=120, stream="stdout")
    assert re.search("dvsgesture +DVS128 Gesture +128x128 +11 +1,176 train [+] 288 test", wide)
