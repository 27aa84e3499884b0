"""Everything public goes to another process: entries of registries, classes, nets, errors."""

import copy
import functools
import importlib
import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
from making import make_events

import eventkit as ek
from eventkit import errors
from eventkit.boxes import BOX
from eventkit.registry import Registry

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from eventkit import augment, evaluate, export, models, snn, train  # noqa: E402
from eventkit.augment import AUGMENTATIONS, Augment  # noqa: E402
from eventkit.conversion import convert  # noqa: E402
from eventkit.formats import FORMATS  # noqa: E402
from eventkit.layouts import LAYOUTS  # noqa: E402
from eventkit.loader import (  # noqa: E402
    Chains,
    EventDataset,
    ResumableSampler,
    Sequences,
    TimeFirst,
    Window,
    collate,
    loader,
)
from eventkit.models import MODELS  # noqa: E402
from eventkit.representations import REPRESENTATIONS, Whole  # noqa: E402
from eventkit.snn import NEURONS, SURROGATES  # noqa: E402
from eventkit.snn.stdp import STDP  # noqa: E402
from eventkit.targets.rules import LABEL_RULES  # noqa: E402
from eventkit.train.losses import LOSSES, loss  # noqa: E402
from eventkit.train.optim import OPTIMIZERS, SCHEDULES, schedule  # noqa: E402
from eventkit.train.rules import RULES, rule  # noqa: E402
from eventkit.train.sparsity import SPARSIFIERS  # noqa: E402
from eventkit.transforms import TRANSFORMS  # noqa: E402

REGISTRIES = (
    AUGMENTATIONS, FORMATS, LAYOUTS, MODELS, NEURONS, REPRESENTATIONS, TRANSFORMS,
    LABEL_RULES, LOSSES, RULES, OPTIMIZERS, SCHEDULES, SURROGATES, SPARSIFIERS, STDP,
)  # fmt: skip
ENTRIES = [(table, name) for table in REGISTRIES for name in table]


def there_and_back(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize(("table", "name"), ENTRIES, ids=[name for _, name in ENTRIES])
def test_an_entry_of_a_registry_is_itself_again(table, name):
    assert there_and_back(table[name]) is table[name]
    assert copy.deepcopy(table[name]) is table[name]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_a_registry_is_itself_again(registry):
    assert there_and_back(registry) is registry


def test_every_registry_is_tried_here():
    found = {
        value.kind
        for name, module in list(sys.modules.items())
        if name.startswith("eventkit.")
        for value in vars(module).values()
        if isinstance(value, Registry)
    }
    assert found == {registry.kind for registry in REGISTRIES}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    root = tmp_path_factory.mktemp("pickled")
    for number in range(6):
        folder = root / "train" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        ek.write(folder / f"{number}.npz", make_events(300 + 90 * number, seed=number))
    for represent in ("events", "frames:n=4", "frames:duration=4000"):
        out = root / f"{represent.replace(':', '-')}.zarr"
        convert(root, out=out, represent=represent)
    return root


def datasets(root):
    """One of each kind of source, with what it may be wrapped in."""
    for name in ("frames-n=4", "frames-duration=4000"):
        yield EventDataset(root / f"{name}.zarr", augment=["flip"])
        yield EventDataset(root / f"{name}.zarr", cache="ram", time_first=True)
    for spec in ("frames:n=3", "frames:duration=5000,like=none", "voxel:bins=2"):
        events = functools.partial(EventDataset, root / "events.zarr", represent=spec)
        yield events(augment=["event_drop", "time_jitter", "rotate"])
        yield events(cache="ram")
        yield events(cache=root / "cache")


def things(root):
    """Instances of the public classes, and of what they hand out."""
    data = EventDataset(root / "events.zarr", represent="frames:n=3")
    net = nn.Sequential(nn.Flatten(2), nn.Linear(2 * 34 * 34, 2), snn.LIF())
    with evaluate.Activity(net) as seen:
        evaluate.score(net, loader(data, 2), classes=2)
    model = MODELS["csnn_tiny"]
    return [
        make_events(5), ek.windows(make_events(5), every=20),
        Chains(EventDataset(root / "events.zarr"), 2, parts=2),
        data, data.store, data.split, data.augment, data[0], loader(data, 2),
        data.__getitems__([0, 1]), EventDataset(root / "events.zarr", represent="frames:n=3",
        time_first=True).__getitems__([0]), ResumableSampler(6, batch_size=2),
        Sequences(data, lanes=2, length=2), next(iter(Sequences(data, lanes=2, length=2))),
        next(iter(loader(data, 2))), collate(data.__getitems__([0])), Augment(["flip"]),
        Whole.of(make_events(5)), np.zeros(2, BOX), train.Settings(), seen,
        evaluate.Score(torch.zeros(2, 2)), export.TARGETS["nir"], model, model.recipe,
        *(one for entry in MODELS.values() for one in entry.published),
        models.cost(models.create("csnn_tiny", num_classes=2, in_shape=(2, 8, 8)), (2, 8, 8)),
        SURROGATES["atan"](), loss("tet:weight=0.1"), rule("tbptt:window=2"), schedule("step"),
        schedule("cosine", warmup=0.1),
    ]  # fmt: skip


NETS = {
    snn.Neuron: lambda: snn.neuron("lif"),
    snn.SEW: lambda: snn.SEW(nn.Identity()),
    snn.DelayedLinear: lambda: snn.DelayedLinear(2, 3),
    snn.DrivenAttention: lambda: snn.DrivenAttention(16),
    snn.SelfAttention: lambda: snn.SelfAttention(16),
    snn.TokenAttention: lambda: snn.TokenAttention(16),
    snn.Patches: lambda: snn.Patches(2, 16),
    snn.Fold: lambda: snn.Fold(nn.Linear(2, 2)),
    snn.Fused: lambda: snn.fuse(nn.Sequential(nn.Linear(2, 2))),
    snn.Recurrent: lambda: snn.Recurrent(snn.LIF(), 3),
    snn.Repeated: lambda: snn.Repeated(snn.IF(), 2),
    snn.LeakyIntegrator: lambda: snn.LeakyIntegrator(3, low=0.1, high=0.5),
    snn.SumPool2d: lambda: snn.SumPool2d(2),
    snn.TDBN2d: lambda: snn.TDBN2d(2),
    snn.TEBN2d: lambda: snn.TEBN2d(2, T=3),
    snn.Dropout: snn.Dropout, snn.Halve: snn.Halve, snn.Voting: snn.Voting,
    **{kind: functools.partial(snn.neuron, name, T=4, features=3)
       for name, kind in NEURONS.items()},
}  # fmt: skip


def public_classes():
    for package in (ek, augment, ek.loader, train, evaluate, export, models, snn):
        for name in getattr(package, "__all__", ()):
            found = getattr(package, name)
            if inspect.isclass(found) and not issubclass(found, Exception):
                yield found


def test_every_public_class_is_pickled_here(stores):
    tried = {type(thing) for thing in [*things(stores), *(make() for make in NETS.values())]}
    missing = {kind.__name__ for kind in public_classes()} - {kind.__name__ for kind in tried}
    assert missing <= {"Neuron"}  # only its subclasses are made


def test_public_things_survive(stores):
    for thing in things(stores):
        again = there_and_back(thing)
        assert type(again) is type(thing)
        if isinstance(thing, EventDataset):
            assert torch.equal(again[0][0], thing[0][0])
        if isinstance(thing, (ek.loader.Loader, Sequences)):
            for a, b in zip(again, thing, strict=True):
                assert torch.equal(a[0], b[0])
        if isinstance(thing, (TimeFirst, Window)):
            assert torch.equal(getattr(again, "batch", again)[0], getattr(thing, "batch", thing)[0])


@pytest.mark.parametrize("kind", NETS, ids=lambda kind: kind.__name__)
def test_layers_survive_with_their_weights(kind):
    net = NETS[kind]()
    again = there_and_back(net)
    assert str(again) == str(net)
    for a, b in zip(again.parameters(), net.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(errors).values() if inspect.isclass(kind)
             and issubclass(kind, errors.EventkitError)], ids=lambda kind: kind.__name__,
)  # fmt: skip
def test_errors_survive_with_their_words(kind):
    args = {errors.FormatError: ("a.raw", 3, "is cut"), errors.PartlyDone: ("some", ["a: b"])}
    args[errors.MissingExtra] = ("drawing needs pillow", "viz")
    error = kind(*args.get(kind, ("the words",)))
    again = there_and_back(error)
    assert type(again) is kind
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_another_process_reads_what_it_is_sent(stores, tmp_path):
    """What spawn and forkserver do: a fresh interpreter that has imported nothing."""
    sets = list(datasets(stores))
    samples = [dataset[1][0] for dataset in sets]
    path = tmp_path / "sent"
    entries = [pickle.dumps(table[name]) for table, name in ENTRIES]
    path.write_bytes(pickle.dumps(([pickle.dumps(dataset) for dataset in sets], samples, entries)))
    code = (
        "import pickle, sys\n"
        "sets, samples, entries = pickle.load(open(sys.argv[1], 'rb'))\n"
        "for data, sample in zip(sets, samples):\n"
        "    assert (pickle.loads(data)[1][0] == sample).all()\n"
        "print(len([pickle.loads(entry) for entry in entries]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == str(len(ENTRIES)), done.stderr


@pytest.mark.parametrize("context", ["spawn", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_workers_of_every_kind_read_an_events_store(stores, context):
    dataset = EventDataset(
        stores / "events.zarr", represent="frames:n=3", augment=["event_drop", "flip"]
    )
    options = {"batch_size": 3, "collate_fn": collate}
    workers = DataLoader(dataset, num_workers=1, multiprocessing_context=context, **options)
    for found, expected in zip(workers, DataLoader(dataset, **options), strict=True):
        assert torch.equal(found[0], expected[0])


def test_an_entry_of_another_package_comes_with_its_module(tmp_path, monkeypatch):
    (tmp_path / "my_shapes.py").write_text(
        "from eventkit.augment import on_frames\n"
        "def my_shade(frames, rng, *, by: int = 2):\n    frames //= by\n    return frames\n"
        "on_frames(my_shade)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("my_shapes")
    sent = pickle.dumps(AUGMENTATIONS["my_shade"])
    try:
        code = (
            f"import sys, pickle; sys.path.insert(0, {str(tmp_path)!r})\n"
            f"print(pickle.loads({sent!r}).name)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
        )
        assert done.stdout.strip() == "my_shade", done.stderr
    finally:
        for table in (AUGMENTATIONS._entries, AUGMENTATIONS._added):
            table.pop("my_shade", None)


def test_what_is_no_entry_is_pickled_by_its_fields():
    other = augment.Augmentation("flip", "frames", np.abs)
    assert there_and_back(other) == other
    assert there_and_back(other).apply is np.abs
