"""Own data: a folder with a table, recordings or class folders, and one recording, cut."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_events

import eventkit as ek
from eventkit.conversion import convert
from eventkit.conversion.activity import Activity, by_count
from eventkit.errors import EventkitError, FormatError, OptionError

SIZE = (34, 34)


def recordings(root, names=("a.bin", "b.bin", "sub/c.bin"), n=200):
    """Recordings of N-MNIST's format, whose first events are not at 0; name -> events."""
    made = {}
    for seed, name in enumerate(names, 1):
        events = make_events(n, SIZE, seed, 20)
        events = ek.Events(events.t + 1000 * seed, events.x, events.y, events.p, SIZE)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        ek.write(root / name, events)
        made[name] = events
    return made


def stored(mine, tmp_path, **options):
    options = {"events": True, "workers": 1, **options}
    convert(mine, out=tmp_path / "s.zarr", **options)
    return ek.open(tmp_path / "s.zarr")


def text(store, split, name):
    names = store.nodes[f"{split}/{name}"]["attributes"].get("names")
    values = store[split].column(name).tolist()
    return values if names is None else [names[value] for value in values]


TABLE = [
    ("a.bin", "wave", "0", "1000", "train"),
    ("a.bin", "rest", "1000", "", "train"),
    ("b.bin", "wave", "500", "900", "test"),
    ("sub/c.bin", "", "", "", "test"),
]


def as_csv(rows, header="file,label,start,end,split", comma=","):
    lines = [header] if header else []
    return "\n".join([*lines, *(",".join(row) for row in rows)]).replace(",", comma) + "\n"


def as_json(rows):
    keys = ("file", "label", "start", "end", "split")
    return json.dumps([dict(zip(keys, (v or None for v in row), strict=True)) for row in rows])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", as_csv(TABLE)),
        ("labels.csv", "\ufeff" + as_csv(TABLE, header="")),
        ("labels.csv", as_csv(TABLE, comma=";")),
        ("labels.tsv", as_csv(TABLE, header="Filename,Class,start_us,stop_us,split", comma="\t")),
        ("labels.json", as_json(TABLE)),
    ],
)
def test_a_table_says_label_window_and_split_of_each_sample(name, content, tmp_path):
    made = recordings(tmp_path / "mine")
    (tmp_path / "mine" / name).write_text(content, encoding="utf-8")
    store = stored(tmp_path / "mine", tmp_path)
    assert store.classes == ["rest", "wave"]
    assert store.splits == ["train", "test"]
    assert store["train"].labels.tolist() == [1, 0]
    assert store["test"].labels.tolist() == [1, -1]
    a, b, c = made.values()

    def window(events, start, stop):
        t = events.t - events.t[0]
        return events[(t >= start) & (t < stop)]

    far = 1 << 40
    assert store["train"].events(0) == window(a, 0, 1000)
    assert store["train"].events(1) == window(a, 1000, far)
    assert store["test"].events(0) == window(b, 500, 900)
    assert store["test"].events(1) == c


def test_times_have_units_and_clocks_and_other_columns_are_kept(tmp_path):
    made = recordings(tmp_path / "mine")
    rows = "file,label,start_ms,clock_stop_s,user\na.bin,3,0.5,0.0025,ali\nb.bin,10,,1,eve\n"
    (tmp_path / "table.csv").write_text(rows)
    store = stored(tmp_path / "mine", tmp_path, labels=tmp_path / "table.csv")
    assert store.classes == ["3", "10"]
    a, b, _ = made.values()
    assert store["all"].events(0) == a[(a.t >= a.t[0] + 500) & (a.t < 2500)]
    assert store["all"].events(1) == b
    assert text(store, "all", "user") == ["ali", "eve"]
    assert store.attributes["command"].endswith("--labels table.csv")


def test_json_may_be_labels_by_file(tmp_path):
    recordings(tmp_path / "mine")
    (tmp_path / "mine" / "labels.json").write_text('{"b.bin": 1, "a.bin": 0}')
    assert stored(tmp_path / "mine", tmp_path)["all"].labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("file,label\nx.bin,1\n", "row 1 names 'x.bin', which is not in"),
        ("file,label\nA.bin,1\n", "did you mean 'a.bin'"),
        ("file,label\n../a.bin,1\n", "outside the folder"),
        ("file,label\n,1\n", "row 1 names no file"),
        ("file,label\na.bin\n", "row 1 has 1 cells, expected 2"),
        ("file,start\na.bin,1.5\n", "row 1: start is '1.5', .*state the unit in its name"),
        ("file,start\na.bin,x\n", "row 1: start is 'x'"),
        ("file,start,clock_start\na.bin,1,2\n", "row 1 has clock_start and another start"),
        ("file,file\na.bin,a.bin\n", "two columns 'file'"),
        ("", "is empty"),
        ("a,b,c,d,e,f\n1,2,3,4,5,6\n", "no column 'file' in its header"),
    ],
)
def test_a_wrong_table_is_one_sentence(rows, sentence, tmp_path):
    recordings(tmp_path / "mine")
    (tmp_path / "t.csv").write_text(rows)
    with pytest.raises(FormatError, match=sentence):
        stored(tmp_path / "mine", tmp_path, labels=tmp_path / "t.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "t.csv"]


@pytest.mark.parametrize("content", ["[", "5", "[1]", "[]", '[{"fil": 1}]'])
def test_wrong_json_is_one_sentence(content, tmp_path):
    recordings(tmp_path / "mine")
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(FormatError, match=r"not JSON|expected a list|names no file"):
        stored(tmp_path / "mine", tmp_path, labels=tmp_path / "t.json")


def test_a_folder_of_recordings_is_samples_without_labels(tmp_path):
    made = recordings(tmp_path / "mine", ["10.bin", "2.bin"])
    ek.write(tmp_path / "mine" / "x.es", made["2.bin"])
    (tmp_path / "mine" / "notes.md").write_text("no recording")
    store = stored(tmp_path / "mine", tmp_path)
    assert store.splits == ["all"]
    assert store["all"].labels.tolist() == [-1, -1, -1]
    assert store["all"].events(0) == made["2.bin"]


def test_a_folder_without_splits_is_divided_and_trained_on(run, tmp_path):
    for label in "ab":
        recordings(tmp_path / "mine" / label, [f"{i}.bin" for i in range(5)], 30)
    out = tmp_path / "s.zarr"
    code, shown, _ = run("convert", tmp_path / "mine", "--frames", 2, "--out", out)
    assert (code, "10 all" in shown) == (0, True)
    parted = tmp_path / "t.zarr"
    code, shown, _ = run("subset", parted, out, "--split-into", "train=0.8,test=0.2", "--stratify")
    assert (code, "8 train, 2 test" in shown) == (0, True)
    pytest.importorskip("torch")
    code, _, error = run("train", out, "--epochs", 1, "--out", tmp_path / "r")
    assert code == 1
    assert "no split 'train' to train on, only all; make one with eventkit subset" in error
    assert not (tmp_path / "r").exists()
    assert run("train", parted, "--epochs", 1, "--out", tmp_path / "r")[0] == 0


def test_one_recording_is_cut_by_time_and_count(tmp_path):
    made = recordings(tmp_path, ["long.bin"])["long.bin"]
    store = stored(tmp_path / "long.bin", tmp_path, count=60, overwrite=True)
    assert store.attributes["dataset"] == "long"
    parts = [store["all"].events(i) for i in range(len(store["all"]))]
    assert ek.Events.concat(parts) == made
    assert all(abs(len(part) - 60) <= 3 for part in parts[:-1])
    store = stored(tmp_path / "long.bin", tmp_path, every="500us", overwrite=True)
    assert len(store["all"]) == -(-(made.t[-1] - made.t[0] + 1) // 500)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 9), st.integers(1, 7))
def test_windows_by_count_cover_every_event_once(steps, count, chunk):
    t = np.cumsum(steps)
    events = ek.Events(t, t * 0, t * 0, t * 0, SIZE)
    chunks = [events[i : i + chunk] for i in range(0, len(t), chunk)]
    starts, stops = by_count(chunks, count)
    assert (starts[0], stops[-1]) == (t[0], t[-1] + 1)
    assert (starts[1:] == stops[:-1]).all()
    ties = max(np.unique(t, return_counts=True)[1])
    found = [((t >= a) & (t < b)).sum() for a, b in zip(starts, stops, strict=True)]
    assert sum(found) == len(t)
    assert all(abs(n - count) < max(ties, 1) * 2 + count * (ties > 1) for n in found[:-1])
    if ties == 1:
        assert found[:-1] == [count] * (len(found) - 1)


def bursts(spans, step=100):
    """Events every `step` µs in the spans [start, stop) of ms."""
    t = np.concatenate([np.arange(a * 1000, b * 1000, step) for a, b in spans])
    return ek.Events(t, t * 0, t * 0, t * 0, SIZE)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("rate=5000", [(0, 300), (500, 700)]),  # the burst of 50 ms is too short
        ("rate=5000,least=10ms", [(0, 300), (500, 700), (900, 950)]),
        ("rate=5000,least=10ms,gap=300ms", [(0, 950)]),
        ("rate=5000,gap=50ms,least=120ms", [(500, 700)]),
        ("rate=20000", []),
    ],
)
@pytest.mark.parametrize("chunk", [7, 10_000])
def test_activity_is_where_the_rate_is_high(options, expected, chunk):
    events = bursts([(0, 100), (190, 300), (500, 700), (900, 950)])
    chunks = [events[i : i + chunk] for i in range(0, len(events), chunk)]
    starts, stops = Activity.of(options).windows(chunks)
    found = [(a // 1000, b // 1000) for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
    assert found == expected
    assert Activity.of(Activity.of(options).text) == Activity.of(options)


def test_activity_does_not_mind_times_that_go_back():
    events = bursts([(0, 200), (400, 600)])
    back = ek.Events.concat([events[3000:], events[:3000]])
    for found, wanted in zip(
        Activity.of("rate=5000").windows([back]), Activity.of("rate=5000").windows([events]),
        strict=True,
    ):  # fmt: skip
        assert abs(found - wanted).max() <= 10_000


def test_active_times_become_samples(run, tmp_path):
    ek.write(tmp_path / "a.es", bursts([(0, 200), (400, 600)]))
    out = tmp_path / "s.zarr"
    code, shown, _ = run("convert", tmp_path / "a.es", "--events", "--active", "auto", "--out", out)
    assert (code, "2 all" in shown) == (0, True)
    assert ek.open(out).attributes["plan"]["windows"] == {
        "active": "bin=10000,gap=100000,least=100000"
    }


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"count": 0}, "count is 0, expected a number of events"),
        ({"count": 5, "every": "1ms"}, "exclude each other"),
        ({"active": "rat=5"}, "Did you mean 'rate'"),
        ({"active": "rate=-1"}, "rate is -1"),
        ({"active": "bin=x"}, "bin is|active is"),
        ({"size": "34"}, "expected WIDTHxHEIGHT"),
        ({"size": "0x5"}, "expected WIDTHxHEIGHT"),
        ({"source": "atsi"}, "Did you mean 'atis'"),
        ({"source": "aedat2:chp=dvs128"}, "Did you mean 'chip'"),
        ({"source": "atis:chunk=5"}, "chunk is not an option of a file format"),
        ({"size": "20x20"}, "outside the sensor of 20x20"),
        ({"source": "aedat2:chip=dvs128"}, "the file ends 4 bytes into the 6"),
    ],
)
def test_a_failed_start_is_one_sentence_and_leaves_nothing_behind(options, sentence, tmp_path):
    recordings(tmp_path / "mine")
    with pytest.raises(EventkitError, match=sentence):
        stored(tmp_path / "mine" / "a.bin", tmp_path, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_size_and_format_take_the_place_of_what_is_guessed(tmp_path):
    made = recordings(tmp_path / "mine", ["a.bin"])["a.bin"]
    (tmp_path / "mine" / "a.bin").rename(tmp_path / "mine" / "a.dat")
    store = stored(tmp_path / "mine", tmp_path, size=(64, 48), source="atis")
    assert store.size == (64, 48)
    assert (store["all"].events(0).t == made.t).all()
    assert "--size 64x48 --from atis" in store.attributes["command"]


def test_a_file_that_is_no_recording_is_one_sentence(run, tmp_path):
    (tmp_path / "notes.md").write_text("no recording")
    code, _, error = run("convert", tmp_path / "notes.md", "--frames", 2)
    assert (code, error.count("\n")) == (1, 1)
    with pytest.raises(OptionError, match="no such folder"):
        convert(tmp_path / "absent", frames=2)


@pytest.mark.parametrize("kind", ["folders", "splits", "table", "recordings", "mixed"])
def test_a_new_description_converts_as_the_folder_does(kind, run, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    root = tmp_path / 'my "data"'
    names = {
        "folders": ["a b/1.bin", "c/2.bin"],
        "splits": ["Training/x/1.bin", "testing/x/2.bin", "testing/y/3.bin"],
    }.get(kind, ["1.bin", "2.bin"])
    made = recordings(root, names)
    if kind == "table":
        (root / "labels.csv").write_text("file,label,split\n2.bin,é,train\n1.bin,b,test\n")
    if kind == "mixed":
        ek.write(root / "3.es", next(iter(made.values())))
    code, shown, _ = run("datasets", "--new", root)
    assert (code, "please check" in shown) == (0, True)
    toml = tmp_path / "here" / 'my "data".toml'
    convert(toml, frames=2, root=root, out=tmp_path / "one.zarr")
    convert(root, frames=2, out=tmp_path / "two.zarr")
    one, two = ek.open(tmp_path / "one.zarr"), ek.open(tmp_path / "two.zarr")
    assert one.attributes["splits"] == two.attributes["splits"]
    assert one.classes == two.classes
    assert one.size == two.size == SIZE
    before = toml.read_bytes()
    code, _, error = run("datasets", "--new", root)
    assert (code, "exists already" in error) == (1, True)
    assert toml.read_bytes() == before


def test_a_folder_that_is_no_data_makes_no_description(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    code, _, error = run("datasets", "--new", tmp_path / "mine")
    assert (code, "no class folders" in error) == (1, True)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
