"""Splits on request: laws of the division, published definitions, and the commands."""

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_gestures

import eventkit as ek
from eventkit import datasets, layouts
from eventkit.conversion import convert, finalize
from eventkit.conversion.repair import repair
from eventkit.errors import OptionError, StoreError, UnknownName
from eventkit.splits import Rows, by_shares, folds, in_order, parse
from eventkit.store.merge import subset

SHARES = st.sampled_from([("4/5", "1/5"), ("0.7", "0.2", "0.1"), ("0.9", "0.1"), ("1/3",) * 3])


@st.composite
def samples(draw):
    n = draw(st.integers(1, 80))
    labels = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    groups = [f"user{u}" for u in draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))]
    return [f"{i}.bin" for i in range(n)], labels, groups, draw(st.integers(0, 9))


@given(samples(), SHARES)
def test_each_share_has_its_part_of_every_class_within_one(drawn, shares):
    names, labels, _, seed = drawn
    exact = [Fraction(share) for share in shares]
    found = by_shares(exact, names, labels=labels, seed=seed)
    assert found.shape == labels.shape  # each sample is in one share
    for label in np.unique(labels):
        of_class = found[labels == label]
        for number, share in enumerate(exact):
            part = share * len(of_class)
            assert math.floor(part) <= (of_class == number).sum() <= math.ceil(part)
    for number, share in enumerate(exact):  # what classes round away, others make up for
        assert abs((found == number).sum() - share * len(names)) <= len(exact)


@given(samples(), SHARES)
def test_without_labels_the_sizes_are_right_within_one(drawn, shares):
    names, _, _, seed = drawn
    exact = [Fraction(share) for share in shares]
    found = by_shares(exact, names, seed=seed)
    for number, share in enumerate(exact):
        assert abs((found == number).sum() - share * len(names)) < 1


@given(samples(), SHARES, st.booleans())
def test_groups_are_whole_and_miss_a_size_by_at_most_one_of_them(drawn, shares, stratify):
    names, labels, groups, seed = drawn
    exact = [Fraction(share) for share in shares]
    found = by_shares(exact, names, groups=groups, labels=labels if stratify else None, seed=seed)
    sizes = {}
    for group in set(groups):
        mine = found[[g == group for g in groups]]
        assert len(set(mine.tolist())) == 1
        sizes[group] = len(mine)
    if not stratify:
        for number, share in enumerate(exact):
            assert abs((found == number).sum() - share * len(names)) < max(sizes.values()) + 1


@given(samples(), st.integers(2, 6), st.booleans())
def test_folds_are_even_and_groups_whole(drawn, n, grouped):
    names, labels, groups, seed = drawn
    found = folds(n, names, labels=labels, groups=groups if grouped else None, seed=seed)
    assert set(found.tolist()) <= set(range(n))
    if grouped:
        pairs = set(zip(groups, found.tolist(), strict=True))
        assert len(pairs) == len(set(groups))
        return
    for members in (found, *(found[labels == label] for label in np.unique(labels))):
        counts = np.bincount(members, minlength=n)
        assert counts.max() - counts.min() <= 1


@given(samples(), st.randoms(use_true_random=False), st.booleans(), st.booleans())
def test_the_order_of_the_samples_decides_nothing(drawn, random, stratify, grouped):
    names, labels, groups, seed = drawn

    def divided(order):
        found = by_shares(
            [Fraction("0.7"), Fraction("0.3")],
            [names[i] for i in order],
            labels=labels[order] if stratify else None,
            groups=[groups[i] for i in order] if grouped else None,
            seed=seed,
        )
        return {names[i]: number for i, number in zip(order, found.tolist(), strict=True)}

    order = list(range(len(names)))
    random.shuffle(order)
    assert divided(list(range(len(names)))) == divided(order)


def test_the_random_order_is_the_sha256_of_seed_and_name():
    names = [f"{i}.bin" for i in range(10)]
    found = by_shares([Fraction("0.8"), Fraction("0.2")], names, seed=3)
    expected = sorted(names, key=lambda n: hashlib.sha256(f"3/{n}".encode()).hexdigest())[8:]
    assert {n for n, share in zip(names, found, strict=True) if share} == set(expected)
    other = by_shares([Fraction("0.8"), Fraction("0.2")], names, seed=4)
    assert found.tolist() != other.tolist()


def test_many_small_classes_do_not_all_miss_the_small_share():
    labels = np.repeat(np.arange(50), 2)
    found = by_shares([Fraction("0.8"), Fraction("0.2")], list(map(str, range(100))), labels=labels)
    assert (found == 1).sum() == 20


def test_the_order_of_names_is_that_of_texts_as_spikingjelly_has_it():
    """What torchvision's DatasetFolder and split_to_train_test_set(0.9, ...) give, by hand."""
    names = [f"cat/cifar10_cat_{i}" for i in range(20)]
    found = in_order([0.9, 0.1], names, np.zeros(20, int))
    assert [n for n, share in zip(names, found, strict=True) if share] == [
        "cat/cifar10_cat_8",
        "cat/cifar10_cat_9",
    ]
    assert in_order([0.9, 0.1], list("abc"), np.zeros(3, int)).tolist() == [0, 0, 0]  # ceil(2.7)


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("train=0.8,test=0.2", "random:train=0.8,test=0.2"),
        ("random", "random:train=0.8,test=0.2"),
        ("random:seed=0", "random:train=0.8,test=0.2"),
        ("random:a=1/3,b=2/3,seed=7,stratify=true", "random:a=1/3,b=2/3,seed=7,stratify=true"),
        ("by-user:train=0.5,test=0.5,of=all", "random:train=0.5,test=0.5,group=user,of=all"),
        ("fold:k=0,n=5", "fold:k=0,n=5"),
        ("first:train=0.9,test=0.1", "first:train=0.9,test=0.1"),
    ],
)
def test_a_request_has_one_spelling(spec, canonical):
    assert parse(spec).spec == canonical
    assert parse(canonical) == parse(spec)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("train=0.8,test=0.3", "add up to 1.1, expected 1"),
        ("train=0.8", "add up to 0.8"),
        ("train=0.8,test=x", "test=x, expected the name of a split and its share"),
        ("train=2,test=-1", "train=2, expected"),
        ("random:train=0.8,test=0.2,stratify=maybe", "stratify is 'maybe'"),
        ("fold:k=5,n=5", "k is 5, expected 0 to 4"),
        ("fold:n=5", "needs the option 'k'"),
        ("fold:k=0,n=5,train=0.5", "fold has no option 'train'"),
        ("by-user:group=light", "its group is given twice"),
        ("randm:seed=1", "no way to split 'randm'. Did you mean 'random'"),
    ],
)
def test_wrong_requests_are_one_sentence(spec, sentence):
    with pytest.raises((OptionError, UnknownName), match=sentence):
        parse(spec)


def rows(parts, users=()):
    names = [f"{i}.bin" for i in range(len(parts))]
    return Rows(names, np.zeros(len(parts), int), parts, lambda name: list(users))


def test_only_train_is_divided_where_there_are_several_splits():
    found, _ = parse("train=0.5,validation=0.5").divide(rows(["train"] * 4 + ["test"] * 2))
    assert sorted(found[:4]) == ["train", "train", "validation", "validation"]
    assert found[4:] == ["test", "test"]
    found, notes = parse("train=0.5,test=0.5,of=all").divide(rows(["train"] * 4 + ["test"] * 2))
    assert sorted(found) == ["test"] * 3 + ["train"] * 3
    assert "train, test are divided together" in notes[0]


@pytest.mark.parametrize(
    ("spec", "parts", "sentence"),
    [
        ("train=0.5,test=0.5", ["train", "train", "test"], "there is a split 'test' already"),
        ("train=0.5,test=0.5", ["a", "b"], "say which is divided, as of=a, or of=all"),
        ("train=0.9,test=0.1", ["all"], "'test' would be empty, of 1 samples"),
        ("by-user", ["all"] * 4, "'test' would be empty, of 4 samples with 1 values of user"),
        ("random:of=al", ["all"], "Did you mean 'all'|no split 'al'"),
    ],
)
def test_divisions_that_cannot_be_are_explained(spec, parts, sentence):
    with pytest.raises((OptionError, UnknownName), match=sentence):
        parse(spec).divide(rows(parts, ["ali"] * len(parts)))


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Recordings of six users in the layout of DVS128 Gesture: 18 samples in one split."""
    root = make_gestures(tmp_path_factory.mktemp("people"), recordings=6, windows=3, events=100)
    (root / "all.txt").write_text("".join(f"user{i:02d}_led.aedat\n" for i in range(1, 7)))
    text = (
        'size = [128, 128]\nformat = "aedat3"\nclasses = ["a", "b", "c"]\n[layout]\n'
        'kind = "cut_by_table"\nsplits = { all = "all.txt" }\ntable = "{stem}_labels.csv"\n'
        'columns = ["class", "startTime_usec", "endTime_usec"]\nfirst_label = 1\n'
        "name = 'user(?P<user>\\d+)'\n[splits.odd]\nabout = 'odd users'\n"
        'by_column = { user = { train = ["01", "03", "05"], test = ["*"] } }\n'
    )
    (root / "people.toml").write_text(text)
    return root


def made(people, tmp_path, split, name="s", **more):
    convert(
        people / "people.toml", frames=2, root=people, out=tmp_path / f"{name}.zarr",
        split=split, workers=1, **more,
    )  # fmt: skip
    return ek.open(tmp_path / f"{name}.zarr")


def users(store, split):
    return set(store[split].column("user").tolist())


def test_users_are_divided_whole_in_a_store(people, tmp_path):
    store = made(people, tmp_path, "by-user:train=2/3,test=1/3,seed=1")
    assert store.splits == ["train", "test"]
    assert len(users(store, "train")) == 4
    assert not users(store, "train") & users(store, "test")
    assert store.attributes["command"].endswith(
        "--split random:train=2/3,test=1/3,seed=1,group=user"
    )


def test_a_named_split_is_taken_by_its_name(people, tmp_path):
    store = made(people, tmp_path, "odd")
    assert (users(store, "train"), users(store, "test")) == ({1, 3, 5}, {2, 4, 6})


def test_folds_cover_all_samples_once(people, tmp_path):
    tested = []
    for k in range(3):
        store = made(people, tmp_path, f"fold:k={k},n=3,group=user", name=f"f{k}")
        tested += sorted(users(store, "test"))
        assert len(store["train"]) + len(store["test"]) == 18
    assert sorted(tested) == [1, 2, 3, 4, 5, 6]


def test_windows_of_a_sample_are_in_one_split(people, tmp_path):
    store = made(people, tmp_path, "train=0.5,test=0.5", every="300us")
    train, test = (
        {(s, a // 1000) for s, a in zip(sources(store[p]), starts(store[p]), strict=True)}
        for p in ("train", "test")
    )
    assert train
    assert not train & test


def sources(part):
    return part.column("source").tolist()


def starts(part):
    return part.column("window_start").tolist()


def test_a_subset_is_divided_as_a_conversion_is(people, tmp_path):
    spec = "random:train=0.7,test=0.3,seed=5,stratify=true"
    one = made(people, tmp_path, spec)
    made(people, tmp_path, None, name="whole")
    subset(tmp_path / "two.zarr", tmp_path / "whole.zarr", split_into=spec)
    two = ek.open(tmp_path / "two.zarr")
    assert one.attributes["splits"] == two.attributes["splits"]
    for split in ("train", "test"):
        for i in range(len(one[split])):
            np.testing.assert_array_equal(one[split].frames[i], two[split].frames[i])


def test_a_relabelled_subset_has_its_own_classes_counts_and_warnings(people, tmp_path):
    made(people, tmp_path, None, name="whole")
    whole = ek.open(tmp_path / "whole.zarr")
    subset(tmp_path / "two.zarr", tmp_path / "whole.zarr", classes=["c", "a"], relabel=True)
    two = ek.open(tmp_path / "two.zarr")
    assert two.classes == ["c", "a"]
    old = [x for x in whole["all"].labels.tolist() if x != 1]
    assert two["all"].labels.tolist() == [{2: 0, 0: 1}[label] for label in old]
    assert "--relabel" in two.attributes["command"]
    subset(tmp_path / "one.zarr", tmp_path / "whole.zarr", classes=["c", "a"])
    one = ek.open(tmp_path / "one.zarr")
    assert one["all"].labels.tolist() == old
    assert one.attributes["splits"] != two.attributes["splits"]
    with pytest.raises(OptionError, match="relabel needs classes"):
        subset(tmp_path / "x.zarr", tmp_path / "whole.zarr", relabel=True)
    with pytest.raises(OptionError, match="class 'a' is given twice"):
        subset(tmp_path / "x.zarr", tmp_path / "whole.zarr", classes=["a", "a"], relabel=True)


def test_a_divided_store_is_repaired_and_its_parts_finalized(people, tmp_path):
    spec = "by-user:train=0.5,test=0.5"
    store = made(people, tmp_path, spec)
    shard = next((tmp_path / "s.zarr" / "train" / "frames").rglob("c.0*"))
    whole = shard.read_bytes()
    shard.unlink()
    repair(tmp_path / "s.zarr", root=people, dataset=people / "people.toml")
    assert shard.read_bytes() == whole
    for part in ("0/2", "1/2"):
        toml, out = people / "people.toml", tmp_path / "p.zarr"
        convert(toml, frames=2, root=people, out=out, split=spec, shard=part)
    finalize(tmp_path / "p.zarr")
    assert ek.open(tmp_path / "p.zarr").attributes["digest"] == store.attributes["digest"]


def test_another_split_is_another_plan(people, tmp_path):
    made(people, tmp_path, "by-user")
    with pytest.raises(StoreError, match=r"chosen\.split"):
        made(people, tmp_path, "odd")


def test_the_commands(people, run, tmp_path):
    toml, out = people / "people.toml", tmp_path / "s.zarr"
    flags = ["--stratify", "--seed", 2, "--group", "user"]
    code, text, _ = run(
        "convert", toml, "--root", people, "--frames", 2, "--out", out,
        "--split", "train=0.5,test=0.5", *flags,
    )  # fmt: skip
    assert code == 0
    assert "9 train, 9 test" in text
    command = "--split random:train=0.5,test=0.5,seed=2,stratify=true,group=user"
    assert command in ek.open(out).attributes["command"]
    code, text, _ = run(
        "subset", tmp_path / "t.zarr", out, "--split-into", "train=2/3,validation=1/3",
        "--group", "user",
    )  # fmt: skip
    assert code == 0
    assert "6 train, 3 validation, 9 test" in text
    code, _, error = run("convert", toml, "--root", people, "--frames", 2, "--seed", 1)
    assert (code, "seed belong to a split: give its shares too" in error) == (1, True)
    code, _, error = run("convert", toml, "--root", people, "--frames", 2, "--split", "od")
    assert (code, "no split of people 'od'. Did you mean 'odd'?" in error) == (1, True)


def test_cifar10dvs_has_the_splits_of_the_papers(tmp_path):
    """TEBN tests on recordings 0-99, SEW-ResNet on the last 100 in the order of the names."""
    for i in range(1000):
        for name in ("airplane", "cat"):
            path = tmp_path / name / f"cifar10_{name}_{i}.aedat"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    whole = datasets.load("cifar10dvs")
    found = {}
    for split in ("tebn", "sew"):
        listed = layouts.listing(whole.with_split(split), tmp_path).samples
        found[split] = {s.source for s in listed if s.split == "test"}
        assert len(listed) == 2000
    tested = [f"cat/cifar10_cat_{i}.aedat" for i in range(1000)]
    assert {n for n in found["tebn"] if "cat" in n} == set(tested[:100])
    names = sorted(n.removesuffix(".aedat") for n in tested)
    assert {n for n in found["sew"] if "cat" in n} == {f"{n}.aedat" for n in names[900:]}


def test_folds_of_a_store_with_one_split_train(tmp_path, people):
    pytest.importorskip("torch")
    from eventkit.train import train

    made(people, tmp_path, None)
    with pytest.raises(OptionError, match=r"no split 'train' to train on, only all; make one with"):
        train(tmp_path / "s.zarr", epochs=1, out=tmp_path / "r0")
    result = train(tmp_path / "s.zarr", epochs=1, folds=2, out=tmp_path / "r1", model="csnn_tiny")
    assert result["folds"] == 2
