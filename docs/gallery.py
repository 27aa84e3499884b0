"""Draw docs/gallery.md: every representation and transform on one simulated recording.

python docs/gallery.py [NAME ...]   all entries, or only those named

This script runs the command that stands below each picture, with smaller pictures (--side 128).
"""

import argparse
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from eventkit.cli import main as eventkit
from eventkit.cli._registry import about

from eventkit.registry import Registry
from eventkit.representations import REPRESENTATIONS
from eventkit.transforms import TRANSFORMS

HERE = Path(__file__).resolve().parent
FOLDER, PAGE = HERE / "gallery", HERE / "gallery.md"
RECORDING = "raw/user01_led.aedat"
WINDOW = ["--start", "4s", "--stop", "4300ms", "--side", "128"]

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
HEAD = """# Gallery

Every representation and every transform on the same 300 ms of a simulated recording: two hands that
clap. Blue is OFF, orange is ON. `python docs/gallery.py` draws this page again with your version;
the recording is made by `eventkit simulate dvsgesture --root raw --subjects 2`. `map.npy` turns the
picture by some degrees, and `pixels.txt` lists the pixels of both diagonals.
"""


def commands() -> Iterator[tuple[str, Registry[Any], str, list[str]]]:
    """Section, registry, name and command line of every entry."""
    for name in REPRESENTATIONS:
        spec = SHOWN.get(name, name)
        yield "Representations", REPRESENTATIONS, name, ["--rep", spec]
    for name in TRANSFORMS:
        spec = SHOWN.get(name, name)
        yield "Transforms", TRANSFORMS, name, ["--transform", spec, "--frames", "2"]


def files() -> None:
    """What the transforms of a calibration read: a map that turns a little, and some pixels."""
    y, x = np.mgrid[:128, :128]
    turned = np.stack([x + (y - 64) * 0.2, y - (x - 64) * 0.2], axis=-1)
    np.save("map.npy", turned.astype(np.float32))
    Path("pixels.txt").write_text("".join(f"{x} {x}\n{x} {127 - x}\n" for x in range(128)))


def page(
    options_of: dict[str, Callable[[Any], Callable[..., Any]]],
) -> str:
    """The page, with a sentence, a picture and a command for each entry."""
    lines, section = [HEAD], ""
    for title, registry, name, line in commands():
        if title != section:
            section = title
            lines.append(f"## {title}\n")
        sentence = about(registry, name, options_of[title])
        shown = shlex.join(["eventkit", "view", RECORDING, *line, *WINDOW[:4]])
        lines.append(f"### {name}\n\n{sentence}.\n\n![{name}](gallery/{name}.png)\n\n`{shown}`\n")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="entries to draw [all]")
    wanted = parser.parse_args().names
    if odd := set(wanted) - {name for _, _, name, _ in commands()}:
        raise SystemExit(f"no representation or transform is called {', '.join(sorted(odd))}")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if eventkit(["simulate", "dvsgesture", "--root", "raw", "--subjects", "2"]):
            raise SystemExit("the recording could not be simulated")
        files()
        for _, _, name, line in commands():
            if wanted and name not in wanted:
                continue
            out = ["--out", str(FOLDER / f"{name}.png"), "--overwrite"]
            if eventkit(["view", RECORDING, *line, *WINDOW, *out]):
                raise SystemExit(f"{name} could not be drawn")
    known = {f"{name}.png" for _, _, name, _ in commands()}
    for old in FOLDER.glob("*.png"):
        if old.name not in known:
            old.unlink()
    options: dict[str, Callable[[Any], Callable[..., Any]]] = {
        "Representations": lambda entry: entry.shape,
        "Transforms": lambda entry: entry,
    }
    PAGE.write_text(page(options), encoding="utf-8")


if __name__ == "__main__":
    main()
