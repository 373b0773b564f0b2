"""What the user sees while a run goes on: one live bar a stage on a terminal, plain lines when piped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

PLAIN_EVERY_S = 5.0
"""Seconds between lines of a stage where the output is not a terminal."""


WIDE = 160
"""Columns that a table may take where the output is not a terminal."""


class Bar:
    """Progress of one stage."""

    def __init__(self, console: Console, live: RichProgress | None, name: str, total: int, unit: str) -> None:
        self._console, self._live, self._name, self._total, self._unit = console, live, name, total, unit
        self._task = live.add_task(name, total=total, terms="") if live else None
        self._printed, self._shown = time.monotonic(), 0

    def update(self, done: int, terms: Mapping[str, float]) -> None:
        """Show that `done` of the total is done, with the newest loss terms."""
        text = "  ".join(f"{name} {value:.3g}" for name, value in terms.items())
        if self._live is not None and self._task is not None:
            fields: dict[str, Any] = {"terms": text} if text else {}
            self._live.update(self._task, completed=done, **fields)
        elif done != self._shown and time.monotonic() - self._printed >= PLAIN_EVERY_S:
            self._printed, self._shown = time.monotonic(), done
            self._console.print(
                f"{self._name}: {self._unit} {done}/{self._total}  {text}", highlight=False, soft_wrap=True
            )


class Progress:
    """The console of a run."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(markup=False)  # names from the user's files may hold brackets

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, name: str, total: int, unit: str) -> Iterator[Bar]:
        """A bar that lives as long as the stage."""
        if not self.console.is_terminal:
            yield Bar(self.console, None, name, total, unit)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[terms]}"),
        )
        with RichProgress(*columns, console=self.console, transient=True) as live:
            yield Bar(self.console, live, name, total, unit)

    def table(self, title: str, columns: list[str], rows: list[list[str]], text: int = 1) -> None:
        """Print a short table; the first `text` columns are text, the others are numbers."""
        self.say(title)  # not the table's own title, which would be wrapped to the width of the columns
        table = Table(box=None, pad_edge=False)
        for index, column in enumerate(columns):
            table.add_column(column, justify="left" if index < text else "right")
        for row in rows:
            table.add_row(*row)
        # A file or a pipe has no width to keep to.
        wide = self.console if self.console.is_terminal else Console(file=self.console.file, width=WIDE, markup=False)
        wide.print(table)
