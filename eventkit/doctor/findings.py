"""Turn the numbers of an examination into findings, each with a level and advice."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from eventkit.doctor.survey import SECOND

LEVELS = ("ok", "note", "warning", "damage")
SOUND = {
    "bytes": "none found; all bytes are valid",
    "blocks": "nothing is missing; the format has no checksums, so changed bytes go undetected",
    "nothing": "none found; the format has no checksums, so changed or missing bytes may go "
    "undetected",
}
UNCERTAIN = (
    "the format has no checksums: where bytes are missing, events next to the gap, or all after "
    "it, may be false and look like recorded ones"
)
SILENCE = 100_000  # µs: shorter gaps are never reported
LOPSIDED = 4  # ratio of ON to OFF events, or the inverse, that is reported


@dataclass(frozen=True)
class Finding:
    """The result of one check: its level (one of LEVELS), what was found, and advice."""

    name: str
    level: str
    found: str
    advice: str = ""


def findings(facts: dict[str, Any]) -> list[dict[str, str]]:
    """The results of all checks as dicts with the fields of Finding."""
    return [asdict(finding) for check in CHECKS for finding in check(facts)]


def _damage(facts: dict[str, Any]) -> Iterator[Finding]:
    damage = facts["damage"]
    if damage is None:
        yield Finding("damage", "ok", SOUND[facts.get("reveals", "nothing")])
        return
    where = "" if damage["offset"] is None else f"at byte {damage['offset']:,}: "
    yield Finding(
        "damage",
        "damage",
        where + damage["reason"],
        "download or copy the file again if possible; otherwise doctor.repair copies the undamaged "
        "events, and strict=False skips the damaged data. If the format was detected incorrectly, "
        "specify it",
    )
    if facts.get("reveals", "nothing") == "nothing":
        yield Finding("damage", "note", UNCERTAIN)


def _foreign(facts: dict[str, Any]) -> Iterator[Finding]:
    foreign, leaps = facts["foreign"], facts["noise"]
    if foreign or leaps:
        yield Finding(
            "corrupted bytes",
            "damage",
            f"{foreign:,} of {facts['events']:,} events cannot come from a camera: long runs of "
            f"identical events, or times far from their neighbours ({leaps:,} jumps in time)",
            "bytes were replaced by zeros or noise; doctor.repair drops these events",
        )


def _notes(facts: dict[str, Any]) -> Iterator[Finding]:
    """The notes of the reader, and what it skipped."""
    for note in facts["notes"]:
        damaged = facts["damage"] is not None and note.startswith("at byte ")
        yield Finding("reader", "damage" if damaged else "note", note)
    for name, count in facts["counts"].items():
        yield Finding("reader", "note", f"{name}: {count:,} (not counted as events)")


def _events(facts: dict[str, Any]) -> Iterator[Finding]:
    if not facts["events"]:
        yield Finding(
            "events",
            "warning",
            "the recording contains no events",
            "check that this is the intended file and, if it contains several streams, the "
            "intended stream",
        )


def _order(facts: dict[str, Any]) -> Iterator[Finding]:
    order = facts["order"]
    steps = order["backward_steps"]
    if not steps:
        if facts["events"]:
            yield Finding("order", "ok", "events are sorted by time")
        return
    first = order["first"]
    yield Finding(
        "order",
        "warning",
        f"{steps:,} backward steps in time, of up to {order['largest']:,} µs, "
        f"first at event {first['event']:,} (t = {first['t']:,} µs)",
        "doctor.repair writes a sorted copy; read(sort=True) and convert sort automatically",
    )
    counted = facts["rates"]["counted"]
    if counted < 0.99 * facts["events"]:
        yield Finding(
            "order",
            "note",
            f"rates and flicker are based on the {counted:,} events that are in order",
            "examine the sorted copy for the rates of all events",
        )


def _gaps(facts: dict[str, Any]) -> Iterator[Finding]:
    if not facts["gaps"] or not facts["events"]:
        return
    gap = facts["gaps"][0]
    mean = facts["duration_s"] * 1e6 / facts["events"]
    if gap["length"] < max(SILENCE, 1000 * mean):
        yield Finding("gaps", "ok", f"the longest gap is {gap['length']:,} µs")
        return
    yield Finding(
        "gaps",
        "warning" if gap["length"] >= SECOND else "note",
        f"no events for {gap['length']:,} µs from t = {gap['t']:,} µs; the mean interval is "
        f"{mean:.3g} µs",
        "the scene was static, or the computer was too slow and events were lost",
    )


def _clock(facts: dict[str, Any]) -> Iterator[Finding]:
    clock, events = facts["clock"], facts["events"]
    if events > 1 and clock["same_time"] == events - 1:
        yield Finding(
            "clock",
            "warning",
            f"all events have the same time, {facts['t0']:,} µs",
            "the times are lost: split this recording by event count, not by time",
        )
    elif clock["resolution"] >= 10:
        yield Finding(
            "clock",
            "note",
            f"the time resolution is {clock['resolution']:,} µs",
            "the camera or a conversion rounded the times; do not use shorter frames",
        )


def _bounds(facts: dict[str, Any]) -> Iterator[Finding]:
    outside, (width, height) = facts["out_of_bounds"], facts["size"]
    if not facts["events"]:
        return
    if not outside:
        yield Finding("bounds", "ok", f"all events are within {width}x{height}")
        return
    needed = f"{facts['x_max'] + 1}x{facts['y_max'] + 1}"
    yield Finding(
        "bounds",
        "warning",
        f"{outside:,} of {facts['events']:,} events are outside {width}x{height}, "
        f"up to x = {facts['x_max']}, y = {facts['y_max']}",
        f"doctor.repair drops them; if the sensor is larger (all events are within {needed}) and "
        f'the format has a size option, read with format="{facts["format"]}", size="WxH"',
    )


def _duplicates(facts: dict[str, Any]) -> Iterator[Finding]:
    duplicates = facts["duplicates"]
    if not duplicates:
        return
    share = duplicates / facts["events"]
    yield Finding(
        "duplicates",
        "warning" if share > 0.01 else "note",
        f"{duplicates:,} events ({share:.2%}) are identical to the previous event of their pixel",
        "a pixel cannot fire twice in 1 µs: the times were rounded, or packets are repeated",
    )


def _polarity(facts: dict[str, Any]) -> Iterator[Finding]:
    on, off = facts["on"], facts["off"]
    if not on + off:
        return
    found = f"{on / (on + off):.1%} of the events are ON"
    if not min(on, off):
        advice = "the polarity was not recorded or was lost; one channel of frames will be empty"
        yield Finding("polarity", "note", found, advice)
    elif max(on, off) > LOPSIDED * min(on, off):
        advice = "the camera's biases favour one polarity, or the scene becomes darker or brighter"
        yield Finding("polarity", "note", found, advice)
    else:
        yield Finding("polarity", "ok", found)


def _hot(facts: dict[str, Any]) -> Iterator[Finding]:
    pixels = facts["pixels"]
    if pixels is None:
        yield Finding("pixels", "note", "the sensor is too large to check every pixel")
        return
    hot = pixels["hot"]
    if not hot["pixels"]:
        if facts["events"]:
            yield Finding("hot pixels", "ok", "no pixel stands out from its neighbours")
        return
    named = ", ".join(f"({one['x']}, {one['y']})" for one in hot["listed"][:5])
    more = ", ..." if hot["pixels"] > 5 else ""
    yield Finding(
        "hot pixels",
        "warning" if hot["share"] > 0.1 else "note",
        f"{hot['pixels']:,} with {hot['share']:.1%} of the events, far more than their neighbours: "
        f"{named}{more}",
        "mask them before training; the full report lists them",
    )


def _area(facts: dict[str, Any]) -> Iterator[Finding]:
    pixels, (width, height) = facts["pixels"], facts["size"]
    if pixels is None or not pixels["active"]:
        return
    x0, y0, x1, y1 = pixels["box"]
    if (x1 - x0 + 1) * (y1 - y0 + 1) <= 0.5 * width * height:
        yield Finding(
            "area",
            "note",
            f"all events are within x {x0} to {x1}, y {y0} to {y1} of {width}x{height}",
            "if the sensor is smaller, specify its size, or use the crop transform",
        )
    inside = (x1 - x0 + 1) * (y1 - y0 + 1)
    silent, per_pixel = pixels["silent_in_box"] / inside, facts["events"] / inside
    if silent and per_pixel >= 10 and min(width, height) > 1:
        yield Finding(
            "area",
            "warning" if silent > 0.05 and per_pixel >= 100 else "note",
            f"{pixels['silent_in_box']:,} of {inside:,} pixels never fire ({silent:.1%}), "
            f"including {pixels['silent_lines']} entire rows and columns",
            "they are dead, masked in the camera, or saw no change",
        )


def _flicker(facts: dict[str, Any]) -> Iterator[Finding]:
    if facts["flicker"] is None:
        return
    if not facts["flicker"]:
        yield Finding("flicker", "ok", "no flicker of lamps or screens found in the event rate")
    for peak in facts["flicker"]:
        yield Finding(
            "flicker",
            "warning" if peak["depth"] >= 0.2 else "note",
            f"the event rate is modulated at {peak['hz']} Hz by {peak['depth']:.0%} of its mean",
            "a lamp or screen flickers, or an object moves at that frequency; record in daylight, "
            "or use frames as long as whole periods",
        )


CHECKS = (
    *(_events, _damage, _foreign, _notes, _order, _gaps, _clock, _bounds),
    *(_duplicates, _polarity, _hot, _area, _flicker),
)
