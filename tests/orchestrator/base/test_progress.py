"""What the user sees: plain lines where piped, names as they are."""

from __future__ import annotations

import io

from rich.console import Console

from orchestrator.base import progress
from orchestrator.base.progress import Progress


def test_names_with_brackets_are_shown_as_they_are(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    Progress().table("IoU on [bold]a[/b] (data[/x])", ["class", "IoU"], [["[red]car[/red]", "0.1"], ["[/]", "0.2"]])
    Progress().say("[dim]run[/]")
    shown = capsys.readouterr().out
    for text in ("IoU on [bold]a[/b] (data[/x])", "[red]car[/red]", "[/]", "[dim]run[/]"):
        assert text in shown


def test_piped_bar_prints_a_line_now_and_then(monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    console = Console(file=io.StringIO(), width=100, markup=False)
    with Progress(console).bar("adapt-0", 100, unit="step") as bar:
        for done in range(10):
            now = done * progress.PLAIN_EVERY_S / 4
            bar.update(done, {"seg_source": 1.23456})
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert lines == ["adapt-0: step 4/100  seg_source 1.23", "adapt-0: step 8/100  seg_source 1.23"]


def test_terminal_bar_shows_the_newest_terms_and_leaves_nothing_behind():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Progress(console).bar("adapt-0", 10, unit="step") as bar:
        bar.update(5, {"loss": 0.5})
        bar.update(6, {})
        assert bar._live is not None
        (task,) = bar._live.tasks
        assert (task.completed, task.total, task.fields["terms"]) == (6, 10, "loss 0.5")


def test_piped_bar_is_silent_while_nothing_moves(monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    console = Console(file=io.StringIO(), width=100, markup=False)
    with Progress(console).bar("label-0", 10, unit="image") as bar:
        for time, done in enumerate([0, 0, 3, 3, 3, 4]):
            now = time * progress.PLAIN_EVERY_S
            bar.update(done, {})
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert lines == ["label-0: image 3/10", "label-0: image 4/10"]


def test_a_wide_table_keeps_its_rows_where_the_output_is_no_terminal():
    file = io.StringIO()
    cells = ["a stage that has a long name", "source-mmdl, label-0, and more", "24,966 + 2,975 images of both"]
    Progress(Console(file=file, width=80)).table("T", ["stage", "reads", "images"], [cells])
    assert cells in [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in file.getvalue().splitlines()
    ]
