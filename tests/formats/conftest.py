"""What the tests of formats share: the true counts of real recordings."""

import csv
from collections.abc import Callable

import pytest

from eventkit import Events

COUNTS = ("events", "t_first_us", "t_last_us", "x_max", "y_max", "on", "off", "backward_steps")


def counts(events: Events) -> dict[str, int]:
    """What the manifest says of a recording."""
    n, on = len(events), int(events.p.sum())
    if not n:
        return {"events": 0}
    ends = int(events.t[0]), int(events.t[-1])
    most = int(events.x.max()), int(events.y.max())
    return dict(zip(COUNTS, (n, *ends, *most, on, n - on, events.backward_steps), strict=True))


@pytest.fixture(scope="session")
def differs(samples) -> Callable[[str, Events], dict[str, tuple[int, int]]]:
    """A function that says what events have another count of than the manifest: (true, found)."""
    with (samples / "MANIFEST.csv").open(newline="") as file:
        manifest = {row["file"]: row for row in csv.DictReader(file)}

    def compare(name: str, events: Events) -> dict[str, tuple[int, int]]:
        row = manifest[f"recordings/{name}"]
        return {
            key: (int(row[key]), found)
            for key, found in counts(events).items()
            if row[key] != "" and int(row[key]) != found
        }

    return compare
