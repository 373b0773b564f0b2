"""Writes `table.html`: a reproduced table, its chart and the way to each run, in one file."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from orchestrator.base.files import write_text
from orchestrator.contract.published_table import PublishedTable
from orchestrator.report.data import printable
from orchestrator.report.page import style, templates
from orchestrator.reproduce.tables import Findings, Runs


def write_page(folder: Path, table: PublishedTable, found: Findings, chart: Markup, runs: Runs, seeds: range) -> Path:
    """Write the page; it needs nothing but a browser, and links to the reports that lie beside it.

    Args:
        folder: where the runs lie, a folder each.
        table: what was run.
        found: what was measured.
        chart: SVG of it.
        runs: folders of the runs.
        seeds: seed of each variant's runs.
    """
    links = {
        variant: [(seed, f"{run.relative_to(folder)}/report.html") for seed, run in zip(seeds, homes, strict=True)]
        for variant, homes in runs.items()
    }
    page = templates().get_template("published_table.html")
    parts = {"table": table, "found": found, "chart": chart, "links": links, "seeds": seeds, "style": style()}
    path = folder / "table.html"
    write_text(path, printable(page.render(**parts, name=folder.name)))
    return path
