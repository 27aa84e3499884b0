"""Events stores: every event as it was, in any slice of time, whatever made the store."""

import json
import pickle
import signal

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from making import eventkit, make_events, make_gestures, tree_hash

import eventkit as ek
from eventkit import Events
from eventkit.conversion import convert, grids, task
from eventkit.errors import OptionError, StoreError
from eventkit.store import Store, ragged
from eventkit.store.ragged import EventsChecksum
from eventkit.store.verify import verify


def to(path, gestures, **options):
    options = {"represent": "events", "workers": 2, **options}
    return convert("dvsgesture", root=gestures, out=path, **options)


@pytest.fixture(scope="module")
def undisturbed(gestures, tmp_path_factory):
    path = tmp_path_factory.mktemp("events") / "store.zarr"
    to(path, gestures)
    return path


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 64 events, four a shard, so that small samples have many of both."""
    monkeypatch.setattr(grids, "segments", lambda n, typical: grids.Segments(n, 2, 64, 256))


def windows(gestures):
    """(split, row, events of the recording's window), the truth of what is stored."""
    for split, names in (("train", ("user01", "user02", "user03")), ("test", ("user04",))):
        for number, name in enumerate(names):
            events = ek.read(gestures / f"{name}_led.aedat")
            for window in range(3):
                part = events.between(window * 15_000, (window + 1) * 15_000)
                yield split, 3 * number + window, part


# Law: what is read is what was recorded.


def test_events_are_those_of_the_windows(gestures, undisturbed):
    store = ek.open(undisturbed)
    for split, row, expected in windows(gestures):
        found = store[split].events(row)
        assert found == expected
        assert found.t.dtype == np.int64
        assert store[split].labels[row] == row % 3
        assert store[split].column("count")[row] == len(expected)
        assert store[split].column("t_start")[row] == expected.t[0]
        assert store[split].column("t_end")[row] == expected.t[-1]
        digest = EventsChecksum()
        digest.add(expected)
        assert store[split].column("events_crc")[row] == digest.value


def test_a_slice_of_time_is_that_of_the_sample(gestures, small_chunks, tmp_path):
    to(tmp_path / "s.zarr", gestures)
    store = ek.open(tmp_path / "s.zarr")
    rng = np.random.default_rng(0)
    for split, row, events in windows(gestures):
        assert store[split].events(row) == events
        times = [int(rng.choice(events.t)) + int(rng.integers(-1, 2)) for _ in range(12)]
        limits = [(a, b) for a, b in zip(times[::2], times[1::2], strict=True)]
        limits += [(None, times[0]), (times[0], None), (-5, 10**9), (10**9, 10**9 + 1), (-9, -5)]
        for start, stop in limits:
            assert store[split].events(row, start=start, stop=stop) == events.between(start, stop)


def test_a_slice_decodes_only_its_chunks(gestures, small_chunks, tmp_path, monkeypatch):
    to(tmp_path / "s.zarr", gestures)
    split = ek.open(tmp_path / "s.zarr")["train"]
    decoded = []
    inner = ragged.Ragged._chunk
    monkeypatch.setattr(
        ragged.Ragged,
        "_chunk",
        lambda self, name, *place: decoded.append((name, *place)) or inner(self, name, *place),
    )
    whole = split.events(0)
    assert len(decoded) == 4 * -(-len(whole) // 64)
    decoded.clear()
    assert split.events(0, start=int(whole.t[640]), stop=int(whole.t[650])) == whole[640:650]
    assert len(decoded) == 5  # t of the chunk before too: it could end with the same time
    decoded.clear()
    batch = split.read_events([0], columns="xyp")
    assert {name for name, *_ in decoded} == {"x", "y", "p"}
    assert not batch[0].t.any()


@st.composite
def samples_of_events(draw):
    size = draw(st.sampled_from([(1, 1), (34, 34), (128, 128), (256, 257), (1280, 720)]))
    made = []
    for _ in range(draw(st.integers(1, 4))):
        n = draw(st.integers(0, 300))
        rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        steps = rng.choice(
            [0, 1, 7, 255, 256, 65_536, 2**32 - 1], n, p=[0.3, 0.3, 0.2, *[0.05] * 4]
        )
        start = draw(st.integers(-(2**60), 2**60))
        columns = [rng.integers(0, high, n) for high in (*size, 2)]
        made.append(Events(start + np.cumsum(steps), *columns, size))
    return made


@settings(max_examples=25, deadline=None)
@given(samples_of_events(), st.sampled_from(["fast", "small"]))
def test_any_events_come_back(tmp_path_factory, samples, codec):
    root = tmp_path_factory.mktemp("any")
    (root / "all/one").mkdir(parents=True)
    for number, events in enumerate(samples):
        ek.write(root / "all/one" / f"{number}.npz", events)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grids, "segments", lambda n, typical: grids.Segments(n, 3, 64, 128))
        convert(root / "all", represent="events", out=root / "s.zarr", codec=codec, workers=1)
    split = ek.open(root / "s.zarr")["all"]
    for row, events in enumerate(samples):
        assert split.events(row) == events
    batch = split.read_events(list(range(len(samples))))
    assert [batch[k] for k in range(len(batch))] == samples


def test_a_batch_uses_its_memory_again(gestures, undisturbed):
    split = ek.open(undisturbed)["train"]
    truth = [split.events(row) for row in range(9)]
    batch = split.read_events([3, 0, 8, 3])
    assert [batch[k] for k in range(4)] == [truth[3], truth[0], truth[8], truth[3]]
    memory = batch.t.__array_interface__["data"][0]
    again = split.read_events([1, 2], batch)
    assert again is batch
    assert [batch[k] for k in range(2)] == [truth[1], truth[2]]
    assert batch.t.__array_interface__["data"][0] == memory
    assert len(split.read_events([], batch)) == 0
    with pytest.raises(StoreError, match=r"samples 1\.\.9 of 9"):
        split.read_events([1, 9])


def test_a_pickled_split_reads_on(undisturbed):
    split = ek.open(undisturbed)["test"]
    first = split.events(0)
    assert pickle.loads(pickle.dumps(split)).events(0) == first


def test_frames_from_events_are_the_frames_stored(gestures, undisturbed, tmp_path):
    to(tmp_path / "f.zarr", gestures, represent="frames:n=4")
    frames, events = ek.open(tmp_path / "f.zarr"), ek.open(undisturbed)
    for split in frames:
        for row in range(len(frames[split])):
            np.testing.assert_array_equal(
                frames[split].frames[row], ek.frames(events[split].events(row), n=4)
            )


def test_zarr_reads_the_columns_without_us(gestures, undisturbed):
    group = zarr.open_group(undisturbed, mode="r")["train"]
    segment, start, count = (group[name][:] for name in ("segment", "start", "count"))
    for split, row, expected in windows(gestures):
        if split != "train":
            continue
        where = segment[row], slice(start[row], start[row] + count[row])
        t = group["t_start"][row] + np.cumsum(group["events/t"][where], dtype=np.int64)
        first, last = start[row] // 8, -(-(start[row] + count[row]) // 8)
        p = np.unpackbits(group["events/p"][segment[row], first:last], bitorder="little")
        columns = t, group["events/x"][where], group["events/y"][where], p[: count[row]]
        assert Events(*columns, expected.size) == expected


# Law: the same bytes, whatever the engine, the number of workers or of interruptions.


SLOW = pytest.param("processes", 2, marks=pytest.mark.slow)
MORE = [pytest.param(p, marks=pytest.mark.slow) for p in ("before_journal:2", "before_root:1")]


@pytest.mark.parametrize(("engine", "workers"), [("threads", 1), ("threads", 5), SLOW])
def test_engine_and_workers_do_not_change_a_byte(engine, workers, gestures, undisturbed, tmp_path):
    to(tmp_path / "s.zarr", gestures, engine=engine, workers=workers)
    assert tree_hash(tmp_path / "s.zarr") == tree_hash(undisturbed)


@pytest.mark.parametrize("point", ["before_rename:6", *MORE])
def test_killed_anywhere_and_run_again_is_the_same_store(point, gestures, undisturbed, tmp_path):
    out = tmp_path / "s.zarr"
    command = ["convert", "dvsgesture", "--events", "--root", gestures, "--out", out]
    assert eventkit(*command, EVENTKIT_FAILPOINT=point).returncode == -signal.SIGKILL
    to(out, gestures)
    assert tree_hash(out) == tree_hash(undisturbed)
    assert sorted(tmp_path.iterdir()) == [out]


CROPS = ("crop:x=10,y=20,width=64,height=32", "crop_time:start=1000,stop=9000")


def test_a_sample_too_long_for_memory_is_streamed(gestures, tmp_path, monkeypatch):
    to(tmp_path / "whole.zarr", gestures, transform=CROPS)
    monkeypatch.setattr(task, "MAX_EVENTS", 100)
    to(tmp_path / "chunks.zarr", gestures, transform=CROPS)
    assert tree_hash(tmp_path / "whole.zarr") == tree_hash(tmp_path / "chunks.zarr")


# Law: no event is lost without a word.


def test_the_ledger_balances(gestures, tmp_path):
    to(tmp_path / "s.zarr", gestures, transform=CROPS)
    for split in ek.open(tmp_path / "s.zarr").values():
        ledger = split.ledger
        lost = ledger["dropped_crop"] + ledger["dropped_crop_time"] + ledger["invalid"]
        np.testing.assert_array_equal(ledger["read"], lost + ledger["binned"])
        np.testing.assert_array_equal(ledger["binned"], split.column("count"))
        assert ledger["dropped_crop"].sum() > 0
        assert split.ragged.size == (64, 32)


def test_time_that_goes_back_is_sorted_and_counted(tmp_path):
    root = make_gestures(tmp_path / "raw", recordings=2, windows=1)
    path = root / "user01_led.aedat"
    events = ek.read(path)
    order = np.arange(len(events))
    order[[100, 101, 500, 900]] = [101, 100, 900, 500]
    ek.write(path, events[order])
    to(tmp_path / "s.zarr", root)
    split = ek.open(tmp_path / "s.zarr")["train"]
    assert split.ledger["backward_steps"][0] > 0
    assert split.events(0) == events[order].between(0, 15_000).sort()


@pytest.fixture
def digits(tmp_path):
    root = tmp_path / "digits"
    for number in range(12):
        for split in ("Train", "Test"):
            folder = root / split / str(number % 10)
            folder.mkdir(parents=True, exist_ok=True)
            ek.write(folder / f"{number:05d}.bin", make_events(200 + 10 * number, seed=number))
    return root


def test_events_outside_the_sensor_are_refused_or_counted(digits, tmp_path):
    events = make_events(300)
    x = events.x.copy()
    x[[7, 9]] = 40
    ek.write(digits / "Train/0/00000.bin", Events(events.t, x, events.y, events.p, (41, 34)))
    with pytest.raises(OptionError, match="leave them out with events:bounds=drop"):
        convert("nmnist", root=digits, out=tmp_path / "s.zarr", represent="events")
    out = tmp_path / "d.zarr"
    convert("nmnist", root=digits, out=out, represent="events:bounds=drop")
    split = ek.open(out)["train"]
    assert split.ledger["out_of_bounds"].tolist() == [2] + [0] * 11
    assert len(split.events(0)) == 298


def test_a_pause_that_no_difference_holds_is_refused(tmp_path):
    (tmp_path / "raw/one").mkdir(parents=True)
    ek.write(tmp_path / "raw/one/a.npz", Events([0, 2**32], [0, 0], [0, 0], [0, 1], (4, 4)))
    with pytest.raises(OptionError, match="nothing happens for 4,295 s before t=4294967296 µs"):
        convert(tmp_path / "raw", represent="events", out=tmp_path / "s.zarr")


# What a store of events is said to be.


def test_frames_of_an_events_store_say_what_to_do(gestures, undisturbed, tmp_path):
    with pytest.raises(StoreError, match="represent="):
        _ = ek.open(undisturbed)["train"].frames
    to(tmp_path / "f.zarr", gestures, represent="frames:n=1")
    with pytest.raises(StoreError, match="convert with --events"):
        ek.open(tmp_path / "f.zarr")["train"].events(0)


def test_store_and_split_say_what_they_hold(undisturbed):
    store = ek.open(undisturbed)
    assert repr(store).endswith("train 9 x events, test 3 x events)")
    assert repr(store["train"]) == "Split('train': 9 samples, events)"
    assert "t uint32, x uint8, y uint8, p uint8" in repr(store["train"].ragged)
    assert store.kind == "events"
    assert "chunk_t" not in " ".join(store["train"].columns)


def test_commands_tell_of_events(run, gestures, undisturbed, tmp_path):
    told = json.loads(run("inspect", undisturbed, "--json")[1])
    assert told["command"] == "eventkit convert dvsgesture --events"
    assert told["kind"] == "events"
    assert told["events"] == sum(told["ledger"][split]["binned"] for split in told["ledger"])
    assert 2 < told["bytes_per_event"] < 5
    assert "events" in run("inspect", undisturbed)[1]
    command = ["convert", "dvsgesture", "--events", "--root", gestures]
    command += ["--out", tmp_path / "s.zarr"]
    assert "events:bounds=raise" in run(*command, "--dry-run")[1]
    assert "stored" in run(*command)[1]
    assert run(*command, "--by", "time")[0] == 2
    assert run(*command, "--frames", 4)[0] == 2


# Law: any flipped bit, cut or missing file is reported, and never returned as data.


def test_damage_is_reported_and_never_read(gestures, tmp_path):
    path = tmp_path / "s.zarr"
    to(path, gestures)
    truth = [split.events(row) for split in Store(path).values() for row in range(len(split))]
    rng = np.random.default_rng(0)

    def check():
        assert verify(path), "not reported"
        try:
            found = [s.events(row) for s in Store(path).values() for row in range(len(s))]
        except StoreError:
            return
        assert found == truth

    assert verify(path) == []
    files = [
        file for file in sorted(path.rglob("*")) if file.is_file() and "train" not in str(file)
    ]
    shards = [file for file in files if file.name.startswith("c.") and "/events/" in str(file)]
    for file in [*rng.choice(shards, 4, replace=False), *rng.choice(files, 4, replace=False)]:
        whole = file.read_bytes()
        changed = bytearray(whole)
        bit = int(rng.integers(0, 8 * len(whole)))
        changed[bit // 8] ^= 1 << (bit % 8)
        file.write_bytes(changed)
        check()
        file.write_bytes(whole[: int(rng.integers(len(whole)))])
        check()
        file.unlink()
        check()
        file.write_bytes(whole)
    assert verify(path) == []


@pytest.mark.parametrize(
    ("samples", "typical", "expected"),
    [
        (1176, 380_000, (16, 65536, 1 << 23)),  # DVS128 Gesture: 74 jobs
        (60000, 4172, (1024, 8192, 1 << 23)),  # N-MNIST: 59 jobs, one chunk a sample
        (1, 10**9, (1, 65536, 1 << 23)),  # one long recording
        (12, 100, (1, 1024, 1024)),  # a short index for a short segment
    ],
)
def test_segments_follow_the_rule(samples, typical, expected):
    made = grids.segments(samples, typical)
    assert (made.per_job, made.chunk, made.shard) == expected
