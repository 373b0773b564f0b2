"""Carry out a named sweep: the arms of a published table, over seeds, as runs that share what they have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from domains.files import refuse_link
from orchestrator import runner
from orchestrator.arms import Arm, Sweep
from orchestrator.files import write_json, write_text
from orchestrator.method import Method
from orchestrator.progress import Progress
from orchestrator.resume import taken_up
from orchestrator.runfolder import RunFolder
from orchestrator.signals import GRACE_S
from orchestrator.sweep_charts import standalone, sweep_chart
from orchestrator.sweep_page import write_page
from orchestrator.sweep_tables import Runs, findings
from orchestrator.tables import markdown, slug


def carry_out(
    sweep: Sweep,
    seeds: range,
    settings: Callable[[Arm, int], Method],
    folder: Path,
    progress: Progress,
    reuse: Sequence[Path] = (),
    allowed: Sequence[str] = (),
    track: Sequence[str] = (),
    grace_s: float = GRACE_S,
) -> str:
    """Run every arm with every seed, in a cluster that is already connected; runs that are finished are not repeated.

    Args:
        sweep: what to run.
        seeds: seeds of each arm.
        settings: settings of an arm with a seed.
        folder: where the runs lie, a folder each, with `table.md`, `table.html`, `table.svg` and `table.json`.
        progress: where to report.
        reuse: other runs whose finished stages may be taken over.
        allowed: settings, or groups of them, in which runs that are there may differ (`resume.taken_up`).
        track: names of the tools that are told of the runs (`tracking.chosen`).
        grace_s: seconds that a training may take to save a checkpoint when a signal ends the sweep.

    Returns:
        The protocol and the table, as Markdown.
    """
    runs: dict[str, list[Path]] = {arm.title: [] for arm in sweep.arms}
    for seed in seeds:
        before = [*reuse]
        for arm in sweep.arms:
            progress.say(f"{arm.title}, seed {seed}")
            place = folder / f"{slug(arm.title)}-{seed}"
            refuse_link(place, folder)
            with contextlib.closing(RunFolder(place)) as home:
                method = taken_up(home, settings(arm, seed), allowed)
                runner.run(method, home, progress, [*home.earlier(), *before], track=track, grace_s=grace_s)
            before.append(home.path)
            runs[arm.title].append(home.path)
    return write_tables(folder, sweep, seeds, runs)


def write_tables(folder: Path, sweep: Sweep, seeds: range, runs: Runs) -> str:
    """Write what finished runs say, in every form; returns the protocol and the table as Markdown."""
    found = findings(sweep, runs)
    cells = markdown(found.rows)
    chart = sweep_chart("sweep", sweep.description, found.quantities, sweep.benchmark)
    write_text(folder / "table.md", f"{sweep.text}\n\n{found.protocol}\n\n{cells}\n")
    write_text(folder / "table.svg", standalone(chart))
    write_page(folder, sweep, found, chart, runs, seeds)
    content = {"sweep": sweep.description, "seeds": list(seeds), "benchmark": sweep.benchmark}
    write_json(folder / "table.json", {**content, "protocol": found.protocol, **found.numbers})
    return f"{found.protocol}\n\n{cells}"
