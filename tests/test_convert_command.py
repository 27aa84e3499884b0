"""The command convert: what it says before, after and instead of its work."""

import json

import pytest
from making import eventkit, make_gestures


def convert(gestures, out, *options):
    return ["convert", "dvsgesture", "--frames", 4, "--root", gestures, "--out", out, *options]


def test_a_dry_run_says_what_is_at_the_target(run, gestures, tmp_path):
    out = tmp_path / "s.zarr"

    def told(*options):
        code, text, _ = run(*convert(gestures, out, "--dry-run", *options))
        assert code == 0
        return text

    before = sorted(tmp_path.iterdir())
    assert f"{out}\n" in told()
    killed = eventkit(*convert(gestures, out), EVENTKIT_FAILPOINT="before_root:1")
    assert killed.returncode < 0
    assert "(an unfinished conversion, which is continued)" in told()
    assert "which only overwriting drops" in told("--tolerant")
    assert run(*convert(gestures, out))[0] == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert "(the finished store of this plan, which is left alone)" in told()
    assert "(a store of another plan, which only overwriting replaces)" in told("--tolerant")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    answer = json.loads(run(*convert(gestures, out, "--dry-run", "--json"))[1])
    assert answer["there"] == "the finished store of this plan, which is left alone"
    (tmp_path / "thesis").mkdir()
    _, text, _ = run(*convert(gestures, tmp_path / "thesis", "--dry-run"))
    assert "no eventkit store, which is never replaced" in text


@pytest.mark.parametrize("command", ["convert nmnist --out x.zarr", "view a.bin"])
def test_a_length_of_frames_under_a_millisecond_needs_its_unit(command, run, tmp_path, monkeypatch):
    """50 were 50 µs, and made thousands of frames of each sample."""
    monkeypatch.chdir(tmp_path)
    code, _, told = run(*command.split(), "--duration", "50")
    assert code == 2
    assert "50 has no unit; write 50ms for milliseconds or 50us for µs" in told
    for length in ("50us", "1000", "0.5ms"):
        assert "has no unit" not in run(*command.split(), "--duration", length)[2]


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        ("convert nmnist --frames 4 --root nowhere", 4),
        ("convert dvsgesture --frames 4 --root damaged", 1),
        ("convert dvsgesture --frames 0", 2),
        ("convert nosuch --frames 4", 1),
        ("verify nowhere", 1),
        ("finalize nowhere", 1),
        ("info nowhere", 1),
    ],
)
def test_a_failure_is_json_too(argv, code, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = make_gestures(tmp_path / "damaged") / "user01_led.aedat"
    path.write_bytes(path.read_bytes()[:-100])
    found, out, err = run(*argv.split(), "--json")
    answer = json.loads(out)
    assert found == answer["exit_code"] == code
    assert answer["error"].splitlines()[0] in err
    assert run(*argv.split())[1] == ""


def test_a_damaged_recording_comes_with_what_to_do(run, tmp_path):
    root = make_gestures(tmp_path / "raw")
    path = root / "user01_led.aedat"
    path.write_bytes(path.read_bytes()[:-100])
    code, _, told = run(*convert(root, tmp_path / "s.zarr"))
    assert code == 1
    assert "user01_led.aedat" in told
    for option in ("--tolerant", "--keep-going", "--exclude FILE"):
        assert option in told
    assert "strict=" not in told
    assert len(told.strip().splitlines()) == 1


def test_advice_about_a_recording_is_not_given_about_a_folder(run, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.unknown").write_bytes(bytes(50))
    code, _, err = run("convert", tmp_path / "raw", "--frames", 4, "--out", tmp_path / "s.zarr")
    assert code == 1
    assert "no class folders" in err
    assert "--exclude" not in err
