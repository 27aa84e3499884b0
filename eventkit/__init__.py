"""From raw event-camera recordings to training tensors, and the spiking networks that read them.

>>> import eventkit as ek
>>> events = ek.Events(t=[0, 5, 9], x=[1, 1, 0], y=[0, 0, 2], p=[1, 0, 1], size=(4, 3))
>>> ek.frames(events, n=2).shape
(2, 2, 3, 4)
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what __getattr__ below gives, for type checkers and editors
    from eventkit.conversion import convert as convert
    from eventkit.errors import EventkitError as EventkitError
    from eventkit.errors import FetchError as FetchError
    from eventkit.errors import FormatError as FormatError
    from eventkit.errors import MissingExtra as MissingExtra
    from eventkit.errors import OptionError as OptionError
    from eventkit.errors import StoreError as StoreError
    from eventkit.errors import UnknownName as UnknownName
    from eventkit.events import Events as Events
    from eventkit.formats import extra as extra
    from eventkit.formats import info as info
    from eventkit.formats import read as read
    from eventkit.formats import recording as recording
    from eventkit.formats import stream as stream
    from eventkit.formats import write as write
    from eventkit.representations import represent as represent
    from eventkit.representations.frames import frames as frames
    from eventkit.representations.voxel import voxel as voxel
    from eventkit.store import open as open
    from eventkit.store.verify import verify as verify
    from eventkit.transforms import transform as transform
    from eventkit.windowing import Windows as Windows
    from eventkit.windowing import windows as windows

__version__ = "0.1.0"

# A checkout keeps cli/ and datasets_meta/ beside this package; a wheel has them inside it.
_checkout = Path(__file__).parents[1]
if (_checkout / "cli").is_dir() and (_checkout / "datasets_meta").is_dir():
    __path__.append(str(_checkout))

# Public name -> its module. Resolved at first use, so that `import eventkit` stays cheap.
_HOME = {
    "Events": "eventkit.events",
    "EventkitError": "eventkit.errors",
    "FetchError": "eventkit.errors",
    "FormatError": "eventkit.errors",
    "MissingExtra": "eventkit.errors",
    "OptionError": "eventkit.errors",
    "StoreError": "eventkit.errors",
    "UnknownName": "eventkit.errors",
    "convert": "eventkit.conversion",
    "extra": "eventkit.formats",
    "frames": "eventkit.representations.frames",
    "info": "eventkit.formats",
    "open": "eventkit.store",
    "read": "eventkit.formats",
    "recording": "eventkit.formats",
    "represent": "eventkit.representations",
    "stream": "eventkit.formats",
    "transform": "eventkit.transforms",
    "verify": "eventkit.store.verify",
    "voxel": "eventkit.representations.voxel",
    "Windows": "eventkit.windowing",
    "windows": "eventkit.windowing",
    "write": "eventkit.formats",
}

__all__ = sorted(_HOME)


if not TYPE_CHECKING:  # checkers would take every misspelt name for one that this resolves

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'eventkit' has no attribute {name!r}")
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
