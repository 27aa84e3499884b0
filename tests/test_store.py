"""Stores: standard Zarr v3 for others, and never wrong data without a word."""

import json
import pickle
import shutil
import sys
from inspect import signature

import numpy as np
import pytest
import zarr
from making import eventkit, make_gestures

import eventkit as ek
from eventkit.conversion import convert
from eventkit.conversion.grids import grid
from eventkit.errors import StoreDamaged, StoreError, UnknownName
from eventkit.store import metadata, shard
from eventkit.store.local import Local
from eventkit.store.objects import Remote
from eventkit.store.shard import CODECS, Shard, pack
from eventkit.store.storage import at
from eventkit.store.verify import check_file, listed_files, verify


@pytest.fixture(scope="module")
def store(gestures, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "s.zarr"
    convert("dvsgesture", root=gestures, out=path, represent="frames:n=4", workers=2)
    return path


@pytest.fixture
def copy(store, tmp_path):
    return shutil.copytree(store, tmp_path / "copy.zarr")


def test_zarr_python_reads_the_same(store):
    ours, theirs = ek.open(store), zarr.open_group(store, mode="r")
    assert theirs.attrs["eventkit"]["status"] == "complete"
    for name in ours:
        split = ours[name]
        np.testing.assert_array_equal(theirs[f"{name}/frames"][:], split.frames[:])
        np.testing.assert_array_equal(split.zarr[1:, 2], split.frames[1:, 2])
        assert theirs[f"{name}/frames"].metadata.dimension_names[1] == "time"
        for column in split.columns:
            np.testing.assert_array_equal(theirs[f"{name}/{column}"][:], split.column(column))
    sources = bytes(theirs["sources/names"][:]).decode().split("\n")
    assert sources == [f"user0{n}_led.aedat" for n in (1, 2, 3, 4)]


def test_every_node_is_found_without_the_consolidated_metadata(store):
    plain = zarr.open_group(store, mode="r", use_consolidated=False)
    nodes = ek.open(store).nodes
    assert {name for name, _ in plain.members(max_depth=None)} == set(nodes)


def test_the_columns_of_the_dataset_are_there(store):
    split = ek.open(store)["train"]
    assert split.column("user").tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    names = ek.open(store).nodes["train/lighting"]["attributes"]["names"]
    assert [names[i] for i in split.column("lighting")] == ["led"] * 9
    with pytest.raises(UnknownName, match="Did you mean 'user'"):
        split.column("users")


def test_indexing_is_that_of_numpy(store):
    frames = ek.open(store)["train"].frames
    whole = np.asarray(frames)
    assert whole.shape == frames.shape == (9, 4, 2, 128, 128)
    for key in (
        0,
        -1,
        slice(2, 5),
        [3, 0, 3],
        (1, 2),
        (slice(None, None, 2), 0, 1),
        np.arange(9) > 6,
    ):
        np.testing.assert_array_equal(frames[key], whole[key])
    with pytest.raises(IndexError):
        frames[9]


def test_a_batch_is_read_into_the_buffer_given(store):
    split = ek.open(store)["train"]
    out = np.empty((2, 4, 2, 128, 128), np.uint16)
    assert split.read([7, 1], out) is out
    np.testing.assert_array_equal(out, split.frames[[7, 1]])
    with pytest.raises(StoreError, match="contiguous"):
        split.read([7, 1], out[:, ::-1])
    with pytest.raises(StoreError, match=r"samples 1 to 9 were asked for; train has 9"):
        split.read([1, 9])


@pytest.mark.parametrize(
    ("sample", "first", "n", "match"),
    [
        (-1, 0, 1, "sample -1 of "),
        (99, 0, 1, "sample 99 of "),
        (0, 0, 99, r"frames 0\.\.99 of "),
        (0, -1, 1, r"frames -1\.\.0 of "),
    ],
)
def test_what_is_not_in_it_is_no_damage(store, sample, first, n, match):
    with pytest.raises(StoreError, match=match) as raised:
        ek.open(store)["train"].frames.read([sample], n, first=first)
    assert not isinstance(raised.value, StoreDamaged)


def test_a_pickled_split_reads_on(store):
    split = ek.open(store)["test"]
    first = split.frames[0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(split)).frames[0], first)


def test_inspect_names_the_command(store):
    told = json.loads(eventkit("inspect", store, "--json").stdout)
    assert told["command"] == "eventkit convert dvsgesture --frames 4"
    assert told["samples"] == {"train": 9, "test": 3}
    assert told["ledger"]["train"]["read"] == told["ledger"]["train"]["binned"]


# Law: any flipped bit, cut or missing file is reported, and never returned as data.


def data_files(path):
    """One file of each kind: every array and document of a split, and the root."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return [file for file in files if "test" in file.parts or file.parent == path]


def all_data(path):
    opened = ek.open(path)
    return [
        array
        for split in opened.values()
        for array in (split.frames[:], *(split.column(name) for name in split.columns))
    ]


def check_damage(path, truth):
    """The damage is found, and whatever can still be read is right."""
    assert verify(path), "not reported"
    try:
        found = all_data(path)
    except StoreError:
        return
    for array, expected in zip(found, truth, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_whole_store_has_no_problems(store):
    assert verify(store) == []


def test_flipped_bits_are_reported_and_never_read(copy):
    truth = all_data(copy)
    rng = np.random.default_rng(0)
    for file in data_files(copy):
        whole = file.read_bytes()
        for bit in rng.integers(0, 8 * len(whole), 2 if file.name.startswith("c.") else 1):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << (bit % 8)
            file.write_bytes(changed)
            check_damage(copy, truth)
        file.write_bytes(whole)
    assert verify(copy) == []


def test_missing_cut_and_added_files_are_reported(copy):
    truth = all_data(copy)
    rng = np.random.default_rng(0)
    for file in data_files(copy):
        whole = file.read_bytes()
        file.unlink()
        check_damage(copy, truth)
        file.write_bytes(whole[: int(rng.integers(len(whole)))])
        check_damage(copy, truth)
        file.write_bytes(whole)
    (copy / "train" / "note.txt").write_text("mine")
    assert verify(copy) == ["train/note.txt: does not belong to the store"]


def reader_of(path, name):
    """What reads the file `name` of a store, and nothing else of it but the root."""
    opened = ek.open(path)
    split, _, rest = name.partition("/")

    def fresh():
        opened._arrays.clear()  # opened and compared anew
        return type(opened[split])(opened, split)

    if name.endswith("/zarr.json"):
        return lambda: None  # readers take what the root says of it
    if name.endswith("/c.0"):
        return lambda: opened.small(name.removesuffix("/c.0"))
    if rest.startswith("events/"):
        return lambda: fresh().read_events(range(len(opened[split])), columns=rest[7])
    return lambda: fresh().frames[:]


def outcome(read):
    """What a reader gives, as plain values; None if it says that the store is damaged."""
    try:
        found = read()
    except StoreDamaged:
        return None
    if hasattr(found, "offsets"):
        found = [found.t, found.x, found.y, found.p]
    return pickle.dumps([np.array(part).tolist() for part in found]) if found is not None else b""


@pytest.mark.attack
@pytest.mark.slow
@pytest.mark.parametrize("represent", ["frames:n=1", "events"])
def test_every_bit_and_every_length_of_every_file(represent, tmp_path, capsys):
    root = make_gestures(tmp_path / "raw", recordings=2, windows=1, events=60)
    path = tmp_path / "s.zarr"
    crop = ("crop:width=8,height=8",)
    convert("dvsgesture", root=root, out=path, represent=represent, transform=crop)
    told, problems = listed_files(ek.open(path))
    assert not problems
    flips = cuts = refused = harmless = 0
    for name in sorted(told):
        file, whole = path / name, (path / name).read_bytes()
        read, size_and_sum = reader_of(path, name), told[name]
        right = outcome(read)
        changed = [(bit, None) for bit in range(8 * len(whole))]
        for bit, length in changed + [(None, length) for length in range(len(whole))]:
            data = bytearray(whole)
            if bit is not None:
                data[bit // 8] ^= 1 << (bit % 8)
                flips += 1
            else:
                del data[length:]
                cuts += 1
            file.write_bytes(data)
            assert check_file(at(path), name, *size_and_sum), (name, bit, length)
            found = outcome(read)
            assert found in (None, right), (name, bit, length)
            refused, harmless = refused + (found is None), harmless + (found is not None)
        file.unlink()
        assert verify(path), name
        assert outcome(read) in (None, right), name
        file.write_bytes(whole)
    assert verify(path) == []
    with capsys.disabled():
        sys.stdout.write(
            f"\n{represent}: {flips:,} flips and {cuts:,} cuts of {len(told)} files, all "
            f"reported; reading refused {refused:,} of them, {harmless:,} gave the right data\n"
        )


@pytest.mark.attack
@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_every_bit_and_every_length_of_the_root(part, store):
    whole = (store / "zarr.json").read_bytes()
    for place in range(part, len(whole), 8):
        changed = [whole[:place]]
        for bit in range(8):
            changed.append(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
        for text in changed:
            with pytest.raises(StoreDamaged):
                metadata.parse_root(text, "root")


def test_verify_command_says_which_and_exits_3(copy):
    file = next((copy / "train/frames").glob("c.*"))
    file.write_bytes(file.read_bytes()[:-1])
    done = eventkit("verify", copy)
    assert done.returncode == 3
    assert f"train/frames/{file.name}: has" in done.stdout
    assert eventkit("verify", copy, "--json").returncode == 3


# What is no finished store of ours is refused.


def test_store_of_another_schema_is_refused(copy):
    opened = ek.open(copy)
    text = metadata.root({**opened.attributes, "schema": 2}, opened.nodes)
    (copy / "zarr.json").write_bytes(text)
    with pytest.raises(StoreError, match="store of schema 2, this eventkit reads up to schema 1"):
        ek.open(copy)


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no such store"):
        ek.open(tmp_path / "nothing.zarr")
    with pytest.raises(StoreError, match="is no eventkit store"):
        ek.open(tmp_path)
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match="not an eventkit store"):
        ek.open(tmp_path / "other.zarr")


def test_unknown_split_is_named(store):
    with pytest.raises(UnknownName, match="Did you mean 'test'"):
        ek.open(store)["tests"]


# Shards.


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int64])
def test_shard_gives_back_its_chunks(codec, dtype, tmp_path):
    rng = np.random.default_rng(0)
    chunks = [rng.integers(0, 9, (3, 5, 7)).astype(dtype) for _ in range(4)]
    data = pack([codec.encode(chunks[0]), None, *map(codec.encode, chunks[2:])])
    (tmp_path / "c.0").write_bytes(data)
    opened = Shard(at(tmp_path / "c.0"), 4)
    for number, chunk in enumerate(chunks):
        out = np.empty((3, 5, 7), dtype)
        assert opened.read(number, out) is (number != 1)
        if number != 1:
            np.testing.assert_array_equal(out, chunk)


def test_chunk_of_another_size_is_damage_not_a_crash():
    encoded = CODECS["fast"].encode(np.zeros(100, np.uint16))
    for wrong in (np.empty(99, np.uint16), np.empty(101, np.uint16)):
        with pytest.raises(StoreDamaged, match="holds 200 bytes"):
            shard.decode(encoded, wrong, "here")


def test_encoding_is_deterministic():
    chunk = np.random.default_rng(0).integers(0, 5, (16, 2, 128, 128)).astype(np.uint16)
    assert CODECS["fast"].encode(chunk) == CODECS["fast"].encode(chunk.copy())


@pytest.mark.parametrize(
    ("samples", "n_frames", "frame_bytes", "chunk", "shard_shape"),
    [
        (1176, 16, 2 * 128 * 128 * 2, (1, 16), (64, 16)),  # DVS128 Gesture: 19 shards
        (60000, 10, 2 * 34 * 34 * 2, (1, 10), (1024, 10)),  # N-MNIST
        (60000, 1, 2 * 34 * 34 * 2, (4, 1), (2048, 1)),  # four tiny samples a chunk
        (10, 16, 2 * 720 * 1280 * 2, (1, 2), (1, 16)),  # time is cut where a sample is huge
        (100, None, 2 * 128 * 128 * 2, (1, 16), (4, 16)),  # T differs: blocks of frames
        (1, 5, 2 * 720 * 1280 * 2, (1, 2), (1, 6)),  # the last chunk of time is partial
    ],
)
def test_chunks_and_shards_follow_the_rule(samples, n_frames, frame_bytes, chunk, shard_shape):
    made = grid(samples, n_frames, frame_bytes)
    assert made.chunk == chunk
    assert made.shard == shard_shape


def test_disks_and_object_stores_have_one_protocol():
    """What is written for one of them works on the other."""
    shared = {
        name
        for name in vars(Remote)
        if not name.startswith("_") and name in vars(Local) and callable(getattr(Local, name))
    }
    assert {"open_parts", "read", "write", "files", "entries", "checksum", "version"} <= shared
    own = {name for name in vars(Local) if not name.startswith("_")}
    assert own <= set(vars(Remote))
    for name in shared:
        theirs, ours = (signature(getattr(kind, name)).parameters for kind in (Remote, Local))
        assert list(theirs) == list(ours), name
