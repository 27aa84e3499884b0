"""RVT's rules for Gen1 and 1 Mpx, by which detection on them is trained and compared.

Gehrig and Scaramuzza, Recurrent Vision Transformers for Object Detection with Event Cameras, CVPR
2023; scripts/genx/preprocess_dataset.py of uzh-rpg/RVT, with filter_gen1.yaml and filter_gen4.yaml.

Boxes are cut at the last pixel of the sensor and dropped where nothing is left. Of Gen1 those count
with a diagonal of at least 30 and sides of at least 10 pixels; of 1 Mpx those of the first three
classes with sides of at least 5. In train, boxes wider than nine tenths of the sensor are dropped.

Labels are kept at about 4 Hz (Gen1) or 10 Hz (1 Mpx): the first at 100 ms or later, and those that
follow it in whole multiples of the label period, give or take 2 ms. Windows end at these times and
at equal steps before and between them: two for each period with windows of 50 ms, so every 125 ms
in Gen1. They include both ends.
"""

from dataclasses import dataclass

import numpy as np

from eventkit.errors import OptionError
from eventkit.targets import Size
from eventkit.targets.rules import LABEL_RULES, LabelRules

GEN1 = ("car", "pedestrian")
MPX = ("pedestrian", "two wheeler", "car", "truck", "bus", "traffic sign", "traffic light")
FIRST = 100_000  # µs: labels before do not count
FRAME = 100_000  # µs: the steps of windows between labels divide this
JITTER = 2_000  # µs


@dataclass(frozen=True)
class _Rvt(LabelRules):
    def boxes(
        self, boxes: np.ndarray, classes: tuple[str, ...], split: str, size: Size
    ) -> tuple[np.ndarray, np.ndarray]:
        gen1 = _is_gen1(classes)
        out = boxes.copy()
        for axis, (place, extent) in enumerate((("x", "w"), ("y", "h"))):
            last = np.float32(size[axis] - 1)
            low = boxes[place].clip(0, last)
            out[place], out[extent] = low, (boxes[place] + boxes[extent]).clip(0, last) - low
        w, h = out["w"], out["h"]
        side = 10 if gen1 else 5
        counts = (w > 0) & (h > 0) & (w >= side) & (h >= side)
        if gen1:
            counts &= w**2 + h**2 >= 30**2
        else:
            counts &= boxes["class"] <= 2
        if split == "train":
            counts &= w <= 9 * size[0] // 10
        return counts, out

    def times(self, boxes: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
        return _frames(boxes, classes)[0]

    def windows(
        self, boxes: np.ndarray, classes: tuple[str, ...], length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        if FRAME % length:
            raise OptionError(f"rvt: windows of {length} µs, expected a divisor of 100 ms")
        times, periods = _frames(boxes, classes)
        if not len(times):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        # As theirs: the earliest end is left out, be it far from 0.
        ends = np.arange(int(times[0]), 0, -length)[::-1][1:-1].tolist()
        for start, stop, n in zip(times[:-1], times[1:], periods, strict=True):
            # A period is taken for 100 ms, also that of Gen1, which has 250.
            steps = n * (FRAME // length)
            ends += np.linspace(start, stop, steps + 1).astype(np.int64)[:-1].tolist()
        stops = np.array([*ends, int(times[-1])], np.int64)
        return stops - length, stops + 1

    def classes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return names if _is_gen1(names) else names[:3]


def _is_gen1(classes: tuple[str, ...]) -> bool:
    if classes not in (GEN1, MPX):
        raise OptionError(
            f"the label rules rvt are those of Gen1 ({', '.join(GEN1)}) and 1 Mpx "
            f"({', '.join(MPX)}), found the classes {', '.join(classes) or 'without names'}"
        )
    return classes == GEN1


def _frames(boxes: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, list[int]]:
    """The times of labels that are kept, and how many label periods are between them."""
    found = np.unique(boxes["t"])
    if not len(found):
        return np.empty(0, np.int64), []
    step = 250_000 if _is_gen1(classes) else _tenth_of_a_second(found)
    found = found[found >= FIRST]
    kept: list[int] = found[:1].tolist()
    periods: list[int] = []
    for t in found[1:].tolist():
        since = t - kept[-1]
        n = round(since / step)
        if n > 0 and abs(since - n * step) <= JITTER:
            kept.append(t)
            periods.append(n)
    return np.array(kept, np.int64), periods


def _tenth_of_a_second(times: np.ndarray) -> int:
    """The time of six labels at 60 Hz, or of three at 30 Hz."""
    median = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    rate = round(1e6 / median) if median else 0
    if rate not in (30, 60):
        raise OptionError(f"rvt: labels come at {rate} Hz, expected 30 or 60 Hz as in 1 Mpx")
    return int((6 if rate == 60 else 3) * median)


LABEL_RULES.register(
    _Rvt(
        "rvt",
        "Gen1 and 1 Mpx as RVT trains on them: classes, sizes, label rate, windows at the labels",
        raised=True,
        own_windows=True,
    )
)
