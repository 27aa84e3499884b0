"""The examination of a recording as a page."""

import numpy as np
import pytest
from browser import MISSING, PROGRAM, Browser
from eventkit.cli import main
from making import make_events

import eventkit as ek
from eventkit import doctor
from eventkit.pages.doctor import data

HOSTILE = "<img src=x onerror='document.title=1'>.aedat"


def test_rate_and_pixels_are_those_of_all_events(tmp_path):
    events = make_events(3000)
    events.x[:600], events.y[:600] = 7, 9
    ek.write(tmp_path / "a.aedat", events)
    found = data(doctor.examine(tmp_path / "a.aedat"), ek.stream(tmp_path / "a.aedat", chunk=100))
    since = events.t - events.t[0]
    assert np.array_equal(found["rate"]["counts"], np.bincount(since // found["rate"]["bin"]))
    assert found["rate"]["counts"].sum() == 3000
    assert (found["pixels"]["width"], found["pixels"]["height"]) == (34, 34)


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
def test_the_page_shows_the_findings(tmp_path, capsys):
    events = make_events(5000)
    events.x[::3], events.y[::3] = 7, 9
    ek.write(tmp_path / HOSTILE, events)
    out = tmp_path / "d.html"
    assert main(["doctor", str(tmp_path / HOSTILE), "--html", str(out)]) == 0
    assert "open it in a browser" in capsys.readouterr().out
    (tmp_path / "cut.aedat").write_bytes((tmp_path / HOSTILE).read_bytes()[:-3])
    assert main(["doctor", str(tmp_path / "cut.aedat"), "--html", str(tmp_path / "c.html")]) == 3
    ek.write(tmp_path / "empty.es", ek.Events.empty((34, 34)))
    main(["doctor", str(tmp_path / "empty.es"), "--html", str(tmp_path / "e.html")])
    with Browser(tmp_path / "browser") as browser:
        for name in ("d", "c", "e"):
            browser.open(tmp_path / f"{name}.html")
            assert browser.problems == []
            assert browser.outside == []
            assert browser.run("document.querySelectorAll('img').length") == 0
            assert browser.run("document.querySelectorAll('.findings tr').length") >= 2
            levels = browser.run(
                "Array.from(document.querySelectorAll('.level-damage'), e => 1).length"
            )
            assert (levels > 0) == (name == "c")
        browser.open(out)
        assert HOSTILE in browser.run("PAGE.textContent")
    assert main(["doctor", str(tmp_path / HOSTILE), "--html", str(out)]) == 1
