"""MATLAB files, made by SciPy, and real ones."""

import numpy as np
import pytest
from scipy.io import savemat
from test_format_laws import mutant

from eventkit import Events, FormatError, OptionError
from eventkit.formats import FORMATS, _limits, guess, read, stream

N = 400
RNG = np.random.default_rng(5)
T = np.sort(RNG.integers(0, 9000, N)).astype(np.int32)
X, Y, P = RNG.integers(0, 240, N), RNG.integers(0, 180, N), RNG.integers(0, 2, N)
EVENTS = Events(T, X, Y, P, (240, 180))


@pytest.fixture
def save(tmp_path):
    """A function that saves variables and gives the path."""

    def make(packed=True, **variables):
        savemat(tmp_path / "file.mat", variables, do_compression=packed)
        return tmp_path / "file.mat"

    return make


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("axis", ["row", "column"])
def test_variables_of_ASL_DVS(save, packed, axis):
    path = save(packed, ts=T, x=X.astype("u1"), y=Y.astype("u1"), pol=P.astype("u1"))
    savemat(path, {"ts": T, "x": X, "y": Y, "pol": P}, oned_as=axis, do_compression=packed)
    assert guess(path).name == "mat"
    assert read(path, size="240x180") == EVENTS
    parts = [part.copy() for part in stream(path, 7, size="240x180")]
    assert Events.concat(parts) == EVENTS
    assert read(path, size="240x180", clock=(500, 700)) == EVENTS.between(500, 700)


def test_a_table(save):
    path = save(events=np.stack([X, Y, 2 * P - 1, T], axis=1).astype("i4"))
    assert read(path, size="240x180") == EVENTS
    assert len(read(path, columns="xyt-", size="240x180", strict=False)) == N


def test_structs_in_cells_are_recordings(save):
    cells = np.empty((1, 3), object)
    for i in range(3):
        cells[0, i] = {"x": X[i:] + 1, "y": Y[i:] + 1, "p": 2 * P[i:] - 1, "ts": T[i:]}
    path = save(ROI=cells)
    assert read(path, recording=2, lowest=1, size="240x180") == EVENTS[2:]
    assert read(path, recording=0).size == (int(X.max()) + 2, int(Y.max()) + 2)
    assert FORMATS["mat"].header(path)["recordings"] == 3
    with pytest.raises(OptionError, match=r"holds 3 recordings \(.*\): recording=0 to 2 chooses"):
        read(path)
    with pytest.raises(OptionError, match=r"recording is 3, but .* has 0 to 2"):
        read(path, recording=3)
    with pytest.raises(FormatError, match=r"event .* has"):
        read(path, recording=0, lowest=2)


def test_taxels_of_ST_MNIST(save):
    spikes = np.zeros((101, 3))
    spikes[100] = [0.5, 0.5000004, 0.75]
    spikes[27, 0], spikes[99, 1], spikes[0, 1], spikes[5, 2] = 1, -1, 1, -1
    found = read(save(spiketrain=spikes))
    expected = Events([500_000, 500_000, 500_000, 750_000], [7, 0, 9, 5], [2, 0, 9, 0],
                      [1, 1, 0, 0], (10, 10))  # fmt: skip
    assert found == expected


def test_what_holds_no_events_is_listed(save, tmp_path):
    with pytest.raises(FormatError, match=r"it holds a \[1, 3\]; expected ts, x, y, pol"):
        read(save(a=[1, 2, 3]))
    with pytest.raises(FormatError, match="the columns have different lengths"):
        read(save(ts=[1, 2, 3], x=[1, 2]))
    with pytest.raises(FormatError, match=r"it holds ts \[1, 2\], x \[0\]; expected"):
        read(save(ts=[1, 2], x=["a", "b"]))
    path = save(ts=T, x=X, y=Y, pol=P)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(FormatError, match="it is damaged or cut off"):
        read(path)


def sources(folder):
    savemat(folder / "source1.mat", {"ts": T, "x": X, "y": Y, "pol": P})
    savemat(folder / "source2.mat", {"ts": T, "x": X, "y": Y, "pol": P}, do_compression=True)
    cells = np.empty((1, 1), object)
    cells[0, 0] = {"x": X, "y": Y, "p": P, "ts": T}
    savemat(folder / "source3.mat", {"ROI": cells})


@pytest.mark.attack
@pytest.mark.parametrize(
    "seeds", [range(600), pytest.param(range(600, 20_000), marks=pytest.mark.slow)]
)
def test_damaged_files_are_refused_or_read_but_never_crash(tmp_path, seeds):
    sources(tmp_path)
    whole = [path.read_bytes() for path in sorted(tmp_path.glob("source*"))]
    path = tmp_path / "mutant.mat"
    refused = 0
    for seed in seeds:
        rng, data = np.random.default_rng(seed), whole[seed % len(whole)]
        path.write_bytes(data[: rng.integers(1, len(data))] if seed % 5 == 0 else mutant(data, rng))
        for strict in (True, False):
            try:
                assert len(read(path, strict=strict, format="mat")) <= N
            except (FormatError, OptionError):
                refused += 1
    assert 0 < refused < 2 * len(seeds)


def test_real_recordings_of_characters(samples):
    path = samples / "recordings" / "mat" / "alphabet_ExtractedStabilized.mat"
    with pytest.raises(OptionError, match="holds 76 recordings"):
        read(path)
    parts = [read(path, recording=i, lowest=1, size="32x32") for i in (0, 1, 75)]
    assert all(part.out_of_bounds == 0 and part.backward_steps == 0 for part in parts)
    assert len(parts[0]) == 14813


@pytest.mark.slow
def test_all_real_recordings_of_characters(samples):
    path = samples / "recordings" / "mat" / "alphabet_ExtractedStabilized.mat"
    parts = [read(path, recording=i, lowest=1, size="32x32") for i in range(76)]
    assert sum(map(len, parts)) == 1_079_079
    assert max(int(part.x.max()) for part in parts) == 31  # 32 in the manifest, from 1 on


@pytest.mark.parametrize("name", ["rpg_lifetime_building", "tonic_sample_stmnist"])
def test_real_files(samples, differs, name):
    path = samples / "recordings" / "mat" / f"{name}.mat"
    assert differs(f"mat/{name}.mat", read(path)) == {}


def test_structs_of_polarities_1_and_2_are_OFF_and_ON(save):
    td = {"x": X + 1, "y": Y + 1, "p": P + 1, "ts": T}
    assert read(save(TD=td), lowest=1, size="240x180") == EVENTS
    assert read(save(data={"TD": td}), lowest=1, size="240x180") == EVENTS


def test_several_recordings_are_named(save):
    table = np.stack([X, Y, 2 * P - 1, T], axis=1).astype("i4")
    path = save(left=table, right=table[:9], picture=np.zeros((20, 30)))
    with pytest.raises(OptionError, match=r"2 recordings \(0 left, 1 right\): recording=0 to 1"):
        read(path)
    assert read(path, recording=1, size="240x180") == EVENTS[:9]
    assert FORMATS["mat"].header(path)["recordings"] == 2
    td = {"x": X, "y": Y, "p": P, "ts": T}
    with pytest.raises(OptionError, match=r"2 recordings \(0 TD_a, 1 data.TD\)"):
        read(save(TD_a=td, data={"TD": td}))


def test_many_variables_do_not_make_a_long_message(save):
    many = {f"variable_{i}_{'n' * 30}": [1.0] for i in range(2000)}
    with pytest.raises(FormatError, match="expected ts, x, y, pol") as caught:
        read(save(**many))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("stored", ["u1", "f8"])
def test_a_small_file_that_unpacks_to_much_is_read_on_request_only(save, monkeypatch, stored):
    monkeypatch.setattr(_limits, "ALWAYS", 100_000)
    zeros = np.zeros(50_000, stored)
    path = save(ts=zeros, x=zeros, y=zeros)
    if stored == "u1":  # one byte is stored for each double, as MATLAB does
        data = path.read_bytes()
        path = save(packed=False, ts=zeros, x=zeros, y=zeros)
        data = bytearray(path.read_bytes())
        at = data.find(b"\x06\x00\x00\x00\x08\x00\x00\x00")
        while at >= 0:
            data[at + 8] = 6  # the class double
            at = data.find(b"\x06\x00\x00\x00\x08\x00\x00\x00", at + 8)
        path.write_bytes(data)
        monkeypatch.setattr(_limits, "largest", lambda path, expansion: expansion * 10_000)
    with pytest.raises(FormatError, match=r"its variables would unpack to .* expansion=\d+ reads"):
        read(path, size="9x9")
    assert len(read(path, size="9x9", expansion=10_000)) == 50_000
