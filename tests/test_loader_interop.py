"""The same samples for all: other readers of our stores, other codecs, other libraries' nets."""

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import zarr  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec  # noqa: E402

import eventkit as ek  # noqa: E402
from eventkit.conversion import convert  # noqa: E402
from eventkit.errors import StoreDamaged  # noqa: E402
from eventkit.loader import EventDataset, collate, loader  # noqa: E402
from eventkit.store import Dense, metadata  # noqa: E402
from eventkit.store.array import ShardedArray  # noqa: E402
from eventkit.store.storage import at  # noqa: E402

BLOSC = BloscCodec(typesize=2, cname="lz4", clevel=5, shuffle="bitshuffle")
CODECS = {
    "ours": [BLOSC, Crc32cCodec()],
    "zstd": [ZstdCodec()],
    "gzip, checked": [GzipCodec(), Crc32cCodec()],
    "blosc, unchecked": [BLOSC],
}


@pytest.fixture(scope="module")
def store(gestures, tmp_path_factory):
    path = tmp_path_factory.mktemp("interop") / "s.zarr"
    convert("dvsgesture", root=gestures, out=path, represent="frames:n=6")
    return path


def write(path, data, chunk, shard, codecs, separator="."):
    """An array written by zarr-python, and its document."""
    array = zarr.create_array(
        zarr.storage.LocalStore(path),
        shape=data.shape,
        chunks=chunk,
        shards=shard,
        dtype=data.dtype,
        compressors=codecs,
        chunk_key_encoding={"name": "default", "separator": separator},
        dimension_names=["sample", "time", "polarity", "y", "x"],
        config={"write_empty_chunks": True},
        overwrite=True,
    )
    array[:] = data
    return json.loads((path / "zarr.json").read_text())


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 7),
    length=st.integers(1, 9),
    chunk=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    per_shard=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    codec=st.sampled_from(sorted(CODECS)),
    window=st.tuples(st.integers(0, 8), st.integers(0, 9)),
    separator=st.sampled_from(["./", "."]),
)
def test_what_zarr_python_writes_is_read_the_same(
    n, length, chunk, per_shard, codec, window, separator, tmp_path_factory
):
    data = np.random.default_rng(n * length).poisson(1.0, (n, length, 2, 3, 5)).astype(np.uint16)
    inner = (*chunk, 2, 3, 5)
    outer = (chunk[0] * per_shard[0], chunk[1] * per_shard[1], 2, 3, 5)
    path = tmp_path_factory.mktemp("written")
    node = write(path, data, inner, outer, CODECS[codec], separator[-1])
    dense = Dense(ShardedArray(at(path.parent), path.name, node))
    np.testing.assert_array_equal(dense[:], data)
    first = min(window[0], length)
    count = min(window[1], length - first)
    found = dense.read(list(range(n))[::-1], count, first=first)
    np.testing.assert_array_equal(found, data[::-1, first : first + count])


@pytest.mark.parametrize("codec", sorted(set(CODECS) - {"ours"}))
def test_a_store_with_other_codecs_gives_the_same_batches(store, codec, tmp_path):
    copy = shutil.copytree(store, tmp_path / "copy.zarr")
    data = ek.open(store)["train"].frames[:]
    shutil.rmtree(copy / "train" / "frames")
    node = write(copy / "train" / "frames", data, (1, 3, *data.shape[2:]), (4, 6, *data.shape[2:]),
                 CODECS[codec], "/")  # fmt: skip
    attributes, nodes = ek.open(store).attributes, ek.open(store).nodes
    (copy / "zarr.json").write_bytes(metadata.root(attributes, {**nodes, "train/frames": node}))
    other, ours = (loader(EventDataset(s), 4, shuffle=True, threads=2) for s in (copy, store))
    for a, b in zip(other, ours, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    shard = next(p for p in sorted((copy / "train" / "frames" / "c").rglob("*")) if p.is_file())
    shard.unlink()
    with pytest.raises(StoreDamaged, match="shard is missing"):
        list(loader(EventDataset(copy), 4))


def test_tensorstore_reads_the_same(store):
    tensorstore = pytest.importorskip("tensorstore")
    for name, split in ek.open(store).items():
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{store}/{name}/frames"}}
        found = tensorstore.open(spec, read=True).result().read().result()
        np.testing.assert_array_equal(found, split.frames[:])


def test_zarrs_reads_the_same(store):
    pytest.importorskip("zarrs")
    pipeline = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
    with zarr.config.set(pipeline):
        for name, split in ek.open(store).items():
            found = zarr.open_array(store / name / "frames", mode="r")[:]
            np.testing.assert_array_equal(found, split.frames[:])


def batch(store):
    return next(iter(loader(EventDataset(store, time_first=True), 3)))


def test_spikingjelly_takes_the_batches(store):
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, neuron, surrogate
    from spikingjelly.activation_based.model import parametric_lif_net

    net = parametric_lif_net.DVSGestureNet(
        channels=4, spiking_neuron=neuron.LIFNode, surrogate_function=surrogate.ATan()
    )
    functional.set_step_mode(net, "m")
    frames, labels = batch(store)
    assert net(frames).mean(0).shape == (len(labels), 11)


def test_snntorch_takes_the_batches(store):
    snntorch = pytest.importorskip("snntorch")
    frames, labels = batch(store)
    layer, leaky = torch.nn.Linear(2 * 128 * 128, 11), snntorch.Leaky(beta=0.9, init_hidden=True)
    spikes = [leaky(layer(step.flatten(1))) for step in frames]
    assert torch.stack(spikes).mean(0).shape == (len(labels), 11)


def test_torchs_own_loader_takes_the_dataset(store):
    data = torch.utils.data.DataLoader(EventDataset(store), batch_size=3, collate_fn=collate)
    assert next(iter(data))[0].shape == (3, 6, 2, 128, 128)
