"""Writes `table.html`: the table of a sweep, its chart and the way to each run, in one file."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from orchestrator.arms import Sweep
from orchestrator.files import write_text
from orchestrator.report import style, templates
from orchestrator.report_data import printable
from orchestrator.sweep_tables import Findings, Runs


def write_page(folder: Path, sweep: Sweep, found: Findings, chart: Markup, runs: Runs, seeds: range) -> Path:
    """Write the page; it needs nothing but a browser, and links to the reports that lie beside it.

    Args:
        folder: where the runs lie, a folder each.
        sweep: what was run.
        found: what was measured.
        chart: SVG of it.
        runs: folders of the runs.
        seeds: seed of each arm's runs.
    """
    links = {
        arm: [(seed, f"{run.relative_to(folder)}/report.html") for seed, run in zip(seeds, homes, strict=True)]
        for arm, homes in runs.items()
    }
    page = templates().get_template("sweep.html")
    parts = {"sweep": sweep, "found": found, "chart": chart, "links": links, "seeds": seeds, "style": style()}
    path = folder / "table.html"
    write_text(path, printable(page.render(**parts, name=folder.name)))
    return path
