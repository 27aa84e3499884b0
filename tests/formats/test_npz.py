"""NumPy files: the layouts of the data sets, no pickles, hostile headers."""

import io
import zipfile

import numpy as np
import pytest

from eventkit import Events, FormatError, OptionError
from eventkit.formats import Report, info, read, write

T, X, Y, P = [1, 5, 5, 900], [3, 2, 1, 9], [7, 5, 6, 4], [0, 1, 1, 0]
ROWS = list(zip(T, X, Y, P, strict=True))


def rows(events):
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


@pytest.fixture
def npy(tmp_path):
    """A function that saves an array and gives its path."""

    def save(array, name="file.npy"):
        np.save(tmp_path / name, array)
        return tmp_path / name

    return save


@pytest.fixture
def npz(tmp_path):
    """A function that saves arrays and gives their path."""

    def save(packed=False, **arrays):
        path = tmp_path / "file.npz"
        (np.savez_compressed if packed else np.savez)(path, **arrays)
        return path

    return save


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_of_columns(npz, packed):
    assert rows(read(npz(packed, t=T, x=X, y=Y, p=P))) == ROWS
    assert rows(read(npz(packed, ts=T, xs=X, ys=Y, ps=2 * np.array(P) - 1))) == ROWS
    assert rows(read(npz(packed, t=T, x=X, y=Y, p=np.array(P, bool)))) == ROWS


def test_columns_of_two_axes(npz):
    for shape in ((1, -1), (-1, 1)):
        for n in (2, 3, 4):
            columns = {
                k: np.reshape(v[:n], shape) for k, v in zip("txyp", (T, X, Y, P), strict=True)
            }
            assert rows(read(npz(**columns))) == ROWS[:n]


def test_seconds_and_units(npz):
    assert read(npz(t=[0.0, 1.5], x=[1, 2], y=[1, 2], p=[0, 1])).t.tolist() == [0, 1_500_000]
    path = npz(t=[0, 1500], x=[1, 2], y=[1, 2], p=[0, 1])
    for unit, last in {"s": 1500 * 10**6, "ms": 1_500_000, "us": 1500, "ns": 2}.items():
        assert read(path, unit=unit).t.tolist() == [0, last]


def test_tables_of_ES_ImageNet_have_y_first(npz):
    path = npz(pos=np.array([[7, 3, 1], [5, 2, 5]]), neg=np.array([[6, 1, 2]]))
    assert rows(read(path)) == [(1, 3, 7, 1), (5, 2, 5, 1), (2, 1, 6, 0)]
    assert read(path, sort=True).t.tolist() == [1, 2, 5]
    assert len(read(path, clock=(2, 3))) == 1


@pytest.mark.parametrize(
    "dtype",
    [
        [("t", "<i4"), ("x", "i1"), ("y", "i1"), ("p", "i1")],  # DVS-Lip
        [("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("p", "?")],  # N-ImageNet
        [("x", ">i2"), ("other", "f4"), ("timestamp", ">i8"), ("y", ">i2"), ("polarity", "u1")],
    ],
)
def test_structured_arrays(npy, npz, dtype):
    array = np.zeros(4, dtype)
    for name in array.dtype.names:
        array[name] = {"t": T, "x": X, "y": Y, "p": P}.get(name[0], 0)
    assert rows(read(npy(array))) == ROWS
    assert rows(read(npz(event_data=array))) == ROWS


@pytest.mark.parametrize("kind", ["<i8", ">i4", "<f8", "<f4"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("turned", [False, True])
def test_tables(npy, npz, kind, order, turned):
    many = [(10 * i + 1000, i % 7, 50 - i, i % 2) for i in range(40)]
    t, x, y, p = np.array(many, kind).T
    table = np.array(np.stack([x, y, p, t], axis=0 if turned else 1), kind, order=order)
    assert rows(read(npy(table))) == many
    assert rows(read(npz(events=table), unit="us")) == many
    assert rows(read(npy(table), columns="xy-t", size="9x99")) == [(*row[:3], 1) for row in many]


def test_an_order_that_cannot_be_told_is_asked_for(npy):
    path = npy(np.ones((3, 4)))
    with pytest.raises(FormatError, match="txyp or xytp or xypt fit"):
        read(path)
    assert len(read(path, columns="txyp")) == 3


def test_bad_rows_are_refused_with_their_number_or_counted(npz):
    good = {"t": np.arange(9.0), "x": np.zeros(9), "y": np.zeros(9), "p": np.zeros(9)}
    for name, value in (("x", 1.5), ("x", -1), ("y", 65536), ("p", 3), ("t", np.nan), ("t", 1e30)):
        columns = {key: column.copy() for key, column in good.items()}
        columns[name][4] = value
        path = npz(**columns)
        with pytest.raises(FormatError, match=f"event 4 has .*{name} = "):
            read(path, size="9x9", unit="us")
        report = Report()
        assert len(read(path, size="9x9", unit="us", strict=False, report=report)) == 8
        assert report.counts == {"invalid": 1}


def test_pickles_are_refused_and_never_run(npy, npz, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trapped"), "w"))

    array = np.array([Trap(), None], object)
    for path in (npy(array), npz(t=array, x=array)):
        with pytest.raises(FormatError, match="holds Python objects, a pickle, which may run any"):
            read(path, size="9x9")
    assert not (tmp_path / "trapped").exists()


def header(shape, descr="'<i8'", more=""):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}{more}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (header("(1 << 40, 4)"), "cannot be understood"),
        (header("(10**12, 4)"), "cannot be understood"),
        (header("(1000000000000, 4)"), "expected 1,000,000,000,000 rows"),
        (header("(-1,)"), "has the shape"),
        (header("(99999999999999999999,)"), "has the shape"),
        (header("(2, 2, 2)"), "has the shape"),
        (header("(4,)", "'V0'"), "expected arrays or fields"),
        (header("(4,)", "[('t','V0'),('x','<i2')]") + bytes(8), "no column of whole or real"),
        (header("(4,)", "[('t','<c8'),('x','<i2')]") + bytes(40), "no column of whole or real"),
        (header("(" * 900 + ")" * 900), "cannot be understood"),
        (b"\x93NUMPY\x09\x00" + bytes(20), "is of version 9"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", "has 2,147,483,647 bytes, too many"),
        (b"\x93NUMPY", "is no NumPy array"),
    ],
)
def test_hostile_headers(tmp_path, data, reason):
    path = tmp_path / "file.npy"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=reason):
        read(path, size="9x9")


def test_rows_that_are_missing_or_too_many_are_refused_or_counted(npy):
    path = npy(np.array([(7, 1, 2, 1), (8, 3, 4, 0)], "i8,u2,u2,u1").astype(
        [("t", "i8"), ("x", "u2"), ("y", "u2"), ("p", "u1")]))  # fmt: skip
    whole = path.read_bytes()
    for data, counts, n in (
        (whole[:-3], {"missing rows": 1}, 1),
        (whole + b"abc", {"trailing bytes": 3}, 2),
    ):
        path.write_bytes(data)
        with pytest.raises(FormatError, match=r"expected 2 rows of .* strict=False reads what is"):
            read(path)
        report = Report()
        assert len(read(path, strict=False, report=report)) == n
        assert report.counts == counts


def test_a_small_zip_that_unpacks_to_much_is_read_in_bounded_pieces(tmp_path):
    path = tmp_path / "file.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "tx":
            with archive.open(f"{name}.npy", "w") as member:
                member.write(header("(3000000,)", "'u1'"))
                member.write(bytes(3_000_000))
    assert path.stat().st_size < 10_000
    assert info(path, size="1x1")["events"] == 3_000_000


def test_what_holds_no_events_is_listed(npz, tmp_path):
    with pytest.raises(FormatError, match=r"holds a int64 \(3,\); expected arrays or fields t, x"):
        read(npz(a=[1, 2, 3]))
    with pytest.raises(FormatError, match=r"columns have different lengths: {'t': 2, 'x': 3}"):
        read(npz(t=[1, 2], x=[1, 2, 3]))
    other = tmp_path / "other.npz"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("words.txt", "no arrays")
    with pytest.raises(FormatError, match="holds no arrays"):
        read(other)


def test_a_flipped_bit_is_found_by_the_sum_of_the_zip(npz):
    path = npz(t=np.arange(1000), x=np.zeros(1000, "i8"), y=np.zeros(1000, "i8"))
    data = bytearray(path.read_bytes())
    data[4000] ^= 4
    path.write_bytes(data)
    with pytest.raises(FormatError, match="damaged or cut off: Bad CRC-32"):
        read(path)


@pytest.mark.parametrize("compress", [False, True])
def test_no_flipped_bit_changes_what_is_read(tmp_path, compress):
    """In data, headers and the directory, whose flips can rename or hide an array."""
    path = tmp_path / "file.npz"
    events = Events([1, 2, 900], [1, 2, 3], [4, 5, 6], [1, 0, 1], (34, 35))
    write(path, events, compress=compress)
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 3):  # which comes to all bits of a byte in three bytes
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            found = read(path)
        except FormatError:
            continue
        assert found == events, f"bit {bit}"


@pytest.mark.parametrize("packed", [False, True])
def test_a_flipped_bit_in_a_table_stored_by_columns_is_found(npz, packed):
    """Its columns are read side by side, each from its own place in the file."""
    table = np.asfortranarray(np.stack([np.arange(5000), *np.zeros((3, 5000), int)], 1))
    path = npz(packed, events=table)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)
    with pytest.raises(FormatError, match="damaged or cut off"):
        read(path, columns="txyp", size="9x9", unit="us", strict=False)


def test_numpy_reads_what_is_written(tmp_path):
    events = Events([1, 2, 900], [1, 2, 3], [4, 5, 6], [1, 0, 1], (34, 35))
    write(tmp_path / "file.npz", events)
    write(tmp_path / "packed.npz", events, compress=True)
    for name in ("file.npz", "packed.npz"):
        with np.load(tmp_path / name) as arrays:
            assert sorted(arrays) == ["p", "size", "t", "x", "y"]
            assert arrays["size"].tolist() == [34, 35]
            for column in "txyp":
                assert arrays[column].dtype == getattr(events, column).dtype
                assert np.array_equal(arrays[column], getattr(events, column))
        assert read(tmp_path / name) == events
    write(tmp_path / "file.npy", events)
    assert np.array_equal(np.load(tmp_path / "file.npy"), events.structured())


def test_the_same_events_are_the_same_bytes(tmp_path):
    events = Events([1], [2], [3], [1], (4, 5))
    write(tmp_path / "a.npz", events)
    write(tmp_path / "b.npz", events)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_options_are_checked(npz):
    path = npz(t=T, x=X, y=Y, p=P)
    with pytest.raises(OptionError, match="unit is 'h', expected one of s, ms, us, ns"):
        read(path, unit="h")


@pytest.mark.parametrize("name", ["dsec_layout", "dvs_msgs_none", "prophesee_ecf"])
def test_real_events(samples, name):
    path = samples / "recordings" / "derived" / f"{name}_truth.npz"
    found = read(path)
    with np.load(io.BytesIO(path.read_bytes())) as truth:
        for column in "txyp":
            assert np.array_equal(getattr(found, column), truth[column])


def test_what_is_beside_the_events_is_left_alone(npz):
    beside = {
        "images": np.zeros((3, 4, 5), "u1"),
        "image": np.zeros((6, 7)),
        "about": np.array({"camera": 1}, object),
        "name": np.array("davis"),
    }
    columns = {"t": T, "x": X, "y": Y, "p": P}
    expected = Events(T, X, Y, P, (240, 180))
    assert read(npz(**beside, **columns), size="240x180") == expected
    assert read(npz(**beside, events=np.stack([T, X, Y, P], 1)), size="240x180") == expected
    with pytest.raises(FormatError, match="t holds Python objects"):
        read(npz(**{**columns, "t": np.array([None] * len(T))}))
    with pytest.raises(FormatError, match=r"images has the shape \(3, 4, 5\)"):
        read(npz(images=beside["images"]))
