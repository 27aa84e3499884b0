"""Progress bars drawn with rich; imported only when stderr is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from ._numbers import number, size
from ._terminal import drawing, visible


class Amount(ProgressColumn):
    """Progress as "done / total" and the rate per second."""

    def __init__(self, unit: str) -> None:
        super().__init__(Column(no_wrap=True))
        self.unit = unit

    def render(self, task: Task) -> Text:
        in_bytes = self.unit == "B"
        unit = "" if in_bytes else f" {self.unit}"
        parts = [task.completed] if task.total is None else [task.completed, task.total]
        done = " / ".join(size(n) if in_bytes else f"{n:,.0f}" for n in parts)
        rate = task.finished_speed or task.speed or 0
        speed = size(rate) if in_bytes else number(rate)
        return Text(f"{done}{unit}" + (f"  {speed}{unit}/s" if rate else ""))


class RichBar:
    """One task of a rich display, which appears at the first update."""

    def __init__(self, display: Progress, task: TaskID) -> None:
        self._display, self._task = display, task

    def update(self, done: int, total: int | None, label: str | None = None) -> None:
        self._display.start()
        self._display.update(
            self._task, completed=done, total=total, description=label and visible(label)
        )


@contextmanager
def bar(unit: str, label: str) -> Iterator[RichBar]:
    """Show a progress bar on stderr; it stays, with the elapsed time, when the job ends."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        Amount(unit),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    display = Progress(*columns, console=Console(file=drawing(sys.stderr)), expand=True)
    try:
        yield RichBar(display, display.add_task(label, total=None))
    finally:
        display.stop()
