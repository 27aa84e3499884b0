"""Compute rates, gaps, order, pixel statistics and flicker from the survey."""

from typing import Any

import numpy as np

from eventkit.doctor.survey import BIN, GAPS, SECOND, WINDOW, Survey

LISTED = 100  # maximum number of hot pixels listed
MAINS = (50, 60, 100, 120)  # Hz: lamps flicker at twice the mains frequency, screens at 60
COARSE = 4_000  # µs: a clock with a coarser resolution cannot show 120 Hz
DEEP = 0.02  # minimum modulation of the event rate that counts as flicker


def facts(survey: Survey) -> dict[str, Any]:
    """All numbers about a recording, grouped by topic; see the functions below."""
    events = survey.get("order", "events")
    return {
        "size": survey.size,
        "events": events,
        "t0": survey.t0 if events else None,
        "t1": survey.t1 if events else None,
        "duration_s": (survey.t1 - survey.t0) / 1e6,
        "on": survey.on,
        "off": events - survey.on,
        "x_max": survey.x_max if events else None,
        "y_max": survey.y_max if events else None,
        "foreign": survey.foreign,
        "noise": survey.noise,
        "out_of_bounds": survey.get("seen", "outside"),
        "duplicates": survey.get("seen", "duplicates"),
        "rates": pace(survey),
        "order": order(survey),
        "gaps": gaps(survey),
        "clock": {name: survey.get("order", name) for name in ("same_time", "resolution")},
        "pixels": pixels(survey),
        "flicker": flicker(survey),
    }


def pace(survey: Survey) -> dict[str, Any]:
    """Event rates: mean, peak (over 10 ms) and the number of events in the busiest second.

    `counted` is the number of events they are based on: events up to a second before the second
    that is being counted are excluded.
    """
    events, late = survey.get("order", "events"), survey.get("pace", "late")
    seconds = (survey.t1 - survey.t0) / 1e6
    long = survey.t1 - survey.t0 >= WINDOW
    return {
        "mean_hz": events / seconds if seconds else None,
        "peak_hz": survey.get("pace", "peak") * (SECOND // WINDOW) if long else None,
        "peak_t": survey.get("pace", "peak_t") if long else None,
        "busiest_second": survey.get("pace", "busiest"),
        "busiest_second_t": survey.get("pace", "busiest_t") if events else None,
        "counted": events - late,
    }


def order(survey: Survey) -> dict[str, Any]:
    """Backward steps in time: their number, the largest, the first, and the maximum lateness."""
    steps = survey.get("order", "backward")
    first = {"event": survey.get("order", "first_step"), "t": survey.get("order", "first_t")}
    return {
        "backward_steps": steps,
        "largest": survey.get("order", "largest"),
        "late_by": survey.get("order", "late_by"),
        "first": first if steps else None,
    }


def gaps(survey: Survey) -> list[dict[str, int]]:
    """The longest gaps without events: start and length in µs, longest first."""
    rows = survey.gaps[:GAPS].tolist()
    return [{"t": begin, "length": length} for length, begin in rows if length]


def pixels(survey: Survey) -> dict[str, Any] | None:
    """Active pixels, their bounding box (x0, y0, x1, y1) and hot pixels; None if not counted."""
    if survey.pixels is None:
        return None
    width, height = survey.size
    counts = survey.pixels.sum(axis=0).reshape(height, width)
    columns, rows = np.flatnonzero(counts.any(axis=0)), np.flatnonzero(counts.any(axis=1))
    found: dict[str, Any] = {"active": int(np.count_nonzero(counts)), "hot": _hottest(counts)}
    if not found["active"]:
        return found | {"box": None, "silent_in_box": 0, "silent_lines": 0}
    x0, x1, y0, y1 = (int(i) for i in (columns[0], columns[-1], rows[0], rows[-1]))
    across, down = x1 - x0 + 1, y1 - y0 + 1
    return found | {
        "box": [x0, y0, x1, y1],
        "silent_in_box": across * down - found["active"],
        "silent_lines": across - len(columns) + down - len(rows),
    }


def _hottest(counts: np.ndarray) -> dict[str, Any]:
    """Pixels with more events than the median + 10 σ, and than 5 times their neighbours' median.

    The median is over active pixels. σ is 1.4826 times the median absolute deviation, but at least
    the square root of the median (Poisson noise). Up to 8 neighbours are compared: a moving edge
    also activates the neighbours, a defective pixel does not. A one-row sensor has no hot pixels.
    """
    active = counts[counts > 0]
    hot = np.empty((0, 2), np.int64)
    if len(active) > 1 and len(counts) > 1:
        middle = float(np.median(active))
        deviation = 1.4826 * float(np.median(np.abs(active - middle)))
        hot = np.argwhere(counts > middle + 10 * max(deviation, middle**0.5))
        hot = hot[counts[tuple(hot.T)] > 5 * np.maximum(_neighbours(counts, hot), 1)]
    events = counts[tuple(hot.T)]
    first = np.argsort(-events, kind="stable")[:LISTED]
    return {
        "pixels": len(hot),
        "events": int(events.sum()),
        "share": float(events.sum() / max(1, counts.sum())),
        "listed": [
            {"x": int(x), "y": int(y), "events": int(n)}
            for (y, x), n in zip(hot[first], events[first], strict=True)
        ],
    }


def _neighbours(counts: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The median count of the neighbours of each pixel in `at` (N, 2: y, x)."""
    height, width = counts.shape
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    around = at[:, None] + np.array(steps)
    y, x = around[..., 0], around[..., 1]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    values = counts[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
    return np.asarray(np.nanmedian(np.where(inside, values, np.nan), axis=1))


def flicker(survey: Survey) -> list[dict[str, float]] | None:
    """Peaks in the event rate's spectrum at mains frequencies; None if there is too little data.

    The power spectra of whole seconds (Hann window, 1 ms bins) are summed. A peak must exceed the
    median power around it by more than chance, with a modulation of at least DEEP.
    """
    if not survey.seconds or survey.get("order", "resolution") > COARSE:
        return None
    blur = round(2 * (SECOND // BIN) / survey.length)  # Hz, half the width of a line
    factor = 3 + 17 / survey.seconds**0.5  # fewer summed spectra are noisier
    found = []
    for hz in MAINS:
        near = np.arange(hz - 1, hz + 2)
        around = np.arange(hz - 20, hz + 21)
        floor = float(np.median(survey.power[around[np.abs(around - hz) > blur + 1]]))
        peak = float(survey.power[near].max())
        widest = np.abs(around - hz) <= blur + 2
        depth = 4 * (max(0.0, peak - floor) / survey.weight) ** 0.5
        highest = peak >= survey.power[around[widest]].max()
        if highest and peak > factor * floor and depth >= DEEP:
            found.append({"hz": hz, "depth": min(depth, 1.0)})
    return found
