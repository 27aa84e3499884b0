"""What is not events is counted where it is lost: in info, translate and doctor --repair."""

import json
from pathlib import Path

import numpy as np
import pytest
from making import make_events

import eventkit as ek
from eventkit.doctor import repair


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    events = make_events(50, (128, 128))
    columns = {name: getattr(events, name) for name in "txyp"}
    np.savez("a.npz", **columns, size=[128, 128], frames=np.zeros((3, 9)), imu=np.zeros(4))
    return tmp_path


def test_other_arrays_are_counted_wherever_they_are_lost(run):
    assert ek.info("a.npz")["also"] == {"other arrays": 2}
    assert "also, other arrays  2" in run("info", "a.npz")[1]
    code, out, _ = run("translate", "a.npz", "b.es", "--json")
    assert (code, json.loads(out)["not_copied"]) == (0, {"other arrays": 2})
    assert "not copied, other arrays  2" in run("translate", "a.npz", "c.es")[1]
    ledger = repair("a.npz", "d.es")
    assert (ledger["not_copied"], ledger["notes"]) == ({"other arrays": 2}, [])
    code, out, _ = run("doctor", "a.npz", "--repair", "e.npy")
    assert code == 0
    assert "not copied, other arrays  2" in out
    assert "npy does not store the sensor size: read the copy with --from npy:size=128x128" in out


def test_columns_of_parquet_that_are_lost_are_counted():
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    events = make_events(50, (128, 128))
    columns = {name: getattr(events, name) for name in "txyp"}
    parquet.write_table(arrow.table({**columns, "label": events.x}), "a.parquet")
    assert ek.info("a.parquet")["also"] == {"other columns": 1}


@pytest.mark.parametrize("suffix", ["bin", "bs2", "npy", "spif"])
def test_a_lost_size_is_told_with_the_command_that_reads_the_copy(run, suffix):
    ek.write("a.es", make_events(50, (128, 128)))
    code, out, _ = run("translate", "a.es", f"b.{suffix}", "--transform", "crop:width=64", "--json")
    ledger = json.loads(out)
    spec = f"{ledger['format']}:size=64x128"
    assert code == 0
    assert f"read the copy with --from {spec}" in ledger["warnings"][-1]
    assert run("info", f"b.{suffix}", "--from", spec)[0] == 0


def test_header_fields_that_are_lost_are_counted_and_named(run):
    lines = ("#!AER-DAT2.0", "# AEChip: eu.seebetter.ini.chips.DAVIS240C", "# owner: Ada")
    Path("a.aedat2").write_bytes("".join(f"{line}\r\n" for line in lines).encode() + bytes(8))
    code, out, _ = run("translate", "a.aedat2", "b.es")
    assert code == 0
    assert "not copied, header fields  " in out
    assert "owner" in out


def test_streams_of_real_recordings_are_counted(samples):
    path = samples / "recordings/aedat4/dvproc_io_sample_data.aedat4"
    lost = {"frames": 25, "imu": 3836, "triggers": 101}
    assert ek.info(path)["also"] == lost
    ledger = repair(path, "copy.es", writing={"t0": "first"})
    assert ledger["not_copied"] == {**lost, "header fields": 4}
    mvsec = samples / "recordings/hdf5/mvsec_slice_000000.hdf5"
    assert ek.info(mvsec)["also"] == {"other datasets": 4}
    assert ek.info(samples / "recordings/derived/dsec_layout_events.h5")["also"] == {}
