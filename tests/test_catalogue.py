"""Every entry of the catalogue: its card is whole, and its miniature becomes the right samples.

A convertible entry has an [example] in its TOML (see `miniatures`) or a tree in test_layouts.
"""

import importlib.util
import re
import tarfile
import zipfile
from importlib.resources import files as resource_files

import numpy as np
import pytest
from miniatures import build
from test_layouts import TREES

import eventkit as ek
from eventkit import datasets, layouts
from eventkit.conversion import convert
from eventkit.errors import OptionError
from eventkit.fetch import adopt

KNOWN = {name: datasets.load(name) for name in datasets.names()}
CONVERTIBLE = sorted(name for name, dataset in KNOWN.items() if dataset.layout)
EXAMPLES = sorted(name for name, dataset in KNOWN.items() if dataset.example)
IN_PART = sorted(name for name, dataset in KNOWN.items() if not dataset.layout)


def test_the_catalogue_is_longer_than_that_of_any_peer():
    assert len(KNOWN) >= 60
    assert len(CONVERTIBLE) >= 48


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_a_card_is_whole(name):
    dataset = KNOWN[name]
    assert dataset.name == name
    assert dataset.title
    assert dataset.homepage.startswith("http")
    assert dataset.task in datasets.TASKS
    assert re.fullmatch(r"[A-Z0-9].*\.", dataset.about), dataset.about
    assert re.match(r"@\w+\{", dataset.bibtex) or not dataset.bibtex
    assert dataset.bibtex or dataset.cite or dataset.unverified
    assert bool(dataset.layout) != bool(dataset.missing)
    if dataset.layout:
        assert dataset.size
        assert dataset.example or name in TREES, "it needs an [example]: see miniatures.py"


def miniature(name, root):
    """Write the miniature of a dataset; split, label, columns and events of each of its samples."""
    if name not in TREES:
        return build(KNOWN[name], root)
    tree = TREES[name](root)
    return [(split, label, {}, events) for split in tree for label, events in tree[split]]


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_a_miniature_is_adopted_and_converted(name, tmp_path):
    dataset = KNOWN[name]
    truth = miniature(name, tmp_path / "theirs")
    adopted = adopt(name, [tmp_path / "theirs"], root=tmp_path / "data")
    convert(name, represent="events", root=tmp_path / "data", out=tmp_path / "s.zarr", workers=1)
    store = ek.open(tmp_path / "s.zarr")
    splits = dict.fromkeys(split for split, *_ in truth)
    assert adopted["samples"] == {s: sum(row[0] == s for row in truth) for s in splits}
    assert list(store.splits) == list(splits)
    assert store.size == dataset.size
    for split in splits:
        mine = [row for row in truth if row[0] == split]
        assert store[split].labels.tolist() == [label for _, label, *_ in mine]
        opened = loaded(tmp_path / "s.zarr", split)
        for row, (_, label, columns, events) in enumerate(mine):
            assert store[split].events(row) == events.sort()
            if opened is not None:
                frames, told = opened[row][:2]
                assert int(told) == label
                np.testing.assert_array_equal(np.asarray(frames), ek.frames(events.sort(), n=2))
            for key, value in columns.items():
                if key not in ("start", "stop", "by", "recording"):
                    assert _text(store, split, key, row) == str(value)
    found = layouts.listing(dataset, layouts.find(dataset, tmp_path / "data"))
    assert all(any(defect in w for w in found.warnings) for defect in dataset.defects)
    assert not dataset.n_classes or dataset.n_classes == len(found.classes) or name == "n_imagenet"


def loaded(path, split):
    """The split as training has it, where there is torch."""
    if importlib.util.find_spec("torch") is None:
        return None
    from eventkit.loader import EventDataset

    return EventDataset(path, split=split, represent="frames:n=2")


def _text(store, split, key, row):
    """The value of a column as text."""
    value = store[split].column(key).tolist()[row]
    names = store.nodes[f"{split}/{key}"]["attributes"].get("names")
    return str(value) if names is None else names[value]


def packed_in(dataset):
    """The archive that holds each path of the example, or nothing where that is not told."""
    archives = {s.name: s for s in dataset.files if s.name.endswith((".zip", ".tar.gz"))}
    found = {}
    for path in [row[0] for row in dataset.example["recordings"]] + [
        *dataset.example.get("text", ())
    ]:
        tops = [f"{path.partition('/')[0]}{suffix}" for suffix in (".zip", ".tar.gz")]
        name = next((n for n in archives if n in tops or len(dataset.files) == 1), None)
        if name is None:
            return {}
        found[path] = name
    return found


PACKED = [name for name in EXAMPLES if packed_in(KNOWN[name])]


@pytest.mark.parametrize("name", PACKED)
def test_its_archives_are_adopted(name, tmp_path):
    """Archives of the names of the originals; their checksums cannot be those of the originals."""
    dataset = KNOWN[name]
    truth = build(dataset, tmp_path / "tree")
    where = packed_in(dataset)
    archives = sorted({tmp_path / archive for archive in where.values()})
    for archive in archives:
        files = [p for p in sorted((tmp_path / "tree").rglob("*")) if p.is_file()]
        names = [p.relative_to(tmp_path / "tree").as_posix() for p in files]
        mine = [n for n in names if where.get(n, archives[0].name) == archive.name]
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive, "w") as out:
                for each in mine:
                    out.write(tmp_path / "tree" / each, each)
        else:
            with tarfile.open(archive, "w:gz") as out:
                for each in mine:
                    out.add(tmp_path / "tree" / each, each)
    toml = tmp_path / f"{name}.toml"
    text = resource_files("eventkit.datasets_meta").joinpath(f"{name}.toml").read_text()
    toml.write_text(re.sub(r"(?m)^(md5|sha256|crc32|bytes) *=.*\n", "", text))
    told = adopt(toml, archives, root=tmp_path / "data")
    assert sum(told["samples"].values()) == len(truth)


@pytest.mark.parametrize("name", IN_PART)
def test_what_is_known_in_part_says_what_is_missing(name, tmp_path):
    with pytest.raises(OptionError, match=f"{name} is known, but cannot be converted yet"):
        convert(name, root=tmp_path, out=tmp_path / "s.zarr")


@pytest.mark.parametrize("name", sorted(n for n, d in KNOWN.items() if d.splits))
def test_named_splits_are_options_of_the_layout(name, tmp_path):
    for split in KNOWN[name].splits:
        divided = KNOWN[name].with_split(split)
        if KNOWN[name].example:
            build(divided, tmp_path / split)
            whole = layouts.listing(KNOWN[name], layouts.find(divided, tmp_path / split)).samples
            found = layouts.listing(divided, layouts.find(divided, tmp_path / split)).samples
            assert {s.source for s in found} <= {s.source for s in whole}
            assert [(s.split, s.source) for s in found] != [(s.split, s.source) for s in whole]
