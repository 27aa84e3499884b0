"""Parquet: other writers' columns and types, missing values, damage, and its missing library."""

import subprocess
import sys

import numpy as np
import pytest
from fuzzing import lost
from test_format_laws import example

import eventkit as ek
from eventkit import FormatError, MissingExtra
from eventkit.formats import Report, info, read, write

pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def made(folder, **columns):
    path = folder / "made.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("t", "expected"),
    [
        (pa.array([0, 5, 9], pa.int32()), [0, 5, 9]),
        (pa.array([1, 2, 3], pa.duration("ms")), [1000, 2000, 3000]),
        (pa.array([1499, 1500, 2501], pa.timestamp("ns")), [1, 2, 3]),
        (pa.array([0.5, 1.0, 2.25]), [500_000, 1_000_000, 2_250_000]),
    ],
)
def test_times_of_any_type_become_us(tmp_path, t, expected):
    path = made(tmp_path, timestamp=t, x=[1, 2, 3], y=[4, 5, 6], polarity=[True, False, True])
    found = read(path, size="10x10")
    assert found.t.tolist() == expected
    assert found.x.tolist() == [1, 2, 3]
    assert found.y.tolist() == [4, 5, 6]
    assert found.p.tolist() == [1, 0, 1]


def test_missing_values_are_refused_or_counted(tmp_path):
    path = made(tmp_path, t=[1, 2, 3, 4], x=[1, None, 3, 4], y=[1, 1, 1, 1], p=[1, 1, None, -1])
    with pytest.raises(FormatError, match="event 1 has t = 2, x = nan"):
        read(path, size="10x10")
    report = Report()
    assert read(path, size="10x10", strict=False, report=report).t.tolist() == [1, 4]
    assert report.counts == {"invalid": 2}


def test_times_beside_a_missing_one_stay_exact(tmp_path):
    t = pa.array([1_700_000_000_000_000_500, None, 1_700_000_000_000_001_499], pa.timestamp("ns"))
    path = made(tmp_path, t=t, x=[1, 2, 3], y=[1, 1, 1], p=[1, 1, 0])
    found = read(path, size="10x10", strict=False)
    assert found.t.tolist() == [1_700_000_000_000_001, 1_700_000_000_000_001]
    assert found.x.tolist() == [1, 3]
    with pytest.raises(FormatError, match="event 1 has "):
        read(path, size="10x10")


def test_a_name_of_two_columns_is_told(tmp_path):
    path = tmp_path / "twice.parquet"
    columns = [pa.array([1])] * 4
    pq.write_table(pa.Table.from_arrays(columns, names=["t", "x", "x", "y"]), path)
    with pytest.raises(FormatError, match="more than one column is named x"):
        read(path)


def test_half_floats_are_coordinates(tmp_path):
    x = pa.array(np.array([1, 2048], np.float16))
    path = made(tmp_path, t=[1, 2], x=x, y=[1, 1], p=[1, 1])
    assert read(path).x.tolist() == [1, 2048]


def test_columns_that_are_no_events_are_refused(tmp_path):
    path = made(tmp_path, a=[1], b=[2])
    with pytest.raises(FormatError, match="expected columns t, x, y, p; found a, b"):
        read(path)
    path = made(tmp_path, t=[1], x=["left"])
    with pytest.raises(FormatError, match="x is no column of whole or real numbers"):
        read(path)


def test_other_columns_are_not_read_and_the_file_tells_its_columns(tmp_path):
    path = made(tmp_path, t=[1, 2], note=["a", "b"], x=[3, 4], y=[5, 6], p=[0, 1])
    assert len(read(path, size="8x8")) == 2
    assert info(path, size="8x8")["header"]["columns"]["note"] == "string"


def test_every_changed_bit_of_a_page_is_noticed_or_harmless(tmp_path):
    path, events = tmp_path / "whole.parquet", example("parquet")
    write(path, events)
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for bit in range(32, 8 * footer, 61):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            found = read(path, size="346x260")
        except (FormatError, ek.OptionError):
            continue
        assert found == events, bit


def test_damaged_files_are_read_or_refused(tmp_path):
    write(tmp_path / "source.parquet", example("parquet", 60))
    assert lost(tmp_path, range(200), "parquet") == []


def test_metadata_at_which_pyarrow_ends_the_process_are_refused(tmp_path):
    path = tmp_path / "levels.parquet"
    write(path, example("parquet", 60))
    data = path.read_bytes()
    optional, required = b"\x25\x02\x18\x01t", b"\x25\x00\x18\x01t"  # column t of the schema
    assert data.count(optional) == 1
    path.write_bytes(data.replace(optional, required))
    program = f"from eventkit.formats import read\nread({str(path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "FormatError" in done.stderr.splitlines()[-1]


def test_a_column_with_other_rows_than_its_group_is_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    write(path, example("parquet", 60))
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    found = []
    for at in range(footer, len(data) - 8):
        if data[at - 1 : at + 1] == b"\x16\x78":  # an int64 of 60, as the rows are told
            path.write_bytes(data[:at] + b"\x76" + data[at + 1 :])
            with pytest.raises(FormatError) as caught:
                read(path)
            found.append(caught.value.reason)
    assert any("not those of its columns" in reason for reason in found)
    assert any("not those of its groups" in reason for reason in found)


def test_many_row_groups_are_read_in_chunks(tmp_path):
    n = 2_500_000
    events = ek.Events(
        np.arange(n) * 3, np.arange(n) % 346, np.arange(n) % 260, np.arange(n) % 2, (346, 260)
    )
    path = tmp_path / "long.parquet"
    write(path, (events[at : at + 700_000] for at in range(0, n, 700_000)))
    assert info(path)["header"]["row_groups"] == 3
    assert read(path) == events
    assert read(path, clock=(3_000_000, 3_000_300)) == events[1_000_000:1_000_100]


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = tmp_path / "whole.parquet"
    write(path, example("parquet"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'eventkit-dvs\[parquet\]'"):
        read(path)
