"""Plug-ins: what another package registers is used like the built-in entries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from making import ROOT, make_events

import eventkit as ek
from eventkit import Events, datasets
from eventkit.errors import OptionError
from eventkit.registry import Registry
from eventkit.transforms import TRANSFORMS

PACKAGE = '''
"""One representation, one transform, one format and one model of a user's own."""

import numpy as np

from eventkit import Events
from eventkit.formats import FORMATS, Format
from eventkit.representations import REPRESENTATIONS, Representation
from eventkit.transforms import TRANSFORMS


def shape(whole, size, *, scale: int = 1):
    return 1, 1, size[1], size[0]


def add(out, events, whole, first, *, scale):
    np.add.at(out[0, 0], (events.y, events.x), scale)
    return len(events)


REPRESENTATIONS.register(Representation("plain_sum", np.int32, shape, add))


@TRANSFORMS.register
def only_on(events):
    kept = events.p == 1
    return Events(*(getattr(events, name)[kept] for name in "txyp"), size=events.size)


def stream(
    path, report, into, *,
    chunk: int, start: int | None, stop: int | None, strict: bool, side: int = 8,
):
    t, x, y, p = np.loadtxt(path, np.int64, skiprows=1, delimiter=";", unpack=True)
    events = Events(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), (side, side))
    yield events.between(start, stop)


FORMATS.register(
    Format("semicolons", "Semicolons", (".semi",), stream, detect=lambda head: head[:4] == b"SEMI")
)
'''
MODEL = """
from torch import nn

from eventkit.models import MODELS, Model, Recipe


class Net(nn.Module):
    def __init__(self, num_classes, in_shape):
        super().__init__()
        self.head = nn.Linear(in_shape[0] * in_shape[1] * in_shape[2], num_classes)

    def forward(self, x):
        return self.head(x.flatten(2))


def build(num_classes, in_shape):
    return Net(num_classes, in_shape)


MODELS.register(Model("flat", build, "One linear layer.", Recipe()))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the package `tinykit` as pip leaves it there, and a dataset that uses it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "tinykit").mkdir()
    (folder / "tinykit" / "__init__.py").write_text("")
    (folder / "tinykit" / "data.py").write_text(PACKAGE)
    (folder / "tinykit" / "nets.py").write_text(MODEL)
    info = folder / "tinykit-3.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tinykit\nVersion: 3.1\n")
    (info / "top_level.txt").write_text("tinykit\n")
    (info / "RECORD").write_text("tinykit/__init__.py,,\ntinykit-3.1.dist-info/METADATA,,\n")
    (info / "entry_points.txt").write_text("[eventkit.plugins]\ndata = tinykit.data\n")
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        for split in ("train", "test"):
            (folder / "own" / split / label).mkdir(parents=True)
            for i in range(2):
                rows = [f"{t};{t % 8};{rng.integers(8)};{t % 2}" for t in range(40)]
                path = folder / "own" / split / label / f"{i}.semi"
                path.write_text("\n".join(["SEMI", *rows]) + "\n")
    return folder


def command(installed: Path, *words: str, plugins: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, in which `tinykit` is installed."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (installed, ROOT))),
        "EVENTKIT_PLUGINS": plugins,
    }
    return subprocess.run(
        [sys.executable, "-m", "eventkit", *words],
        capture_output=True, text=True, cwd=installed, env=environment,
    )  # fmt: skip


def test_an_installed_package_adds_a_format_a_representation_and_a_transform(installed):
    own, store = str(installed / "own"), str(installed / "own.zarr")
    shown = command(installed, "info", f"{own}/train/a/0.semi", "--json")
    assert json.loads(shown.stdout)["format"] == "semicolons", shown.stderr
    made = command(
        installed, "convert", own, "--rep", "plain_sum:scale=3", "--transform", "only_on",
        "--out", store,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    frames = np.asarray(ek.open(store)["train"].frames[0])
    assert frames.sum() == 3 * 20  # every second event is ON
    used = dict.fromkeys(("plain_sum", "only_on", "semicolons"), "tinykit 3.1")
    assert ek.open(store).attributes["plan"]["plugins"] == used
    shown = command(installed, "inspect", store, "--provenance")
    assert "plain_sum of tinykit 3.1, only_on of tinykit 3.1" in shown.stdout, shown.stderr
    part = str(installed / "part.zarr")
    made = command(installed, "subset", part, store, "--split", "train")
    assert made.returncode == 0, made.stderr
    assert ek.open(part).attributes["plan"]["plugins"] == used


def test_a_plugin_that_the_environment_names_adds_a_model(installed):
    pytest.importorskip("torch")
    shown = command(installed, "models", "flat", "--json", plugins="tinykit.nets")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["about"] == "One linear layer."
    missing = command(installed, "models", "flat", "--json")
    assert "no model 'flat'" in missing.stderr


def test_a_plugin_that_fails_is_named_and_stops_nothing(installed):
    path = str(installed / "own" / "train" / "a" / "0.semi")
    done = command(installed, "info", path, plugins="tinykit.absent,tinykit.data")
    assert done.returncode == 0
    assert "plug-in 'tinykit.absent' failed and is left out: ModuleNotFoundError" in done.stderr
    assert "Traceback" not in done.stderr


def test_built_in_names_win():
    registry: Registry = Registry("thing", "eventkit.transforms")
    mine = type("Crop", (), {"name": "crop"})
    registry.register(mine)
    registry.register(ek.transform)  # stands for a built-in entry: it is eventkit's own
    entry = type("Crop", (), {"name": "crop", "__module__": "eventkit.transforms.crop"})
    registry.register(entry)
    with pytest.warns(UserWarning, match="thing 'crop' is built in; the plug-in's is ignored"):
        assert registry["crop"] is entry


def test_an_option_without_a_type_is_refused_when_it_is_registered():
    registry: Registry = Registry("thing", None)

    def untyped(events, *, n=3): ...

    with pytest.raises(ValueError, match="thing 'untyped': its option 'n' has no type annotation"):
        registry.register(untyped)


def test_options_are_keywords_too():
    events = make_events()
    np.testing.assert_array_equal(
        ek.represent(events, "voxel", bins=9), ek.represent(events, "voxel:bins=9")
    )
    cropped = ek.transform(events, "crop", width=8, height=8)
    assert cropped == ek.transform(events, "crop:width=8,height=8")
    with pytest.raises(OptionError, match="'bins' is given twice"):
        ek.represent(events, "voxel:bins=9", bins=5)
    with pytest.raises(OptionError, match="the options width belong to one transform, found 2"):
        ek.transform(events, "crop", "crop_time", width=8)


def test_folders_of_datasets_are_added_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("EVENTKIT_DATASETS", str(tmp_path))
    layout = 'classes = ["a"]\n[layout]\nkind = "class_folders"\n'
    (tmp_path / "ours.toml").write_text(f'title = "Ours"\n{layout}')
    (tmp_path / "nmnist.toml").write_text(f'title = "Not N-MNIST"\n{layout}')
    assert datasets.load("ours").title == "Ours"
    assert "ours" in datasets.names()
    assert datasets.load("nmnist").title == "N-MNIST"  # built-in names win
    monkeypatch.setenv("EVENTKIT_DATASETS", str(tmp_path / "absent"))
    with pytest.raises(OptionError, match=r"EVENTKIT_DATASETS: .*absent is not a folder"):
        datasets.names()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda events: None, "odd returned NoneType, expected Events"),
        (
            lambda events: Events.concat([events, events]),
            "odd returned 10 events for 5; .* adds none",
        ),
    ],
)
def test_a_transform_of_a_plugin_must_keep_change_or_drop_events(change, message, monkeypatch):
    def odd(events):
        return change(events)

    monkeypatch.setitem(TRANSFORMS._load(), "odd", odd)
    with pytest.raises(OptionError, match=message):
        ek.transform(make_events(5), "odd")


def test_a_plugin_that_exits_is_left_out(installed):
    (installed / "exits.py").write_text("raise SystemExit('bye')\n")
    done = command(installed, "representations", plugins="exits")
    assert done.returncode == 0
    assert "plug-in 'exits' failed and is left out: SystemExit: bye" in done.stderr
