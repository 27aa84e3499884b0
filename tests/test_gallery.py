"""docs/gallery.md shows every representation and transform; views draw them all."""

import importlib.util

import numpy as np
import pytest
from eventkit.cli import main
from making import ROOT, make_events

import eventkit as ek
from eventkit.representations import REPRESENTATIONS, panels, parse
from eventkit.transforms import TRANSFORMS

pytest.importorskip("PIL")


def gallery():
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "docs/gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_entry_is_in_the_gallery_with_its_picture():
    text = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
    for name in (*REPRESENTATIONS, *TRANSFORMS):
        assert f"### {name}\n" in text, "run python docs/gallery.py"
        assert f"![{name}](gallery/{name}.png)" in text
        assert (ROOT / f"docs/gallery/{name}.png").is_file(), "run python docs/gallery.py"


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
    for name, spec in module.SHOWN.items():
        assert name in REPRESENTATIONS or name in TRANSFORMS
        assert spec.startswith(f"{name}:")
