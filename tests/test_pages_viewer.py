"""The viewer in a real browser: nothing loaded, no errors, and pixels as the library draws them."""

import base64
import json
import re
import zlib

import numpy as np
import pytest
from browser import MISSING, PROGRAM, Browser
from eventkit.cli import main
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_events

import eventkit as ek
from eventkit import FormatError, OptionError, pages, viz
from eventkit.pages import viewer
from eventkit.pages.labels import find_labels, read_labels
from eventkit.pages.pack import pack_events
from eventkit.representations import Whole

HOSTILE = '</script><img src=x onerror="document.title=1">${7*7}\u202e\x1b[2J'
needs_browser = pytest.mark.skipif(PROGRAM is None, reason=MISSING)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def sample(events, limit=10**6, **named):
    whole = Whole.of(events)
    ends = {"n": whole.n - events.out_of_bounds, "t0": whole.t0, "t1": whole.t1}
    chunks = [events[i : i + 300] for i in range(0, max(1, len(events)), 300)]
    return viewer.events_sample(chunks, **ends, limit=limit, **{"name": "a", **named})


def written(path, events, title="a", **options):
    return pages.write(path, "viewer", title, viewer.data([sample(events, **options)], events.size))


def unpacked(packed, size):
    """The packed events, read independently of the browser."""
    place = zlib.decompress(base64.b64decode(packed["place"]))
    n, at, columns = packed["n"], 0, []
    for side in size:
        column = np.frombuffer(place, np.uint8, n, at).astype(int)
        at += n
        if side > 256:
            column += np.frombuffer(place, np.uint8, n, at).astype(int) << 8
            at += n
        columns.append(column)
    p = np.unpackbits(np.frombuffer(place, np.uint8, offset=at), bitorder="little")[:n]
    times, value, shift = [], 0, 0
    for byte in zlib.decompress(base64.b64decode(packed["time"])):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            times.append(value)
            value = shift = 0
    return np.cumsum(times) * packed["unit"], *columns, p


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 300),
    st.sampled_from([(1, 1), (34, 34), (700, 1), (256, 257), (1280, 720)]),
    st.sampled_from([1, 50, 10**5, 10**9]),
    st.integers(-(10**12), 10**12),
    st.integers(0, 2**32 - 1),
)
def test_packed_events_are_the_events(n, size, step, origin, seed):
    events = make_events(n, size, seed, step)
    events = ek.Events(events.t + origin, events.x, events.y, events.p, size)
    packed = pack_events(events, origin)
    t, x, y, p = unpacked(packed, size)
    assert np.array_equal(t, (events.t - origin) // packed["unit"] * packed["unit"])
    assert all(np.array_equal(a, getattr(events, b)) for a, b in zip((x, y, p), "xyp", strict=True))


@pytest.mark.parametrize("size", [(128, 128), (346, 260), (1280, 720)])
@pytest.mark.parametrize("step", [2, 100, 5000])
def test_an_event_takes_four_bytes_at_most(size, step):
    packed = pack_events(make_events(20_000, size, step=step), 0)
    assert len(packed["place"]) + len(packed["time"]) <= 4 * 20_000 + 128
    assert packed["unit"] == 1 or size[0] > 128 or step > 100


def test_of_more_events_than_the_limit_some_are_kept_evenly_and_the_rate_counts_all():
    events = make_events(10_000)
    found = sample(events, limit=1000)
    assert (found["n"], found["total"]) == (1000, 10_000)
    t, *_ = unpacked(found, events.size)
    assert np.array_equal(t, (events.t - events.t[0])[9::10] // found["unit"] * found["unit"])
    assert found["rate"].sum() == 10_000
    counts = np.bincount((events.t - events.t[0]) // found["bin"])
    assert np.array_equal(found["rate"], counts)


def test_events_outside_the_sensor_are_left_out():
    events = make_events(100)
    events.x[::10] = 40
    found = sample(events)
    assert found["n"] == found["total"] == 90


@needs_browser
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_pixels_are_those_of_the_frames(browser, tmp_path, theme):
    events = make_events(4000, (34, 20), step=30)
    path = written(tmp_path / "a.html", events)
    browser.theme(theme)
    browser.open(path)
    frames = ek.frames(events, duration=10_000)
    wanted = viz.colourise(frames, theme=theme)
    browser.run("VIEWER.setWindow(10000)")
    for k in (0, 1, len(frames) - 1):
        browser.run(f"VIEWER.seek({10_000 * k})")
        assert np.array_equal(pixels(browser, (34, 20)), wanted[k])
    assert browser.problems == []
    assert browser.outside == []


def pixels(browser, size):
    """The RGB pixels of the viewer's picture, (H, W, 3)."""
    script = (
        "Array.from(VIEWER.view.getContext('2d').getImageData(0, 0, VIEWER.view.width, "
        "VIEWER.view.height).data)"
    )
    width, height = size
    return np.array(browser.run(script)).reshape(height, width, 4)[:, :, :3]


@needs_browser
def test_decay_shows_the_last_event_of_each_pixel(browser, tmp_path):
    events = ek.Events([0, 1000, 1000, 2000], [0, 1, 2, 0], [0, 0, 0, 0], [1, 0, 1, 0], (4, 1 + 1))
    browser.theme("dark")
    browser.open(written(tmp_path / "a.html", events))
    browser.run("VIEWER.set({decay: true, window: 1000, now: 1001})")
    levels = np.ceil(15 * np.exp((np.array([2000, 1000, 1000]) - 2001) / 1000)).astype(int)
    palette = viz.palette("dark")
    wanted = [palette[levels[0]], palette[levels[1]], palette[16 * levels[2]], palette[0]]
    assert np.array_equal(pixels(browser, (4, 2))[0], wanted)


@needs_browser
def test_hostile_names_stay_text(browser, tmp_path):
    interval, box = viewer.Interval(0, 9000, HOSTILE), viewer.Box(5, 1, 1, 9, 9, HOSTILE)
    named = {"name": HOSTILE + "\udcff", "label": HOSTILE, "intervals": [interval], "boxes": [box]}
    path = written(tmp_path / "a.html", make_events(), HOSTILE + "\udcff", **named)
    browser.open(path)
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.run("document.title").startswith("</script><img")
    assert browser.run("VIEWER.shownBoxes.length") == 1
    assert HOSTILE[:20] in browser.run("document.querySelector('h1').textContent")
    assert browser.problems == []
    assert browser.outside == []


@needs_browser
def test_the_page_may_load_nothing_and_run_nothing_else(browser, tmp_path):
    """The policy in the page holds even if a name became markup."""
    browser.open(written(tmp_path / "a.html", make_events()))
    browser.run('PAGE.innerHTML = \'<img src="http://127.0.0.1:8/x" onerror="window.ran=1">\'')
    blocked = "fetch('http://127.0.0.1:8/').then(() => 'sent', () => 'blocked')"
    assert browser.run(blocked) == "blocked"
    assert browser.run("window.ran") is None
    assert any("Content Security Policy" in text for text in browser.problems)


@needs_browser
def test_keys_and_controls(browser, tmp_path):
    first, second = make_events(3000, seed=1), make_events(3000, seed=2)
    both = [sample(first, name="one"), sample(second, name="two", limit=500)]
    browser.open(
        pages.write(tmp_path / "a.html", "viewer", "two", viewer.data(both, (34, 34), window=5000))
    )
    state = "VIEWER.state"
    for key, expression, wanted in [
        ("ArrowRight", f"{state}.now", 5000),
        ("ArrowRight", f"{state}.now", 10_000),
        ("ArrowLeft", f"{state}.now", 5000),
        ("End", f"{state}.now", int(first.t[-1] - first.t[0]) // 5000 * 5000),
        ("Home", f"{state}.now", 0),
        ("]", f"{state}.window", 10_000),
        ("[", f"{state}.window", 5000),
        ("d", f"{state}.decay", True),
        ("r", f"{state}.rotate", False),
        ("n", f"{state}.sample", 1),
    ]:
        browser.key(key)
        browser.wait(f"{expression} === {json.dumps(wanted)}", 3)
    browser.wait("document.body.dataset.ready")
    assert "500 of 3,000" in browser.run("VIEWER.notes.textContent")
    browser.key(" ")
    browser.wait(f"{state}.now > 0", 5)
    browser.key(" ")
    assert browser.run(f"{state}.playing") is False
    before = browser.run("isDark()")
    browser.key("t")
    assert browser.run("isDark()") is not before
    script = "VIEWER.timelineCanvas.getBoundingClientRect().toJSON()"
    box = browser.run(script)
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 20, "button": "left"}
    browser.call("Input.dispatchMouseEvent", type="mousePressed", clickCount=1, **place)
    middle = browser.run(f"{state}.now / VIEWER.sample.length")
    assert abs(middle - 0.5) < 0.01
    assert browser.problems == []


@needs_browser
def test_the_cloud_is_drawn_and_turns(browser, tmp_path):
    browser.open(written(tmp_path / "a.html", make_events(5000)))
    drawn = (
        "new Set(new Uint32Array(VIEWER.cloudCanvas.getContext('2d').getImageData(0, 0, "
        "VIEWER.cloudCanvas.width, VIEWER.cloudCanvas.height).data.buffer)).size"
    )
    assert browser.run(drawn) > 4
    before = browser.run("VIEWER.cloudCanvas.toDataURL()")
    browser.run("VIEWER.cloud.yaw += 1; VIEWER.draw()")
    assert browser.run("VIEWER.cloudCanvas.toDataURL()") != before


@needs_browser
@pytest.mark.parametrize("make", ["raster", "empty", "single", "large"])
def test_unusual_recordings_are_shown(browser, tmp_path, make):
    events = {
        "raster": make_events(2000, (700, 1)),
        "empty": ek.Events.empty((34, 34)),
        "single": make_events(1),
        "large": make_events(5000, (1280, 720)),
    }[make]
    browser.open(written(tmp_path / "a.html", events))
    browser.key("ArrowRight")
    assert browser.problems == []
    if make == "raster":
        palette = viz.palette("light" if browser.run("!isDark()") else "dark").tolist()
        width = browser.run("VIEWER.view.width")
        browser.key("Home")
        height = browser.run("VIEWER.view.height")
        seen = (pixels(browser, (width, height)) != palette[0]).any(axis=2)
        bins = -(-700 // 400)
        rows = height - 1 - events.x // bins
        columns = (events.t - events.t[0]) * width // (events.t[-1] - events.t[0] + 1)
        wanted = np.zeros((height, width), bool)
        wanted[rows, columns] = True
        assert np.array_equal(seen, wanted)


@needs_browser
def test_a_recording_is_shown_with_the_labels_beside_it(browser, tmp_path, capsys):
    events = make_events(5000, (128, 128))
    ek.write(tmp_path / "a.aedat", events)
    (tmp_path / "a_labels.csv").write_text(
        "class,startTime_usec,endTime_usec\n3,0,20000\n4,20000,90000\n"
    )
    out = tmp_path / "a.html"
    assert main(["view", str(tmp_path / "a.aedat"), "--html", str(out), "--duration", "5ms"]) == 0
    assert "5,000 of 5,000 events" in capsys.readouterr().out
    browser.open(out)
    assert browser.run("VIEWER.state.window") == 5000
    intervals = browser.run("VIEWER.sample.intervals")
    assert [(i["label"], i["start"]) for i in intervals] == [
        ("class 3", int(-events.t[0])),
        ("class 4", 20_000 - int(events.t[0])),
    ]
    assert browser.problems == []


@needs_browser
@pytest.mark.parametrize("kind", [["--events"], ["--frames", "4"], ["--rep", "voxel:bins=5"]])
def test_a_store_is_shown_with_a_sample_of_each_class(browser, tmp_path, capsys, kind):
    for seed, name in enumerate(["train/cat/0", "train/cat/1", "train/dog/0", "test/dog/1"]):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        ek.write(tmp_path / "pets" / f"{name}.aedat", make_events(500, seed=seed))
    store, out = tmp_path / "pets.zarr", tmp_path / "a.html"
    assert main(["convert", str(tmp_path / "pets"), *kind, "--out", str(store)]) == 0
    assert main(["view", str(store), "--html", str(out), "--samples", "3"]) == 0
    browser.open(out)
    names = browser.run("Array.from(VIEWER.chooser.options, (o) => o.textContent)")
    assert sorted(names) == ["test 0: dog", "train 0: cat", "train 2: dog"]
    browser.key("n")
    browser.wait("VIEWER.state.sample === 1")
    assert browser.problems == []
    if kind[0] == "--frames":
        at = names.index("train 0: cat")
        browser.run(f"VIEWER.open({at})")
        wanted = viz.colourise(
            ek.open(store)["train"].frames[0], theme="dark" if browser.run("isDark()") else "light"
        )
        browser.run("VIEWER.seek(2)")
        assert np.array_equal(pixels(browser, (34, 34)), wanted[2])


def test_a_page_is_one_file_without_addresses(tmp_path):
    text = written(tmp_path / "a.html", make_events(10)).read_text()
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert len(re.findall(r"<script", text)) == 2


def test_every_asset_is_used():
    used = {name for names in pages.SCRIPTS.values() for name in names}
    known = {entry.name for entry in pages.ASSETS.iterdir()}
    assert known == used | set(pages.SHARED) | {"page.html", "page.css"}


def test_labels_are_found_by_name(tmp_path):
    assert find_labels(tmp_path / "x_td.dat") is None
    (tmp_path / "x_bbox.npy").touch()
    assert find_labels(tmp_path / "x_td.dat") == tmp_path / "x_bbox.npy"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no column"),
        ("start,stop\n1,2\n", "no column label or class"),
        ("start,stop,label\n1,x,a\n", "line 2: expected start, stop and label, found '1,x,a'"),
        ("start,stop,label\n1\n", "line 2"),
    ],
)
def test_bad_tables_of_labels_are_refused(tmp_path, text, problem):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(FormatError, match=problem):
        read_labels(tmp_path / "a.csv")
    with pytest.raises(OptionError, match=r"must end in \.csv"):
        read_labels(tmp_path / "a.json")


def test_tables_of_labels_may_have_units(tmp_path):
    (tmp_path / "a.csv").write_text("start,stop,label\n1ms,2s,wave\n\n5,6,7\n")
    intervals, boxes = read_labels(tmp_path / "a.csv")
    assert intervals == [(1000, 2_000_000, "wave"), (5, 6, "class 7")]
    assert boxes == []
