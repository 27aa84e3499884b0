"""loader(): batches by threads. The same as from a DataLoader, in memory that is used again."""

import gc
import json
import subprocess
import sys
import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from making import ROOT, make_events  # noqa: E402
from torch.utils.data import DataLoader, Subset  # noqa: E402

import eventkit as ek  # noqa: E402
from eventkit.conversion import convert  # noqa: E402
from eventkit.errors import OptionError, StoreDamaged  # noqa: E402
from eventkit.loader import EventDataset, ResumableSampler, collate, loader  # noqa: E402


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    root = tmp_path_factory.mktemp("digits")
    for number in range(10):
        for i in range(2):
            folder = root / "Train" / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            events = make_events(300 + 100 * number + 50 * i, seed=number + 10 * i)
            ek.write(folder / f"{i}.bin", events)
        (root / "Test" / str(number)).mkdir(parents=True)
        ek.write(root / "Test" / str(number) / "0.bin", make_events(300, seed=number))
    return root


@pytest.fixture(scope="module")
def fixed(digits):
    convert("nmnist", root=digits, out=digits / "fixed.zarr", represent="frames:n=5")
    return digits / "fixed.zarr"


@pytest.fixture(scope="module")
def ragged(digits):
    convert("nmnist", root=digits, out=digits / "ragged.zarr", represent="frames:duration=5000")
    return digits / "ragged.zarr"


def our_threads():
    return [t for t in threading.enumerate() if t.name.startswith("eventkit-loader")]


def equal(a, b):
    return len(a) == len(b) and all(
        len(x) == len(y) and all(torch.equal(p, q) for p, q in zip(x, y, strict=True))
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("time_first", [False, True])
@pytest.mark.parametrize("dtype", [None, "float32", "uint8", "bfloat16"])
@pytest.mark.parametrize("store", ["fixed", "ragged"])
def test_batches_are_those_of_a_data_loader(store, dtype, time_first, request):
    dataset = EventDataset(request.getfixturevalue(store), dtype=dtype, time_first=time_first)
    expected = list(DataLoader(dataset, batch_size=6, collate_fn=collate))
    assert equal(list(loader(dataset, 6)), expected)
    plain = EventDataset(dataset.store, dtype=dtype)
    frames, labels = expected[0][:2]
    for row in range(6):
        sample, label = plain[row]
        given = frames[:, row] if time_first else frames[row]
        assert given.dtype == sample.dtype
        assert torch.equal(given[: len(sample)], sample)
        assert not given[len(sample) :].any()
        assert labels[row] == label


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 7, "batches_ahead": 0}])
def test_threads_change_nothing(options, ragged):
    augment = ["flip", "shift:share=0.2", "temporal_delete:keep=3"]
    dataset = EventDataset(ragged, augment=augment)
    settings = {"shuffle": True, "seed": 4, "bucket": 4}
    one, other = loader(dataset, 3, **settings), loader(dataset, 3, **settings, **options)
    for _ in range(2):
        assert equal(list(one), list(other))


def test_every_epoch_has_every_sample_once_in_another_order(fixed):
    batches = loader(EventDataset(fixed), 8, shuffle=True)
    assert len(batches) == 3
    whole = EventDataset(fixed)
    orders = []
    for epoch in range(2):
        frames = torch.cat([frames for frames, _ in batches])
        assert batches.epoch == epoch
        orders.append([tuple(f.flatten().nonzero().flatten().tolist()) for f in frames])
    given = [tuple(f.flatten().nonzero().flatten().tolist()) for f, _ in whole]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(given)
    assert orders[0] != orders[1]
    assert orders[0] != given
    assert sum(len(labels) for _, labels in loader(whole, 8, drop_last=True)) == 16


def test_a_batch_stays_while_it_is_held_and_its_memory_is_used_again(fixed):
    dataset = EventDataset(fixed)
    expected = list(DataLoader(dataset, batch_size=1, collate_fn=collate))
    batches = loader(dataset, 1, batches_ahead=2)
    assert equal(list(batches), expected)  # all held at once
    addresses = []
    row = None
    for k, (frames, _) in enumerate(batches):
        addresses.append(frames.data_ptr())
        if k == 3:
            row = frames[0, 2].numpy()  # a view of a view, of another library
        del frames
    assert len(set(addresses)) <= 2 + 3 + 1
    assert addresses.count(addresses[3]) == 1
    np.testing.assert_array_equal(row, expected[3][0][0, 2].numpy())


def test_leaving_early_leaves_nothing_behind(fixed):
    batches = loader(EventDataset(fixed), 2, shuffle=True)
    for _ in batches:
        assert our_threads()
        break
    gc.collect()
    assert not our_threads()
    assert batches.epoch == 0
    list(batches)  # the next iteration is the next epoch, whole
    assert batches.epoch == 1
    assert not our_threads()
    with pytest.raises(ZeroDivisionError):
        [1 / 0 for _ in batches]
    gc.collect()
    assert not our_threads()


def test_damage_is_told_by_the_batch_that_has_it(digits, tmp_path):
    store = tmp_path / "x.zarr"
    convert("nmnist", root=digits, out=store, represent="frames:n=5")
    shard = store / "train" / "frames" / "c.7.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[50] ^= 1
    shard.write_bytes(data)
    seen = []
    with pytest.raises(StoreDamaged, match=r"its checksum differs, .* run eventkit verify"):
        seen.extend(loader(EventDataset(store), 1))
    assert len(seen) == 7
    gc.collect()
    assert not our_threads()


SCRIPT = """
import os, signal, sys, threading
from eventkit.loader import EventDataset, loader
batches = loader(EventDataset(sys.argv[1]), 1)
try:
    while True:
        for k, _ in enumerate(batches):
            if k == 3:
                os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    names = [t.name for t in threading.enumerate() if t.name.startswith("eventkit")]
    print("stopped", names)
"""


def test_interrupt_ends_at_once_and_cleanly(fixed):
    command = [sys.executable, "-c", SCRIPT, str(fixed)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped []\n", "")


FORK = """
import os, sys
from eventkit.loader import EventDataset, loader
batches = loader(EventDataset(sys.argv[1]), 2)
expected = [labels.tolist() for _, labels in batches]
running = iter(batches)
next(running)
child = os.fork()
if child == 0:
    found = [labels.tolist() for _, labels in batches]
    del running
    os._exit(0 if found == expected else 1)
assert os.waitpid(child, 0)[1] == 0
rest = [labels.tolist() for _, labels in running]
assert rest == expected[1:], rest
print("both")
"""


def test_a_fork_while_threads_run_harms_neither_side(fixed):
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(fixed)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "both\n", "")


KILL = """
import os, signal, sys
from torch.utils.data import DataLoader
from eventkit.loader import EventDataset, collate

class Deadly(EventDataset):
    def __getitems__(self, indices):
        if 5 in indices:
            os.kill(os.getpid(), signal.SIGKILL)  # as the system does when memory runs out
        return super().__getitems__(indices)

dataset = Deadly(sys.argv[1])
options = {"batch_size": 2, "num_workers": 1, "prefetch_factor": 1, "collate_fn": collate}
try:
    for k, _ in enumerate(DataLoader(dataset, **options)):
        print(k)
except RuntimeError as error:
    print(error)
"""


def test_a_killed_worker_is_told(fixed):
    # In a process of its own: torch raises the error wherever the program is at that moment.
    command = [sys.executable, "-c", KILL, str(fixed)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    first, second, told = done.stdout.strip().split("\n", 2)
    assert (first, second) == ("0", "1")
    assert "DataLoader worker" in told
    assert "killed by signal: Killed" in told or "exited unexpectedly" in told


@pytest.mark.parametrize("position", range(0, 11, 2))
def test_a_run_goes_on_exactly_from_any_batch(position, ragged):
    settings = {"shuffle": True, "seed": 3, "bucket": 2}
    dataset = EventDataset(ragged, augment=["flip", "frame_drop"])
    whole = loader(dataset, 2, **settings)
    list(whole)
    batches, state = [], whole.state_dict()
    for k, batch in enumerate(whole):
        if k < position:
            state = json.loads(json.dumps(whole.state_dict()))
        else:
            batches.append(batch)
    resumed = loader(dataset, 2, **settings, threads=1)
    resumed.load_state_dict(state)
    if position:
        resumed.set_epoch(1)  # as a loop over epochs does
    assert equal(list(resumed), batches)
    assert resumed.epoch == 1
    assert equal(list(resumed), list(whole))  # and the epoch after it


def test_a_state_of_other_samples_is_refused(fixed, ragged):
    state = loader(EventDataset(fixed), 2).state_dict()
    for other in (
        loader(EventDataset(ragged), 2),
        loader(EventDataset(fixed, "test"), 2),
        loader(EventDataset(fixed), 2, indices=range(1, 20)),
        loader(EventDataset(fixed), 2, indices=np.arange(20)[::-1]),
        loader(EventDataset(fixed), 2, shuffle=True),
    ):
        with pytest.raises(OptionError, match=r"other samples: its (plan|n|shuffle)"):
            other.load_state_dict(state)
    with pytest.raises(OptionError, match="lacks some of"):
        loader(EventDataset(fixed), 2).load_state_dict({"epoch": 1})


def test_ranks_share_the_batches(fixed):
    dataset = EventDataset(fixed)
    one = [labels.tolist() for _, labels in loader(dataset, 6, shuffle=True)]
    ranks = [list(loader(dataset, 2, shuffle=True, rank=rank, world_size=3)) for rank in range(3)]
    for k, labels in enumerate(one):
        rows = [rank[k] for rank in ranks]
        assert {len(row[1]) for row in rows} == {-(-len(labels) // 3)}
        shared = [row[1][i].item() for i in range(len(rows[0][1])) for row in rows if row[2][i]]
        assert shared == labels
    dropped = list(loader(dataset, 2, shuffle=True, rank=2, world_size=3, drop_last=True))
    assert [len(batch) for batch in dropped] == [2, 2, 2]  # frames and labels, and no mask


def test_subsets_and_choices(fixed):
    dataset = EventDataset(fixed)
    expected = [dataset[i][1] for i in (5, 1, 9)]
    found = loader(dataset, 2, indices=[5, 1, 9])
    assert torch.cat([labels for _, labels in found]).tolist() == expected
    found = loader(Subset(Subset(dataset, [0, 9, 5, 1]), [2, 3, 1]), 2)
    assert torch.cat([labels for _, labels in found]).tolist() == expected


def test_a_device_gets_the_stored_type_and_casts_there(fixed):
    dataset = EventDataset(fixed)
    assert equal(list(loader(dataset, 4, device="cpu")), list(loader(dataset, 4)))
    frames, labels = next(iter(loader(dataset, 4, device="meta")))
    assert (frames.device.type, frames.dtype, labels.device.type) == ("meta", torch.float32, "meta")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_batches_on_the_gpu_are_those_on_the_cpu(fixed, dtype):
    dataset = EventDataset(fixed, dtype=dtype)
    found = [[part.cpu() for part in batch] for batch in loader(dataset, 2, device="cuda")]
    assert equal(found, list(loader(dataset, 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"rank": 1}, "rank is 1, expected 0..0"),
        ({"indices": [99]}, "numbers of samples, 0..19"),
        ({"bucket": 0}, "bucket is 0"),
    ],
)
def test_wrong_options_are_named(options, message, fixed):
    with pytest.raises(OptionError, match=message):
        loader(EventDataset(fixed), **{"batch_size": 2, **options})
    with pytest.raises(OptionError, match="needs an EventDataset, found list"):
        loader([1, 2], 2)


def test_sampler_in_a_data_loader_goes_on_where_training_was(fixed):
    dataset = EventDataset(fixed)

    def make():
        sampler = ResumableSampler(20, batch_size=3, seed=5)
        data = DataLoader(
            dataset, batch_sampler=sampler, num_workers=1, prefetch_factor=4, collate_fn=collate
        )
        return sampler, data

    sampler, data = make()
    labels = [labels.tolist() for _, labels in data]
    seen, state = [], None
    for k, (_, found) in enumerate(data):
        seen.append(found.tolist())
        if k == 2:
            state = sampler.state_dict(batches=k + 1)  # whatever the workers took since
    assert seen != labels
    sampler, data = make()
    sampler.load_state_dict(state)
    assert [found.tolist() for _, found in data] == seen[3:]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", ["sampler", "batch_sampler"])
def test_stateful_data_loader_needs_no_adapter(fixed, kind, workers):
    stateful = pytest.importorskip("torchdata.stateful_dataloader")

    def make():
        size = 3 if kind == "batch_sampler" else None
        options = {kind: ResumableSampler(20, batch_size=size, seed=5), "num_workers": workers}
        options |= {} if size else {"batch_size": 3}
        return stateful.StatefulDataLoader(EventDataset(fixed), collate_fn=collate, **options)

    data = make()
    rest, state = [], None
    for k, (_, labels) in enumerate(data):
        if k == 2:
            state = json.loads(json.dumps(data.state_dict()))
        elif k > 2:
            rest.append(labels.tolist())
    data = make()
    data.load_state_dict(state)
    assert [labels.tolist() for _, labels in data] == rest
