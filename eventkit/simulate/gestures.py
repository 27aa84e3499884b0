"""The eleven gestures as paths of two hands, and a subject's performance of all of them.

The position of a hand is (out, down) in arm lengths: `out` from the body's midline to the hand's
own side, `down` from the shoulders. Every path is a Lissajous figure, so a gesture is pure data.
A gesture consists of a whole number of cycles: the clockwise and counter-clockwise versions (as
seen by the camera) visit the same positions equally often, in opposite order.
"""

from typing import NamedTuple, Self

import numpy as np

GAP = 0.35  # seconds between gestures


class Path(NamedTuple):
    """centre + swing * sin(turns * phase + start), each (out, down), start in quarter turns."""

    centre: tuple[float, float]
    swing: tuple[float, float] = (0, 0)
    start: tuple[float, float] = (0, 0)
    turns: tuple[float, float] = (1, 1)

    def at(self, phase: np.ndarray) -> np.ndarray:
        """Positions (N, 2) at the phases (N,) in radians."""
        angle = np.multiply.outer(phase, self.turns) + np.multiply(self.start, np.pi / 2)
        return np.array(self.centre + self.swing * np.sin(angle))

    def backwards(self) -> Self:
        """The same positions in opposite order."""
        return self._replace(turns=(-self.turns[0], -self.turns[1]))

    def varied(self, rng: np.random.Generator) -> Self:
        """A random variation: slightly larger or smaller, and slightly displaced."""
        if not any(self.swing):
            return self
        size, (out, down) = rng.uniform(0.85, 1.15), rng.normal(self.centre, 0.02)
        return self._replace(centre=(out, down), swing=(size * self.swing[0], size * self.swing[1]))


class Gesture(NamedTuple):
    """The paths of both hands, and the cycles per second."""

    hz: float
    right: Path
    left: Path


class Trial(NamedTuple):
    """One gesture of a recording: its class (1..11) and its range start <= step < stop."""

    label: int
    start: int
    stop: int


REST = Path((0.42, 0.95))
CLAP = Path((0.22, 0.35), (0.16, 0.03))
WAVE = Path((0.70, -0.50), (0.24, 0.04), (0, 1), (1, 2))
CIRCLE = Path((0.62, 0.05), (-0.38, 0.38), (1, 0))  # clockwise for the right arm
ROLL = (Path((0.02, 0.38), (-0.17, 0.17), (1, 0)), Path((0.02, 0.38), (-0.17, 0.17), (1, 2)))
DRUM = Path((0.36, 0.40), (0.04, 0.20))
STRUM = Path((0.02, 0.58), (0.10, 0.16))
NECK = Path((0.85, 0.12), (0.03, 0.02), (0, 1))

# The classes 1..10 in the order of DVS128 Gesture; class 11 is each subject's own gesture.
GESTURES = (
    Gesture(2.4, CLAP, CLAP),
    Gesture(2.0, WAVE, REST),
    Gesture(2.0, REST, WAVE),
    Gesture(1.3, CIRCLE, REST),
    Gesture(1.3, CIRCLE.backwards(), REST),
    Gesture(1.3, REST, CIRCLE.backwards()),
    Gesture(1.3, REST, CIRCLE),
    Gesture(1.7, *ROLL),
    Gesture(2.2, DRUM, DRUM._replace(start=(0, 2))),
    Gesture(2.4, STRUM, NECK),
)
ORDER = (1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11)  # the arm roll is done forwards, then backwards


def other(rng: np.random.Generator) -> Gesture:
    """A random gesture for class 11: both hands on their own Lissajous figures."""

    def path() -> Path:
        return Path(
            centre=(rng.uniform(0.3, 0.7), rng.uniform(-0.4, 0.4)),
            swing=(rng.uniform(0.15, 0.35), rng.uniform(0.15, 0.35)),
            start=(rng.uniform(0, 4), rng.uniform(0, 4)),
            turns=((1, 2), (2, 1), (2, 3), (3, 2))[rng.integers(4)],
        )

    return Gesture(rng.uniform(0.8, 1.1), path(), path())


def perform(
    own: Gesture, tempo: float, seconds: float, step: float, rng: np.random.Generator
) -> tuple[np.ndarray, list[Trial]]:
    """A subject's performance of all gestures: hand positions (N, 2 hands, 2) and the trials.

    Positions are `step` seconds apart. `own` is the subject's gesture of class 11, `tempo` scales
    all rates, and `seconds` is the approximate duration of one gesture.
    """
    still = np.stack([REST.centre, REST.centre])
    parts, trials = [still[np.newaxis]], []
    for i, label in enumerate(ORDER):
        gesture = own if label == len(GESTURES) + 1 else GESTURES[label - 1]
        backwards = i > 0 and ORDER[i - 1] == label
        n = int(seconds * rng.uniform(0.9, 1.1) / step)
        hands = _repeat(gesture, tempo * n * step, n, rng)[:: -1 if backwards else 1]
        parts += [_move(parts[-1][-1], hands[0], step), hands]
        start = sum(map(len, parts[:-1]))
        trials.append(Trial(label, start, start + n))
    return np.concatenate([*parts, _move(parts[-1][-1], still, step)]), trials


def _repeat(gesture: Gesture, beats: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Hand positions (n, 2, 2) over whole cycles from a random phase, at a varying pace."""
    cycles = max(1, round(gesture.hz * beats * rng.uniform(0.9, 1.1)))
    u = np.arange(n) / n
    phase = 2 * np.pi * (cycles * (u + 0.02 * np.sin(2 * np.pi * u)) + rng.random())
    return np.stack([path.varied(rng).at(phase) for path in (gesture.right, gesture.left)], 1)


def _move(here: np.ndarray, there: np.ndarray, step: float) -> np.ndarray:
    """Positions from `here` to `there` within GAP seconds, with a smooth start and end."""
    share = (1 - np.cos(np.linspace(0, np.pi, round(GAP / step)))) / 2
    return np.array(here + share[:, np.newaxis, np.newaxis] * (there - here))
