"""Boxes in parallel trees: PASCAL VOC's XML and YOLO's text, a file for each recording."""

import numpy as np
import pytest
from making import make_events

import eventkit as ek
from eventkit.conversion import convert
from eventkit.errors import FormatError, OptionError
from eventkit.targets.files import TargetFile, read

VOC = """<annotation><filename>f1.png</filename>
<object><name>person</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax><ymax>80</ymax></bndbox></object>
<object><name>dog</name><pose>left</pose>
<bndbox><ymin>1.5</ymin><xmin>0</xmin><xmax>3</xmax><ymax>4.5</ymax></bndbox></object>
</annotation>"""
PEOPLE = TargetFile("x", ("person", "dog"), at="start")
YOLO = TargetFile("x", ("person", "dog"), "class cx cy w h", at="start")


def test_voc_has_corners_and_names(tmp_path):
    (tmp_path / "a.xml").write_text(VOC)
    rows, _ = read(tmp_path / "a.xml", "boxes", PEOPLE)
    found = [tuple(row[name] for name in ("t", "x", "y", "w", "h", "class")) for row in rows]
    assert found == [(0, 10, 20, 30, 60, 0), (0, 0, 1.5, 3, 3, 1)]
    (tmp_path / "a.xml").write_text("<annotation/>")
    assert len(read(tmp_path / "a.xml", "boxes", PEOPLE)[0]) == 0


def test_yolo_has_centres_in_shares_of_the_sensor(tmp_path):
    (tmp_path / "a.txt").write_text("1 0.5 0.25 0.1 0.5\n0 0.05 0.9 0.1 0.2\n")
    rows, _ = read(tmp_path / "a.txt", "boxes", YOLO, (200, 100))
    found = np.array([[row[name] for name in ("x", "y", "w", "h", "class")] for row in rows])
    np.testing.assert_allclose(found, [[90, 0, 20, 50, 1], [0, 80, 20, 20, 0]], atol=1e-4)
    (tmp_path / "a.txt").write_text("")
    assert len(read(tmp_path / "a.txt", "boxes", YOLO, (200, 100))[0]) == 0


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.xml", VOC.replace("dog", "cat"), "class 'cat', which is none of person, dog"),
        ("a.xml", VOC.replace("<xmax>3</xmax>", ""), "object 2 lacks its name or a side"),
        ("a.xml", VOC.replace("<xmin>10", "<xmin>ten"), "not a number: 'ten'"),
        ("a.xml", VOC[:50], "is not XML"),
        ("a.xml", "<html/>", "is <html>, expected <annotation>"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "declares entities"),
        ("a.txt", "0 0.5 0.5 0.1\n", "line 1 has 4 columns, expected 5"),
        ("a.txt", "0 150 0.5 20 0.5\n", "cx and w are no shares of the sensor"),
        ("a.txt", "7 0.5 0.5 0.1 0.1\n", "has the class 7"),
    ],
)
def test_wrong_files_are_one_sentence(name, text, sentence, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=sentence):
        read(tmp_path / name, "boxes", YOLO if name == "a.txt" else PEOPLE, (200, 100))


def test_shares_need_the_size_of_the_sensor(tmp_path):
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(FormatError, match="whose size is not known"):
        read(tmp_path / "a.txt", "boxes", YOLO)


@pytest.mark.parametrize("told", ['at = "end"', 'at = "start"\nevery = "10ms"'])
def test_a_wrong_place_in_time_is_one_sentence(told, tmp_path):
    with pytest.raises(OptionError, match="expected start, without every"):
        described(tmp_path, told)


def described(tmp_path, told='at = "start"', file="boxes/{parent}/{sequence}.xml"):
    """Two recordings in two folders, the boxes of one in a parallel tree, and a store of them."""
    for split, seed in (("train", 1), ("test", 2)):
        events = make_events(100, (34, 34), seed)
        events = ek.Events(events.t + 500, events.x, events.y, events.p, (34, 34))
        (tmp_path / f"numpy/{split}").mkdir(parents=True)
        ek.write(tmp_path / f"numpy/{split}/f1.bin", events)
    (tmp_path / "boxes/test").mkdir(parents=True)
    (tmp_path / "boxes/test/f1.xml").write_text(VOC)
    (tmp_path / "mine.toml").write_text(
        'size = [34, 34]\n[layout]\nkind = "recordings"\npattern = "*.bin"\n'
        'splits = { train = "numpy/train", test = "numpy/test" }\n'
        f'[targets.boxes]\nfile = "{file}"\nclasses = ["person", "dog"]\n{told}\n'
    )
    convert(tmp_path / "mine.toml", events=True, root=tmp_path, out=tmp_path / "s.zarr", workers=1)
    return ek.open(tmp_path / "s.zarr")


def test_a_parallel_tree_is_found_and_stored(tmp_path):
    store = described(tmp_path)
    boxes = store["test"].targets[0]["boxes"]
    assert boxes["class"].tolist() == [0, 1]
    assert boxes["t"].tolist() == [store["test"].events(0).t[0]] * 2
    assert boxes["w"].tolist() == [30, 3]
    train = store["train"].targets
    assert not train.kinds or not len(train[0]["boxes"])
