"""bench: numbers that add up, for both kinds of stores, and wrong arguments."""

import json

import pytest

from eventkit.conversion import convert


@pytest.mark.parametrize("represent", ["frames:n=4", "events"])
def test_bench_reports_stages_threads_limits_and_advice(represent, gestures, tmp_path, run):
    convert("dvsgesture", root=gestures, out=tmp_path / "s.zarr", represent=represent)
    code, told, _ = run("bench", tmp_path / "s.zarr", "--seconds", 0.02, "--batch", 2, "--json")
    told = json.loads(told)
    assert code == 0
    assert set(told["stages"]) == {"read", "checksum", "decompress", "assemble", "cast"}
    assert all(value >= 0 for value in told["stages"].values())
    assert told["threads"][0]["threads"] == 1
    assert all(row["samples_per_s"] > 0 for row in told["threads"])
    assert told["limits"]["decompress_samples_per_s_all"] > 0
    assert told["advice"]
    code, told, _ = run("bench", tmp_path / "s.zarr", "--seconds", 0.02, "--split", "test")
    assert code == 0
    assert "decompress" in told
    assert run("bench", tmp_path / "s.zarr", "--split", "tests")[0] == 1
    assert run("bench", tmp_path / "nothing.zarr")[0] == 1
    assert run("bench", tmp_path / "s.zarr", "--batch", 0)[0] == 2
