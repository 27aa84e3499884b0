"""Targets in stores: which ones each sample has, where they are, and that they are as safe."""

import json

import numpy as np
import pytest
from killing import killed_by
from making import flip, make_events, put, tree_hash

import eventkit as ek
from eventkit import Events, FormatError, OptionError, datasets
from eventkit.boxes import BOX, write_boxes
from eventkit.conversion import convert, finalize
from eventkit.conversion.repair import repair
from eventkit.conversion.targets import TargetPlan
from eventkit.errors import UnknownName
from eventkit.store.merge import merge, subset
from eventkit.store.verify import verify
from eventkit.targets import KINDS
from eventkit.targets.files import TargetFile, read

TOML = """
title = "Small"
size = [34, 34]

[layout]
kind = "recordings"
pattern = "*.dat"
splits = { train = "train", test = "test" }

[targets.boxes]
file = "{stem}_boxes.csv"
classes = ["car", "cat"]

[targets.points]
file = "{folder}/{sequence}.pts"
columns = "x y - class"
every = "1ms"

[targets.intervals]
file = "{stem}_spans.npy"
unit = "ms"

[targets.text]
file = "{stem}_text.csv"
"""
SPANS = np.dtype([("start", "f8"), ("end", "f8"), ("label", "i4")])


def make(root, seed=0, names=("train/0", "train/1", "train/2", "test/0")):
    """Recordings with files of all four kinds; the boxes, points, intervals and texts of each."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "small.toml").write_text(TOML)
    truth = {}
    for number, name in enumerate(names):
        rng = np.random.default_rng(seed * 100 + number)
        (root / name).parent.mkdir(exist_ok=True)
        events = make_events(400, seed=seed * 100 + number, step=50)
        events = Events(events.t + 5000, events.x, events.y, events.p, events.size)
        ek.write(root / f"{name}_td.dat", events)
        t = rng.integers(5000, 16_000, 12)  # in no order
        places = rng.integers(0, 20, (12, 4))
        kinds = rng.integers(0, 2, 12)
        lines = [
            f"{a},{x},{y},{x + w + 1},{y + h + 1},{('car', 'cat')[k]},{i}"
            for i, (a, (x, y, w, h), k) in enumerate(zip(t, places, kinds, strict=True))
        ]
        header = "timestamp,x1,y1,x2,y2,label,track_id"
        (root / f"{name}_td_boxes.csv").write_text("\n".join([header, *lines]) + "\n")
        (root / f"{name}.pts").write_text(
            "".join(f"({i}.5, {2 * i}, 7, {i % 2})\n" for i in range(9))
        )
        spans = np.zeros(2, SPANS)
        spans["start"], spans["end"], spans["label"] = [5, 9.5], [9.5, 12], [1, 0]
        np.save(root / f"{name}_td_spans.npy", spans)
        (root / f"{name}_td_text.csv").write_text(f't,text\n9000,"hello, {number}"\n6000,no\n')
        rows = np.zeros(12, KINDS["boxes"])
        for field, values in zip("xywh", places.T, strict=True):
            rows[field] = values + (field in "wh")
        rows["t"], rows["class"], rows["track"] = t, kinds, np.arange(12)
        rows["confidence"] = 1
        truth[name] = events, rows
    return truth


def to(out, root, **options):
    convert(root / "small.toml", root=root, out=out, **{"represent": "events", **options})
    return ek.open(out)


def expected(rows, low, high):
    rows = rows[(rows["t"] >= low) & (rows["t"] < high)]
    return rows[np.argsort(rows["t"], kind="stable")]


# What a sample has.


def test_a_whole_recording_has_all_its_targets(tmp_path):
    truth = make(tmp_path / "raw")
    store = to(tmp_path / "s.zarr", tmp_path / "raw")
    for number in range(3):
        events, rows = truth[f"train/{number}"]
        targets = store["train"].targets
        found = targets[number]
        assert list(found) == ["boxes", "points", "intervals", "text"]
        np.testing.assert_array_equal(found["boxes"], expected(rows, 0, 1 << 40))
        first = int(events.t[0])
        assert found["points"]["t"].tolist() == [first + i * 1000 for i in range(9)]
        assert found["points"]["x"].tolist() == [i + 0.5 for i in range(9)]
        assert found["points"]["y"].tolist() == [2 * i for i in range(9)]
        assert found["points"]["class"].tolist() == [i % 2 for i in range(9)]
        assert found["intervals"].tolist() == [(5000, 9500, 1), (9500, 12_000, 0)]
        texts = [targets.names("text")[i] for i in found["text"]["text"]]
        assert texts == ["no", f"hello, {number}"]
        assert found["text"]["t"].tolist() == [6000, 9000]
        assert targets.t0[number] == first
    assert targets.names("boxes") == ["car", "cat"]
    assert targets.names("points") == []


@pytest.mark.parametrize("represent", ["events", "frames:n=2"])
@pytest.mark.parametrize("windows", [{"every": "2ms"}, {"sliding": "2ms/500us"}])
def test_windows_cut_targets_as_they_cut_events(represent, windows, tmp_path):
    truth = make(tmp_path / "raw")
    store = to(tmp_path / "s.zarr", tmp_path / "raw", represent=represent, **windows)
    names = bytes(store.small("sources/names")).decode().split("\n")
    counted = 0
    for split in store.values():
        for i in range(len(split)):
            name = names[split.column("source")[i]].removesuffix("_td.dat")
            low, high = (int(split.column(f"window_{end}")[i]) for end in ("start", "stop"))
            rows = expected(truth[name][1], low, high)
            found = split.targets[i]
            np.testing.assert_array_equal(found["boxes"], rows)
            assert split.targets.t0[i] == low
            for t, stop, _ in found["intervals"].tolist():
                assert low <= t < stop <= high
            counted += len(rows)
    assert counted


def test_a_transform_moves_targets_with_the_events(tmp_path):
    truth = make(tmp_path / "raw")
    store = to(
        tmp_path / "s.zarr",
        tmp_path / "raw",
        every="2ms",
        transform=["flip", "crop:x=4,width=20", "align_time:t0=1000"],
    )
    split, (events, rows) = store["train"], truth["train/0"]
    low = int(split.column("window_start")[1])
    first = int(events.t[np.searchsorted(events.t, low)])
    for row, found in zip(
        [r for r in expected(rows, low, low + 2000) if r["x"] + r["w"] > 10 and r["x"] < 30],
        split.targets[1]["boxes"],
        strict=True,
    ):
        left, right = 34 - row["x"] - row["w"] - 4, 34 - row["x"] - 4
        assert found["x"] == max(left, 0)
        assert found["w"] == min(right, 20) - max(left, 0)
        assert found["t"] == row["t"] - first + 1000
        assert (found["y"], found["h"]) == (row["y"], row["h"])
    assert split.targets.t0[1] == low - first + 1000


def test_a_window_at_a_label_has_that_label_though_it_ends_there(tmp_path):
    truth = make(tmp_path / "raw")
    rows = truth["train/0"][1]
    lines = (tmp_path / "raw/train/0_td_boxes.csv").read_text().splitlines()
    for name in ("train/0", "train/1", "train/2", "test/0"):
        body = sorted(lines[1:], key=lambda line: int(line.split(",")[0]))
        (tmp_path / f"raw/{name}_td_boxes.csv").write_text("\n".join([lines[0], *body]) + "\n")
    store = to(tmp_path / "s.zarr", tmp_path / "raw", at="labels", window="1ms")
    split = store["train"]
    times = np.unique(rows["t"])
    assert split.column("window_stop")[: len(times)].tolist() == times.tolist()
    for i, t in enumerate(times.tolist()):
        assert split.targets[i]["boxes"]["t"].tolist() == [t] * int((rows["t"] == t).sum())
        assert (split.targets[i]["points"]["t"] < t).all()  # of another file: cut by the window


def test_targets_that_are_lacking_are_reported(tmp_path):
    make(tmp_path / "raw")
    (tmp_path / "raw/train/1_td_boxes.csv").unlink()
    store = to(tmp_path / "s.zarr", tmp_path / "raw")
    assert store["train"].targets.counts("boxes").tolist() == [12, 0, 12]
    told = [w for w in store.attributes["warnings"] if "boxes" in w]
    assert told == ["recordings without a file of boxes: 1 of 4, first train/1_td.dat"]
    for file in (tmp_path / "raw").rglob("*_*"):
        if not file.name.endswith("_td.dat"):
            file.unlink()
    for file in (tmp_path / "raw").rglob("*.pts"):
        file.unlink()
    store = to(tmp_path / "none.zarr", tmp_path / "raw")
    assert store["train"].targets.kinds == []
    assert not any(name.startswith("train/targets") for name in store.nodes)


def test_plain_zarr_python_reads_them(tmp_path):
    zarr = pytest.importorskip("zarr")
    truth = make(tmp_path / "raw")
    to(tmp_path / "s.zarr", tmp_path / "raw", represent="frames:n=2")
    boxes = zarr.open_group(tmp_path / "s.zarr", mode="r")["train/targets/boxes"]
    rows = expected(truth["train/1"][1], 0, 1 << 40)
    first, n = int(boxes["start"][1]), int(boxes["count"][1])
    for name in ("t", "x", "y", "w", "h", "class", "track"):
        np.testing.assert_array_equal(boxes[name][first : first + n], rows[name])
    assert boxes["class"].attrs["names"] == ["car", "cat"]


# Safety.


def test_the_bytes_depend_on_neither_workers_nor_interruptions(tmp_path):
    make(tmp_path / "raw")
    options = {"represent": "frames:n=2", "every": "2ms"}
    to(tmp_path / "a.zarr", tmp_path / "raw", workers=1, **options)
    wanted = tree_hash(tmp_path / "a.zarr")
    to(tmp_path / "b.zarr", tmp_path / "raw", workers=3, **options)
    assert tree_hash(tmp_path / "b.zarr") == wanted
    for failpoint in ("before_journal:1", "after_journal:2", "before_root:1"):
        out = tmp_path / f"{failpoint[:-2]}.zarr"
        assert killed_by(failpoint, lambda out=out: to(out, tmp_path / "raw", **options))
        to(out, tmp_path / "raw", **options)
        assert tree_hash(out) == wanted
    for part in ("0/2", "1/2"):
        root = tmp_path / "raw"
        convert(root / "small.toml", root=root, out=tmp_path / "c.zarr", shard=part, **options)
    finalize(tmp_path / "c.zarr")
    assert tree_hash(tmp_path / "c.zarr") == wanted


def test_a_changed_file_of_targets_is_read_again(tmp_path):
    truth = make(tmp_path / "raw")
    out = tmp_path / "s.zarr"
    assert killed_by("before_root:1", lambda: to(out, tmp_path / "raw"))
    table = tmp_path / "raw/train/0_td_boxes.csv"
    changed = table.read_text().replace(",cat,", ",car,")  # as long as before
    put(table, changed.encode())
    store = to(out, tmp_path / "raw")
    assert (store["train"].targets[0]["boxes"]["class"] == 0).all()
    assert (truth["train/0"][1]["class"] == 1).any()
    fresh = to(tmp_path / "fresh.zarr", tmp_path / "raw")
    assert tree_hash(out) == tree_hash(fresh.path)


def files_of(store):
    return [name for name in store.attributes["files"] if "/targets/" in name]


def test_every_changed_bit_is_found_and_repaired(tmp_path):
    make(tmp_path / "raw")
    out = tmp_path / "s.zarr"
    store = to(out, tmp_path / "raw", every="4ms")
    wanted = tree_hash(out)
    assert verify(out, deep=True) == []
    names = [name for name in files_of(store) if name.endswith("c.0")]
    assert len(names) == 2 * (1 + 4 * 2 + 8 + 5 + 3 + 2)
    for name in names[::7]:
        flip(out / name)
        assert any(name in problem for problem in verify(out))
        repair(out, root=tmp_path / "raw", dataset=tmp_path / "raw/small.toml")
        assert tree_hash(out) == wanted


def test_a_repair_of_another_column_keeps_the_targets(tmp_path):
    make(tmp_path / "raw")
    out = tmp_path / "s.zarr"
    to(out, tmp_path / "raw", every="4ms")
    wanted = tree_hash(out)
    flip(out / "train/labels/c.0")
    repair(out, root=tmp_path / "raw", dataset=tmp_path / "raw/small.toml")
    assert tree_hash(out) == wanted


def test_a_repair_does_not_take_another_file_of_targets(tmp_path):
    make(tmp_path / "raw")
    out = tmp_path / "s.zarr"
    to(out, tmp_path / "raw")
    table = tmp_path / "raw/train/0_td_boxes.csv"
    put(table, table.read_text().replace(",cat,", ",car,").encode())
    flip(out / "train/targets/boxes/class/c.0")
    with pytest.raises(ek.EventkitError, match=r"0_td_boxes.csv: its crc32c is"):
        repair(out, root=tmp_path / "raw", dataset=tmp_path / "raw/small.toml")


def test_deep_verification_looks_into_targets(tmp_path, monkeypatch):
    """What is written wrongly has good checksums."""
    make(tmp_path / "raw")
    from eventkit.store import targets

    write = targets.write

    def wrong(tree, split, kind, counts, rows, names):
        rows = rows.copy()
        if kind == "boxes":
            rows["t"], rows["class"], rows["w"] = rows["t"][::-1].copy(), 9, -1
        if kind == "points":
            counts = counts + (np.arange(len(counts)) == 0)
        write(tree, split, kind, counts, rows, names)

    monkeypatch.setattr(targets, "write", wrong)
    to(tmp_path / "s.zarr", tmp_path / "raw")
    assert verify(tmp_path / "s.zarr") == []
    told = "\n".join(verify(tmp_path / "s.zarr", deep=True))
    for text in (
        "train/targets/boxes: row 1 is earlier than the one before",
        "train/targets/boxes/class: has values outside its 2 names",
        "train/targets/boxes/w: has negative sizes",
        "start and count of train/targets/points do not fit its columns",
    ):
        assert text in told


# Other stores of it.


def rows_of(store, split="train"):
    """All targets of a split, texts as texts."""
    targets = store[split].targets
    return [
        {
            kind: [targets.names("text")[r["text"]] for r in rows] if kind == "text" else rows
            for kind, rows in targets[i].items()
        }
        for i in range(len(store[split]))
    ]


def same(a, b):
    for one, other in zip(a, b, strict=True):
        assert list(one) == list(other)
        for kind in one:
            np.testing.assert_array_equal(one[kind], other[kind])


@pytest.mark.parametrize("represent", ["events", "frames:n=2"])
def test_merge_and_subset_take_targets_along(represent, tmp_path):
    make(tmp_path / "raw")
    make(tmp_path / "more", seed=1, names=("train/3", "train/4"))
    whole = to(tmp_path / "a.zarr", tmp_path / "raw", represent=represent)
    more = to(tmp_path / "b.zarr", tmp_path / "more", represent=represent)
    merge(tmp_path / "m.zarr", [tmp_path / "a.zarr", tmp_path / "b.zarr"])
    both = ek.open(tmp_path / "m.zarr")
    same(rows_of(both), rows_of(whole) + rows_of(more))
    assert both["train"].targets.t0.tolist() == [
        *whole["train"].targets.t0,
        *more["train"].targets.t0,
    ]
    assert both["train"].targets.names("boxes") == ["car", "cat"]
    assert verify(tmp_path / "m.zarr", deep=True) == []
    subset(tmp_path / "p.zarr", tmp_path / "m.zarr", splits=["train"], indices=[4, 1])
    part = ek.open(tmp_path / "p.zarr")
    same(rows_of(part), [rows_of(both)[4], rows_of(both)[1]])
    assert part["train"].targets.names("text") == ["hello, 1", "no"]
    assert verify(tmp_path / "p.zarr", deep=True) == []


def test_merging_numbers_classes_again_and_drops_what_not_all_have(tmp_path):
    make(tmp_path / "raw")
    make(tmp_path / "more", seed=1, names=("train/3",))
    toml = tmp_path / "more/small.toml"
    toml.write_text(toml.read_text().replace('["car", "cat"]', '["dog", "cat", "car"]'))
    (tmp_path / "more/train/3.pts").unlink()
    whole = to(tmp_path / "a.zarr", tmp_path / "raw")
    more = to(tmp_path / "b.zarr", tmp_path / "more")
    merge(tmp_path / "m.zarr", [tmp_path / "a.zarr", tmp_path / "b.zarr"])
    both = ek.open(tmp_path / "m.zarr")["train"].targets
    assert both.kinds == ["boxes", "intervals", "text"]
    names = both.names("boxes")
    assert names == ["car", "cat", "dog"]
    for store, first in ((whole, 0), (more, 3)):
        own = store["train"].targets
        for i in range(len(own)):
            mine = [own.names("boxes")[k] for k in own[i]["boxes"]["class"]]
            assert [names[k] for k in both[first + i]["boxes"]["class"]] == mine
    told = ek.open(tmp_path / "m.zarr").attributes["warnings"]
    assert "train/targets/points is left out, as not every store has it" in told


# Descriptions and files.


@pytest.mark.parametrize("name", sorted(n for n in datasets.names() if datasets.load(n).targets))
def test_known_descriptions_of_targets_are_sound(name):
    dataset = datasets.load(name)
    plan = TargetPlan.of(dataset, None)
    recording = next(iter(dataset.example["recordings"]))[0]
    for kind in plan.files:
        assert plan.name(kind, recording)
        assert kind in dataset.labels


def write_file(path, text):
    path.write_text(text)
    return path


FILES = [
    ("t,x,y,w,h,class\n1,2,3,4,5,9\n", {}, "has the class 9, expected 0..1"),
    ("t,x,y,w,h,class\n1,2,3,4,5,dog\n", {}, "has the class 'dog', which is none of a, b"),
    ("t,x,y,w,h\n1,2,3,4\n", {}, "line 2 has 4 columns, expected 5"),
    ("t,x,y,w,h\n1,2,three,4,5\n", {}, "y has what is not a number: 'three'"),
    ("t,x,y,w,h\n1,2,nan,4,5\n", {}, "y has values that are not finite"),
    ("t,x,y\n1,2,3\n", {}, "lacks w, h of boxes; found are t, x, y"),
    ("", {}, "is empty; expected a header"),
    ("t,x,y,w,h\n1e18,2,3,4,5\n", {"unit": "s"}, "times are beyond 73,000 years"),
    ("1 2 3\n", {"columns": "t x y w h"}, "line 1 has 3 columns, expected 5"),
]


@pytest.mark.parametrize(("text", "options", "message"), FILES)
def test_a_file_that_is_wrong_is_one_sentence(text, options, message, tmp_path):
    path = write_file(tmp_path / "boxes.csv", text)
    with pytest.raises(FormatError, match=message):
        read(path, "boxes", TargetFile("x", classes=("a", "b"), **options))


def test_files_of_other_kinds_are_refused(tmp_path):
    source = TargetFile("x")
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    with pytest.raises(FormatError, match="expected one with named fields"):
        read(tmp_path / "a.npy", "boxes", source)
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY\x01\x00")
    with pytest.raises(FormatError, match=r"is not a .npy file of targets"):
        read(tmp_path / "b.npy", "boxes", source)
    (tmp_path / "c.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="is not a text file"):
        read(tmp_path / "c.csv", "boxes", source)
    np.save(tmp_path / "d.npy", np.array([{"t": 1}], object), allow_pickle=True)
    with pytest.raises(FormatError, match=r"is not a .npy file of targets"):
        read(tmp_path / "d.npy", "boxes", source)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ('[targets.blobs]\nfile = "x"', r"\[targets.blobs\] is no kind of targets; use boxes"),
        ("[targets.boxes]\nclasses = []", r'\[targets.boxes\] needs file = "'),
        ('[targets.boxes]\nfile = "x"\nsize = 3', "unknown key size; use file, classes, columns"),
        ('[targets.boxes]\nfile = "x"\nclasses = "a"', "classes is 'a', expected a list of names"),
        ('[targets.boxes]\nfile = "x"\nclasses = ["a", "a"]', "classes has a name twice"),
        ('[targets.boxes]\nfile = "x"\nunit = "h"', "unit='h'"),
        ('[targets.boxes]\nfile = "x"\nevery = "soon"', "every is"),
        ("targets = 3", "targets is 3, expected a dict"),
    ],
)
def test_a_wrong_description_is_one_sentence(wrong, message, tmp_path):
    make(tmp_path / "raw")
    head = TOML.partition("[layout]")
    top, tables = (wrong, "") if wrong.startswith("targets =") else ("", wrong)
    text = head[0] + top + "\n[layout]" + head[2].partition("[targets")[0] + tables
    (tmp_path / "raw/small.toml").write_text(text)
    with pytest.raises(OptionError, match=message):
        to(tmp_path / "s.zarr", tmp_path / "raw")


def test_a_file_outside_the_data_is_not_read(tmp_path):
    make(tmp_path / "raw")
    (tmp_path / "secret.csv").write_text("t,x,y,w,h\n")
    toml = tmp_path / "raw/small.toml"
    toml.write_text(toml.read_text().replace("{stem}_boxes.csv", "{folder}/../../secret.csv"))
    store = to(tmp_path / "s.zarr", tmp_path / "raw")
    assert "boxes" not in store["train"].targets.kinds


def test_bad_targets_name_their_file_and_keep_going_leaves_the_sample_out(tmp_path):
    make(tmp_path / "raw")
    (tmp_path / "raw/train/1_td_boxes.csv").write_text("t,x\n1,2\n")
    with pytest.raises(FormatError, match=r"1_td_boxes.csv: lacks y, w, h of boxes"):
        to(tmp_path / "s.zarr", tmp_path / "raw")
    with pytest.raises(ek.EventkitError):
        to(tmp_path / "s.zarr", tmp_path / "raw", keep_going=True)
    store = ek.open(tmp_path / "s.zarr")
    assert len(store["train"]) == 2
    assert "train/1_td.dat" in store.attributes["failed"]


def test_label_rules_that_are_unknown_or_of_other_data_are_refused(tmp_path, run):
    make(tmp_path / "raw")
    with pytest.raises(UnknownName, match=r"no set of label rules 'rvtt'.*Known: dsec_det, rvt"):
        to(tmp_path / "s.zarr", tmp_path / "raw", label_rules="rvtt")
    with pytest.raises(OptionError, match=r"rvt are those of Gen1 .*found the classes car, cat"):
        to(tmp_path / "s.zarr", tmp_path / "raw", label_rules="rvt")
    toml = tmp_path / "raw/small.toml"
    toml.write_text(toml.read_text().partition("[targets")[0])
    with pytest.raises(OptionError, match=r"says of no \[targets.boxes\] where they are"):
        to(tmp_path / "s.zarr", tmp_path / "raw", label_rules="dsec_det")


def test_boxes_of_gen1_by_the_command(tmp_path, run):
    (tmp_path / "train").mkdir()
    events = make_events(400, (304, 240), 0, 100)
    ek.write(tmp_path / "train/0_td.dat", events)
    boxes = np.zeros(2, BOX)
    boxes["t"], boxes["x"], boxes["w"], boxes["h"] = [6000, 9000], 5, 7, 8
    write_boxes(tmp_path / "train/0_bbox.npy", boxes)
    out = tmp_path / "s.zarr"
    code, text, _ = run(
        "convert", "gen1", "--root", tmp_path, "--out", out, "--every", "5ms", "--events", "--json"
    )
    assert code == 0
    assert json.loads(text)["samples"] == {"train": len(ek.open(out)["train"])}
    assert ek.open(out)["train"].targets.counts("boxes").sum() == 2
