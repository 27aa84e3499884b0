"""docs/gallery.md shows every representation, transform and augmentation; views draw them all."""

import importlib.util

import numpy as np
import pytest
from eventkit.cli import main
from making import ROOT, make_events

import eventkit as ek
from eventkit.augment import AUGMENTATIONS
from eventkit.representations import REPRESENTATIONS, panels, parse
from eventkit.transforms import TRANSFORMS

pytest.importorskip("PIL")


def gallery():
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "docs/gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_entry_is_in_the_gallery_with_its_pictures():
    module = gallery()
    text = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
    assert text == module.page(), "run python docs/gallery.py"
    shown = [(entry.registry, entry.name) for entry in module.entries()]
    registries = (REPRESENTATIONS, TRANSFORMS, AUGMENTATIONS)
    assert shown == [(registry, name) for registry in registries for name in registry]
    pictures = {entry.file for entry in module.entries()} | module.BEFORE.keys()
    assert pictures == {path.stem for path in (ROOT / "docs/gallery").glob("*.png")}, (
        "run python docs/gallery.py"
    )


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_every_representation_has_pictures_of_one_or_two_channels(name, recording):
    entry, options = parse(name)
    pictures = panels(entry, ek.represent(recording, name), recording.size, options)
    assert pictures.ndim == 4
    assert pictures.shape[1] in (1, 2)
    assert np.isfinite(pictures).all()
    assert pictures.any()


@pytest.mark.parametrize(
    "line",
    [
        ["--rep", "stacked_histogram:bins=3"],
        ["--rep", "hats", "--side", "64"],
        ["--transform", "stcf", "--transform", "resize:width=20", "--frames", "2"],
        ["--rep", "frames:polarity=on", "--transform", "crop_time:stop=10ms"],
    ],
)
def test_view_draws_any_representation_after_any_transforms(line, tmp_path, capsys):
    ek.write(tmp_path / "a.npz", make_events())
    out = tmp_path / "a.png"
    assert main(["view", str(tmp_path / "a.npz"), "--out", str(out), *line]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "outside" not in capsys.readouterr().err


def test_view_refuses_a_representation_beside_frames(tmp_path, capsys):
    ek.write(tmp_path / "a.npz", make_events())
    assert main(["view", str(tmp_path / "a.npz"), "--rep", "voxel", "--frames", "3"]) == 2
    assert "--rep goes without --frames" in capsys.readouterr().err


def test_specs_of_the_gallery_name_entries():
    module = gallery()
    for known, shown in (
        ({*REPRESENTATIONS, *TRANSFORMS}, module.SHOWN),
        ({*AUGMENTATIONS}, module.AUGMENTED),
    ):
        for name, spec in shown.items():
            assert name in known
            assert spec.startswith(f"{name}:")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A store of two samples of events, and the frames of both by time."""
    folder = tmp_path_factory.mktemp("two")
    samples = [make_events(500, seed=seed) for seed in (1, 2)]
    for name, events in zip("ab", samples, strict=True):
        (folder / "raw/train" / name).mkdir(parents=True)
        ek.write(folder / f"raw/train/{name}/0.npz", events)
    assert main(["convert", str(folder / "raw"), "--events", "--out", str(folder / "s.zarr")]) == 0
    return folder / "s.zarr", [ek.frames(events, n=2, by="time") for events in samples]


def drawn(monkeypatch, *line):
    """The frames that `view` draws."""
    found = []
    monkeypatch.setattr("eventkit.viz.sheet", lambda frames, *_, **__: found.append(frames))
    assert main(["view", *map(str, line), "--frames", "2", "--by", "time"]) == 0
    return found[0]


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_view_draws_every_augmentation(name, two, monkeypatch, tmp_path):
    spec = {
        "temporal_delete": "temporal_delete:keep=1",
        "random_crop": "random_crop:width=20,height=20",
    }
    line = (two[0], "--out", tmp_path / "a.png", "--augment", spec.get(name, name))
    first, again = (drawn(monkeypatch, *line) for _ in range(2))
    assert np.array_equal(first, again)
    assert first.any()


def test_view_changes_a_sample_as_training_does(two, monkeypatch, tmp_path):
    store, (own, other) = two
    out = ("--out", tmp_path / "a.png")
    mirrored = drawn(monkeypatch, store, *out, "--augment", "flip:p=1")
    assert np.array_equal(mirrored, own[..., ::-1])
    turned = drawn(monkeypatch, store, *out, "--augment", "flip_polarity:p=1")
    assert np.array_equal(turned, own[:, ::-1])
    mixed = [
        drawn(monkeypatch, store, *out, "--augment", "cutmix", "--seed", seed) for seed in (0, 1)
    ]
    assert not np.array_equal(*mixed)
    for frames in mixed:
        assert ((frames == own) | (frames == other)).all()


def test_a_film_of_augmented_events_shows_the_change(tmp_path, monkeypatch):
    films = []
    monkeypatch.setattr("eventkit.film.film", lambda frames, *_, **__: films.append([*frames]))
    ek.write(tmp_path / "a.npz", make_events())
    line = ["view", str(tmp_path / "a.npz"), "--out", str(tmp_path / "a.mp4")]
    assert main([*line, "--frames", "16"]) == 0
    assert main([*line, "--augment", "flip:p=1"]) == 0
    plain, mirrored = (np.stack(frames) for frames in films)
    assert np.array_equal(mirrored, plain[:, :, ::-1])
    assert not np.array_equal(mirrored, plain)


def test_view_needs_a_second_sample_to_mix(tmp_path, capsys):
    ek.write(tmp_path / "a.npz", make_events())
    assert main(["view", str(tmp_path / "a.npz"), "--augment", "mixup"]) == 2
    assert "mixup mixes two samples: view a store of events" in capsys.readouterr().err
    assert main(["view", str(tmp_path / "a.npz"), "--seed", "1"]) == 2
    assert "--seed goes with --augment" in capsys.readouterr().err
