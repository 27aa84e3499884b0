"""What all formats of columns have in common: polarities, units in names, rounded coordinates."""

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from eventkit import Events, FormatError, OptionError
from eventkit.formats import Report, _limits, info, read, stream

LATER = 140_000  # rows: more than the first look takes in


def text(path, columns):
    names, rows = ",".join(columns), zip(*columns.values(), strict=True)
    lines = (",".join(map(str, (v.item() for v in row))) for row in rows)
    path.write_text("\n".join([names, *lines]) + "\n")


def npz(path, columns):
    np.savez(path, **columns)


def npy(path, columns):
    rows = np.empty(len(columns["x"]), [(name, c.dtype) for name, c in columns.items()])
    for name, column in columns.items():
        rows[name] = column
    np.save(path, rows)


def hdf5(path, columns):
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            file[f"events/{name}"] = column


def compound(path, columns):
    with h5py.File(path, "w") as file:
        npy(path.with_suffix(".npy"), columns)
        file["events"] = np.load(path.with_suffix(".npy"))


def mat(path, columns):
    savemat(path, columns)


def parquet(path, columns):
    table = pytest.importorskip("pyarrow").table(columns)
    pytest.importorskip("pyarrow.parquet").write_table(table, path)


KINDS = {
    "text": (text, "csv"),
    "npz": (npz, "npz"),
    "npy": (npy, "npy"),
    "hdf5": (hdf5, "h5"),
    "hdf5 compound": (compound, "h5"),
    "mat": (mat, "mat"),
    "parquet": (parquet, "parquet"),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def save(tmp_path):
    """A function that saves columns in a format and gives the path."""

    def make(kind, **columns):
        write, suffix = KINDS[kind]
        path = tmp_path / f"file.{suffix}"
        n = len(next(iter(columns.values())))
        columns = {"t": np.arange(n), "x": np.arange(n) % 9, "y": np.arange(n) % 7} | columns
        if len({"t", "p"} & {*columns}) == 1 and "p" not in columns:
            columns["p"] = np.ones(n, "i1")
        write(path, {name: np.asarray(column) for name, column in columns.items()})
        return path

    return make


def timed(save, kind, name, times):
    """A file whose times have a name."""
    write, suffix = KINDS[kind]
    path = save("npy", p=np.ones(len(times), "i1")).with_suffix(f".{suffix}")
    n = len(times)
    columns = {name: np.asarray(times), "x": np.arange(n), "y": np.arange(n), "p": np.arange(n) % 2}
    write(path, columns)
    return path


@each_kind
@pytest.mark.parametrize("dtype", ["i1", "f8"])
def test_zeros_beside_minus_one_are_no_events(save, kind, dtype):
    path = save(kind, p=np.array([-1, 0, 1, 0, -1], dtype))
    report = Report()
    found = read(path, size="9x9", report=report)
    assert found == Events([0, 2, 4], [0, 2, 4], [0, 2, 4], [0, 1, 0], (9, 9))
    assert report.counts == {"invalid": 2}
    window = Report()
    assert read(path, size="9x9", clock=(1, 3), report=window) == found.between(1, 3)
    assert window.counts == {"invalid": 1}
    assert info(path)["size"] == (5, 5)


@each_kind
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, 0], [0, 1, 0]),
        ([-1, 1, -1], [0, 1, 0]),
        ([1, 2, 1], [0, 1, 0]),
        ([1, 1, 1], [1, 1, 1]),
        ([0, 0, 0], [0, 0, 0]),
    ],
)
def test_two_values_are_OFF_and_ON(save, kind, values, expected):
    path = save(kind, p=np.array(values, "i2"))
    report = Report()
    assert read(path, size="9x9", report=report).p.tolist() == expected
    assert not report.counts


@each_kind
def test_an_option_names_the_convention(save, kind):
    path = save(kind, p=np.array([0, 1, 1], "i1"))
    report = Report()
    assert read(path, size="9x9", polarity="-1/+1", report=report).t.tolist() == [1, 2]
    assert report.counts == {"invalid": 1}
    path = save(kind, p=np.array([1, 1, 1], "i1"))
    assert read(path, size="9x9", polarity="1/2").p.tolist() == [0, 0, 0]
    with pytest.raises(OptionError, match="polarity is 'x', expected one of 0/1, -1/\\+1, 1/2"):
        read(path, size="9x9", polarity="x")


@each_kind
@pytest.mark.parametrize(
    ("first", "then", "wanted"), [(0, -1, r"-1/\+1"), (1, 2, "1/2")], ids=["signed", "two"]
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_later_contradiction_is_an_error_that_names_the_option(
    save, kind, first, then, wanted, strict
):
    if kind == "mat":
        pytest.skip("a .mat file is in memory as a whole, so that nothing comes later")
    p = np.full(LATER, first, "i1")
    p[-1] = then
    path = save(kind, p=p)
    with pytest.raises(FormatError, match=f"has p = {then}, .*polarity={wanted}"):
        read(path, size="9x9", strict=strict)
    options = {"size": "9x9", "polarity": wanted.replace("\\", "")}
    assert read(path, **options).p.tolist() == ([0] if then == -1 else [0] * (LATER - 1) + [1])


@each_kind
def test_rows_of_one_alone_tell_nothing_yet(save, kind):
    p = np.ones(LATER, "i1")
    p[-3:] = [0, -1, 1]
    path = save(kind, p=p)
    report = Report()
    found = read(path, size="9x9", report=report)
    assert report.counts == {"invalid": 1}
    assert found.p.tolist() == [1] * (LATER - 3) + [0, 1]
    whole = [part.copy() for part in stream(path, 1000, size="9x9", clock=(LATER - 3, None))]
    assert Events.concat(whole) == found.between(LATER - 3)


def test_a_window_by_an_index_takes_the_polarities_of_the_file(tmp_path):
    path = tmp_path / "file.h5"
    n = 300_000
    p = np.ones(n, "i1")
    p[: n // 2] = -1
    p[200_000:] = 0
    with h5py.File(path, "w") as file:
        group = file.create_group("prophesee/left")
        for name, column in (("t", np.arange(n)), ("x", np.zeros(n)), ("y", np.zeros(n)), ("p", p)):
            group.create_dataset(name, data=column, chunks=(1000,))
        group["ms_map_idx"] = np.arange(0, n, 1000)
    report = Report()
    assert len(read(path, clock=(250_000, None), report=report)) == 0
    assert report.counts == {"invalid": 50_000}


def test_events_given_as_arrays_may_not_mix_the_conventions():
    with pytest.raises(OptionError, match=r"column p has both -1 and 0.*remove"):
        Events([1, 2, 3], [0, 0, 0], [0, 0, 0], [-1, 0, 1], (1, 1))


@each_kind
@pytest.mark.parametrize(
    ("name", "times", "expected"),
    [
        ("t_us", [5.0, 7.5, 9.0], [5, 8, 9]),
        ("timestamp_us", [5, 7, 9], [5, 7, 9]),
        ("timestamp_ms", [5, 7, 9], [5000, 7000, 9000]),
        ("Time_ms", [5.0, 7.5, 9.0], [5000, 7500, 9000]),
        ("t_s", [5, 7, 9], [5_000_000, 7_000_000, 9_000_000]),
        ("t_ns", [15 * 10**17, 15 * 10**17 + 1501], [15 * 10**14, 15 * 10**14 + 2]),
    ],
)
def test_the_unit_is_that_of_the_name(save, kind, name, times, expected):
    path = timed(save, kind, name, times)
    report = Report()
    assert read(path, size="9x9", report=report).t.tolist() == expected
    assert read(path, size="9x9", unit="ns").t.tolist() == [round(t / 1000 + 1e-9) for t in times]


@pytest.mark.parametrize("name", ["t [us]", "Timestamp (µs)", "time(us)", "timestamp us"])
def test_units_in_brackets(save, name):
    path = timed(save, "text", name, [0.5, 7.5, 9.0])
    assert read(path, size="9x9").t.tolist() == [1, 8, 9]


@each_kind
def test_times_that_cannot_be_us_are_noted(save, kind):
    odd = {
        "after the year 2100": [15 * 10**17, 15 * 10**17 + 5],
        "more than a year": [0, 10**15],
    }
    for reason, times in odd.items():
        warnings = info(timed(save, kind, "t", times), size="9x9")["warnings"]
        assert len(warnings) == 1
        assert reason in warnings[0]
        assert "unit=" in warnings[0]
    path = timed(save, kind, "t", [0, 10**13, 2 * 10**13, 4 * 10**13])
    report = Report()
    for _ in stream(path, 1, report=report, size="9x9"):
        pass
    assert "from 0 to 40,000,000,000,000 µs" in report.notes[0]
    assert not info(timed(save, kind, "t", [15 * 10**14, 15 * 10**14 + 5]), size="9x9")["warnings"]
    assert not info(timed(save, kind, "t_ns", odd["after the year 2100"]), size="9x9")["warnings"]


@each_kind
def test_coordinates_with_fractions_are_rounded_on_request(save, kind):
    path = save(kind, x=np.array([1.5, 2.25, 2.0]), y=np.array([-0.25, 7.75, 3.5]))
    with pytest.raises(FormatError, match="round=true rounds"):
        read(path, size="9x9")
    found = read(path, size="9x9", round=True)
    assert (found.x.tolist(), found.y.tolist()) == ([2, 2, 2], [0, 8, 4])
    assert read(path, round=True).size == (3, 9)


def test_what_a_file_holds_never_makes_a_long_message(tmp_path):
    text, packed, fields = (tmp_path / name for name in ("a.csv", "a.npz", "a.npy"))
    np.savez(packed, **{f"array_{i}": [1] for i in range(3000)})
    np.save(fields, np.zeros(3, [(f"field_{i}", "u1") for i in range(300)]))
    text.write_text("".join(" ".join(["1.25"] * 6000) + "\n" for _ in range(3)))
    for path in (text, packed, fields):
        with pytest.raises(FormatError) as caught:
            read(path, size="9x9")
        assert len(str(caught.value)) < 600 + len(str(path))
    assert len(str(FormatError("a", None, "x" * 139_000))) < 1100


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_a_small_file_that_unpacks_to_much_is_read_on_request_only(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(_limits, "ALWAYS", 100_000)
    columns = {name: np.zeros(3_000_000, "u1") for name in "txyp"}
    path = tmp_path / f"file.{kind}"
    if kind == "npz":
        np.savez_compressed(path, **columns)
    else:
        parquet(path, columns)
    with pytest.raises(FormatError, match=r"its events would unpack to 39,000,000 .*expansion=\d+"):
        read(path, size="9x9")
    assert len(read(path, size="9x9", expansion=1_000_000)) == 3_000_000
