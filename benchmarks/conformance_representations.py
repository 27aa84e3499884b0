"""Which representation gives which other code's values: docs/conformance_representations.md.

python benchmarks/conformance_representations.py --peers ENVIRONMENT [--authors FOLDER]
    [--samples FOLDER]

ENVIRONMENT is a virtual environment with Tonic. FOLDER of the authors has clones of uzh-rpg/RVT and
uzh-rpg/event_representation_study, whose code is run as it is (torch_scatter, which the second one
imports, is replaced by the same sums in torch). Their rows are left out without it.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import eventkit as ek
from eventkit import Events

HERE = Path(__file__).resolve().parent
MOST = 20_000  # events of a recording that are compared
FEW = 1  # recordings of a folder
PAGE = """# Representations: whose values are whose

Made by `python benchmarks/conformance_representations.py`, on {recordings} recordings ({events:,}
events): random ones and the first {most:,} events of real ones in order of time. Equal means every
value, for float32 results within 10⁻⁵ of float64 ones.

| eventkit | other code | values | different |
|---|---|--:|--:|
{rows}

Not compared: TORE (the authors' code is MATLAB; two Python copies differ from it, see the source of
`tore`), EST's kernel (its learnt part needs training), E2VID (its normalisation is part of its
network's loader).
"""
TONIC = {
    "voxel:bins=5,like=tonic": "Tonic ToVoxelGrid",
    "time_surface:duration=20ms,tau=10ms,like=tonic": "Tonic ToTimesurface",
    "bina_rep:bits=8": "Tonic ToBinaRep of eventkit's frames",
    "hats:cell=10,window=1ms,tau=100us": "Tonic ToAveragedTimesurface (first 2,000 events)",
}
ERGO_WINDOWS = [0, 3, 2, 6, 5, 6, 2, 5, 1, 0, 4, 1]
ERGO_FUNCTIONS = (
    *("polarity", "timestamp_neg", "count_neg", "polarity", "count_pos", "count"),
    *("timestamp_pos", "count_neg", "timestamp_neg", "timestamp_pos", "timestamp", "count"),
)
ERGO_AGGREGATIONS = (
    *("variance", "variance", "mean", "sum", "mean", "sum"),
    *("mean", "mean", "max", "max", "max", "mean"),
)


def recordings(samples: Path | None) -> Iterator[Events]:
    """Random recordings, and real ones in order of time without events outside the sensor."""
    rng = np.random.default_rng(0)
    for n, size in ((20_000, (40, 30)), (3_000, (12, 9))):
        x, y = (rng.integers(0, side, n) for side in size)
        yield Events(np.sort(rng.integers(0, 10**6, n)), x, y, rng.integers(0, 2, n), size)
    seen: dict[Path, int] = {}
    for path in sorted(samples.rglob("*")) if samples else []:
        seen[path.parent] = seen.get(path.parent, 0) + 1
        small = path.suffix in (".bin", ".dat", ".raw", ".aedat4", ".aedat", ".es")
        if not small or seen[path.parent] > FEW:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                events = ek.read(path)[:MOST].sort()
        except ek.EventkitError:
            continue  # what cannot be read is another table's business
        events = events[(events.x < events.width) & (events.y < events.height)]
        # Tonic and the authors count from the first event in 32 bits of float.
        if len(events) > 100 and 0 < events.t[-1] - events.t[0] < 1 << 24:
            yield ek.transform(events, "align_time")


class Score:
    """Values compared and values that differ, by eventkit's spec and the other code's name."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], list[int]] = {}

    def add(self, spec: str, other: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        row = self.rows.setdefault((spec, other), [0, 0])
        row[0] += ours.size
        if ours.shape != theirs.shape:
            row[1] += ours.size
        elif ours.dtype.kind == "f":
            row[1] += int((~np.isclose(ours, theirs, rtol=1e-5, atol=1e-5)).sum())
        else:
            row[1] += int((ours != theirs).sum())


def of_tonic(peers: Path, all_events: list[Events], score: Score) -> None:
    program = HERE / "peer_conformance.py"
    for events in all_events:
        with tempfile.TemporaryDirectory() as folder:
            columns = {name: getattr(events, name).astype(np.int64) for name in "txyp"}
            eight = ek.represent(events, "frames:n=8,by=time").astype(np.int64)
            np.savez(Path(folder, "sample.npz"), size=events.size, frames=eight, **columns)
            command = [peers / "bin/python", program, folder]
            subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
            for number, (spec, name) in enumerate(TONIC.items()):
                part = events[:2000] if spec.startswith("hats") else events
                score.add(spec, name, ek.represent(part, spec), np.load(f"{folder}/{number}.npy"))


def load(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def of_authors(folder: Path, all_events: list[Events], score: Score) -> None:
    import torch

    rvt = load(folder / "RVT/data/utils/representations.py", "rvt_representations")
    ergo = authors_of_ergo(folder / "event_representation_study/representations")
    for events in all_events:
        width, height = events.size
        tensors = [torch.from_numpy(getattr(events, c).astype(np.int64)) for c in "xypt"]
        for spec, made in {
            "stacked_histogram:like=rvt": rvt.StackedHistogram(10, height, width, 10),
            "mixed_density:like=rvt": rvt.MixedDensityEventStack(10, height, width, 32),
        }.items():
            theirs = made.construct(*tensors).numpy()[None]
            score.add(spec, f"RVT {type(made).__name__}", ek.represent(events, spec), theirs)
        theirs = ergo(events).transpose(2, 0, 1)[None]
        score.add("ergo12", "its authors' code", ek.represent(events, "ergo12"), theirs)


def authors_of_ergo(folder: Path) -> Callable[[Events], np.ndarray]:
    """Their function of events, with a stand-in for torch_scatter."""
    import torch

    def scatter(src: Any, index: Any, dim_size: int, reduce: str) -> Any:
        out = torch.zeros(dim_size, dtype=torch.float64)
        if reduce == "max":
            return out.scatter_reduce(0, index, src.double(), "amax", include_self=False)
        total = out.scatter_add(0, index, src.double())
        if reduce == "sum":
            return total
        return total / out.scatter_add(0, index, torch.ones_like(src).double()).clamp(min=1)

    stand_in = types.ModuleType("torch_scatter")
    stand_in.scatter = scatter  # type: ignore[attr-defined]
    sys.modules["torch_scatter"] = stand_in
    # Not this folder: its representations.py is in the way of theirs.
    there = [path for path in sys.path if Path(path or ".").resolve() != HERE]
    sys.path[:] = [str(folder), str(folder.parent), *there]
    module = load(folder / "representation_search/mixed_density_event_stack.py", "ergo_stack")

    def run(events: Events) -> np.ndarray:
        table = np.empty(len(events), [(name, np.int64) for name in "xypt"])
        for name in "xyt":
            table[name] = getattr(events, name)
        table["p"] = 2 * events.p.astype(np.int64) - 1
        how = (ERGO_WINDOWS, ERGO_FUNCTIONS, ERGO_AGGREGATIONS)
        stack = module.MixedDensityEventStack(12, len(events), *events.size[::-1], how, "SBN")
        return np.asarray(stack.stack(table))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--authors", type=Path)
    parser.add_argument("--samples", type=Path)
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "docs" / "conformance_representations.md"
    )
    options = parser.parse_args()
    warnings.filterwarnings("ignore", ".*no event")
    found = list(recordings(options.samples))
    score = Score()
    of_tonic(options.peers, found, score)
    if options.authors:
        of_authors(options.authors, found, score)
    rows = "\n".join(
        f"| `{spec}` | {other} | {n:,} | {bad:,} |"
        for (spec, other), (n, bad) in score.rows.items()
    )
    events = sum(map(len, found))
    options.out.write_text(
        PAGE.format(recordings=len(found), events=events, most=MOST, rows=rows), encoding="utf-8"
    )
    print(rows)
    print(json.dumps({"recordings": len(found), "events": events}))


if __name__ == "__main__":
    main()
