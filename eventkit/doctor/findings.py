"""From numbers to findings: what is wrong with a recording, how badly, and what to do."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from eventkit.doctor.survey import SECOND

LEVELS = ("ok", "note", "warning", "damage")
SOUND = {
    "bytes": "every byte is as the format wants it",
    "blocks": "no part is missing; the format has no checksums, so changed bytes cannot be found",
    "nothing": "nothing contradicts the format, which has no checksums: neither changed bytes nor "
    "missing ones can be found for sure",
}
SILENCE = 100_000  # µs: a shorter gap is never remarked
LOPSIDED = 4  # times as many events of one polarity as of the other


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its level (of LEVELS), what was found, and what to do about it."""

    name: str
    level: str
    found: str
    advice: str = ""


def findings(facts: dict[str, Any]) -> list[dict[str, str]]:
    """Everything that was looked at, as sentences; the keys of each are those of Finding."""
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
        "fetch the file again if there is a sound one; else --repair OUT keeps what is sound, "
        "and --tolerant makes other commands read it; --from SPEC if it is of another format",
    )


def _foreign(facts: dict[str, Any]) -> Iterator[Finding]:
    foreign, leaps = facts["foreign"], facts["noise"]
    if foreign or leaps:
        yield Finding(
            "foreign bytes",
            "damage",
            f"{foreign:,} of {facts['events']:,} events are none of a camera: dozens in a row are "
            f"equal, or far from the times around; time leaps to and fro {leaps:,} times",
            "bytes were replaced by zeros or noise; --repair OUT drops these events",
        )


def _notes(facts: dict[str, Any]) -> Iterator[Finding]:
    """What the reader had to say or to leave out."""
    for note in facts["notes"]:
        damaged = facts["damage"] is not None and note.startswith("at byte ")
        yield Finding("reader", "damage" if damaged else "note", note)
    for name, count in facts["counts"].items():
        yield Finding("reader", "note", f"{name}: {count:,}, which are not among the events")


def _events(facts: dict[str, Any]) -> Iterator[Finding]:
    if not facts["events"]:
        yield Finding(
            "events",
            "warning",
            "there are no events",
            "see whether it is the right file and, if it holds several streams, the right stream",
        )


def _order(facts: dict[str, Any]) -> Iterator[Finding]:
    order = facts["order"]
    steps = order["backward_steps"]
    if not steps:
        if facts["events"]:
            yield Finding("order", "ok", "time never goes back")
        return
    first = order["first"]
    yield Finding(
        "order",
        "warning",
        f"backward steps of time: {steps:,}, by up to {order['largest']:,} µs, "
        f"first at event {first['event']:,} (t = {first['t']:,} µs)",
        "--repair OUT writes a sorted copy; read(sort=True) and convert sort by themselves",
    )
    counted = facts["rates"]["counted"]
    if counted < 0.99 * facts["events"]:
        yield Finding(
            "order",
            "note",
            f"rates and flicker are of the {counted:,} events that come in order",
            "look at the sorted copy for those of all",
        )


def _gaps(facts: dict[str, Any]) -> Iterator[Finding]:
    if not facts["gaps"] or not facts["events"]:
        return
    gap = facts["gaps"][0]
    mean = facts["duration_s"] * 1e6 / facts["events"]
    if gap["length"] < max(SILENCE, 1000 * mean):
        yield Finding("gaps", "ok", f"the longest silence is {gap['length']:,} µs")
        return
    yield Finding(
        "gaps",
        "warning" if gap["length"] >= SECOND else "note",
        f"no event for {gap['length']:,} µs from t = {gap['t']:,} µs on, where one comes every "
        f"{mean:.3g} µs",
        "the scene stood still, or the computer could not take the events and they are lost",
    )


def _clock(facts: dict[str, Any]) -> Iterator[Finding]:
    clock, events = facts["clock"], facts["events"]
    if events > 1 and clock["same_time"] == events - 1:
        yield Finding(
            "clock",
            "warning",
            f"all events have the time {facts['t0']:,} µs",
            "the times are lost: cut this recording by number, never by time",
        )
    elif clock["resolution"] >= 10:
        yield Finding(
            "clock",
            "note",
            f"all steps of time are multiples of {clock['resolution']:,} µs",
            "the camera or a conversion rounded the times; finer frames than that mean nothing",
        )


def _bounds(facts: dict[str, Any]) -> Iterator[Finding]:
    outside, (width, height) = facts["out_of_bounds"], facts["size"]
    if not facts["events"]:
        return
    if not outside:
        yield Finding("bounds", "ok", f"all events lie within {width}x{height}")
        return
    needed = f"{facts['x_max'] + 1}x{facts['y_max'] + 1}"
    yield Finding(
        "bounds",
        "warning",
        f"{outside:,} of {facts['events']:,} events lie outside {width}x{height}, "
        f"up to x = {facts['x_max']}, y = {facts['y_max']}",
        f"--repair OUT drops them; if the sensor is larger (all lie within {needed}), "
        f"say its size: --from {facts['format']}:size=WxH, if the format has that option",
    )


def _duplicates(facts: dict[str, Any]) -> Iterator[Finding]:
    duplicates = facts["duplicates"]
    if not duplicates:
        return
    share = duplicates / facts["events"]
    yield Finding(
        "duplicates",
        "warning" if share > 0.01 else "note",
        f"events equal to the one before of their pixel: {duplicates:,} ({share:.2%})",
        "a pixel cannot fire twice in a µs: the times were rounded, or packets are there twice",
    )


def _polarity(facts: dict[str, Any]) -> Iterator[Finding]:
    on, off = facts["on"], facts["off"]
    if not on + off:
        return
    found = f"{on / (on + off):.1%} of the events are ON"
    if not min(on, off):
        advice = "the polarity was lost or never there; representations leave one channel empty"
        yield Finding("polarity", "note", found, advice)
    elif max(on, off) > LOPSIDED * min(on, off):
        advice = "the biases of the camera favour one polarity, or the scene only darkens or lights"
        yield Finding("polarity", "note", found, advice)
    else:
        yield Finding("polarity", "ok", found)


def _hot(facts: dict[str, Any]) -> Iterator[Finding]:
    pixels = facts["pixels"]
    if pixels is None:
        yield Finding("pixels", "note", "the sensor is too large to look at every pixel")
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
        "mask them before training; --json lists them",
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
            f"events come only from x {x0} to {x1}, y {y0} to {y1} of {width}x{height}",
            "if the sensor is smaller than that, say its size; or use --transform crop",
        )
    inside = (x1 - x0 + 1) * (y1 - y0 + 1)
    silent, per_pixel = pixels["silent_in_box"] / inside, facts["events"] / inside
    if silent and per_pixel >= 10 and min(width, height) > 1:
        yield Finding(
            "area",
            "warning" if silent > 0.05 and per_pixel >= 100 else "note",
            f"{pixels['silent_in_box']:,} of {inside:,} pixels never fire ({silent:.1%}); whole "
            f"rows and columns of them: {pixels['silent_lines']}",
            "they are dead, masked in the camera, or saw nothing change",
        )


def _flicker(facts: dict[str, Any]) -> Iterator[Finding]:
    if facts["flicker"] is None:
        return
    if not facts["flicker"]:
        yield Finding("flicker", "ok", "the event rate does not swing with mains or screens")
    for peak in facts["flicker"]:
        yield Finding(
            "flicker",
            "warning" if peak["depth"] >= 0.2 else "note",
            f"the event rate swings at {peak['hz']} Hz by {peak['depth']:.0%} of its mean",
            "a lamp or a screen flickers, or something moves at that pace; film by daylight, or "
            "make frames as long as whole periods",
        )


CHECKS = (
    *(_events, _damage, _foreign, _notes, _order, _gaps, _clock, _bounds),
    *(_duplicates, _polarity, _hot, _area, _flicker),
)
