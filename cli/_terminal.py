"""Escape control characters, which names of files and classes may contain, before printing."""

import re
from typing import Any

# All except line ends and tabs; includes bidirectional overrides, which reorder text.
CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# Sequences that progress bars and tables draw with: colours and cursor movements.
DRAWING = re.compile(r"(\r|\x1b\[[0-9;?]*[mAKhl])")


def visible(text: str) -> str:
    r"""The text with control characters as \uXXXX escapes, which JSON decodes to the original.

    >>> visible("a\x1b[2Jb")
    'a\\u001b[2Jb'
    """
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def drawing(stream: Any) -> Any:
    """The stream with drawing sequences allowed; pass names through `visible` before drawing."""
    return Filtered(stream.unfiltered if isinstance(stream, Filtered) else stream, drawing=True)


class Filtered:
    """A text stream that escapes control characters, except drawing sequences if `drawing`."""

    def __init__(self, stream: Any, drawing: bool = False) -> None:
        self.unfiltered, self._drawing = stream, drawing

    def write(self, text: str) -> int:
        """Write the text and return its length."""
        parts = DRAWING.split(text) if self._drawing else [text]
        parts[::2] = map(visible, parts[::2])
        self.unfiltered.write("".join(parts))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # click would write to it, unfiltered
            raise AttributeError(name)
        return getattr(self.unfiltered, name)
