"""Which library reads which file right: the table of docs/conformance.md.

python benchmarks/conformance_formats.py --peers ENVIRONMENT [--samples FOLDER] [--out FILE]

Every library reads every file of a format it has a reader for, in a process of its own with a time
limit; its events are compared, column by column, with the truth. For files written here, that is
what was written; for real recordings, the truth beside the file where there is one, else what
eventkit reads, if it agrees with all counts of the manifest.
"""

import argparse
import contextlib
import csv
import datetime
import json
import os
import platform
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import eventkit as ek
from eventkit import Events, formats

HERE = Path(__file__).parent
PEER = HERE / "peer_events.py"
LIMIT_S = 60
NOT_TOLD = -1  # time of an event of which a library does not tell it
SECOND, ECF = 1_000_000, {"compression": "ecf"}
COUNTS = ("events", "t_first_us", "t_last_us", "x_max", "y_max", "on", "off", "backward_steps")
INTRO = """\
# Conformance: which library reads which file

Measured on {date} by `python benchmarks/conformance_formats.py`, Python {python}, with {versions}.

## How the files are compared

Every library opens each file as its own documentation says, without options that a user would have
to guess, in a separate process with a limit of {limit} s. Its events are compared with the truth in
all four columns and in the order of the file. The column *truth* says where the truth comes from:

- *made*: the file was written by eventkit, and the truth is what was written. Such a file tests a
  reader only as far as eventkit's writer follows the specification, which the real recordings of
  the same format support.
- *truth*: a table of events that accompanies the real recording.
- *counts*: what eventkit reads from a real recording, where it agrees with all counts of the
  manifest that other decoders established.
- *sent*: SPIF words that AEStream's own command sent by UDP from the file that is the truth. Its
  receiver gets them by UDP too.

Text files are left out, because there is no standard for their columns and units. Plug-ins of the
HDF5 library were installed only where a library installs them itself. The plug-in for ECF, which
evutils needs, is part of Prophesee's SDK and was not available.

## Results

✓ all events correct, ≈ correct except for a convention that is named, ✗ wrong, – refused or
crashed, blank: the library has no reader for this format. Numbers refer to the notes below. A
library may be correct on recordings of other cameras, and later versions may have changed.

"""
REMARKS = """
## Remarks

**evlib 0.13.2 and ECF.** It looks for the header of a chunk at its fifth byte before the first, and
takes the low half of the chunk's first time for a header if it reads as a number of events. So it
misreads chunks that begin 4 to 262,143 µs after a multiple of 2^32 µs, unless the fourth byte of
the codes of their times is above 127; if a chunk begins at 0, it looks for the header elsewhere. It
reads all other chunks correctly: of 150 random files of eventkit's writer, this rule separated the
76 that it misread from the 74 that it did not. The source of the codec has the header at the first
byte.

**AEStream 0.6.4 and SPIF.** Its receiver interprets every word as an event, also those that are
times; `ek.write("udp://HOST:PORT", events, times=False)` sends none. Its command sends twice the
bytes of a last datagram that is not full, so the recordings here fill all datagrams.
"""


@dataclass(frozen=True)
class Case:
    """One file: its format for people, its kind for the readers, and the truth."""

    title: str
    kind: str
    path: Path
    truth: Events
    evidence: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """A mark of the table and, unless all is right, why."""

    mark: str
    why: str = ""


RIGHT = Verdict("✓")


def events(
    size: tuple[int, int],
    t0: int = 1000,
    seconds: float = 1,
    n: int = 20_000,
    row: int = 1,
    line: int = 1,
) -> Events:
    """Random events of a sensor, in order of time, some at one time.

    So many after each other lie in one row, or side by side with one polarity.
    """
    rng = np.random.default_rng(n)
    t = t0 + np.sort(rng.integers(0, int(seconds * 1e6), n))
    x, y, p = rng.integers(0, size[0], n), rng.integers(0, size[1], n), rng.integers(0, 2, n)
    number = np.arange(n)
    y = y[number // max(row, line) * max(row, line)]
    x = np.minimum(x[number // line * line], size[0] - line) + number % line
    return Events(t, x, y, p[number // line * line], size)


def made(folder: Path) -> Iterator[Case]:
    """Files written here."""
    dvs, davis, vga, small = (128, 128), (346, 260), (640, 480), (34, 34)
    hour, wrap2, wrap_dat = 3_600_000_000, 1 << 34, 1 << 32
    gzip = {"compression": "gzip"}  # which every build of the HDF5 library has
    rows = [
        ("AEDAT 2.0, DVS128", "aedat2", "aedat2", dvs, {}, {}),
        ("AEDAT 2.0, DAVIS346", "davis346", "aedat2", davis, {}, {"chip": "davis346"}),
        ("AEDAT 3.1", "aedat3", "aedat3", dvs, {}, {}),
        *(
            (f"AEDAT 4, {how}", "aedat4", "aedat4", davis, {}, {"compression": how})
            for how in ("none", "lz4", "zstd")
        ),
        ("EVT2", "evt2", "evt2", vga, {}, {}),
        ("EVT2, past 2^34 µs", "evt2", "evt2", vga, {"t0": wrap2 - 500_000}, {}),
        ("EVT2.1, little endian", "evt21", "evt21", vga, {}, {"order": "little"}),
        ("EVT2.1, legacy order", "evt21", "evt21", vga, {}, {"order": "legacy"}),
        ("EVT3", "evt3", "evt3", vga, {}, {}),
        ("EVT3, 40 s", "evt3", "evt3", vga, {"seconds": 40}, {}),
        ("DAT", "dat", "dat", vga, {}, {}),
        ("DAT, past 2^32 µs", "dat", "dat", vga, {"t0": wrap_dat - 500_000}, {}),
        ("Event Stream, dvs", "es", "es", davis, {}, {}),
        ("ATIS .bin", "atis", "atis", small, {}, {}),
        ("SLAYER .bs2", "bs2", "bs2", dvs, {}, {}),
        ("HDF5, DSEC layout", "hdf5", "hdf5", vga, {"t0": hour}, {"layout": "dsec", **gzip}),
        ("HDF5, Metavision layout", "hdf5", "hdf5", vga, {}, {"layout": "metavision", **gzip}),
        ("HDF5, Metavision ECF, from 1 ms on", "hdf5", "hdf5", vga, {}, ECF),
        ("HDF5, Metavision ECF, from 1 s on", "hdf5", "hdf5", vga, {"t0": SECOND}, ECF),
        ("HDF5, Metavision ECF, rows", "hdf5", "hdf5", vga, {"t0": SECOND, "row": 20}, ECF),
        ("HDF5, Metavision ECF, lines", "hdf5", "hdf5", vga, {"t0": SECOND, "line": 20}, ECF),
        ("npz, columns", "npz", "npz", vga, {}, {}),
    ]
    for number, (title, kind, name, size, times, writing) in enumerate(rows):
        truth = events(size, **times)
        suffix = ".aedat" if name == "aedat2" else formats.FORMATS[name].suffixes[0]
        path = folder / f"{number}{suffix}"
        ek.write(path, truth, name, **writing)
        sized = {"size": "{}x{}".format(*size)} if kind in ("atis", "bs2") else {}
        yield Case(title, kind, path, truth, "made", sized)


def spif(folder: Path, aestream: Path) -> Iterator[Case]:
    """SPIF words: of eventkit, with times and without, and as AEStream's command sends them."""
    truth = events((346, 260), n=128 * 128)
    path, still = folder / "times.spif", folder / "still.spif"
    ek.write(path, truth)
    sized = {"size": "346x260"}
    yield Case("SPIF words", "spif", path, truth, "made", sized)
    words = np.fromfile(path, "<u4")[::2] | 1 << 31
    words.astype("<u4").tofile(still)
    yield Case("SPIF words, no times", "spif", still, still_of(truth), "made", sized)
    if not aestream.exists():
        return
    source = folder / "source.aedat4"
    ek.write(source, truth)
    for title, timed, told in (
        ("SPIF words of AEStream", "true", truth),
        ("SPIF words of AEStream, no times", "false", still_of(truth)),
    ):
        path = folder / f"sent-{timed}.spif"
        path.write_bytes(sent(aestream, source, timed))
        yield Case(title, "spif", path, told, "sent", sized)


def still_of(events: Events) -> Events:
    """Events of which no time is told: all are at 0."""
    return Events(np.zeros_like(events.t), events.x, events.y, events.p, events.size)


def sent(aestream: Path, source: Path, timed: str) -> bytes:
    """The datagrams that AEStream's command sends of a file."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        port.bind(("127.0.0.1", 0))
        port.settimeout(2)
        to = [
            "output",
            "udp",
            "127.0.0.1",
            str(port.getsockname()[1]),
            "--include-timestamp",
            timed,
        ]
        command = [aestream, "input", "file", source, *to]
        with (
            subprocess.Popen(command, stdout=subprocess.DEVNULL),
            contextlib.suppress(TimeoutError),
        ):
            while True:
                found.append(port.recv(1 << 16))
    return b"".join(found)


def real(samples: Path) -> Iterator[Case]:
    """Real recordings of which the manifest has counts; files of one set are one row."""
    with (samples / "MANIFEST.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["events"] not in ("", "0")]
    for row in rows:
        path = samples / row["file"]
        if path.name in SKIPPED or path.parent.name == "text":
            continue
        name, folder = formats.guess(path).name, path.parent.name
        found = ek.read(path)
        truth_file = path.with_name(f"{path.stem}_truth.npz")
        if not truth_file.exists():
            truth_file = path.with_name(f"{path.stem.rpartition('_')[0]}_truth.npz")
        kind = name if name != "aedat2" else AEDAT2.get(folder, "aedat2")
        if kind == "aedat2" and found.size != (128, 128):
            kind = f"davis{found.width}"
        title = folder if "_set_" in folder else path.name
        if truth_file.exists():
            columns = np.load(truth_file)
            truth = Events(*(columns[c] for c in "txyp"), size=found.size)
            yield Case(title, kind, path, truth, "truth")
        elif differs := different(found, row):
            print(f"{row['file']} is left out: eventkit and the manifest differ in {differs}")
        else:
            yield Case(title, kind, path, found, "counts")


def nmnist(samples: Path) -> Iterator[Case]:
    """Some of the N-MNIST samples, if all of them together have the number of events known."""
    files = sorted((samples / "nmnist").rglob("*.bin"))
    if sum(len(ek.read(path)) for path in files) == NMNIST:
        for path in files[::110]:
            yield Case("N-MNIST", "atis", path, ek.read(path), "counts")


AEDAT2 = {"aedat1": "aedat1"}
NMNIST = 4_518_827
# No camera, or several recordings in one file, or no header: nobody reads them without being told.
SKIPPED = (
    "cochlea_VowelSounds.aedat",
    "generic.es",
    "alphabet_ExtractedStabilized.mat",
    "fpga_left2.bin",
)


def different(found: Events, row: dict[str, str]) -> list[str]:
    """Which counts of the manifest the events do not have."""
    on = int(found.p.sum())
    ends = int(found.t[0]), int(found.t[-1])
    most = int(found.x.max()), int(found.y.max())
    counts = (len(found), *ends, *most, on, len(found) - on, found.backward_steps)
    pairs = zip(COUNTS, counts, strict=True)
    return [name for name, count in pairs if row[name] != "" and int(row[name]) != count]


def judge(found: dict[str, np.ndarray], truth: Events) -> Verdict:
    """What is to be said of the columns t, x, y, p that a library gave."""
    true = {name: getattr(truth, name).astype(np.int64) for name in "txyp"}
    n, expected = len(found["t"]), len(truth)
    if n != expected:
        if n < expected and all(np.array_equal(found[c], true[c][:n]) for c in "txyp"):
            return Verdict("✗", f"only the first {n:,} of {expected:,} events")
        beyond = [f"{c} up to {found[c].max()}, not {true[c].max()}" for c in "xy" if n]
        beyond = [text for text in beyond if text.split()[3].rstrip(",") != text.split()[-1]]
        return Verdict("✗", "; ".join([f"{n:,} events instead of {expected:,}", *beyond]))
    if n and (found["t"] == NOT_TOLD).all():
        pixels = (np.sort(columns["x"] << 16 | columns["y"]) for columns in (found, true))
        same = np.array_equal(*pixels)
        return (
            Verdict("≈", "only how many events each pixel has") if same else Verdict("✗", "pixels")
        )
    order = np.argsort(true["t"], kind="stable")
    if not np.array_equal(found["t"], true["t"]) and np.array_equal(found["t"], true["t"][order]):
        conventions, faults = explain(found, {c: true[c][order] for c in "txyp"}, truth.size)
        conventions.append("sorted by time")
    else:
        conventions, faults = explain(found, true, truth.size)
    if faults:
        return Verdict("✗", "; ".join(faults))
    return Verdict("≈", "; ".join(conventions)) if conventions else RIGHT


def explain(
    found: dict[str, np.ndarray], true: dict[str, np.ndarray], size: tuple[int, int]
) -> tuple[list[str], list[str]]:
    """Conventions by which columns of one length differ, and faults that no convention explains."""
    conventions, faults = [], []
    shift = found["t"] - true["t"]
    if shift.any():
        if (shift == shift[0]).all() and 0 <= found["t"][0] < true["t"][0]:
            conventions.append(f"times count from {-shift[0]:,} µs on")
        elif (shift == 1 << 32).all():
            faults.append("times are 2^32 µs too late: negative ones read as unsigned")
        else:
            first = int(np.flatnonzero(shift)[0])
            after = (true["t"][first] - true["t"][0]) / 1e6
            wrong = np.count_nonzero(shift)
            faults.append(f"times wrong from {after:.3g} s on ({wrong:,} of {len(shift):,})")
    mirrored = {"x": size[0] - 1 - true["x"], "y": size[1] - 1 - true["y"], "p": 1 - true["p"]}
    names = {
        "x": "x counts from the right",
        "y": "y counts from the bottom",
        "p": "polarity is inverted",
    }
    for column, other in mirrored.items():
        wrong = np.count_nonzero(found[column] != true[column])
        if not wrong:
            continue
        if np.array_equal(found[column], other):
            conventions.append(names[column])
        else:
            faults.append(f"{column} wrong in {wrong:,} of {len(other):,}")
    return conventions, faults


def ours(case: Case) -> Verdict:
    """Eventkit's own reading."""
    found = ek.read(case.path, **case.options)
    return judge({c: getattr(found, c).astype(np.int64) for c in "txyp"}, case.truth)


def theirs(python: Path, library: str, case: Case, folder: Path) -> Verdict:
    """Another library's reading, from a process of its own."""
    out = folder / "peer.npz"
    out.unlink(missing_ok=True)
    command = [python, PEER, library, case.kind, case.path, out]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return Verdict("–", f"no answer within {LIMIT_S} s")
    if done.returncode < 0:
        return Verdict("–", f"the process died of signal {-done.returncode}")
    if done.returncode or not out.exists():
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        said = re.sub(r"\S*/\S+", "FILE", lines[-1] if lines else "no reason given")
        return Verdict("–", f"`{said[:120]}`")
    with np.load(out) as columns:
        return judge({c: columns[c] for c in "txyp"}, case.truth)


def worst(verdicts: list[Verdict]) -> Verdict:
    """The verdict of a row of several files: the gravest, and how many files have it."""
    gravest = max(verdicts, key=lambda verdict: "✓≈✗–".index(verdict.mark))
    same = sum(verdict.mark == gravest.mark for verdict in verdicts)
    if gravest.mark == "✓" or len(verdicts) == 1:
        return gravest
    return Verdict(gravest.mark, f"{same} of {len(verdicts)} files, the first: {gravest.why}")


def table(rows: list[tuple[Case, int, dict[str, Verdict]]], libraries: list[str]) -> str:
    """The table in Markdown, its notes, and how many files each library reads right."""
    notes: dict[str, int] = {}

    def cell(verdict: Verdict | None) -> str:
        if verdict is None or not verdict.why:
            return verdict.mark if verdict else ""
        return f"{verdict.mark} {notes.setdefault(verdict.why, len(notes) + 1)}"

    lines = [
        f"| format | file | truth | {' | '.join(libraries)} |",
        f"|---|---|---|{':-:|' * len(libraries)}",
    ]
    for case, files, verdicts in rows:
        name = case.title if files == 1 else f"{case.title} ({files} files)"
        cells = [cell(verdicts.get(library)) for library in libraries]
        form = formats.guess(case.path).title
        lines.append(f"| {form} | {name} | {case.evidence} | {' | '.join(cells)} |")
    lines += ["", "Notes:", "", *(f"{number}. {why}" for why, number in notes.items())]
    lines += [
        "",
        "| library | rows it has a reader for | ✓ or ≈ | ✗ | – |",
        "|---|--:|--:|--:|--:|",
    ]
    for library in libraries:
        marks = [verdicts[library].mark for _, _, verdicts in rows if library in verdicts]
        right = sum(mark in "✓≈" for mark in marks)
        lines.append(
            f"| {library} | {len(marks)} | {right} | {marks.count('✗')} | {marks.count('–')} |"
        )
    return "\n".join(lines) + "\n" + REMARKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, required=True, help="an environment with the others")
    parser.add_argument("--samples", type=Path, default=os.environ.get("EVENTKIT_SAMPLES"))
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "conformance.md")
    options = parser.parse_args()
    python = options.peers / "bin" / "python"
    told = json.loads(subprocess.check_output([python, PEER, "versions"], text=True))
    with tempfile.TemporaryDirectory() as folder:
        cases = [*made(Path(folder)), *spif(Path(folder), options.peers / "bin" / "aestream")]
        if options.samples:
            cases += [*real(options.samples), *nmnist(options.samples)]
        cases.sort(key=lambda case: (formats.guess(case.path).title, case.evidence))
        rows: dict[str, list[Case]] = {}
        for case in cases:
            rows.setdefault(f"{case.title} {case.evidence}", []).append(case)
        judged = []
        for files in rows.values():
            verdicts = {"eventkit": worst([ours(case) for case in files])}
            for library, kinds in told["kinds"].items():
                if files[0].kind in kinds:
                    found = [theirs(python, library, case, Path(folder)) for case in files]
                    verdicts[library] = worst(found)
            judged.append((files[0], len(files), verdicts))
            marks = " ".join(f"{name} {verdict.mark}" for name, verdict in verdicts.items())
            print(f"{files[0].title}: {marks}", flush=True)
        text = INTRO.format(
            date=datetime.date.today().isoformat(),
            python=platform.python_version(),
            versions=", ".join(f"{name} {version}" for name, version in told["versions"].items()),
            limit=LIMIT_S,
        )
        options.out.write_text(text + table(judged, ["eventkit", *told["kinds"]]))


if __name__ == "__main__":
    main()
