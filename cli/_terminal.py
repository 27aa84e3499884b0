"""What may reach a terminal: no control characters, which names of files and classes may hold."""

import re
from typing import Any

# But for line ends and tabs; also those that turn the order of letters around.
CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# What a bar or a table draws with: colours, and moves of the cursor within its own lines.
DRAWING = re.compile(r"(\r|\x1b\[[0-9;?]*[mAKhl])")


def visible(text: str) -> str:
    r"""The text with control characters as escapes, which in JSON read back as what they were.

    >>> visible("a\x1b[2Jb")
    'a\\u001b[2Jb'
    """
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def drawing(stream: Any) -> Any:
    """The same stream for what draws; names must be made visible before they are drawn."""
    return Filtered(stream.unfiltered if isinstance(stream, Filtered) else stream, drawing=True)


class Filtered:
    """A text stream that control characters do not pass, but for those that draw if `drawing`."""

    def __init__(self, stream: Any, drawing: bool = False) -> None:
        self.unfiltered, self._drawing = stream, drawing

    def write(self, text: str) -> int:
        """Write text, and say how long it is."""
        parts = DRAWING.split(text) if self._drawing else [text]
        parts[::2] = map(visible, parts[::2])
        self.unfiltered.write("".join(parts))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # click would write to it
            raise AttributeError(name)
        return getattr(self.unfiltered, name)
