"""The report of a store: numbers against the recordings it was made from, and the page."""

import shutil

import numpy as np
import pytest
from browser import MISSING, PROGRAM, Browser
from eventkit.cli import main
from making import make_events

import eventkit as ek
from eventkit.pages import report
from eventkit.store.kinds.dense import DenseSplit
from eventkit.store.ragged import Ragged

HOSTILE = "<img src=x onerror='document.title=1'>"
KINDS = [["--events"], ["--frames", "4"], ["--rep", "voxel:bins=5"]]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Two classes, one with a hostile name; a test sample that is a copy, one that is long."""
    folder = tmp_path_factory.mktemp("raw") / "pets"
    for split, n in (("train", 10), ("test", 2)):
        for label, name in enumerate(("cat", HOSTILE)):
            (folder / split / name).mkdir(parents=True)
            for i in range(n):
                seed = 100 * label + 10 * (split == "test") + i
                ek.write(folder / split / name / f"{i}.aedat", make_events(500, seed=seed))
    shutil.copy(folder / "train/cat/3.aedat", folder / "test/cat/0.aedat")
    shutil.copy(folder / "train/cat/4.aedat", folder / f"train/{HOSTILE}/4.aedat")
    ek.write(folder / "train/cat/9.aedat", make_events(5000, seed=9))
    return folder


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind[0])
def store(raw, request, tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / f"{HOSTILE[:4]}.zarr"
    assert main(["convert", str(raw), *request.param, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if PROGRAM is None:
        pytest.skip(MISSING)
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def recordings(store, raw):
    """(split, label, events) of every sample, read from the files."""
    for split in store.splits:
        names = bytes(store.small("sources/names")).decode().split("\n")
        sources = [names[i] for i in store[split].column("source").tolist()]
        for source, label in zip(sources, store[split].labels.tolist(), strict=True):
            yield split, label, ek.read(raw / source)


def test_numbers_are_those_of_the_recordings(store, raw):
    opened = ek.open(store)
    found = report.data(opened)
    truth = list(recordings(opened, raw))
    assert found["samples"] == found["read"] == len(truth) == 24
    assert found["balance"] == {"train": [10, 10], "test": [2, 2]}
    for row in found["table"]:
        mine = [e for s, c, e in truth if (s, opened.classes[c]) == (row["split"], row["class"])]
        seconds = [(e.t[-1] - e.t[0]) / 1e6 for e in mine]
        rates = [len(e) / s for e, s in zip(mine, seconds, strict=True)]
        assert row["samples"] == len(mine)
        assert row["events"] == np.median([len(e) for e in mine])
        assert row["seconds"] == pytest.approx(np.median(seconds))
        assert row["rate"] == pytest.approx(np.median(rates))
    for histogram in found["histograms"].values():
        assert {k: v.sum() for k, v in histogram["counts"].items()} == {"train": 20, "test": 4}
    if opened.kind != "data":
        on = sum(int(e.p.sum()) for *_, e in truth)
        assert found["on"] == pytest.approx(on / sum(len(e) for *_, e in truth))
        seen = np.zeros((34, 34), int)
        for *_, events in truth:
            np.add.at(seen, (events.y, events.x), 1)
        assert found["density"]["silent"] == (seen == 0).mean()
        assert found["density"]["hottest"] == pytest.approx(seen.max() / np.median(seen))


def test_copies_and_outliers_are_found(store):
    found = report.data(ek.open(store))
    duplicates = found["duplicates"]
    assert (duplicates["across"], duplicates["within"]) == (1, 1)
    across, within = duplicates["rows"]
    assert {name.split()[0] for name in across["samples"]} == {"train", "test"}
    assert across["same"]
    assert within["same"]
    assert within["classes"] == sorted(["cat", HOSTILE])
    rows = [row for row in found["outliers"]["rows"] if row["what"] == "events"]
    assert [(row["split"], row["class"], row["value"]) for row in rows] == [("train", "cat", 5000)]


def test_a_checksum_that_two_samples_share_by_chance_is_no_identity(store, monkeypatch):
    opened = ek.open(store)
    crc = "events_crc" if opened.kind == "events" else "frames_crc"
    for split in opened.values():
        split.column(crc)[:] = 7
    rows = report.data(opened)["duplicates"]["rows"]
    assert rows[0]["same"] is False


def test_only_as_many_samples_are_read_as_stated(store, monkeypatch):
    opened = ek.open(store)
    read = []
    if opened.kind == "events":
        parts = Ragged.parts
        monkeypatch.setattr(Ragged, "parts", lambda s, i: read.append((id(s), i)) or parts(s, i))
    else:
        whole = DenseSplit.read
        monkeypatch.setattr(
            DenseSplit, "read", lambda s, which: read.append((id(s), *which)) or whole(s, which)
        )
    found = report.data(opened, samples=4)
    assert found["read"] == 4
    assert len({(tile["label"], tile["name"].split()[0]) for tile in found["tiles"]}) == 4
    assert 4 <= len(set(read)) <= 4 + 4  # and those that are compared as duplicates


def test_samples_without_events_are_counted(tmp_path):
    for i, events in enumerate([make_events(50), ek.Events.empty((34, 34))]):
        for split in ("train", "test"):
            (tmp_path / "pets" / split / "cat").mkdir(parents=True, exist_ok=True)
            ek.write(tmp_path / f"pets/{split}/cat/{i}.aedat", events)
    for kind in KINDS[:2]:
        out = tmp_path / f"{kind[0]}.zarr"
        assert main(["convert", str(tmp_path / "pets"), *kind, "--out", str(out)]) == 0
        found = report.data(ek.open(out))
        assert found["empty"] == {"train": 1, "test": 1}
        assert found["duplicates"]["across"] == 1  # the empty ones are not compared


def test_the_page_is_safe_and_complete(browser, store, tmp_path, capsys):
    out = tmp_path / "report.html"
    assert main(["report", str(store), "--out", str(out)]) == 0
    assert "1 group of identical samples across splits" in capsys.readouterr().out
    browser.open(out)
    assert browser.problems == []
    assert browser.outside == []
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert HOSTILE in browser.run("PAGE.textContent")
    assert browser.run("document.querySelectorAll('.tiles canvas').length") == 24
    blank = (
        "Array.from(document.querySelectorAll('.tiles canvas')).filter((c) => new Set(new "
        "Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size "
        "< 2).length"
    )
    assert browser.run(blank) == 0
    assert "more than one split" in browser.run("PAGE.textContent")
    assert main(["report", str(store), "--out", str(out)]) == 1  # an existing file stays
    assert main(["report", str(store), "--out", str(out), "--overwrite", "--json"]) == 0
