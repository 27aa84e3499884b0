"""Draw the scene shown to the camera: a person, made of capsules, in front of a wall."""

from typing import NamedTuple, Self

import numpy as np

from eventkit._jit import jit

SIDE = 128  # pixels; the DVS128 is square
EDGE = 1.5  # pixels over which an edge is blurred by the optics
FOLD, WEAVE = 0.12, 9.0  # depth and spacing (pixels) of the folds of cloth and skin
FLICKER_HZ = 120.0  # twice the mains frequency


class Light(NamedTuple):
    """Lighting: level on white, its decrease across the image, flicker and wall contrast."""

    level: float
    slope: float = 0.0
    flicker: float = 0.0  # amplitude, as a fraction of the level
    wall: float = 0.2

    def on(self, t: np.ndarray) -> np.ndarray:
        """Relative brightness (N,) at the times t (N,) in seconds, around 1."""
        return np.array(1 + self.flicker * np.sin(2 * np.pi * FLICKER_HZ * t), np.float32)


class Person(NamedTuple):
    """A body: positions and lengths in pixels, albedo of skin and clothes from 0 to 1 (white)."""

    midline: float
    shoulders: float
    arm: float  # from shoulder to wrist
    limb: float  # radius of a forearm
    skin: float
    shirt: float
    sleeve: float
    hair: float
    tempo: float  # of all gestures, around 1
    sway: tuple[float, float, float]  # pixels, Hz, phase

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Self:
        """A random person."""
        skin = rng.uniform(0.45, 0.85)
        shirt = rng.uniform(0.04, 0.08) if rng.random() < 0.3 else rng.uniform(0.3, 0.8)
        return cls(
            midline=rng.normal(64, 2.5),
            shoulders=rng.normal(56, 2.5),
            arm=rng.uniform(45, 52),
            limb=rng.uniform(3.6, 5.0),
            skin=skin,
            shirt=shirt,
            sleeve=(skin, shirt)[rng.integers(2)],
            hair=rng.uniform(0.03, 0.3),
            tempo=rng.uniform(0.85, 1.15),
            sway=(rng.uniform(0.5, 1.5), rng.uniform(0.15, 0.35), rng.uniform(0, 2 * np.pi)),
        )

    def shapes(self, hands: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Capsules (N, 10, 6), back to front, for hand positions (N, 2, 2) at the times t (N,).

        A capsule is x0, y0, x1, y1, radius (pixels), albedo. The elbow moves outwards the less the
        arm is stretched, a flat projection of an arm that also bends in depth.
        """
        arm, limb = self.arm, self.limb
        size, hz, phase = self.sway
        angle = 2 * np.pi * hz * t + phase
        middle = self.midline + size * np.sin(angle)
        top = self.shoulders + 0.3 * size * np.sin(2 * angle)
        neck, head, broad = top - 0.15 * arm, top - 0.45 * arm, 0.34 * arm
        rows = [
            (middle, top + broad, middle, top + 3 * arm, broad + limb, self.shirt),
            (middle, top, middle, neck, 1.2 * limb, self.skin),
            (middle, head - 0.05 * arm, middle, head - 0.03 * arm, 0.25 * arm, self.hair),
            (middle, head + 0.02 * arm, middle, head + 0.1 * arm, 0.2 * arm, self.skin),
        ]
        for hand, side in ((hands[:, 0], -1), (hands[:, 1], 1)):  # right hand on the left side
            shoulder = np.stack([middle + side * broad, top + limb], 1)
            place = np.stack([middle + side * arm * hand[:, 0], top + arm * hand[:, 1]], 1)
            stretch = ((place - shoulder) ** 2).sum(1)
            bend = np.sqrt(np.maximum(arm**2 - stretch, 0)) / 2
            elbow = (shoulder + place) / 2 + bend[:, np.newaxis] * (0.6 * side, 0.8)
            rows += [
                (*shoulder.T, *elbow.T, 1.15 * limb, self.shirt),
                (*elbow.T, *place.T, limb, self.sleeve),
                (*place.T, *(place + 0.2 * (place - elbow)).T, 1.25 * limb, self.skin),
            ]
        flat = [np.broadcast_to(value, len(t)) for row in rows for value in row]
        return np.stack(flat, 1).astype(np.float32).reshape(len(t), len(rows), 6)


class Room(NamedTuple):
    """The albedo of the wall and the light on the scene, both float32 (H, W)."""

    wall: np.ndarray
    lamp: np.ndarray

    @classmethod
    def drawn(cls, light: Light, rng: np.random.Generator) -> Self:
        """A random wall with soft stains and a few straight edges, lit from one side."""
        axis = np.linspace(0, 1, SIDE)
        stains = rng.normal(0, 0.5, (6, 6))
        knots = np.linspace(0, 1, 6)
        stains = np.stack([np.interp(axis, knots, row) for row in stains])
        wall = np.stack([np.interp(axis, knots, column) for column in stains.T], 1)
        for _ in range(3):
            wall[:, rng.integers(SIDE) :] += rng.normal(0, 0.5)
        wall = rng.uniform(0.12, 0.2) * np.exp(light.wall * wall)
        lamp = light.level * (1 - light.slope * (axis if rng.random() < 0.5 else 1 - axis))
        return cls(wall.astype(np.float32), np.tile(lamp.astype(np.float32), (SIDE, 1)))

    def pictures(self, shapes: np.ndarray, brightness: np.ndarray) -> np.ndarray:
        """Linear light, float32 (N, H, W), of the shapes (N, n, 6) in front of the wall."""
        frames = np.empty((len(shapes), *self.wall.shape), np.float32)
        _draw(frames, shapes, self.wall, self.lamp, brightness)
        return frames


@jit
def _draw(
    frames: np.ndarray,
    shapes: np.ndarray,
    wall: np.ndarray,
    lamp: np.ndarray,
    brightness: np.ndarray,
) -> None:
    for k in range(len(frames)):
        for y in range(wall.shape[0]):
            for x in range(wall.shape[1]):
                frames[k, y, x] = wall[y, x]
        for i in range(shapes.shape[1]):
            _capsule(frames[k], shapes[k, i])
        for y in range(wall.shape[0]):
            for x in range(wall.shape[1]):
                frames[k, y, x] *= lamp[y, x] * brightness[k]


@jit
def _capsule(frame: np.ndarray, shape: np.ndarray) -> None:
    """Draw one capsule: antialiased at the edge, darker towards the rim, with diagonal folds.

    Only the bounding box is visited. Points are compared with the squared radius, so that only
    points inside need a square root.
    """
    x0, y0, x1, y1, radius, albedo = shape
    height, width = frame.shape
    one, reach = np.float32(1), radius + np.float32(EDGE / 2)
    dx, dy = x1 - x0, y1 - y0
    length = max(np.sqrt(dx * dx + dy * dy), np.float32(1e-3))
    dx, dy = dx / length, dy / length
    for y in range(max(0, int(min(y0, y1) - reach)), min(height, int(max(y0, y1) + reach) + 2)):
        for x in range(max(0, int(min(x0, x1) - reach)), min(width, int(max(x0, x1) + reach) + 2)):
            px, py = np.float32(x) - x0, np.float32(y) - y0
            along = min(max(px * dx + py * dy, np.float32(0)), length)
            px, py = px - along * dx, py - along * dy
            square = px * px + py * py
            if square >= reach * reach:
                continue
            cover = min((reach - np.sqrt(square)) / np.float32(EDGE), one)
            fold = (along + px * dy - py * dx) / np.float32(WEAVE)
            fold = abs(fold - np.floor(fold) - np.float32(0.5)) * np.float32(4 * FOLD)
            shade = albedo * (one - np.float32(0.4) * square / (reach * reach)) * (one - fold)
            frame[y, x] += cover * (shade - frame[y, x])
