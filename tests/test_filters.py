"""Labelled noise, and how filters are scored on it."""

import json

import numpy as np
import pytest
from eventkit.cli import main
from making import make_events

import eventkit as ek
from eventkit import Events, OptionError
from eventkit.doctor.filters import filters, score_filters
from eventkit.simulate import simulate
from eventkit.simulate.noise import Noise, mix


def test_noise_has_the_rates_it_is_asked_for():
    noise = Noise((40, 30), rate_hz=10, hot_pixels=0.005, hot_hz=1000, seed=1)
    events = noise.between(5_000_000, 7_000_000)
    assert events.backward_steps == 0
    assert 5_000_000 <= events.t[0] <= events.t[-1] < 7_000_000
    hot = np.isin(events.y.astype(int) * 40 + events.x, noise.hot)
    assert len(noise.hot) == 6
    assert (~hot).sum() == pytest.approx(10 * (1200 - 6) * 2, rel=0.05)
    assert hot.sum() == pytest.approx(1010 * 6 * 2, rel=0.05)
    assert events.p[~hot].mean() == pytest.approx(0.5, abs=0.02)
    assert len(noise.between(7, 7)) == 0


def test_mixing_keeps_all_events_and_says_which_are_noise():
    signal = make_events(500, (40, 30), seed=2)
    noise = Noise((40, 30), seed=3).between(0, int(signal.t[-1]))
    both, is_noise = mix(signal, noise)
    assert both[~is_noise] == signal
    assert both[is_noise] == noise
    assert both.backward_steps == 0


def test_scores_by_hand():
    # Two neighbours 1 ms apart (signal), an isolated event (noise): only the second has support.
    events = Events(t=[0, 1000, 2000], x=[5, 6, 30], y=[5, 5, 30], p=[1, 1, 0], size=(34, 34))
    (score,) = score_filters(events, np.array([False, False, True]), ["background_activity"])
    assert (score.kept, score.precision, score.recall, score.removed) == (1, 1.0, 0.5, 1.0)
    assert score.rate > 0


def test_every_filter_is_scored_between_nothing_and_all():
    signal = make_events(3000, (34, 34), step=20)
    both, is_noise = mix(signal, Noise((34, 34), rate_hz=50).between(0, int(signal.t[-1])))
    scores = score_filters(both, is_noise)
    assert [score.spec for score in scores] == filters()
    assert {"stcf", "knoise", "background_activity", "refractory"} <= set(filters())
    for score in scores:
        assert min(score.precision, score.recall, score.removed) >= 0
        assert max(score.precision, score.recall, score.removed) <= 1
        assert score.kept == len(ek.transform(both, score.spec))


@pytest.mark.parametrize(
    ("labels", "spec", "message"),
    [
        (np.zeros(3, bool), "stcf", r"labels are bool \(3,\), expected bool \(10,\)"),
        (np.zeros(10, int), "stcf", "labels are int64"),
        (np.zeros(10, bool), "flip", "flip changes events"),
    ],
)
def test_what_cannot_be_scored_is_refused(labels, spec, message):
    with pytest.raises(OptionError, match=message):
        score_filters(make_events(10), labels, [spec])


def test_the_command_scores_a_simulated_recording(tmp_path, capsys):
    made = simulate("dvsgesture", tmp_path / "raw", subjects=2, lights=["led"], seconds=0.2,
                    noise_hz=20)  # fmt: skip
    labels = np.load(tmp_path / "raw/user01_led_noise.npy")
    recording = tmp_path / "raw/user01_led.aedat"
    events = ek.read(recording)
    assert len(labels) == len(events)
    assert 0.2 < labels.mean() < 1
    assert made["files"] == len(list((tmp_path / "raw").iterdir()))
    assert main(["bench-filters", str(recording), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["noise"] == int(labels.sum())
    best = {row["spec"]: row for row in told["filters"]}
    assert best["stcf"]["precision"] > 1 - labels.mean(), "it must be better than keeping all"
    assert main(["bench-filters", str(recording), "--transform", "stcf:support=3"]) == 0
    assert "stcf:support=3" in capsys.readouterr().out


def test_the_noise_of_a_recording_is_the_same_again_and_absent_unless_asked_for(tmp_path):
    made = {"subjects": 2, "lights": ["led"], "seconds": 0.1}
    for name in "ab":
        simulate("dvsgesture", tmp_path / name, noise_hz=5, **made)
    simulate("dvsgesture", tmp_path / "c", **made)
    a, b = (np.load(tmp_path / name / "user01_led_noise.npy") for name in "ab")
    assert np.array_equal(a, b)
    assert not list((tmp_path / "c").glob("*.npy"))


def test_missing_labels_are_one_sentence(tmp_path, capsys):
    ek.write(tmp_path / "a.npz", make_events(5))
    assert main(["bench-filters", str(tmp_path / "a.npz")]) == 1
    assert "a_noise.npy: no such file" in capsys.readouterr().err


def test_a_share_of_nothing_is_no_number(run, tmp_path):
    """A filter that keeps no event has no precision; without noise, none of it is removed."""
    events = make_events(3, (34, 34), step=10**6)
    (score,) = score_filters(events, np.zeros(3, bool), ["background_activity:duration=1us"])
    assert (score.kept, score.precision, score.recall, score.removed) == (0, None, 0.0, None)
    ek.write(tmp_path / "a.npz", events)
    np.save(tmp_path / "a_noise.npy", np.zeros(3, bool))
    spec = "background_activity:duration=1us"
    code, out, _ = run("bench-filters", tmp_path / "a.npz", "--transform", spec)
    assert code == 0
    assert out.splitlines()[-1].split()[1:4] == ["-", "0.0%", "-"]
