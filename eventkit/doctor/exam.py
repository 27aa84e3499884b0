"""Examine a recording in one pass."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from eventkit import formats
from eventkit.doctor.facts import facts
from eventkit.doctor.findings import LEVELS, findings
from eventkit.doctor.foreign import foreign
from eventkit.doctor.survey import Survey
from eventkit.errors import FormatError
from eventkit.events import Columns
from eventkit.formats import Report


def examine(
    path: str | Path,
    *,
    format: str | None = None,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Statistics and problems of a recording, as a dict, in bounded memory.

    If the strict reader fails, the file is read again with strict=False. Keys: path, format,
    reveals (the kind of damage the format can detect, see `formats.Format`), bytes, the keys of
    `facts.facts`, counts (what the reader skipped), notes (of the reader), damage (None, or offset
    and reason of the first damage), findings (each with name, level, found, advice) and level, the
    most severe level: ok, note, warning or damage. `progress` is called with the number of events
    so far; other options are those of the format.

    Raises FormatError if the file cannot be read even with strict=False.
    """
    path = Path(path)
    options = {"format": format, "into": Columns(), **options}
    damage = None
    try:
        survey, report = _pass(path, True, progress, options)
    except FormatError as error:
        damage = {"offset": error.offset, "reason": error.reason}
        survey, report = _pass(path, False, progress, options)
    fmt = formats.format_of(path, format)
    examined = {
        "path": str(path),
        "format": fmt.name,
        "reveals": fmt.reveals,
        "bytes": formats.size_on_disk(path),
        **facts(survey),
        "counts": dict(report.counts),
        "notes": list(report.notes),
        "damage": damage,
    }
    found = findings(examined)
    level = max((finding["level"] for finding in found), key=LEVELS.index)
    return {**examined, "level": level, "findings": found}


def _pass(
    path: Path, strict: bool, progress: Callable[[int], None] | None, options: dict[str, Any]
) -> tuple[Survey, Report]:
    """The statistics of a recording and the reader's report."""
    survey, report, done = Survey(), Report(checksum=False), 0
    for events in formats.stream(path, strict=strict, report=report, **options):
        survey.add(events)
        found, noise = foreign(events)
        survey.foreign += int(np.count_nonzero(found))
        survey.noise += noise
        done += len(events)
        if progress is not None:
            progress(done)
    survey.finish()
    return survey, report
