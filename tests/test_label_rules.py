"""Published label rules: equal to what the authors' scripts make, on miniatures.

`theirs` is RVT's preprocessing written down anew, sample by sample; the authors' own script gave
the same windows, tensors and boxes on such miniatures (uzh-rpg/RVT, scripts/genx).
"""

import itertools

import numpy as np
import pytest
from making import tree_hash

import eventkit as ek
from eventkit import Events, FormatError, OptionError, fetch
from eventkit.boxes import BOX
from eventkit.conversion import convert
from eventkit.conversion.preprocessed import adopt
from eventkit.errors import FetchFailed
from eventkit.store.verify import verify
from eventkit.targets import KINDS
from eventkit.targets.rules import LABEL_RULES

h5py = pytest.importorskip("h5py")
SIZES = {"gen1": (304, 240), "one_mpx": (1280, 720)}
STEM = "17-03-30_12-53-58_0_60000000"


def make(root, name, seed=0, rate=60):
    """Recordings whose times go back in places, boxes beyond the sensor, too small and too wide."""
    width, height = SIZES[name]
    for split in ("train", "val"):
        rng = np.random.default_rng(seed + len(split))
        (root / split).mkdir(parents=True)
        n, length = 6000, 900_000 if name == "gen1" else 350_000
        t = np.sort(rng.integers(0, length, n))
        for back in rng.integers(100, n - 100, 25):
            t[back : back + 3] -= rng.integers(0, 90_000)
        suffix = "dat.h5" if name == "gen1" else "h5"
        with h5py.File(root / split / f"{STEM}_td.{suffix}", "w") as out:
            x, y = rng.integers(0, width, n), rng.integers(0, height, n)
            x[: n // 2], y[: n // 2] = rng.integers(0, 4, n // 2), 1  # pixels that reach the limit
            out["events/t"], out["events/x"] = np.maximum(t, 0), x.astype("u2")
            out["events/y"], out["events/p"] = y.astype("u2"), rng.integers(0, 2, n).astype("u1")
        step = 250_000 if name == "gen1" else 1_000_000 // rate
        times = np.arange(30_000, length, step)
        times += rng.integers(-900, 900, len(times)) if name == "gen1" else 0
        times = np.repeat(times, 6)
        boxes = np.zeros(len(times), BOX)
        boxes["t"], boxes["track_id"] = times, rng.integers(0, 50, len(times))
        boxes["w"] = rng.uniform(0, 90, len(times))
        boxes["w"][::9] = 0.95 * width
        boxes["h"] = rng.uniform(0, 90, len(times))
        boxes["x"] = np.maximum(rng.uniform(-30, width, len(times)), -boxes["w"])
        boxes["y"] = np.maximum(rng.uniform(-30, height, len(times)), -boxes["h"])
        boxes["class_id"] = rng.integers(0, 2 if name == "gen1" else 7, len(times))
        np.save(root / split / f"{STEM}_bbox.npy", boxes)


def theirs(root, name, split):
    """The ends of windows, the tensor of each, and the boxes of those that have labels."""
    width, height = SIZES[name]
    (file,) = (root / split).glob("*.h5")
    with h5py.File(file) as found:
        t, x, y, p = (found[f"events/{c}"][:].astype(int) for c in "txyp")
    t = np.maximum.accumulate(t)
    kept = []
    for box in np.load(root / split / f"{STEM}_bbox.npy"):
        if name == "one_mpx" and box["class_id"] > 2:
            continue
        right = min(max(np.float32(box["x"] + box["w"]), 0), width - 1)
        lower = min(max(np.float32(box["y"] + box["h"]), 0), height - 1)
        left, top = min(max(box["x"], 0), width - 1), min(max(box["y"], 0), height - 1)
        w, h = np.float32(right - left), np.float32(lower - top)
        side = 10 if name == "gen1" else 5
        if w < side or h < side or (name == "gen1" and w * w + h * h < 900):
            continue
        if split == "train" and w > 9 * width // 10:
            continue
        kept.append((int(box["t"]), left, top, w, h, box["class_id"], box["track_id"]))
    times = sorted({row[0] for row in kept})
    period = 250_000
    if name == "one_mpx":
        median = float(np.median(np.diff(times)))
        period = int({60: 6, 30: 3}[round(1e6 / median)] * median)
    frames = [next(time for time in times if time >= 100_000)]
    ends = list(range(frames[0], 0, -50_000))[1:-1][::-1]
    for time in times:
        count = round((time - frames[-1]) / period)
        if time > frames[-1] and count and abs(time - frames[-1] - count * period) <= 2000:
            ends += [int(e) for e in np.linspace(frames[-1], time, 2 * count + 1)[:-1]]
            frames.append(time)
    ends.append(frames[-1])
    tensors = []
    for end in ends:
        inside = (t >= end - 50_000) & (t <= end)
        tensor = np.zeros((20, height, width), np.uint8)
        if inside.any():
            first, last = t[inside][0], t[inside][-1]
            for i in np.flatnonzero(inside):
                share = np.float32(np.float32(t[i] - first) / np.float32(max(last - first, 1)))
                bin_ = min(int(share * np.float32(10)), 9)
                tensor[bin_ + 10 * p[i], y[i], x[i]] += 1
        tensor = np.minimum(tensor, 10)
        tensors.append(tensor if name == "gen1" else tensor[:, 1::2, 1::2])
    labels = [[row for row in kept if row[0] == end and end in frames] for end in ends]
    return ends, tensors, labels


@pytest.mark.parametrize(("name", "rate"), [("gen1", 4), ("one_mpx", 60), ("one_mpx", 30)])
def test_rvt_is_its_own_preprocessing_value_for_value(name, rate, tmp_path):
    make(tmp_path / "raw", name, seed=rate, rate=rate)
    scale = 1 if name == "gen1" else 2
    represent = f"stacked_histogram:bins=10,like=rvt,downsample={scale}"
    options = {"represent": represent, "every": "50ms", "label_rules": "rvt"}
    convert(name, root=tmp_path / "raw", out=tmp_path / "s.zarr", workers=1, **options)
    store, labelled = ek.open(tmp_path / "s.zarr"), 0
    for split in ("train", "val"):
        ends, tensors, labels = theirs(tmp_path / "raw", name, split)
        part = store[split]
        assert (part.column("window_stop") - 1).tolist() == ends
        assert (part.column("window_start") + 50_000).tolist() == ends
        np.testing.assert_array_equal(part.read(range(len(ends)))[:, 0], tensors)
        for i, rows in enumerate(labels):
            found = part.targets[i]["boxes"]
            mine = [found[name] * (scale if name in "xywh" else 1) for name in KINDS["boxes"].names]
            assert list(zip(*(column.tolist() for column in mine[:7]), strict=True)) == [
                tuple(np.asarray(value).item() for value in row) for row in rows
            ]
            labelled += len(rows)
        assert {"car"} <= set(part.targets.names("boxes"))
    assert labelled > 5
    if name == "gen1":  # however the work is divided
        convert(name, root=tmp_path / "raw", out=tmp_path / "t.zarr", workers=3, **options)
        assert tree_hash(tmp_path / "t.zarr") == tree_hash(tmp_path / "s.zarr")


def test_the_largest_tensor_wraps_and_stops_as_theirs(tmp_path):
    """The miniature has pixels with more than ten events in a bin, or the comparison is idle."""
    make(tmp_path, "gen1")
    _, tensors, _ = theirs(tmp_path, "gen1", "train")
    assert max(tensor.max() for tensor in tensors) == 10


def test_rules_apply_without_windows_of_their_own(tmp_path):
    """Whole recordings keep the labels that count; at=labels has one window for each of these."""
    make(tmp_path / "raw", "gen1")
    ends, _, labels = theirs(tmp_path / "raw", "gen1", "train")
    root = {"root": tmp_path / "raw", "represent": "events", "label_rules": "rvt"}
    convert("gen1", out=tmp_path / "whole.zarr", **root)
    whole = ek.open(tmp_path / "whole.zarr")["train"].targets[0]["boxes"]
    assert whole["track"].tolist() == [row[6] for rows in labels for row in rows]
    convert("gen1", out=tmp_path / "at.zarr", at="labels", window="50ms", **root)
    split = ek.open(tmp_path / "at.zarr")["train"]
    assert split.column("window_stop").tolist() == [
        end for end, rows in zip(ends, labels, strict=True) if rows
    ]
    assert [len(split.targets[i]["boxes"]) for i in range(len(split))] == [
        len(rows) for rows in labels if rows
    ]


def test_rvt_refuses_what_it_does_not_define(tmp_path):
    make(tmp_path / "raw", "gen1")
    options = {"root": tmp_path / "raw", "out": tmp_path / "s.zarr", "label_rules": "rvt"}
    with pytest.raises(OptionError, match="have windows of their own, at the labels"):
        convert("gen1", sliding="50ms/25ms", **options)
    with pytest.raises(OptionError, match="windows of 70000 µs, expected a divisor of 100 ms"):
        convert("gen1", every="70ms", **options)
    boxes = np.zeros(5, KINDS["boxes"])
    boxes["t"] = np.arange(5) * 20_000 + 100_000
    classes = ("pedestrian", "two wheeler", "car", "truck", "bus", "traffic sign", "traffic light")
    with pytest.raises(OptionError, match="labels come at 50 Hz, expected 30 or 60 Hz"):
        LABEL_RULES["rvt"].times(boxes, classes)


def test_dsec_det_gives_the_labels_at_the_start_of_a_window(tmp_path):
    below = tmp_path / "raw/train/interlaken_00_c"
    (below / "events/left").mkdir(parents=True)
    (below / "object_detections/left").mkdir(parents=True)
    (below / "images").mkdir()
    t = np.arange(0, 4000, 5)
    events = Events(t, t % 640, t % 480, t % 2, (640, 480))
    with h5py.File(below / "events/left/events.h5", "w") as out:
        for name in "txyp":
            out[f"events/{name}"] = getattr(events, name)
    images = [500, 1500, 2500, 3500]
    (below / "images/timestamps.txt").write_text("\n".join(map(str, images)))
    kinds = [("t", "u8"), *((n, "f4") for n in "xywh"), ("class_id", "u1")]
    kinds += [("class_confidence", "f4"), ("track_id", "u4"), ("img_name", "U10")]
    tracks = np.zeros(4, kinds)
    tracks["t"], tracks["track_id"], tracks["w"], tracks["h"] = (
        [500, 1500, 1500, 3500],
        range(4),
        9,
        9,
    )
    np.save(below / "object_detections/left/tracks.npy", tracks)
    found = {}
    for rules in (None, "dsec_det"):
        for side in ("front", "back"):
            out = tmp_path / f"{rules}-{side}.zarr"
            convert(
                "dsec_det", root=tmp_path / "raw", out=out, represent="events",
                at="frames", side=side, label_rules=rules,
            )  # fmt: skip
            split = ek.open(out)["train"]
            assert split.column("window_start").tolist() == images[:-1]
            found[rules, side] = [split.targets[i]["boxes"]["track"].tolist() for i in range(3)]
    at_start, at_end = [[0], [1, 2], []], [[1, 2], [], [3]]
    assert found == {
        (None, "front"): at_end,
        (None, "back"): at_end,
        ("dsec_det", "front"): at_start,
        ("dsec_det", "back"): at_start,
    }


def preprocessed(root, raw, name):
    """A folder as RVT's preprocessing writes it, from what `theirs` gives."""
    scale = 1 if name == "gen1" else 2
    for split in ("train", "val"):
        ends, tensors, labels = theirs(raw, name, split)
        folder = root / split / STEM / "event_representations_v2/stacked_histogram_dt=50_nbins=10"
        folder.mkdir(parents=True)
        (root / split / STEM / "labels_v2").mkdir()
        suffix = "" if scale == 1 else "_ds2_nearest"
        with h5py.File(folder / f"event_representations{suffix}.h5", "w") as out:
            shape = (1, *tensors[0].shape)
            out.create_dataset("data", data=np.stack(tensors), chunks=shape, compression="gzip")
        np.save(folder / "timestamps_us.npy", np.array(ends))
        windows = [i for i, rows in enumerate(labels) if rows]
        np.save(folder / "objframe_idx_2_repr_idx.npy", np.array(windows))
        boxes = np.zeros(sum(map(len, labels)), BOX)
        names = ("t", "x", "y", "w", "h", "class_id", "track_id")
        for column, values in zip(names, zip(*itertools.chain(*labels), strict=True), strict=True):
            boxes[column] = values
        first = np.cumsum([0, *(len(labels[i]) for i in windows)])[:-1]
        where = {"objframe_idx_2_label_idx": first}
        np.savez(root / split / STEM / "labels_v2/labels.npz", labels=boxes, **where)


@pytest.mark.parametrize("name", ["gen1", "one_mpx"])
def test_a_folder_that_rvt_has_made_is_adopted_as_the_store_that_convert_makes(name, run, tmp_path):
    make(tmp_path / "raw", name)
    preprocessed(tmp_path / "rvt", tmp_path / "raw", name)
    out = tmp_path / "adopted.zarr"
    code, text, err = run("adopt", name, tmp_path / "rvt", "--out", out)
    assert code == 0, err
    scale = 1 if name == "gen1" else 2
    represent = f"stacked_histogram:bins=10,like=rvt,downsample={scale}"
    options = {"represent": represent, "every": "50ms", "label_rules": "rvt"}
    convert(name, root=tmp_path / "raw", out=tmp_path / "s.zarr", **options)
    adopted, made = ek.open(out), ek.open(tmp_path / "s.zarr")
    assert adopted.attributes["represent"] == made.attributes["represent"]
    for split in ("train", "val"):
        mine, other = adopted[split], made[split]
        every = range(len(other))
        np.testing.assert_array_equal(mine.read(every), other.read(every))
        for column in ("window_start", "window_stop", "frames_crc", "targets/boxes/count"):
            np.testing.assert_array_equal(mine.column(column), other.column(column))
        for i in every:
            found, expected = mine.targets[i]["boxes"], other.targets[i]["boxes"]
            for field in ("t", "x", "y", "w", "h", "class", "track"):
                np.testing.assert_array_equal(found[field], expected[field])
        assert mine.targets.names("boxes") == other.targets.names("boxes")
    assert verify(out, deep=True) == []
    code, text, err = run("adopt", name, tmp_path / "rvt", "--out", out)
    assert "nothing to do" in text


def test_adopting_continues_where_it_was_killed_and_refuses_what_is_not_as_rvt_writes_it(tmp_path):
    from killing import killed_by

    make(tmp_path / "raw", "gen1")
    root = tmp_path / "rvt"
    preprocessed(root, tmp_path / "raw", "gen1")
    adopt("gen1", root, out=tmp_path / "a.zarr")
    out = tmp_path / "b.zarr"
    assert killed_by("after_journal:1", lambda: adopt("gen1", root, out=out))
    adopt("gen1", root, out=out)
    assert tree_hash(out) == tree_hash(tmp_path / "a.zarr")
    with pytest.raises(OptionError, match="rvt are those of Gen1"):
        adopt("etram", root, out=tmp_path / "c.zarr")
    with pytest.raises(OptionError, match="has no <split>/<sequence>/event_representations_v2"):
        adopt("gen1", tmp_path / "raw", out=tmp_path / "c.zarr")
    with pytest.raises(FetchFailed, match="contains only tensors that RVT has made"):
        fetch.adopt("gen1", [root], root=tmp_path / "data")
    (file,) = root.glob("val/*/event_representations_v2/*/event_representations.h5")
    with h5py.File(file, "w") as h5:
        h5["data"] = np.zeros((3, 20, 240, 300), np.uint8)
    with pytest.raises(FormatError, match=r"data is uint8 \(3, 20, 240, 300\), expected uint8"):
        adopt("gen1", root, out=tmp_path / "d.zarr")
    (labels,) = root.glob("train/*/labels_v2/labels.npz")
    np.savez(labels, labels=np.zeros(3), objframe_idx_2_label_idx=np.zeros(1, int))
    with pytest.raises(FormatError, match=r"labels.npz: lacks class_id, h, t, w, x, y"):
        adopt("gen1", root, out=tmp_path / "e.zarr")
    labels.write_bytes(b"PK")
    with pytest.raises(FormatError, match=r"labels.npz: is not as RVT writes it"):
        adopt("gen1", root, out=tmp_path / "f.zarr")
