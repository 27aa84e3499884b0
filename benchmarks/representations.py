"""Representations and filters compared with Tonic, evlib, evutils and dv-processing, on one thread.

python benchmarks/run.py representations --peers ENVIRONMENT: 400,000 events on 128x128. CPU time,
medians. Where a peer's definition is one of ours, the arrays are compared too.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from frames import EVENTS, sample

import eventkit as ek
from eventkit.representations import REPRESENTATIONS
from eventkit.transforms import TRANSFORMS

HERE = Path(__file__).parent
NAMES = {"tonic": "Tonic", "evlib": "evlib", "evutils": "evutils", "dv": "dv-processing"}
NEEDS = {
    "resize": "resize:width=64",
    "mask": "mask:x=20,width=40",
    "undistort": "undistort:fx=90,fy=90,cx=64,cy=64,k1=-0.2",
}
FILES = ("drop_pixels", "rectify")  # which look up a table that is read from a file

# A peer's way, the spec of ours that does the same, and the bar.
REPRESENT = {
    "tonic voxel": ("voxel:like=tonic", "≥ 20 ×"),
    "tonic time_surface": ("time_surface:duration=500ms,tau=50ms,like=tonic", "≥ 20 ×"),
    "tonic bina_rep": ("bina_rep", "≥ 20 ×"),
    "tonic hats of 4,000": ("hats:cell=8,window=1ms,tau=100us", "≥ 20 ×"),
    "evlib voxel": ("voxel:polarity=signed", "≥ 1 ×"),
    "evlib stacked_histogram": ("stacked_histogram:window=50ms", "≥ 1 ×"),
    "evlib mixed_density": ("mixed_density", "≥ 1 ×"),
    "evlib time_surface": ("time_surface:duration=500ms", "≥ 1 ×"),
    "evutils time_surface": ("time_surface", "≥ 1 ×"),
    "evutils tore": ("tore", "≥ 1 ×"),
    "evutils stacked_histogram": ("stacked_histogram", "≥ 1 ×"),
    "dv time_surface": ("time_surface", "≥ 1 ×"),
}
TRANSFORM = {
    "tonic denoise": ("background_activity:duration=10ms", "≥ 20 ×"),
    "tonic refractory": ("refractory:rule=seen", "≥ 20 ×"),
    "tonic decimate": ("decimate:n=4", "≥ 20 ×"),
    "tonic downsample": ("resize:width=64,height=64", ""),
    "dv background_activity": ("background_activity", "≥ 1 ×"),
    "dv knoise": ("knoise", "≥ 1 ×"),
}
# Peers' arrays that ours equal within float32's rounding.
SAME = ["tonic voxel", "tonic time_surface", "tonic hats of 4,000"]


def median_ms(work: Callable[[], object]) -> float:
    """The median CPU time of one call."""
    work()
    spent: list[float] = []
    while len(spent) < 5 or (len(spent) < 31 and sum(spent) < 1):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return statistics.median(spent) * 1000


def run(peers: Path | None) -> list[dict]:
    warnings.filterwarnings("ignore", ".*no event")
    events = sample()
    rows = []

    def row(what: str, ours: float, peer: float | None, name: str, bar: str, n: int) -> None:
        rate = f"{what}, {n / ours / 1000:,.0f} M events/s"
        ratio = peer / ours if peer else None
        found = {"what": rate, "ours": ours, "peer": peer, "ratio": ratio, "bar": bar}
        rows.append({**found, "peer_name": name, "unit": "ms"})

    with tempfile.TemporaryDirectory() as folder:
        times = theirs(peers, events, Path(folder)) if peers else {}
        for table, apply in ((REPRESENT, ek.represent), (TRANSFORM, ek.transform)):
            for way, (spec, bar) in table.items():
                part = events[:4000] if "4,000" in way else events
                ours = median_ms(lambda a=apply, e=part, s=spec: a(e, s))
                library = NAMES[way.partition(" ")[0]]
                if way in times:
                    row(spec, ours, times[way], library, bar, len(part))
                if way in SAME and way in times:
                    compare(way, np.load(Path(folder, f"{way}.npy")), apply(part, spec))
    shown = {spec for table in (REPRESENT, TRANSFORM) for spec, _ in table.values()}
    for registry, apply in ((REPRESENTATIONS, ek.represent), (TRANSFORMS, ek.transform)):
        for name in registry:
            if name in FILES:
                continue
            spec = NEEDS.get(name, name)
            if spec not in shown or not peers:
                ours = median_ms(lambda a=apply, s=spec: a(events, s))
                row(spec, ours, None, "", "≥ 50 M/s", EVENTS)
    return rows


def theirs(peers: Path, events: ek.Events, folder: Path) -> dict[str, float]:
    columns = {key: getattr(events, key).astype(np.int64) for key in "txyp"}
    np.savez(folder / "sample.npz", size=events.size, **columns)
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    environment = os.environ | threads | {"POLARS_MAX_THREADS": "1"}
    command = [peers / "bin" / "python", HERE / "peer_representations.py", folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(done.stdout)


def compare(way: str, peer: np.ndarray, ours: np.ndarray) -> None:
    """Stop if our array is not theirs."""
    if peer.shape != ours.shape or not np.allclose(peer, ours, rtol=1e-4, atol=1e-5):
        worst = np.abs(peer - ours).max() if peer.shape == ours.shape else "another shape"
        raise SystemExit(f"{way}: {peer.shape} and {ours.shape} differ, {worst}")
    print(f"{way}: equal, {ours.size:,} values", file=sys.stderr)


if __name__ == "__main__":
    for line in run(None):
        print(json.dumps(line, ensure_ascii=False))
