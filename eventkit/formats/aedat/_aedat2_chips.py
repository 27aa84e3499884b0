"""The sensors of `aedat2`: their sizes, and where their addresses have x, y and polarity."""

from dataclasses import dataclass
from typing import Literal

from eventkit.errors import OptionError

Chips = Literal["dvs128", "davis128", "davis208", "davis240", "davis346", "davis640", "cochlea"]


@dataclass(frozen=True)
class Layout:
    """Where an address has x, y and p, which polarity bit is ON, and which bits mean no event."""

    x: int
    x_mask: int
    y: int
    y_mask: int
    p: int
    p_mask: int
    on: int
    no_event: int


DVS = Layout(x=1, x_mask=127, y=8, y_mask=127, p=0, p_mask=1, on=0, no_event=0x8000)
DAVIS = Layout(
    x=12, x_mask=1023, y=22, y_mask=511, p=11, p_mask=1, on=1, no_event=0x80000400
)  # fmt: skip
COCHLEA = Layout(x=0, x_mask=1023, y=0, y_mask=0, p=0, p_mask=0, on=1, no_event=0x1000)


@dataclass(frozen=True)
class Chip:
    """A sensor: the name jAER gives to its class, its size, and its addresses."""

    java: str
    size: tuple[int, int]
    layout: Layout


CHIPS: dict[str, Chip] = {
    "dvs128": Chip("ch.unizh.ini.jaer.chip.retina.DVS128", (128, 128), DVS),
    "davis128": Chip("eu.seebetter.ini.chips.davis.DAVIS128", (128, 128), DAVIS),
    "davis208": Chip("eu.seebetter.ini.chips.davis.DAVIS208", (208, 192), DAVIS),
    "davis240": Chip("eu.seebetter.ini.chips.davis.DAVIS240C", (240, 180), DAVIS),
    "davis346": Chip("eu.seebetter.ini.chips.davis.DAVIS346B", (346, 260), DAVIS),
    "davis640": Chip("eu.seebetter.ini.chips.davis.DAVIS640", (640, 480), DAVIS),
    "cochlea": Chip("ch.unizh.ini.jaer.chip.cochlea.CochleaAMS1c", (1024, 1), COCHLEA),
}
# Older names of the same chips.
ALIASES = {"tmpdiff128": "dvs128", "sbret10": "davis240", "apsdvs": "davis240"}


def placement(chip: Chip, origin: str, polarity: str) -> tuple[int, ...]:
    """Shifts and masks of x, y and p, where x and y begin and go, what to flip in p, no event."""
    layout = chip.layout
    x, y = (layout.x, layout.x_mask), (layout.y, layout.y_mask)
    if origin == "cifar10dvs":
        if chip.size[0] != chip.size[1]:
            raise OptionError(
                f"origin=cifar10dvs swaps x and y, which needs a square, not {chip.size}"
            )
        x, y = y, x
    mirrored = origin != "raw" and layout is not COCHLEA
    width, height = chip.size
    turn = (width - 1, -1, height - 1, -1) if mirrored else (0, 1, 0, 1)
    flip = (1 - layout.on) ^ (polarity == "reversed" and layout.p_mask)
    return (*x, *y, layout.p, layout.p_mask, *turn, flip, layout.no_event)
