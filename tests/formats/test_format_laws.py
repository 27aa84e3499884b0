"""Laws that every file format obeys; a new format is tested by them as it is registered."""

import contextlib
import inspect
import itertools
from dataclasses import dataclass, field
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventkit import Events, FormatError, OptionError
from eventkit.events import Columns
from eventkit.formats import FORMATS, Report, beside, info, read, stream, write
from eventkit.formats.live.feed import Feed, Until
from eventkit.registry import bind


@dataclass(frozen=True)
class Holds:
    """What a format can hold, so that it gives back exactly what was written."""

    size: tuple[int, int] = (128, 128)
    beyond: int = 0  # how far coordinates may lie outside the size
    last: int = (1 << 31) - 1  # greatest time
    unsorted: bool = False
    nothing: bool = False  # no events at all
    sized: bool = True  # the file knows the sensor's size
    writing: dict[str, int] = field(default_factory=dict)  # options that make a file more varied
    library: bool = False  # a library reads it, which damage may keep busy: see the format's tests

    @property
    def options(self) -> dict[str, str]:
        """What a reader must be told."""
        return {} if self.sized else {"size": f"{self.size[0]}x{self.size[1]}"}


HOLDS = {
    "aedat3": Holds(
        (346, 260),
        beyond=1000,
        last=(1 << 62) - 1,
        unsorted=True,
        nothing=True,
        writing={"packet": 8},
    ),
    "aedat2": Holds((346, 260), unsorted=True, nothing=True),
    "aedat4": Holds(
        (346, 260),
        beyond=1000,
        last=(1 << 63) - 1,
        unsorted=True,
        nothing=True,
        writing={"packet": 8},
    ),
    "atis": Holds((240, 180), beyond=15, last=30_000_000, sized=False),
    "dat": Holds((304, 240), beyond=1000, nothing=True, unsorted=True),
    "evt2": Holds((640, 480), beyond=1000, last=1 << 33, nothing=True, unsorted=True),
    "evt21": Holds((640, 480), beyond=1000, last=1 << 33, nothing=True, unsorted=True),
    "evt3": Holds((346, 260), beyond=1000, last=(1 << 34) - 1, nothing=True),
    "spif": Holds((346, 260), beyond=1000, unsorted=True, sized=False),
    "bs2": Holds(beyond=128, last=(1 << 23) - 1, unsorted=True, sized=False),
    "es": Holds((346, 260), last=20_000_000, nothing=True),
    "hdf5": Holds((346, 260), beyond=1000, nothing=True, library=True),
    "parquet": Holds(
        (346, 260), beyond=1000, last=(1 << 63) - 1, unsorted=True, nothing=True, library=True
    ),
    "text": Holds((346, 260), beyond=1000, last=(1 << 63) - 2, unsorted=True, nothing=True),
    "npy": Holds(beyond=1000, last=(1 << 63) - 1, unsorted=True, sized=False, nothing=True),
    "npz": Holds((346, 260), beyond=1000, last=(1 << 63) - 1, unsorted=True, nothing=True),
}
WRITABLE = [name for name, entry in FORMATS.items() if entry.write is not None]
ON_TMP = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
each_format = pytest.mark.parametrize("name", WRITABLE)
OURS = [name for name in WRITABLE if not HOLDS.get(name, Holds()).library]
each_of_ours = pytest.mark.parametrize("name", OURS)


def holds(name: str) -> Holds:
    return HOLDS.get(name, Holds())


@st.composite
def recordings(draw, holds: Holds) -> Events:
    (width, height), far = holds.size, holds.beyond
    event = st.tuples(
        st.integers(0, holds.last),
        st.integers(0, width + far - 1),
        st.integers(0, height + far - 1),
        st.integers(0, 1),
    )
    rows = draw(st.lists(event, min_size=0 if holds.nothing else 1, max_size=50))
    rows = rows if holds.unsorted else sorted(rows, key=lambda row: row[0])
    t, x, y, p = np.array(rows, np.int64).reshape(-1, 4).T
    return Events(t, x, y, p, holds.size)


def example(name: str, n: int = 300) -> Events:
    """Random events in order of time that the format can hold, every seventh time twice."""
    rng = np.random.default_rng(1)
    width, height = holds(name).size
    t = np.cumsum(rng.integers(1, 90, n) * (np.arange(n) % 7 > 0))
    return Events(
        t,
        rng.integers(0, width, n),
        rng.integers(0, height, n),
        rng.integers(0, 2, n),
        (width, height),
    )


def written(name: str, folder: Path, events: Events | None = None) -> Path:
    path = folder / f"file{FORMATS[name].suffixes[0]}"
    write(path, example(name) if events is None else events, format=name, **holds(name).writing)
    return path


def joined(path: Path, name: str, chunk: int, **options) -> Events:
    """The recording read in chunks and put together."""
    return Events.concat(
        [part.copy() for part in stream(path, chunk, format=name, **options, **holds(name).options)]
    )


@each_format
def test_what_is_written_is_read(name, tmp_path):
    @ON_TMP
    @given(events=recordings(holds(name)))
    def law(events):
        path = written(name, tmp_path, events)
        assert read(path, **holds(name).options) == events

    law()


@each_format
def test_chunks_of_any_length_write_the_same_bytes(name, tmp_path):
    @ON_TMP
    @given(events=recordings(holds(name)), chunk=st.integers(1, 60))
    def law(events, chunk):
        whole = written(name, tmp_path, events).read_bytes()
        parts = [events[i : i + chunk] for i in range(0, len(events) + 1, chunk)]
        path = tmp_path / f"parts{FORMATS[name].suffixes[0]}"
        write(path, parts, format=name, **holds(name).writing)
        assert path.read_bytes() == whole

    law()


@each_format
def test_a_format_says_whether_it_keeps_the_size(name):
    assert FORMATS[name].sized == holds(name).sized


@each_format
def test_a_file_of_events_holds_nothing_beside_them(name, tmp_path):
    assert beside(written(name, tmp_path), format=name) == {}


@each_format
def test_writing_leaves_the_events_alone(name, tmp_path):
    events = example(name)
    before = events.copy()
    written(name, tmp_path, events)
    assert events == before


@each_format
@pytest.mark.parametrize("chunk", [1, 7, 299, 300, 10_000])
def test_chunks_of_any_length_are_the_whole(name, chunk, tmp_path):
    path = written(name, tmp_path)
    lengths = [len(part) for part in stream(path, chunk, **holds(name).options)]
    assert joined(path, name, chunk) == example(name)
    assert lengths == [min(chunk, 300 - i) for i in range(0, 300, chunk)]


class Pieces:
    """A source that gives bytes in pieces of some lengths, again and again."""

    def __init__(self, data: bytes, lengths: list[int]) -> None:
        self.data, self.lengths, self.at = data, itertools.cycle(lengths), 0

    def ready(self, wait: float) -> bool:
        # Nothing more is there when one piece was taken, unless somebody waits for it.
        self.waited = wait > 0 or not getattr(self, "taken", False)
        self.taken = False
        return self.waited

    def read(self, buffer: np.ndarray) -> int | None:
        piece = self.data[self.at : self.at + next(self.lengths)]
        buffer[: len(piece)] = np.frombuffer(piece, np.uint8)
        self.at, self.taken = self.at + len(piece), True
        return len(piece) or None


def arrived(name: str, data: bytes, lengths: list[int], strict: bool = True) -> tuple:
    """What `live` makes of bytes that come in pieces: events, and the report."""
    report, fmt = Report(), FORMATS[name]
    feed = Feed(Pieces(data, lengths), "-", Until())
    options = {} if "size" not in inspect.signature(fmt.live).parameters else holds(name).options
    bound = bind(fmt.live, {**options, "strict": strict}, name)
    parts = [e.copy() for e in fmt.live(feed, report, Columns(), **bound)]
    return Events.concat(parts), report


LIVE = [name for name in WRITABLE if FORMATS[name].live is not None]
each_live = pytest.mark.parametrize("name", LIVE)


@each_live
def test_bytes_that_come_in_any_pieces_are_the_events_of_the_file(name, tmp_path):
    @settings(max_examples=40, deadline=None)
    @given(events=recordings(holds(name)), lengths=st.lists(st.integers(1, 400), min_size=1))
    def law(events, lengths):
        path = written(name, tmp_path, events)
        found, report = arrived(name, path.read_bytes(), lengths)
        counted = Report()
        assert found == read(path, report=counted, **holds(name).options) == events
        assert report.counts == counted.counts

    law()


@each_live
def test_damaged_bytes_that_come_never_crash(name, tmp_path):
    whole = written(name, tmp_path, example(name, 60)).read_bytes()
    for seed in range(150):
        rng = np.random.default_rng(seed)
        data = mutant(whole, rng)
        for strict in (True, False):
            with contextlib.suppress(FormatError, OptionError):
                found, _ = arrived(name, data, rng.integers(1, 300, 9).tolist(), strict)
                assert len(found) <= len(data)


@each_format
def test_a_window_is_the_filtered_whole(name, tmp_path):
    events = example(name)
    path = written(name, tmp_path, events)

    @settings(max_examples=60, deadline=None)
    @given(
        ends=st.lists(st.sampled_from([None, -5, 0, *events.t[::9].tolist(), 10**15]), min_size=2)
    )
    def law(ends):
        start, stop = ends[:2]
        expected = events.between(start, stop)
        assert read(path, clock=(start, stop), **holds(name).options) == expected
        assert joined(path, name, 7, clock=(start, stop)) == expected

    law()


@each_format
def test_columns_are_filled_again_but_never_under_a_reader(name, tmp_path):
    events = example(name)
    path = written(name, tmp_path, events)
    options = holds(name).options
    into = Columns()
    first = read(path, into=into, **options)
    kept = first.copy()
    second = read(path, into=into, clock=(None, int(events.t[40])), **options)
    assert first == kept
    assert not np.shares_memory(first.t, second.t)
    del second
    third = read(path, into=into, clock=(None, int(events.t[30])), **options)
    assert third == events.between(None, int(events.t[30]))
    assert first == kept


@each_format
def test_a_loop_over_chunks_uses_no_more_than_two_sets_of_columns(name, tmp_path):
    if FORMATS[name].bound is None:
        pytest.skip("the format does not decode into columns")
    path = written(name, tmp_path)
    places = {part.t.ctypes.data for part in stream(path, 10, **holds(name).options)}
    assert len(places) == 2


@each_format
def test_a_format_declares_the_options_that_others_ask_for(name):
    options = inspect.signature(FORMATS[name].stream).parameters
    assert FORMATS[name].threads == ("threads" in options)
    assert FORMATS[name].expansion == ("expansion" in options)


@each_format
def test_start_and_stop_count_from_the_first_event(name, tmp_path):
    events = example(name)
    path = written(name, tmp_path, events)
    options = holds(name).options
    first, last = int(events.t[0]), int(events.t.max())
    a, b = (int(t) - first for t in events.t[[len(events) // 3, len(events) // 2]])
    for start, stop in ((a, b), (a, None), (None, b), (-5, b), (a, 10**18)):
        ends = [None if end is None else first + end for end in (start, stop)]
        assert read(path, start=start, stop=stop, **options) == events.between(*ends)
    assert joined(path, name, 7, start=a, stop=f"{b}us") == events.between(first + a, first + b)
    with pytest.raises(OptionError, match=r"after the first event, but the last .*clock=\(t0, t1"):
        read(path, start=last - first + 1, **options)


@each_format
def test_the_checksum_is_that_of_the_file(name, tmp_path):
    path = written(name, tmp_path)
    expected = google_crc32c.value(path.read_bytes())
    for window in ({}, {"clock": (10, 20)}):
        report = Report()
        read(path, report=report, **window, **holds(name).options)
        assert report.crc32c in (expected, None)


@each_format
def test_info_counts_right(name, tmp_path):
    events = example(name)
    path = written(name, tmp_path, events)
    facts = info(path, **holds(name).options)
    on = int(events.p.sum())
    expected = {
        "format": name,
        "bytes": path.stat().st_size,
        "size": events.size,
        "events": 300,
        "t0": int(events.t[0]),
        "t1": int(events.t[-1]),
        "on": on,
        "off": 300 - on,
        "x_max": int(events.x.max()),
        "y_max": int(events.y.max()),
        "backward_steps": 0,
        "out_of_bounds": 0,
        "counts": {},
        "warnings": [],
    }
    assert {key: facts[key] for key in expected} == expected
    assert facts["rate_hz"] == pytest.approx(300 / facts["duration_s"])


@each_of_ours
def test_a_file_cut_anywhere_is_refused_or_a_sound_prefix(name, tmp_path):
    events = example(name, 40)
    whole = written(name, tmp_path, events).read_bytes()
    path = tmp_path / f"cut{FORMATS[name].suffixes[0]}"
    every = max(1, len(whole) // 500)  # all lengths of a short file, and all near the end
    for length in {*range(0, len(whole), every), *range(max(0, len(whole) - 40), len(whole))}:
        path.write_bytes(whole[:length])
        for strict in (True, False):
            try:
                found = read(path, format=name, strict=strict, **holds(name).options)
            except FormatError:
                continue
            prefix = events[: len(found)]  # the size may be lost with the header
            assert all(
                np.array_equal(getattr(found, column), getattr(prefix, column)) for column in "txyp"
            )


def mutant(whole: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with bits flipped, or a part cut out, doubled, zeroed or replaced by noise."""
    data = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(data)))
        n = int(rng.integers(1, 40))
        match rng.integers(5):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                del data[at : at + n]
            case 2:
                data[at:at] = data[at : at + n]
            case 3:
                data[at : at + n] = bytes(len(data[at : at + n]))
            case _:
                data[at : at + n] = rng.bytes(n)
        if not data:
            return b"\0"
    return bytes(data)


def tolerant(name: str, path: Path, **options) -> tuple[Events, Report]:
    """A tolerant read and its report."""
    report = Report()
    options |= {"strict": False, "format": name, "report": report, **holds(name).options}
    return read(path, **options), report


def survives(name: str, path: Path) -> None:
    """Reading gives events or a FormatError, and the same events however it is done."""
    try:
        whole, report = tolerant(name, path)
    except FormatError:
        return
    assert len(whole) <= path.stat().st_size
    assert joined(path, name, 7, strict=False) == whole
    invalid = 0
    for start, stop in ((None, 2000), (2000, 9000), (9000, None)):
        window, counted = tolerant(name, path, clock=(start, stop))
        assert window == whole.between(start, stop)
        invalid += counted.counts["invalid"]
    assert invalid == report.counts["invalid"]
    with contextlib.suppress(FormatError):
        assert read(path, format=name, **holds(name).options) == whole


@each_of_ours
def test_damaged_files_never_crash_and_read_the_same_in_every_way(name, tmp_path):
    fuzz(name, tmp_path, range(250))


@pytest.mark.attack
@pytest.mark.slow
@each_of_ours
def test_many_damaged_files_never_crash(name, tmp_path):
    fuzz(name, tmp_path, range(250, 20_000))


def fuzz(name: str, folder: Path, seeds: range) -> None:
    whole = written(name, folder, example(name, 60)).read_bytes()
    path = folder / f"mutant{FORMATS[name].suffixes[0]}"
    for seed in seeds:
        path.write_bytes(mutant(whole, np.random.default_rng(seed)))
        survives(name, path)


@each_format
@pytest.mark.parametrize("strict", [True, False])
def test_noise_text_and_zeros_are_refused_or_read_but_never_crash(name, strict, tmp_path):
    path = tmp_path / f"noise{FORMATS[name].suffixes[0]}"
    rng = np.random.default_rng(0)
    for data in (
        rng.bytes(5000),
        b"some words, again and again\n" * 200,
        bytes(5000),
        b"\xff" * 5000,
    ):
        path.write_bytes(data)
        try:
            found = read(path, format=name, strict=strict, **holds(name).options)
        except FormatError:
            continue
        assert len(found) <= len(data)
