"""For the site: the examples of docstrings as blocks of code. Loaded by griffe, not by hand."""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?:^ *>>> .*\n(?:^ *(?!>>>)\S.*\n?)*)+", re.M)


class Doctests(griffe.Extension):
    """Puts a fence around the lines from `>>>` to the next empty one."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = obj.docstring.value + "\n"
            obj.docstring.value = EXAMPLE.sub(lambda m: f"```pycon\n{m[0].rstrip()}\n```\n", text)
