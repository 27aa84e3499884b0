"""Translation: any readable format to any writable one, event by event, or nothing at all."""

import json

import pytest
from making import make_events

import eventkit as ek
from eventkit.formats import FORMATS, stream

WRITABLE = [name for name, fmt in FORMATS.items() if fmt.write is not None]
UNSIZED = ("atis", "bs2", "npy", "spif")  # files that do not know the sensor's size


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def file_of(name: str) -> str:
    return f"{name}{FORMATS[name].suffixes[0]}"


def read_as(name: str) -> dict:
    return {"format": name, **({"size": "128x128"} if name in UNSIZED else {})}


@pytest.mark.parametrize("name", WRITABLE)
def test_there_and_back_are_the_same_events(run, name):
    events = make_events(700, (128, 128))
    ek.write("a.aedat4", events)
    code, out, err = run("translate", "a.aedat4", file_of(name), "--format", name, "--json")
    assert (code, err) == (0, "")
    ledger = json.loads(out)
    assert (ledger["read"], ledger["written"], ledger["left_out"]) == (700, 700, 0)
    assert ledger["format"] == name
    assert ek.read(file_of(name), **read_as(name)) == events
    spec = f"{name}:size=128x128" if name in UNSIZED else name
    assert run("translate", file_of(name), "b.aedat4", "--from", spec)[0] == 0
    assert ek.read("b.aedat4") == events


def test_the_suffix_names_the_format_and_the_ledger_adds_up(run):
    ek.write("a.aedat", make_events(700))
    code, out, _ = run("translate", "a.aedat", "b.es")
    assert code == 0
    assert out.splitlines()[0].startswith("written ")
    assert " b.es (es, " in out.splitlines()[0]
    assert "700 read = 700 written + 0 dropped" in out


def test_writer_options_and_a_window_can_be_said(run):
    events = make_events(700)
    ek.write("a.aedat", events)
    words = ["a.aedat", "b.raw", "--format", "evt21:order=legacy"]
    assert run("translate", *words, "--start", "2ms", "--stop", "9ms")[0] == 0
    origin = int(events.t[0])
    assert ek.info("b.raw")["format"] == "evt21"
    assert ek.read("b.raw") == events.between(origin + 2000, origin + 9000)


def test_a_damaged_file_is_refused_or_translated_as_far_as_it_is_sound(run, here):
    ek.write("a.aedat", make_events(700))
    data = (here / "a.aedat").read_bytes()
    (here / "a.aedat").write_bytes(data[:-5])
    code, _, err = run("translate", "a.aedat", "b.es")
    assert code == 1
    assert "it is cut off" in err
    assert [path.name for path in here.iterdir()] == ["a.aedat"]
    code, out, _ = run("translate", "a.aedat", "b.es", "--tolerant")
    assert code == 0
    assert "699 read = 699 written" in out
    assert "warning: at byte " in out


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ("a.aedat b.png", "no writable format has the suffix '.png'"),
        ("a.aedat b.bs1 --format bs1", "bs1 can be read but not written"),
        ("a.aedat b.es --format esp", "no file format 'esp'. Did you mean 'es'?"),
        ("a.aedat b.es --format es:order=old", "es has no option 'order'"),
        ("a.aedat a.aedat --overwrite", "is the recording itself"),
        ("a.aedat c.es", "c.es exists; use --overwrite to replace it"),
        ("a.aedat .", ". is a folder"),
        ("no.aedat b.es", "no.aedat: No such file or directory"),
        ("back.aedat b.es", "es cannot hold t = 3 µs after 5 µs"),
        ("late.aedat b.bin", "atis holds times from 0 to"),
    ],
)
def test_what_cannot_be_is_named_and_leaves_nothing_behind(run, here, argv, sentence):
    ek.write("a.aedat", make_events(9))
    ek.write("back.aedat", ek.Events([5, 3], [0, 0], [0, 0], [1, 1], (4, 4)))
    ek.write("late.aedat", ek.Events([1 << 40], [0], [0], [1], (4, 4)))
    (here / "c.es").write_text("precious")
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    code, out, err = run("translate", *argv.split())
    assert (code, out) == (1, "")
    assert sentence in err
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


def test_overwrite_replaces(run, here):
    ek.write("a.aedat", make_events(9))
    (here / "c.es").write_text("old")
    assert run("translate", "a.aedat", "c.es", "--overwrite")[0] == 0
    assert ek.read("c.es") == make_events(9)


def test_options_of_the_library_are_no_options_of_a_format(run):
    code, _, err = run("translate", "a.aedat", "b.es", "--from", "aedat3:strict=false")
    assert code == 2
    assert "strict is not an option of a file format" in err


def test_real_recordings_translate_event_by_event(run, samples):
    for name in ("evt3/expelliarmus_evt3_sample.raw", "ros/py_test_events_1.bag"):
        path = samples / "recordings" / name
        assert run("translate", path, "out.aedat4", "--overwrite")[0] == 0
        pairs = zip(stream(path, 50_000), stream("out.aedat4", 50_000), strict=True)
        assert all(a == b for a, b in pairs)


@pytest.mark.parametrize("name", WRITABLE)
def test_a_recording_with_times_of_a_clock_and_a_large_sensor_has_a_command_for_every_format(
    run, name
):
    """What a writer advises is to be had: AEDAT 4 has times of a Unix clock."""
    small = make_events(700, (128, 128))
    t = small.t + 1_605_537_493_718_345
    events = ek.Events(t, small.x + 100, small.y + 50, small.p, (346, 260))
    ek.write("a.aedat4", events)
    words = ["a.aedat4", file_of(name), "--format", f"{name}:t0=first"]
    code, out, err = run(
        "translate", *words, "--transform", "crop:x=100,y=50,width=128,height=128", "--json"
    )
    assert (code, err) == (0, "")
    assert json.loads(out)["left_out"] == 0
    expected = ek.Events(small.t - small.t[0], small.x, small.y, small.p, (128, 128))
    assert ek.read(file_of(name), **read_as(name)) == expected


def test_events_that_a_transform_drops_are_left_out(run):
    ek.write("a.aedat4", make_events(700, (128, 128)))
    code, out, _ = run("translate", "a.aedat4", "b.es", "--transform", "crop:width=64", "--json")
    ledger = json.loads(out)
    assert (code, ledger["read"]) == (0, 700)
    assert ledger["written"] + ledger["left_out"] == 700
    assert ledger["left_out"] > 0
