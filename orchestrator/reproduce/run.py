"""Reproduce a published table: its variants over seeds, as runs that share what they have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from domains.base.files import refuse_link
from orchestrator import runner
from orchestrator.base.files import write_json, write_text
from orchestrator.base.progress import Progress
from orchestrator.base.signals import GRACE_S
from orchestrator.contract.method import Method
from orchestrator.contract.published_table import PublishedTable, Variant
from orchestrator.report.tables import markdown, slug
from orchestrator.reproduce.charts import standalone, table_chart
from orchestrator.reproduce.page import write_page
from orchestrator.reproduce.tables import Runs, findings
from orchestrator.run.folder import RunFolder
from orchestrator.run.resume import taken_up


def carry_out(
    table: PublishedTable,
    seeds: range,
    settings: Callable[[Variant, int], Method],
    folder: Path,
    progress: Progress,
    reuse: Sequence[Path] = (),
    allowed: Sequence[str] = (),
    track: Sequence[str] = (),
    grace_s: float = GRACE_S,
) -> str:
    """Run every variant with every seed, in a cluster that is already connected. Finished runs are not repeated.

    Args:
        table: what to run.
        seeds: seeds of each variant.
        settings: settings of a variant with a seed.
        folder: where the runs lie, a folder each, with `table.md`, `table.html`, `table.svg` and `table.json`.
        progress: where to report.
        reuse: other runs whose finished stages may be taken over.
        allowed: settings, or groups of them, in which runs that are there may differ (`resume.taken_up`).
        track: names of the tools that are told of the runs (`tracking.chosen`).
        grace_s: seconds that a training may take to save a checkpoint when a signal ends the sweep.

    Returns:
        The protocol and the table, as Markdown.
    """
    runs: dict[str, list[Path]] = {variant.title: [] for variant in table.variants}
    for seed in seeds:
        before = [*reuse]
        for variant in table.variants:
            progress.say(f"{variant.title}, seed {seed}")
            place = folder / f"{slug(variant.title)}-{seed}"
            refuse_link(place, folder)
            with contextlib.closing(RunFolder(place)) as home:
                method = taken_up(home, settings(variant, seed), allowed)
                runner.run(method, home, progress, [*home.earlier(), *before], track=track, grace_s=grace_s)
            before.append(home.path)
            runs[variant.title].append(home.path)
    return write_tables(folder, table, seeds, runs)


def write_tables(folder: Path, table: PublishedTable, seeds: range, runs: Runs) -> str:
    """Write what finished runs say, in every form; returns the protocol and the table as Markdown."""
    found = findings(table, runs)
    cells = markdown(found.rows)
    chart = table_chart("sweep", table.description, found.quantities, table.benchmark)
    write_text(folder / "table.md", f"{table.text}\n\n{found.protocol}\n\n{cells}\n")
    write_text(folder / "table.svg", standalone(chart))
    write_page(folder, table, found, chart, runs, seeds)
    content = {"sweep": table.description, "seeds": list(seeds), "benchmark": table.benchmark}
    write_json(folder / "table.json", {**content, "protocol": found.protocol, **found.numbers})
    return f"{found.protocol}\n\n{cells}"
