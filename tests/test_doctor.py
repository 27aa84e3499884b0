"""The doctor: numbers against slow twins, planted faults found, copies that are clean."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import make_events

import eventkit as ek
from eventkit import Events, FormatError, OptionError
from eventkit.doctor import examine, repair
from eventkit.doctor.facts import facts
from eventkit.doctor.findings import findings
from eventkit.doctor.mend import _sorted
from eventkit.doctor.survey import GAPS, PIXELS, Survey

SIZE = (40, 30)
PATIENT = settings(deadline=None)  # the first example compiles


@st.composite
def recordings(draw) -> Events:
    """Events on and beyond a small sensor, with ties, leaps, jumps back and repeats."""
    steps = st.one_of(
        st.integers(0, 40), st.integers(-3000, 3000), st.sampled_from([10**7, -(10**7)])
    )
    event = st.tuples(steps, st.integers(0, 4), st.integers(0, 3), st.integers(0, 1))
    rows = draw(st.lists(event, max_size=60))
    step, x, y, p = np.array(rows, np.int64).reshape(-1, 4).T
    return Events(np.cumsum(step) - 5000, x, y, p, (4, 3))


def surveyed(events: Events, chunk: int = 1 << 30) -> Survey:
    survey = Survey()
    for i in range(0, max(1, len(events)), chunk):
        survey.add(events[i : i + chunk])
    survey.finish()
    return survey


def uniform(seconds: float, rate: int, size=SIZE, seed=0, wave=None) -> Events:
    """Events at random pixels; `wave` gives the rate over time as a part of its maximum."""
    rng = np.random.default_rng(seed)
    n = int(seconds * rate)
    t = np.sort(rng.integers(0, int(seconds * 1e6), n))
    if wave is not None:
        t = t[rng.random(n) < wave(t / 1e6)]
    x, y = rng.integers(0, size[0], len(t)), rng.integers(0, size[1], len(t))
    return Events(t, x, y, rng.integers(0, 2, len(t)), size)


def found(events: Events, name: str) -> list[dict]:
    """The findings of one name that a recording gives."""
    told = facts(surveyed(events)) | {"notes": [], "counts": {}, "damage": None, "format": "es"}
    return [finding for finding in findings(told) if finding["name"] == name]


def level(events: Events, name: str) -> str:
    (finding,) = found(events, name)
    return finding["level"]


@PATIENT
@given(events=recordings(), chunk=st.integers(1, 20))
def test_a_survey_of_chunks_is_that_of_the_whole(events, chunk):
    assert facts(surveyed(events, chunk)) == facts(surveyed(events))


@PATIENT
@given(events=recordings())
def test_numbers_are_those_of_a_slow_twin(events):
    told = facts(surveyed(events))
    t = events.t.tolist()
    steps = np.diff(events.t)
    back = np.flatnonzero(steps < 0) + 1
    first = {"event": int(back[0]), "t": t[back[0]]} if len(back) else None
    assert told["order"] == {
        "backward_steps": len(back),
        "largest": max((-steps).max(initial=0), 0),
        "late_by": int((np.maximum.accumulate(events.t) - events.t).max(initial=0)),
        "first": first,
    }
    assert told["clock"] == {
        "same_time": int(np.count_nonzero(steps == 0)),
        "resolution": math.gcd(*steps.tolist()),
    }
    rows = zip(*(getattr(events, c).tolist() for c in "txyp"), strict=True)
    inside = [row for row in rows if row[1] < 4 and row[2] < 3]
    last, duplicates = {}, 0
    for event in inside:
        duplicates += last.get(event[1:3]) == event
        last[event[1:3]] = event
    assert told["duplicates"] == duplicates
    assert told["out_of_bounds"] == len(t) - len(inside)
    assert (told["on"], told["off"]) == (sum(events.p), len(t) - sum(events.p))
    assert (told["t0"], told["t1"]) == ((min(t), max(t)) if t else (None, None))
    assert told["pixels"]["active"] == len({e[1:3] for e in inside})


@PATIENT
@given(events=recordings())
def test_rates_and_gaps_of_ordered_events_are_those_of_a_slow_twin(events):
    events = events.sort()
    told = facts(surveyed(events))
    steps = np.diff(events.t)
    assert [gap["length"] for gap in told["gaps"]] == sorted(steps[steps > 0].tolist())[::-1][:GAPS]
    assert all(gap["t"] in events.t for gap in told["gaps"])
    assert told["rates"]["counted"] == len(events)
    if not len(events):
        return
    since = events.t - events.t[0]
    assert told["rates"]["busiest_second"] == np.unique(since // 10**6, return_counts=True)[1].max()
    if since[-1] >= 10_000:
        fullest = np.unique(since // 10_000, return_counts=True)[1].max()
        assert told["rates"]["peak_hz"] == 100 * fullest
        assert told["rates"]["mean_hz"] == pytest.approx(len(events) / since[-1] * 1e6)


def test_times_of_64_bits_do_not_disturb_the_count():
    ends = [-(1 << 63), (1 << 63) - 1, 0, (1 << 63) - 1]
    told = facts(surveyed(Events(ends, [0] * 4, [0] * 4, [0] * 4, (1, 1))))
    assert (told["t0"], told["t1"]) == (ends[0], ends[1])
    assert told["order"]["backward_steps"] == 1


def test_ordinary_events_have_nothing_to_remark(tmp_path):
    ek.write(tmp_path / "a.aedat4", uniform(1.2, 200_000))
    told = examine(tmp_path / "a.aedat4")
    assert told["level"] in ("ok", "note")  # by chance a pixel may fire twice in a µs
    assert told["damage"] is None
    assert {one["name"] for one in told["findings"] if one["level"] != "ok"} <= {"duplicates"}
    info = ek.info(tmp_path / "a.aedat4")
    same = ("path", "format", "bytes", "size", "events", "t0", "t1", "duration_s", "on", "off")
    assert {name: told[name] for name in same} == {name: info[name] for name in same}


def test_hot_pixels_are_found_and_only_they():
    events = uniform(1, 60_000)
    rng = np.random.default_rng(1)
    hot = rng.choice(SIZE[0] * SIZE[1], 5, replace=False)
    n = 2000
    extra = np.repeat(hot, n)
    t = np.concatenate([events.t, rng.integers(0, 10**6, 5 * n)])
    x = np.concatenate([events.x, extra % SIZE[0]])
    y = np.concatenate([events.y, extra // SIZE[0]])
    p = np.concatenate([events.p, np.ones(5 * n, np.uint8)])
    told = facts(surveyed(Events(t, x, y, p, SIZE).sort()))["pixels"]["hot"]
    assert {(one["x"], one["y"]) for one in told["listed"]} == {
        (i % SIZE[0], i // SIZE[0]) for i in hot
    }
    assert told["pixels"] == 5
    assert told["share"] > 5 * n / (len(events) + 5 * n)


def test_a_busy_edge_is_not_hot():
    events = uniform(1, 60_000)
    rng = np.random.default_rng(1)
    n = 50_000
    edge = Events(
        rng.integers(0, 10**6, n), rng.integers(10, 13, n), rng.integers(0, 30, n), [1] * n, SIZE
    )
    assert level(Events.concat([events, edge]).sort(), "hot pixels") == "ok"


def test_a_sensor_of_one_row_and_one_of_one_pixel_have_no_hot_pixels():
    for size in ((50, 1), (1, 1)):
        events = uniform(0.1, 100_000, size)
        assert level(events, "hot pixels") == "ok"


@pytest.mark.parametrize(("hz", "seconds"), [(50, 3), (100, 3), (120, 2), (60, 0.4)])
def test_flicker_is_found_with_its_depth(hz, seconds):
    def wave(t):
        return (1 + 0.5 * np.cos(2 * np.pi * hz * t + 1)) / 1.5

    (peak,) = facts(surveyed(uniform(seconds, 200_000, wave=wave)))["flicker"]
    assert peak["hz"] == hz
    assert peak["depth"] == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("seed", range(10))
def test_chance_and_slow_scenes_do_not_flicker(seed):
    def wave(t):
        return 0.5 + 0.5 * np.sin(2 * np.pi * 1.3 * t)

    for shape in (None, wave):
        assert (
            facts(surveyed(uniform(2 + seed % 3, 20_000, seed=seed, wave=shape)))["flicker"] == []
        )


def test_too_few_events_and_a_coarse_clock_tell_nothing_of_flicker():
    events = uniform(3, 50_000)
    coarse = Events(events.t // 10_000 * 10_000, events.x, events.y, events.p, SIZE)
    assert facts(surveyed(coarse))["flicker"] is None
    assert facts(surveyed(events[:500]))["flicker"] is None


def test_other_faults_have_their_findings():
    events = uniform(4, 20_000)
    assert level(events[(events.t < 10**6) | (events.t > 25 * 10**5)], "gaps") == "warning"
    assert level(events, "gaps") == "ok"
    assert level(events[events.p == 1], "polarity") == "note"
    assert level(events[(events.x < 20) & (events.y < 20)], "area") == "note"
    assert level(uniform(4, 40_000)[uniform(4, 40_000).x != 7], "area") == "note"
    milliseconds = Events(events.t // 1000 * 1000, events.x, events.y, events.p, SIZE)
    assert "resolution is 1,000 µs" in found(milliseconds, "clock")[0]["found"]
    at_once = Events(np.full(9, 1), range(9), range(9), [1] * 9, SIZE)
    assert level(at_once, "clock") == "warning"
    twice = Events(*(np.repeat(getattr(events, c), 2) for c in "txyp"), SIZE)
    assert level(twice, "duplicates") == "warning"
    assert level(Events.empty(SIZE), "events") == "warning"
    beyond = Events(events.t, events.x + 3, events.y, events.p, SIZE)
    assert "all events are within 43x30" in found(beyond, "bounds")[0]["advice"]
    assert [one["level"] for one in found(events[::-1], "order")] == ["warning", "note"]


def test_a_vast_sensor_is_not_looked_at_pixel_by_pixel():
    vast = Events([1, 2], [0, 65535], [0, 5], [1, 1], (65536, PIXELS // 65536 + 1))
    assert facts(surveyed(vast))["pixels"] is None
    assert level(vast, "pixels") == "note"


@pytest.fixture
def damaged(tmp_path) -> Path:
    """A recording with noise in one packet, cut off in another."""
    path = tmp_path / "damaged.aedat"
    ek.write(path, make_events(3000), packet=100)
    data = bytearray(path.read_bytes())
    data[5000:5100] = np.random.default_rng(0).bytes(100)
    path.write_bytes(data[:-13])
    return path


def test_damage_is_told_with_its_bytes_and_does_not_stop_the_examination(damaged):
    with pytest.raises(FormatError) as strict:
        ek.read(damaged)
    told = examine(damaged)
    assert told["level"] == "damage"
    assert told["damage"] == {"offset": strict.value.offset, "reason": strict.value.reason}
    assert told["events"] == len(ek.read(damaged, strict=False))
    assert told["counts"]["damaged places"] >= 1
    places = [one for one in told["findings"] if one["level"] == "damage"]
    assert places[0]["name"] == "damage"
    assert all("at byte " in one["found"] for one in places)


@pytest.mark.parametrize("name", ["aedat3", "aedat4", "evt3", "es"])
def test_examination_of_any_beginning_of_a_file_ends(name, tmp_path):
    path = tmp_path / "a"
    ek.write(path, make_events(200), format=name)
    whole = path.read_bytes()
    for length in range(1, len(whole), 41):
        path.write_bytes(whole[:length])
        try:
            told = examine(path, format=name)
        except FormatError:
            continue
        assert told["events"] <= 200


def test_what_is_no_recording_at_all_is_an_error(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_text("once upon a time")
    with pytest.raises(FormatError):
        examine(path)


@PATIENT
@given(events=recordings(), chunk=st.integers(1, 20), enough=st.integers(1, 30))
def test_sorting_by_parts_is_a_stable_sort_of_the_whole(events, chunk, enough):
    late_by = facts(surveyed(events))["order"]["late_by"]
    parts = [events[i : i + chunk] for i in range(0, len(events) + 1, chunk)]
    assert Events.concat(_sorted(parts, late_by, enough=enough)) == events.sort()


def test_sorting_of_local_disorder_holds_few_events():
    events = make_events(20_000)
    t = events.t + np.random.default_rng(0).integers(0, 500, len(events))
    mixed = Events(t, events.x, events.y, events.p, events.size)
    parts = [mixed[i : i + 100] for i in range(0, len(mixed), 100)]
    assert Events.concat(_sorted(parts, 500, enough=100, most=500)) == mixed.sort()
    with pytest.raises(OptionError, match="more than 500 events would have to be held"):
        list(_sorted(parts, 10**6, enough=100, most=500))


def test_a_repaired_copy_has_what_is_sound_on_the_sensor_and_in_order(tmp_path):
    path, out = tmp_path / "bad.aedat4", tmp_path / "good.aedat4"
    events = make_events(3000)
    rng = np.random.default_rng(0)
    bad = Events(events.t + rng.integers(0, 900, 3000), events.x + 2, events.y, events.p, (34, 34))
    ek.write(path, bad, packet=500)
    path.write_bytes(path.read_bytes()[:-3000])
    sound = ek.read(path, strict=False)
    kept = sound[sound.x < 34].sort()
    ledger = repair(path, out)
    assert ek.read(out) == kept
    assert ledger["clean"]
    assert ledger["read"] == len(sound) < 3000
    assert ledger["read"] == ledger["written"] + sum(ledger["dropped"].values())
    assert ledger["written"] == len(kept)
    assert ledger["sorted"] == sound.backward_steps
    assert ledger["before"]["level"] == "damage"
    assert ledger["after"]["damage"] is None
    assert ledger["after"]["order"]["backward_steps"] == ledger["after"]["out_of_bounds"] == 0


def test_a_format_without_the_size_is_examined_with_that_of_the_original(tmp_path):
    path, out = tmp_path / "a.bin", tmp_path / "b.bin"
    ek.write(path, make_events(500))
    ledger = repair(path, out, size="40x36")
    assert ledger["clean"]
    assert ledger["after"]["size"] == (40, 36)
    ledger = repair(path, tmp_path / "c.raw", to="evt3", writing={"t0": "first"})
    assert (ledger["format"], ledger["clean"], ledger["after"]["t0"]) == ("evt3", True, 0)


def test_a_copy_has_the_format_of_its_suffix_but_keeps_that_of_the_same_suffix(tmp_path):
    path = tmp_path / "a.aedat"  # AEDAT 2, whose suffix here is .aedat2
    ek.write(path, make_events(100, size=(128, 128)), "aedat2")
    for name, suffix in {"es": ".es", "aedat2": ".aedat", "evt2": ".raw"}.items():
        assert repair(path, tmp_path / f"copy{suffix}")["format"] == name


def test_repair_refuses_what_it_must_not_overwrite_and_cannot_write(tmp_path, damaged):
    out = tmp_path / "out.aedat"
    out.write_text("precious")
    with pytest.raises(OptionError, match=r"out\.aedat exists; use overwrite=True to replace it"):
        repair(damaged, out)
    with pytest.raises(OptionError, match="is the recording itself"):
        repair(damaged, damaged, overwrite=True)
    with pytest.raises(OptionError, match="is a folder"):
        repair(damaged, tmp_path, overwrite=True)
    (tmp_path / "a.bs1").write_bytes(bytes([0, 1, 128, 0, 9]) * 3)
    with pytest.raises(
        OptionError, match="bs1 can be read but not written; specify another format"
    ):
        repair(tmp_path / "a.bs1", tmp_path / "b.bs1")
    with pytest.raises(OptionError, match="evt3 has no option 'order'"):
        repair(damaged, tmp_path / "b.raw", to="evt3", writing={"order": "legacy"})
    assert out.read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"out.aedat", "damaged.aedat", "a.bs1"}


def test_the_command_says_what_was_found_and_exits_3_for_damage(run, damaged):
    code, out, err = run("doctor", damaged)
    assert (code, err) == (3, "")
    assert "DAMAGE  damage: at byte " in out
    assert "-> download or copy the file again" in out
    code, out, _ = run("doctor", damaged, "--json")
    assert code == 3
    assert json.loads(out)["level"] == "damage"


def test_the_command_repairs_and_examines_the_copy(run, damaged, tmp_path):
    out = tmp_path / "good.es"
    code, text, err = run("doctor", damaged, "--repair", out, "--format", "es")
    assert (code, err) == (0, "")
    assert "checked the copy: undamaged, sorted" in text
    assert run("doctor", out)[0] == 0
    assert run("doctor", damaged, "--repair", out, "--format", "es")[0] == 1
    code, text, _ = run(
        "doctor", damaged, "--repair", out, "--format", "es", "--overwrite", "--json"
    )
    assert code == 0
    assert json.loads(text)["clean"] is True


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ("doctor", "Missing argument 'FILE'"),
        ("doctor a --warm", "--warm takes no FILE"),
        ("doctor a --format es", "use --from SPEC for the input format"),
        ("doctor a --overwrite", "requires --repair OUT"),
    ],
)
def test_wrong_usage_is_named(run, argv, sentence):
    code, _, err = run(*argv.split())
    assert code == 2
    assert sentence in err


def test_warm_runs_every_writable_format(run):
    code, out, _ = run("doctor", "--warm", "--json")
    assert code == 0
    compiled = json.loads(out)["compiled"]
    writable = {name for name, fmt in ek.formats.FORMATS.items() if fmt.write}
    assert writable | {"frames", "voxel", "crop", "convert"} <= set(compiled)
    assert importlib.util.find_spec("torch") is None or {"lif", "psn", "adlif"} <= set(compiled)


def test_faults_of_real_recordings_are_found(samples):
    folder = samples / "recordings"
    told = examine(folder / "slayer" / "lavadl_oxford_output.bs1")
    assert told["order"]["backward_steps"] == 5143
    told = examine(folder / "aedat4" / "dvproc_python_sample_data.aedat4")
    assert told["clock"]["same_time"] == told["events"] - 1
    peaks = examine(folder / "ros" / "py_test_events_1.bag")["flicker"]
    assert [peak["hz"] for peak in peaks] == [120]
    (hot,) = examine(folder / "aedat2_set_objects" / "DataSet2__Tesoura.aedat")["pixels"]["hot"][
        "listed"
    ]
    (same,) = examine(folder / "aedat2_set_objects" / "NODS100__Lapiseira.aedat")["pixels"]["hot"][
        "listed"
    ]
    assert (hot["x"], hot["y"]) == (same["x"], same["y"])  # two sessions of one camera


def test_options_of_the_original_are_not_those_of_the_copy(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("t,x,y,p\n0.004,3,2,1\n0.001,1,2,0\n")
    ledger = repair(path, tmp_path / "b.csv", unit="s", size="4x4")
    assert ledger["clean"]
    assert ek.read(tmp_path / "b.csv").t.tolist() == [1000, 4000]
