"""The viewer of events that are still arriving."""

import http.client
import json
import threading
from urllib.parse import urlsplit

import numpy as np
import pytest
from browser import MISSING, PROGRAM, Browser
from eventkit.cli import main
from making import make_events

import eventkit as ek
from eventkit import viz
from eventkit.pages.live import LiveViewer


def ask(viewer, path, host=None):
    address = urlsplit(viewer.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_only_who_knows_the_address_is_answered():
    with LiveViewer("a") as viewer:
        path = urlsplit(viewer.url).path
        assert urlsplit(viewer.url).hostname == "127.0.0.1"
        assert ask(viewer, path)[0] == 200
        assert ask(viewer, path, "evil.example")[0] == 403
        assert ask(viewer, "/")[0] == 404
        assert ask(viewer, "/events?after=0")[0] == 404


def test_answers_hold_the_events_since_the_last_one(monkeypatch):
    monkeypatch.setattr("eventkit.pages.live.PATIENCE", 0.05)
    events = make_events(1000)
    with LiveViewer("a") as viewer:
        assert viewer.answer(0) == {"last": 0, "ended": False}
        viewer.add(events[:400])
        first = viewer.answer(0)
        viewer.add(events[400:])
        second = viewer.answer(first["last"])
        assert (first["last"], second["last"]) == (400, 1000)
        assert (first["total"], second["block"]["n"]) == (400, 600)
        assert second["since"] == events.t[400] - events.t[0]
        path = f"{urlsplit(viewer.url).path}events?after=1000"
        assert json.loads(ask(viewer, path)[1]) == {"last": 1000, "ended": False}
        assert json.loads(ask(viewer, path.replace("1000", "x"))[1])["last"] == 1000


def test_too_many_events_are_thinned_and_the_oldest_forgotten(monkeypatch):
    monkeypatch.setattr("eventkit.pages.live.BLOCK", 100)
    monkeypatch.setattr("eventkit.pages.live.HELD", 500)
    events = make_events(1000)
    with LiveViewer("a") as viewer:
        for i in range(0, 1000, 100):
            viewer.add(events[i : i + 100])
        answer = viewer.answer(0)
    assert (answer["block"]["n"], answer["total"]) == (100, 1000)
    assert answer["since"] == events.t[500] - events.t[0]


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
def test_the_page_shows_events_as_they_arrive(tmp_path):
    events = make_events(4000, step=50)
    with Browser(tmp_path / "browser") as browser:
        with LiveViewer("<img src=x>", window=20_000) as viewer:
            browser.theme("dark")
            browser.open(viewer.url)
            viewer.add(events[:1000])
            browser.wait("VIEWER?.sample?.n === 1000")
            viewer.add(events[1000:])
            browser.wait("VIEWER.sample.n === 4000")
            browser.wait("VIEWER.state.now + 20000 > VIEWER.sample.length")
            newest = events.between(start=int(events.t[-1]) - 19_999)
            assert f"{len(newest)} events" in browser.run("VIEWER.caption.textContent")
            browser.run("VIEWER.setWindow(20000); VIEWER.seek(0)")
            script = "Array.from(VIEWER.view.getContext('2d').getImageData(0, 0, 34, 34).data)"
            seen = np.array(browser.run(script)).reshape(34, 34, 4)[:, :, :3]
            frame = ek.frames(events, duration=20_000)[0]
            ground = viz.palette("dark")[0]
            assert np.array_equal((seen != ground).any(axis=2), frame.any(axis=0))
            assert browser.problems == []
            assert all(url.startswith(viewer.url) for url in browser.outside)
            assert browser.run("document.querySelectorAll('img').length") == 0
        browser.wait("document.body.dataset.ended")
        assert "has ended" in browser.run("PAGE.textContent")


def test_a_growing_file_is_served(tmp_path, capsys):
    ek.write(tmp_path / "a.raw", make_events(500), "evt3")
    main(["view", str(tmp_path / "a.raw"), "--follow", "--seconds", "0.3"])
    assert "open http://127.0.0.1:" in capsys.readouterr().out
    assert threading.active_count() < 20


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--follow", "--html", "a.html"], "live input takes no --html"),
        (["--follow", "--rep", "voxel"], "live input takes no --rep"),
        (["--port", "80"], "only live input takes --port"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, problem, tmp_path, capsys):
    ek.write(tmp_path / "a.raw", make_events(5), "evt3")
    assert main(["view", str(tmp_path / "a.raw"), *options]) == 2
    assert problem in capsys.readouterr().err
