"""Fixtures that several test files share."""

import os
from pathlib import Path

import numpy as np
import pytest

from eventkit import Events

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real recordings; tests that need it are skipped where there is none."""
    folder = Path(os.environ.get("EVENTKIT_SAMPLES", ROOT.parent / "shared" / "data"))
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip(f"no real recordings at {folder}; set EVENTKIT_SAMPLES to their folder")
    return folder


def make_events(n=1000, size=(34, 34), seed=0, step=50) -> Events:
    """Random events in order of time."""
    rng = np.random.default_rng(seed)
    return Events(
        t=np.cumsum(rng.integers(0, step, n)),
        x=rng.integers(0, size[0], n),
        y=rng.integers(0, size[1], n),
        p=rng.integers(0, 2, n),
        size=size,
    )


@pytest.fixture
def recording() -> Events:
    """A thousand random events on 34x34, in order of time."""
    return make_events()
