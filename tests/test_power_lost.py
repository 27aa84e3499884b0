"""The power fails at any moment of a piece of work: the same command ends it, nothing is wrong.

The states of the disk are those of power.py. In each, what has taken its final name is whole, and
running the work again gives what an undisturbed run gives.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from making import flip, link_tree, make_events, make_gestures, tree_hash
from power import failures
from serving import serving, whole
from test_fetch import archive, described

import eventkit as ek
from eventkit import layouts
from eventkit.conversion import convert
from eventkit.conversion.repair import repair
from eventkit.datasets import load
from eventkit.fetch import adopt, fetch
from eventkit.store.merge import merge, subset
from eventkit.store.verify import verify


@dataclass
class Case:
    """Work in the folder `disk`.

    `look` checks what is there when the power is back, and says whether the work counts as done;
    `wanted` checks what is there when the work was run again.
    """

    disk: Path
    work: object
    look: object
    wanted: object


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Recordings, and a store of each kind."""
    folder = tmp_path_factory.mktemp("made")
    raw = make_gestures(folder / "raw", recordings=2, windows=2, events=100)
    for name, kind in (("frames", "frames:n=2"), ("events", "events"), ("old", "frames:n=3")):
        convert("dvsgesture", root=raw, out=folder / f"{name}.zarr", represent=kind, workers=1)
    return folder


def store_case(disk, work, expected, old=()):
    """Work that makes disk/s.zarr; `old` are hashes of stores that may be there instead."""
    target = disk / "s.zarr"

    def look():
        if not target.exists():
            return False
        found = tree_hash(target)
        assert found in {expected, *old}
        return found == expected

    def wanted():
        assert tree_hash(target) == expected
        assert {path.name for path in disk.iterdir()} <= {"s.zarr", "0.zarr", "1.zarr"}
        assert not verify(target)

    return Case(disk, work, look, wanted)


def conversion(kind, made, disk):
    def work():
        convert("dvsgesture", root=made / "raw", out=disk / "s.zarr", represent=kind, workers=1)

    return store_case(disk, work, tree_hash(made / f"{kind.partition(':')[0]}.zarr"))


def frames(made, disk, tmp_path):
    return conversion("frames:n=2", made, disk)


def events(made, disk, tmp_path):
    return conversion("events", made, disk)


def overwriting(made, disk, tmp_path):
    link_tree(made / "old.zarr", disk / "s.zarr")

    def work():
        convert("dvsgesture", root=made / "raw", out=disk / "s.zarr", represent="frames:n=2",
                overwrite=True, workers=1)  # fmt: skip

    return store_case(disk, work, tree_hash(made / "frames.zarr"), {tree_hash(made / "old.zarr")})


def merging(made, disk, tmp_path):
    """Of parents on the same disk, whose shards it links."""
    parts = [disk / f"{number}.zarr" for number in range(2)]
    for number, part in enumerate(parts):
        subset(part, made / "events.zarr", splits=["train"], indices=[number])

    def work():
        merge(disk / "s.zarr", parts)

    work()
    expected = tree_hash(disk / "s.zarr")
    shutil.rmtree(disk / "s.zarr")
    return store_case(disk, work, expected)


def repairing(made, disk, tmp_path):
    """What is damaged stays so or is repaired; nothing else changes."""
    shutil.copytree(made / "frames.zarr", disk / "s.zarr")
    shard = next((disk / "s.zarr/train/frames").glob("c.*"))
    for path in (shard, disk / "s.zarr/zarr.json", disk / "s.zarr/train/labels/c.0"):
        flip(path)
    names = {path.relative_to(disk): path.read_bytes() for path in disk.rglob("*.*")
             if path.is_file()}  # fmt: skip
    good = {name: (made / f"frames.zarr/{name.relative_to('s.zarr')}").read_bytes()
            for name in names}  # fmt: skip

    def look():
        found = {path.relative_to(disk): path.read_bytes() for path in disk.rglob("*.*")
                 if path.is_file() and ".building" not in str(path)}  # fmt: skip
        assert found.keys() == names.keys()
        assert all(data in (names[name], good[name]) for name, data in found.items())
        return found == good

    def work():
        repair(disk / "s.zarr", root=made / "raw", workers=1)

    return Case(disk, work, look, store_case(disk, work, tree_hash(made / "frames.zarr")).wanted)


def dataset_case(toml, tree, disk, work):
    """Work that fills disk/data: no half of a dataset is taken for it."""
    root = disk / "data"

    def look():
        if not root.is_dir() or layouts.find(load(toml), root) is None:
            return False
        wanted()
        return True

    def wanted():
        for split in ("Train", "Test"):
            assert tree_hash(root / split) == tree_hash(tree / split)

    return Case(disk, work, look, wanted)


def fetching(made, disk, tmp_path):
    tree, packed = archive(tmp_path)
    server = serving(whole(packed.read_bytes()))
    toml = described(tmp_path, server.__enter__().url, packed)
    case = dataset_case(toml, tree, disk, lambda: fetch(toml, root=disk / "data"))
    case.close = lambda: server.__exit__(None, None, None)
    return case


def adopting(made, disk, tmp_path):
    tree, packed = archive(tmp_path)
    toml = described(tmp_path, None, packed)
    return dataset_case(toml, tree, disk, lambda: adopt(toml, [packed], root=disk / "data"))


def copying(made, disk, tmp_path):
    tree, packed = archive(tmp_path)
    toml = described(tmp_path, None, packed)

    def work():
        if layouts.find(load(toml), disk / "data") is None:
            adopt(toml, [tree], root=disk / "data", copy=True)

    return dataset_case(toml, tree, disk, work)


def writing(made, disk, tmp_path):
    """A recording that replaces another."""
    old, new = make_events(300), make_events(400, seed=1)
    ek.write(disk / "a.es", old)

    def look():
        found = ek.read(disk / "a.es")
        assert len(found) in (300, 400)
        np.testing.assert_array_equal(found.t, (old if len(found) == 300 else new).t)
        return len(found) == 400

    def work():
        ek.write(disk / "a.es", new)

    return Case(disk, work, look, lambda: look())


def training(made, disk, tmp_path):
    pytest.importorskip("torch")
    import torch
    from directions import Directions

    from eventkit.train import resume, train
    from eventkit.train.checkpoint import LAST, read

    splits = {"train": Directions(16), "test": Directions(4, seed=1)}
    options = {"model": "csnn_tiny:width=4", "epochs": 2, "batch": 8, "page": False,
               "augment": "none", "save_minutes": 0}  # fmt: skip
    train(splits, out=tmp_path / "run", **options)
    weights = read(tmp_path / "run" / LAST)[0]
    run = disk / "run"

    def look():
        for path in run.glob("*.safetensors"):
            read(path)  # whole
        return (run / "metrics.json").exists()

    def work():
        if (run / "run.toml").exists():
            resume(run, data=splits)
        else:
            train(splits, out=run, **options)

    def wanted():
        found = read(run / LAST)[0]
        assert all(torch.equal(found[key], weights[key]) for key in weights)
        assert look()

    return Case(disk, work, look, wanted)


QUICK = [overwriting, repairing, fetching, adopting, copying, writing]
CASES = [*QUICK, frames, events, merging, training]


def fails_anywhere(build, made, tmp_path, moments):
    """Check the states of the disk at about so many moments."""
    disk = tmp_path / "disk"
    disk.mkdir()
    case = build(made, disk, tmp_path)
    try:
        states = 0
        for number, way, last in failures(case.work, disk, moments):
            where = f"moment {number}, {way}"
            try:
                done = case.look()
                if last:  # what is reported as done is on the disk
                    assert done
                case.work()
                case.wanted()
            except Exception as error:
                raise AssertionError(where) from error
            states += 1
        assert states > 4
    finally:
        getattr(case, "close", lambda: None)()


@pytest.mark.parametrize("build", QUICK, ids=lambda build: build.__name__)
def test_the_power_fails_at_some_moments(build, made, tmp_path):
    fails_anywhere(build, made, tmp_path, 3)


@pytest.mark.slow
@pytest.mark.attack
@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_the_power_fails_at_many_moments(build, made, tmp_path):
    fails_anywhere(build, made, tmp_path, 150)
