"""Carry out a named sweep: the arms of a published table, over seeds, as runs that share what they have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator import runner
from orchestrator.arms import Arm, Sweep
from orchestrator.files import write_json, write_text
from orchestrator.method import Method
from orchestrator.progress import Progress
from orchestrator.resume import taken_up
from orchestrator.runfolder import RunFolder
from orchestrator.tables import Measured, comparison, protocol_of, results_of, slug


def carry_out(
    sweep: Sweep,
    seeds: Sequence[int],
    settings: Callable[[Arm, int], Method],
    folder: Path,
    progress: Progress,
    reuse: Sequence[Path] = (),
    allowed: Sequence[str] = (),
) -> str:
    """Run every arm with every seed, in a cluster that is already connected; runs that are finished are not repeated.

    Args:
        sweep: what to run.
        seeds: seeds of each arm.
        settings: settings of an arm with a seed.
        folder: where the runs lie, a folder each, with `table.md` and `table.json`.
        progress: where to report.
        reuse: other runs whose finished stages may be taken over.
        allowed: settings, or groups of them, in which runs that are there may differ (`resume.taken_up`).

    Returns:
        The protocol and the table, as Markdown.
    """
    found: dict[str, list[Measured]] = {arm.title: [] for arm in sweep.arms}
    for seed in seeds:
        before = [*reuse]
        for arm in sweep.arms:
            progress.say(f"{arm.title}, seed {seed}")
            with contextlib.closing(RunFolder(folder / f"{slug(arm.title)}-{seed}")) as home:
                method = taken_up(home, settings(arm, seed), allowed)
                runner.run(method, home, progress, [*home.earlier(), *before])
            before.append(home.path)
            found[arm.title].append(results_of(home.path))
    published = {arm.title: arm.published for arm in sweep.arms if arm.published is not None}
    table = comparison(found, published)
    protocol = protocol_of(folder / f"{slug(sweep.arms[0].title)}-{seeds[0]}")
    write_text(folder / "table.md", f"{sweep.description}\n\n{protocol}\n\n{table}\n")
    # In units of the mIoU, [source-only, adapted] of each arm and seed.
    content = {"seeds": list(seeds), "miou": found, "published_percent": published, "protocol": protocol}
    write_json(folder / "table.json", content)
    return f"{protocol}\n\n{table}"
