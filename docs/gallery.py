"""Draw docs/gallery.md: every representation, transform and augmentation on one recording.

python docs/gallery.py [NAME ...]   all entries, or only those named

This script runs the commands that stand below the pictures, with smaller pictures (--side 128).
"""

import argparse
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from eventkit.cli import main as eventkit
from eventkit.cli._registry import about

from eventkit.augment import AUGMENTATIONS
from eventkit.registry import Registry
from eventkit.representations import REPRESENTATIONS
from eventkit.transforms import TRANSFORMS

HERE = Path(__file__).resolve().parent
FOLDER, PAGE = HERE / "gallery", HERE / "gallery.md"
RECORDING, STORE = "raw/user01_led.aedat", "gestures.zarr"
WINDOW = ["--start", "4s", "--stop", "4300ms"]
OF_STORE = ["--split", "train", "--sample", "0", "--start", "1s", "--stop", "1300ms"]

# Options that show more than the defaults do.
SHOWN = {
    "bina_rep": "bina_rep:n=2",
    "centre_crop": "centre_crop:width=64,height=96",
    "crop": "crop:x=32,y=40,width=64,height=64",
    "crop_count": "crop_count:stop=3000",
    "crop_time": "crop_time:stop=100ms",
    "downsample": "downsample:factor=2",
    "drop_pixels": "drop_pixels:file=pixels.txt",
    "est": "est:bins=4",
    "frames": "frames:n=4",
    "hot_pixels": "hot_pixels:rate=30",
    "leaky": "leaky:n=4,tau=50ms",
    "limit_rate": "limit_rate:rate=10000",
    "mask": "mask:x=20,y=50,width=40,height=60",
    "mixed_density": "mixed_density:bins=4",
    "rectify": "rectify:file=map.npy",
    "refractory": "refractory:duration=20ms",
    "resize": "resize:width=48,height=48",
    "spikes": "spikes:duration=75ms",
    "stacked_histogram": "stacked_histogram:bins=4",
    "stcf": "stcf:support=2",
    "time_surface": "time_surface:n=4",
    "tore": "tore:k=4",
    "undistort": "undistort:fx=90,fy=90,cx=64,cy=64,k1=-0.3",
    "voxel": "voxel:bins=4",
}
AUGMENTED = {
    "cutmix": "cutmix:alpha=5",
    "cutout": "cutout:size=40",
    "drop_area": "drop_area:ratio=0.4",
    "drop_pixel": "drop_pixel:share=0.3",
    "event_drop": "event_drop:by=area",
    "event_noise": "event_noise:share=0.5",
    "flip": "flip:p=1",
    "flip_polarity": "flip_polarity:p=1",
    "frame_drop": "frame_drop:by=time,ratio=0.5",
    "mixup": "mixup:alpha=5",
    "random_crop": "random_crop:width=64,height=64",
    "resized_crop": "resized_crop:low=0.3,high=0.5",
    "roll": "roll:pixels=40",
    "rotate": "rotate:degrees=45",
    "scale": "scale:low=1.3,high=1.6",
    "shear": "shear:share=0.6",
    "shift": "shift:share=0.4",
    "spatial_jitter": "spatial_jitter:std=2",
    "temporal_delete": "temporal_delete:keep=2",
    "time_jitter": "time_jitter:std=40ms",
    "time_reverse": "time_reverse:p=1",
    "time_shift": "time_shift:by=150ms",
    "time_skew": "time_skew:low=0.4,high=0.6",
}
OPTIONS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "Representations": lambda entry: entry.shape,
    "Transforms": lambda entry: entry,
    "Augmentations": lambda entry: entry.apply,
}
HEAD = """# Gallery

Every representation, transform and augmentation on the same 300 ms of a simulated recording: two
hands that clap. Blue is OFF, orange is ON. Transforms and augmentations show the events before and
after. `python docs/gallery.py` draws this page again with your version; the recording is made by
`eventkit simulate dvsgesture --root raw --subjects 2`, and the store of the augmentations that mix
two samples by `eventkit convert dvsgesture --root raw --events --out gestures.zarr`. `map.npy`
turns the picture by some degrees, and `pixels.txt` lists the pixels of both diagonals.
"""


# Pictures of what transforms, augmentations and mixed samples are before the change.
BEFORE = {
    "before": [RECORDING, "--frames", "2", *WINDOW],
    "before_4": [RECORDING, "--frames", "4", "--by", "time", *WINDOW],
    "before_mix": [STORE, *OF_STORE, "--frames", "4", "--by", "time"],
}


class Entry(NamedTuple):
    """An entry of the page: its section, registry, name, and what `view` is given."""

    section: str
    registry: Registry[Any]
    name: str
    view: list[str]
    before: str | None = None

    @property
    def file(self) -> str:
        """Of the picture; augmentations may be called as transforms are."""
        return f"augment_{self.name}" if self.registry is AUGMENTATIONS else self.name


def entries() -> Iterator[Entry]:
    """Everything that the registries hold."""
    for name in REPRESENTATIONS:
        line = [RECORDING, "--rep", SHOWN.get(name, name), *WINDOW]
        yield Entry("Representations", REPRESENTATIONS, name, line)
    for name in TRANSFORMS:
        line = [RECORDING, "--transform", SHOWN.get(name, name), "--frames", "2", *WINDOW]
        yield Entry("Transforms", TRANSFORMS, name, line, "before")
    for name, entry in AUGMENTATIONS.items():
        mixes = entry.on == "batch"
        at = [STORE, *OF_STORE[:4]] if mixes else [RECORDING]
        # Frames of equal time show what changes the times; some augmentations remove frames.
        line = [*at, "--augment", AUGMENTED.get(name, name), "--frames", "4", "--by", "time"]
        line += OF_STORE[4:] if mixes else WINDOW
        before = "before_mix" if mixes else "before_4"
        yield Entry("Augmentations", AUGMENTATIONS, name, line, before)


def files() -> None:
    """What the transforms of a calibration read: a map that turns a little, and some pixels."""
    y, x = np.mgrid[:128, :128]
    turned = np.stack([x + (y - 64) * 0.2, y - (x - 64) * 0.2], axis=-1)
    np.save("map.npy", turned.astype(np.float32))
    Path("pixels.txt").write_text("".join(f"{x} {x}\n{x} {127 - x}\n" for x in range(128)))


def page() -> str:
    """The page, with a sentence, pictures and a command for each entry."""
    lines, section = [HEAD], ""
    for entry in entries():
        if entry.section != section:
            section = entry.section
            lines.append(f"## {section}\n")
        sentence = about(entry.registry, entry.name, OPTIONS[section])
        pictures = [f"![before](gallery/{entry.before}.png)"] if entry.before else []
        pictures.append(f"![{entry.name}](gallery/{entry.file}.png)")
        shown = shlex.join(["eventkit", "view", *entry.view])
        lines.append(f"### {entry.name}\n\n{sentence}.\n\n{' '.join(pictures)}\n\n`{shown}`\n")
    return "\n".join(lines)


def run(*command: str) -> None:
    if eventkit(list(command)):
        raise SystemExit(f"eventkit {shlex.join(command)} failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="entries to draw [all]")
    wanted = parser.parse_args().names
    if odd := set(wanted) - {entry.name for entry in entries()}:
        raise SystemExit(f"no entry of the gallery is called {', '.join(sorted(odd))}")
    FOLDER.mkdir(exist_ok=True)
    pictures = {entry.file: entry.view for entry in entries() if entry.name in wanted or not wanted}
    if not wanted:
        pictures |= BEFORE
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run("simulate", "dvsgesture", "--root", "raw", "--subjects", "2")
        run("convert", "dvsgesture", "--root", "raw", "--events", "--out", STORE)
        files()
        for name, line in pictures.items():
            out = FOLDER / f"{name}.png"
            run("view", *line, "--side", "128", "--out", str(out), "--overwrite")
        os.chdir(HERE)
    known = {entry.file for entry in entries()} | BEFORE.keys()
    for old in FOLDER.glob("*.png"):
        if old.stem not in known:
            old.unlink()
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
