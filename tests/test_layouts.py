"""Layouts: trees of files become samples, and what is wrong with them is said.

TREES are miniatures of datasets that need more than an [example] (see test_catalogue).
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from making import make_events, make_gestures

import eventkit as ek
from eventkit import boxes, datasets, layouts
from eventkit.conversion import convert
from eventkit.errors import EventkitError, FormatError, OptionError, UnknownName

# A tree's samples: split -> [(label, events)], in the order of the store.
Tree = dict[str, list[tuple[int, ek.Events]]]


def sample(name, size, n=60):
    """Events that only the recording of that name has."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return make_events(n, size, seed)


def file(root: Path, name: str, size, **options) -> ek.Events:
    """A recording at that path below the root."""
    events = sample(name, size)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    ek.write(root / name, events, **options)
    return events


def folders(root, size, names, suffix, splits=("",), format=None) -> Tree:
    """<split>/<class>/<n><suffix>, for classes (label, folder)."""
    tree: Tree = {}
    for split in splits:
        for label, folder in names:
            for number in (2, 10):
                name = "/".join(filter(None, [split, folder, f"{number}{suffix}"]))
                found = file(root, name, size, format=format)
                tree.setdefault(split or "all", []).append((label, found))
    return tree


def dvsgesture(root) -> Tree:
    make_gestures(root / "DvsGesture", recordings=2, windows=1)
    return {
        split: [(0, ek.read(root / f"DvsGesture/user0{user}_led.aedat", clock=(None, 15_000)))]
        for split, user in (("train", 1), ("test", 2))
    }


def dvsgesture_tonic(root) -> Tree:
    tree: Tree = {}
    for split, top in (("train", "ibmGestureTrain"), ("test", "ibmGestureTest")):
        for label in (0, 2, 10):
            path = root / top / "user24_led_2" / f"{label}.npy"
            events = sample(str(path.relative_to(root)), (128, 128))
            rows = np.stack([events.x, events.y, events.p, events.t // 1000], 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, rows.astype(np.int64))
            rounded = ek.Events(events.t // 1000 * 1000, events.x, events.y, events.p, (128, 128))
            tree.setdefault(split, []).append((label, rounded))
    return tree


def nmnist(root) -> Tree:
    tree = folders(root, (34, 34), [(0, "0"), (7, "7")], ".bin", ("Train", "Test"))
    return {"train": tree["Train"], "test": tree["Test"]}


def ncaltech101(root) -> Tree:
    names = [(0, "BACKGROUND_Google"), (1, "Faces_easy"), (4, "accordion"), (100, "yin_yang")]
    return folders(root / "Caltech101", (240, 180), names, ".bin")


def cifar10dvs(root) -> Tree:
    tree: Tree = {"train": [], "test": []}
    for label, name in ((0, "airplane"), (9, "truck")):
        for number in (0, 99, 100, 999):
            path = f"{name}/cifar10_{name}_{number}.aedat"
            found = file(root, path, (128, 128), format="aedat2")
            tree["test" if number < 100 else "train"].append((label, found))
    return tree


def cifar10dvs_aedat4(root) -> Tree:
    return folders(root, (128, 128), [(0, "airplane"), (9, "truck")], ".aedat4")


def mat(root, name, columns):
    io = pytest.importorskip("scipy.io", reason="writes MATLAB files")
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    io.savemat(root / name, columns)


def asldvs(root) -> Tree:
    tree: Tree = {"all": []}
    for label, letter in ((0, "a"), (9, "k"), (23, "y")):
        name = f"{letter}/{letter}_0001.mat"
        events = sample(name, (240, 180))
        columns = {"ts": events.t, "x": events.x, "y": events.y, "pol": events.p}
        mat(root, name, {key: value[:, None] for key, value in columns.items()})
        tree["all"].append((label, events))
    return tree


def stmnist(root) -> Tree:
    tree: Tree = {"all": []}
    for label in (0, 9):
        spikes = np.zeros((101, 5))
        spikes[label, 0], spikes[57, 3] = 1, -1
        spikes[100] = np.arange(5) / 10
        mat(root, f"data_submission/{label}/1.mat", {"spiketrain": spikes})
        mat(root, "data_submission/LUT.mat", {"table": np.zeros((3, 3))})
        p = np.array([1, 0])
        found = ek.Events(np.array([0, 300_000]), [label, 7], [0, 5], p, (10, 10))
        tree["all"].append((label, found))
    return tree


def structured(root, name, size) -> ek.Events:
    """DVS-Lip's fields."""
    events = sample(name, size)
    rows = np.zeros(len(events), [("t", "<i4"), ("x", "i1"), ("y", "i1"), ("p", "i1")])
    for field in "txyp":
        rows[field] = getattr(events, field)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(root / name, rows)
    return events


def dvslip(root) -> Tree:
    return {
        split: [
            (label, structured(root, f"DVS-Lip/{split}/{word}/0.npy", (128, 128)))
            for label, word in ((0, "accused"), (99, "young"))
        ]
        for split in ("train", "test")
    }


def ncars(root) -> Tree:
    names = [(0, "background"), (1, "cars")]
    tree = folders(root, (120, 100), names, "_td.dat", ("n-cars_train", "n-cars_test"))
    return {"train": tree["n-cars_train"], "test": tree["n-cars_test"]}


def heidelberg(root, prefix, splits, classes) -> Tree:
    h5py = pytest.importorskip("h5py")
    tree: Tree = {}
    root.mkdir(parents=True, exist_ok=True)
    for split in splits:
        with h5py.File(root / f"{prefix}_{split}.h5", "w") as out:
            labels = [classes - 1, 0, 10]
            parts = [sample(f"{split}{label}", (700, 1)) for label in labels]
            kinds = h5py.vlen_dtype(np.float64), h5py.vlen_dtype(np.uint16)
            times = out.create_dataset("spikes/times", (3,), kinds[0])
            units = out.create_dataset("spikes/units", (3,), kinds[1])
            for row, part in enumerate(parts):
                times[row], units[row] = part.t / 1e6, part.x
            out["labels"] = np.array(labels, np.uint16)
            out["extra/keys"] = np.array([f"word{i}".encode() for i in range(classes)])
            on = [ek.Events(e.t, e.x, e.y, np.ones(len(e)), (700, 1)) for e in parts]
            tree[split] = list(zip(labels, on, strict=True))
    return tree


def shd(root) -> Tree:
    return heidelberg(root, "shd", ("train", "test"), 20)


def ssc(root) -> Tree:
    return heidelberg(root, "ssc", ("train", "valid", "test"), 35)


def pos_neg(root, name, size) -> ek.Events:
    """ES-ImageNet's two tables of y, x, t."""
    events = sample(name, size)
    table = np.stack([events.y, events.x, events.t], 1)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    np.savez(root / name, pos=table[events.p == 1], neg=table[events.p == 0])
    order = np.argsort(1 - events.p, kind="stable")
    return ek.Events(*(getattr(events, c)[order] for c in "txyp"), size).sort()


def es_imagenet(root) -> Tree:
    top = root / "ES-imagenet-0.18"
    train = [(n, pos_neg(top, f"train/class{n}/a.npz", (256, 256))) for n in (0, 2, 10, 999)]
    names = [("val_2.npz", 999), ("val_1.npz", 0)]
    val = [(label, pos_neg(top, f"val/{name}", (256, 256))) for name, label in names]
    (top / "vallabel.txt").write_text("".join(f"{name} {label}\n" for name, label in names))
    return {"train": train, "val": val}


def hardvs(root) -> Tree:
    tree: Tree = {}
    top = root / "MINI_HARDVS_files"
    for split in ("train", "val", "test"):
        lines = []
        for label in (0, 299):
            name = f"action_{label + 1:03d}/dvSave-{split}"
            tree.setdefault(split, []).append((label, file(top, f"{name}.npz", (346, 260))))
            lines.append(f"{name} 5 {label}")
        (top / f"{split}_label.txt").write_text("\n".join(lines) + "\n")
    return tree


def n_imagenet(root) -> Tree:
    names = [(0, "n01440764"), (1, "n01443537")]
    places = ("extracted_train", "extracted_val")
    tree = folders(root / "N_Imagenet", (640, 480), names, ".npz", places)
    return {"train": tree["extracted_train"], "val": tree["extracted_val"]}


def navgesture(root) -> Tree:
    tree: Tree = {"all": []}
    for user in ("ali", "zoe"):
        for code, label in (("do", 3), ("le", 0), ("se", 5)):
            name = f"{user}/{user}_{code}_1_td.dat"
            tree["all"].append((label, file(root, name, (304, 240), version=1)))
    return tree


def dsec(root) -> Tree:
    return {
        split: [(-1, file(root, f"{split}/{name}/events/left/events.h5", (640, 480)))]
        for split, name in (("train", "thun_00_a"), ("test", "thun_01_b"))
    }


def davis240c(root) -> Tree:
    rosbags = pytest.importorskip("rosbags.rosbag1", reason="writes bags")
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    event = "uint16 x\nuint16 y\ntime ts\nbool polarity\n"
    listed = "std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events\n"
    store.register(get_types_from_msg(event, "dvs_msgs/msg/Event"))
    store.register(get_types_from_msg(listed, "dvs_msgs/msg/EventArray"))
    kinds = store.types
    events = sample("shapes", (240, 180))
    time = kinds["builtin_interfaces/msg/Time"]
    rows = [
        kinds["dvs_msgs/msg/Event"](x=x, y=y, ts=time(sec=1, nanosec=t * 1000), polarity=bool(p))
        for t, x, y, p in zip(*(getattr(events, c).tolist() for c in "txyp"), strict=True)
    ]
    header = kinds["std_msgs/msg/Header"](seq=0, stamp=time(sec=1, nanosec=0), frame_id="")
    kind = "dvs_msgs/msg/EventArray"
    message = kinds[kind](header=header, height=180, width=240, events=rows)
    root.mkdir(parents=True, exist_ok=True)
    with rosbags.Writer(root / "shapes_6dof.bag") as bag:
        connection = bag.add_connection("/dvs/events", kind, typestore=store)
        bag.write(connection, 10**9, store.serialize_ros1(message, kind))
    moved = ek.Events(events.t + 1_000_000, events.x, events.y, events.p, (240, 180))
    return {"all": [(-1, moved)]}


def hdf5(root, name, columns, size) -> Tree:
    h5py = pytest.importorskip("h5py")
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    events = sample(name, size)
    with h5py.File(root / name, "w") as out:
        columns(out, events)
    return {"all": [(-1, events)]}


def mvsec(root) -> Tree:
    def columns(out, e):
        table = np.stack([e.x, e.y, e.t / 1e6, 2.0 * e.p - 1], axis=1)
        out["davis/left/events"] = table

    return hdf5(root, "outdoor_day/outdoor_day1_data.hdf5", columns, (346, 260))


def m3ed(root) -> Tree:
    def columns(out, e):
        for name in "txyp":
            out[f"prophesee/left/{name}"] = getattr(e, name)

    return hdf5(root, "car_urban_day_horse_data.h5", columns, (1280, 720))


TREES = {
    "dvsgesture": dvsgesture,
    "dvsgesture_tonic": dvsgesture_tonic,
    "nmnist": nmnist,
    "ncaltech101": ncaltech101,
    "cifar10dvs": cifar10dvs,
    "cifar10dvs_aedat4": cifar10dvs_aedat4,
    "asldvs": asldvs,
    "stmnist": stmnist,
    "dvslip": dvslip,
    "ncars": ncars,
    "shd": shd,
    "ssc": ssc,
    "es_imagenet": es_imagenet,
    "hardvs": hardvs,
    "n_imagenet": n_imagenet,
    "navgesture_walk": navgesture,
    "navgesture_sit": navgesture,
    "dsec": dsec,
    "davis240c": davis240c,
    "mvsec": mvsec,
    "m3ed": m3ed,
}


@pytest.mark.parametrize("name", sorted(TREES))
def test_an_empty_folder_is_no_dataset(name, tmp_path):
    assert layouts.find(datasets.load(name), tmp_path) is None


@pytest.mark.parametrize("suffix", [".dat", ".dat.h5"])
def test_gen1_is_read_as_published_and_as_hdf5(suffix, tmp_path):
    truth = {}
    for split in ("train", "val", "test"):
        name = f"{split}/17-03-30_a_0_60000000"
        truth[split] = sample(name, (304, 240))
        (tmp_path / split).mkdir()
        np.save(tmp_path / f"{name}_bbox.npy", np.zeros(0, boxes.BOX))
        format = "hdf5" if suffix.endswith("h5") else "dat"
        ek.write(tmp_path / f"{name}_td{suffix}", truth[split], format=format)
    convert("gen1", represent="events", root=tmp_path, out=tmp_path / "s.zarr", workers=1)
    store = ek.open(tmp_path / "s.zarr")
    assert store.splits == list(truth)
    assert store.size == (304, 240)
    for split, events in truth.items():
        assert store[split].events(0) == events.sort()


def test_the_user_of_a_gesture_becomes_a_column(tmp_path):
    navgesture(tmp_path / "data")
    out = tmp_path / "s.zarr"
    convert("navgesture_sit", represent="frames:n=2", root=tmp_path / "data", out=out, workers=1)
    assert ek.open(out)["all"].column("user").tolist() == [0, 0, 0, 1, 1, 1]


def described(tmp_path, layout, classes='["a", "b"]'):
    path = tmp_path / "mine.toml"
    path.write_text(f"classes = {classes}\nsize = [34, 34]\n[layout]\n{layout}")
    return datasets.load(path)


def test_numbers_that_are_in_no_split_are_counted(tmp_path):
    folders(tmp_path / "data", (34, 34), [(0, "a"), (1, "b")], ".bin")
    text = 'kind = "class_folders"\nby_number = { train = [0, 5] }\n'
    found = layouts.listing(described(tmp_path, text), tmp_path / "data")
    assert [s.source for s in found.samples] == ["a/2.bin", "b/2.bin"]
    assert found.warnings == ["2 recordings have a number that is in no split; left out"]


def test_a_folder_that_mixes_classes_and_splits_is_refused_not_read_in_part(tmp_path):
    for name in ("a/1.bin", "b/2.bin", "b/old/3.bin"):
        file(tmp_path, name, (34, 34))
    with pytest.raises(FormatError, match="a in it holds recordings, b holds folders"):
        layouts.listing(datasets.load(tmp_path), tmp_path)


def test_files_of_class_folders_that_are_no_samples_are_said(tmp_path):
    for name in ("a/1.bin", "b/2.bin", "top.bin"):
        file(tmp_path, name, (34, 34))
    (tmp_path / "a" / "3.xyz").write_text("?")
    found = layouts.listing(datasets.load(tmp_path), tmp_path)
    assert [s.source for s in found.samples] == ["a/1.bin", "b/2.bin"]
    assert "2 files left out" in found.warnings[0]
    assert found.warnings[0].endswith("a/3.xyz, top.bin")


def test_folders_of_splits_get_the_names_that_training_asks_for(tmp_path):
    folders(tmp_path, (34, 34), [(0, "a"), (1, "b")], ".bin", splits=("Test", "Training"))
    found = layouts.listing(datasets.load(tmp_path), tmp_path)
    assert (found.splits(), found.warnings) == (["test", "train"], [])


def test_a_store_among_the_class_folders_is_no_class(tmp_path):
    folders(tmp_path, (34, 34), [(0, "a"), (1, "b")], ".bin")
    for _ in range(2):
        made = convert(tmp_path, represent="frames:n=2", out=tmp_path / "mine.zarr")
        assert (made["samples"], made["warnings"]) == ({"all": 4}, [])
    assert made["note"] == "nothing to do"


def test_names_that_are_not_utf8_are_refused_and_others_quoted_in_the_command(tmp_path):
    root = tmp_path / "two words"
    folders(root, (34, 34), [(0, "left hand"), (1, "b")], ".bin")
    out = tmp_path / "mine.zarr"
    convert(root, represent="frames:n=2", out=out)
    assert ek.open(out).attributes["command"] == "eventkit convert 'two words' --frames 2"
    (root / "b" / "2.bin").rename(root / "b" / "2\udcff.bin")
    with pytest.raises(OptionError, match=r"b/2\?.bin: its name is not UTF-8"):
        convert(root, represent="frames:n=2", out=tmp_path / "other.zarr")


def test_class_folders_that_are_missing_are_said(tmp_path):
    n_imagenet(tmp_path)
    found = layouts.listing(datasets.load("n_imagenet"), tmp_path / "N_Imagenet")
    assert "2 class folders, n_imagenet has 1000" in found.warnings[0]


LISTS = 'kind = "label_lists"\nsplits = { all = "list.txt" }\n'


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a.bin 2\n", "a.bin has the class '2'"),
        ("a.bin\n", "a.bin has the class ''"),
        ("../a.bin 0\n", "outside the dataset"),
        ("/a.bin 0\n", "outside the dataset"),
        ("a.bin 0\na.bin 1\n", "names a.bin twice"),
        ("", "no recordings of mine"),
    ],
)
def test_wrong_lists_are_said(text, match, tmp_path):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(FormatError, match=match):
        layouts.listing(described(tmp_path, LISTS), tmp_path)


def test_listed_recordings_that_are_missing_are_counted(tmp_path):
    file(tmp_path, "a.bin", (34, 34))
    (tmp_path / "list.txt").write_text("a.bin 1\nb.bin 0\nc.bin 0\n")
    found = layouts.listing(described(tmp_path, LISTS), tmp_path)
    assert [s.label for s in found.samples] == [1]
    assert found.warnings == ["list.txt: 2 of its recordings are not there; left out"]


def test_labels_beyond_the_classes_are_said(tmp_path):
    h5py = pytest.importorskip("h5py")
    shd(tmp_path)
    with h5py.File(tmp_path / "shd_test.h5", "r+") as out:
        out["labels"][1] = 20
    with pytest.raises(FormatError, match=r"shd_test.h5: has the label 20, expected 0\.\.19"):
        layouts.listing(datasets.load("shd"), tmp_path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('kind = "clas_folders"', "no layout"),
        ('kind = "recordings"', "needs the option 'pattern'"),
        ('kind = "class_folders"\npatern = "*"', "Did you mean 'pattern'"),
    ],
)
def test_a_wrong_layout_is_said(text, match, tmp_path):
    with pytest.raises((OptionError, ek.errors.UnknownName), match=match):
        layouts.listing(described(tmp_path, text), tmp_path)


def test_classes_may_follow_a_pattern(tmp_path):
    text = 'kind = "class_folders"'
    told = described(tmp_path, text, '{ pattern = "c%02d", first = 1, count = 3 }')
    assert told.classes == ("c01", "c02", "c03")
    with pytest.raises(OptionError, match="classes is"):
        described(tmp_path, text, '{ pattern = "c", count = 3 }')


def test_any_name_has_its_place_in_the_order():
    names = ["a10", "a2", "²", "٣", "a²", "10", "", "2"]
    assert sorted(names, key=layouts.natural) == ["", "2", "٣", "10", "a2", "a10", "a²", "²"]


# What is wrong in a description is one sentence, never a traceback.

CUT = """
classes = ["a", "b"]
[layout]
kind = "cut_by_table"
splits = { train = "train.txt" }
table = "{stem}.csv"
columns = ["class", "start", "stop"]
"""


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            'splits = { train = "train.txt" }\n',
            "",
            "mine: .*cut_by_table needs the option 'splits'",
        ),
        ('table = "{stem}.csv"\n', "", "needs the option 'table'$"),
        ('columns = ["class", "start", "stop"]\n', "", "needs the option 'columns'"),
        ("columns", "colums", "has no option 'colums'. Did you mean 'columns'"),
        (
            '{ train = "train.txt" }',
            '"train.txt"',
            "splits is 'train.txt', expected a table of texts",
        ),
        ('{ train = "train.txt" }', "{ train = 5 }", "expected a table of texts"),
        ('["class", "start", "stop"]', '"class"', "expected a list of texts"),
        ('"cut_by_table"', '"label_list"', "Did you mean 'label_lists'"),
        ('"cut_by_table"', "7", "expected a table with a kind"),
    ],
)
def test_a_layout_with_a_wrong_or_missing_key_is_one_sentence(old, new, sentence, tmp_path):
    assert old in CUT
    (tmp_path / "mine.toml").write_text(CUT.replace(old, new))
    with pytest.raises((OptionError, UnknownName), match=sentence):
        convert(tmp_path / "mine.toml", root=tmp_path, represent="frames:n=1")


@pytest.mark.parametrize("layout", sorted(layouts.LAYOUTS))
def test_no_layout_without_its_keys_is_a_traceback(layout, tmp_path):
    for more in ("", "splits = { all = [] }", "splits = { all = 1 }", "splits = 1", "parts = [1]",
                 'parts = [{ no = "kind" }]', "pattern = 3", "folder = 3"):  # fmt: skip
        (tmp_path / "mine.toml").write_text(f'[layout]\nkind = "{layout}"\n{more}\n')
        with pytest.raises(EventkitError):
            convert(tmp_path / "mine.toml", root=tmp_path, represent="frames:n=1")


@pytest.mark.parametrize("name", ["a\nb", "a\\b"])
def test_a_folder_with_a_name_that_no_store_can_hold_is_one_sentence(name, tmp_path):
    file(tmp_path / "mine", f"{name}/1.bin", (34, 34))
    with pytest.raises(OptionError, match="its name has a line break or a backslash"):
        convert(tmp_path / "mine", represent="frames:n=1", out=tmp_path / "s.zarr")


@pytest.mark.parametrize("name", ["integrity", "sources", "a\\b"])
def test_a_split_with_a_name_that_no_store_can_hold_is_one_sentence(name, tmp_path):
    file(tmp_path / "mine", f"{name}/c/1.bin", (34, 34))
    with pytest.raises(OptionError, match=r"cannot be the name of a split|its name has"):
        convert(tmp_path / "mine", represent="frames:n=1", out=tmp_path / "s.zarr")


SIGNS = """kind = "cut_by_table"
pattern = "*.aedat"
table = "{stem}.csv"
columns = ["class", "from", "to"]
by = "events"
first_label = 1
"""


def signs(tmp_path, rows="1,0,20\n2,30,60\n"):
    (tmp_path / "data").mkdir()
    events = sample("signs", (128, 128))
    ek.write(tmp_path / "data/user01.aedat", events, format="aedat2")
    (tmp_path / "data/user01.csv").write_text("class,from,to\n" + rows)
    toml = tmp_path / "mine.toml"
    head = 'classes = ["a", "b"]\nsize = [128, 128]\nformat = "aedat2"\n[layout]\n'
    toml.write_text(head + SIGNS)
    return toml, events


def converted(toml, tmp_path):
    convert(toml, represent="events", root=tmp_path / "data", out=tmp_path / "s.zarr", workers=1)
    return ek.open(tmp_path / "s.zarr")


@pytest.mark.parametrize("most", [7, 1 << 20])
def test_signs_are_cut_by_numbers_of_events_also_in_chunks(most, tmp_path, monkeypatch):
    monkeypatch.setattr("eventkit.conversion.task.MAX_EVENTS", most)
    toml, events = signs(tmp_path)
    part = converted(toml, tmp_path)["all"]
    assert part.events(0) == events[0:20]
    assert part.events(1) == events[30:60]
    assert part.column("window_start").tolist() == [0, 30]


def test_a_sign_beyond_the_recording_is_refused(tmp_path):
    toml, _ = signs(tmp_path, "1,0,20\n2,30,61\n")
    with pytest.raises(Exception, match="has 60 events, but a sample is its events 30 to 61"):
        converted(toml, tmp_path)


def test_an_empty_sign_is_kept_and_told(tmp_path):
    toml, events = signs(tmp_path, "1,5,5\n2,3,60\n")
    found = layouts.listing(datasets.load(toml), tmp_path / "data")
    assert "window 1 (class 1) is empty" in found.warnings[0]
    part = converted(toml, tmp_path)["all"]
    assert (len(part.events(0)), part.events(1) == events[3:60]) == (0, True)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (('columns = ["class", "from", "to"]', 'columns = ["from", "to"]'), "class, start, stop"),
        (('columns = ["class"', 'columns = ["klass"'), "its header is"),
        (('table = "{stem}.csv"', 'table = "{stem}.txt"'), "label table is missing"),
        (("first_label = 1", "first_label = 2"), r"class 1 is not within 2\.\.3"),
        (("first_label = 1", 'label = "folder"'), "those of start, stop"),
        (('by = "events"', 'by = "frames"'), "expected one of time, events"),
    ],
)
def test_a_wrong_table_is_said(change, match, tmp_path):
    toml, _ = signs(tmp_path)
    toml.write_text(toml.read_text().replace(*change))
    with pytest.raises((FormatError, OptionError), match=match):
        layouts.listing(datasets.load(toml), tmp_path / "data")


USERS = 'kind = "recordings"\npattern = "*.bin"\nname = "(?P<user>[a-z]+)_(?P<class>[ab])"\n'


@pytest.mark.parametrize(
    ("text", "splits", "warning"),
    [
        ("", {"all": 4}, None),
        ('exclude = ["*_b*"]', {"all": 2}, r"2 recordings are excluded by their names (*_b*)"),
        (
            'by_column = { user = { train = ["eve"], test = ["zoe"] } }',
            {"train": 2, "test": 2},
            None,
        ),
        ('by_column = { user = { test = ["zoe"], train = ["*"] } }', {"test": 2, "train": 2}, None),
        (
            'by_column = { user = { train = ["eve"] } }',
            {"train": 2},
            "2 recordings have a user that is in no split; left out",
        ),
        ("by_number = { train = [1, 1], test = [2, 9] }", {"train": 2, "test": 2}, None),
    ],
)
def test_every_layout_can_leave_out_and_divide(text, splits, warning, tmp_path):
    for name in ("eve_a1", "eve_b2", "zoe_a1", "zoe_b2"):
        file(tmp_path / "data", f"{name}.bin", (34, 34))
    found = layouts.listing(described(tmp_path, USERS + text), tmp_path / "data")
    counts = {split: sum(s.split == split for s in found.samples) for split in found.splits()}
    assert counts == splits
    assert found.warnings == ([warning] if warning else [])


@pytest.mark.parametrize(
    "text", ['exclude = "*_b*"', "by_column = { user = { train = 3 } }", "by_number = { a = [1] }"]
)
def test_wrong_divisions_are_said(text, tmp_path):
    file(tmp_path / "data", "eve_a1.bin", (34, 34))
    with pytest.raises(OptionError, match="expected a list of texts"):
        layouts.listing(described(tmp_path, USERS + text), tmp_path / "data")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('task = "cooking"', "task is 'cooking', expected one of classification"),
        ('licence = "MIT"', "unknown key 'licence'. Did you mean 'license'"),
        ('[[files]]\nname = "a"\nurl = []', "unknown key 'url'. Did you mean 'urls'"),
        ("files = [3]", "is 3, expected a table with a name"),
        ("defects = [3]", r"defects is \[3\], expected a list of texts"),
        ("splits = { mine = { by_number = 1 } }", r"\[splits.mine\] needs about"),
        ('[[files]]\nname = "a.zip"\ncrc32 = "12"', "crc32 of a.zip is '12'"),
    ],
)
def test_wrong_keys_of_a_card_are_said(text, match, tmp_path):
    (tmp_path / "mine.toml").write_text(f'missing = "much"\n{text}\n')
    with pytest.raises(OptionError, match=match):
        datasets.load(tmp_path / "mine.toml")


def test_an_unknown_named_split_suggests_those_there_are():
    with pytest.raises(ek.errors.UnknownName, match="split of n_omniglot"):
        datasets.load("n_omniglot").with_split("ful")


def test_the_real_characters_are_known_by_their_belt(samples):
    """36 classes, twice round and four more: the first and the 37th are the same letter."""
    dataset, root = datasets.load("hfirst_characters"), samples / "recordings/mat"
    found = layouts.listing(dataset, root)
    assert (len(found.samples), found.warnings) == (76, [])
    assert [s.label for s in found.samples[:38]] == [*range(36), 0, 1]

    def picture(n):
        events = ek.read(root / found.samples[n].source, recording=n, size="32x32", lowest=1)
        seen = ek.frames(events, n=1).sum(axis=(0, 1)).astype(float)
        return seen / np.linalg.norm(seen)

    first, again = ([picture(n) for n in (k, k + 9)] for k in (0, 36))
    same = [(a * b).sum() for a, b in zip(first, again, strict=True)]
    assert min(same) > (first[0] * again[1]).sum() + 0.05
