"""The trials of a search as a table, a plot, and the best one's settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestrator.config import read_settings
from orchestrator.files import write_json, write_text
from orchestrator.summary import config_of
from orchestrator.trial import OBJECTIVE, REPORT, Plan

if TYPE_CHECKING:
    from ray.tune import Result

ORACLE_SELECTION = "Oracle selection: these trials were chosen by labels of the target, which no real user has."


@dataclass(frozen=True)
class Outcome:
    """What became of one trial."""

    name: str
    config: dict[str, Any]
    objective: float
    """Its last; NaN where it never reported."""
    reports: int
    state: str
    """"finished", "stopped early" or "failed"."""
    miou: float | None
    """Of a finished trial, where there is an evaluation domain."""
    error: str = ""

    @classmethod
    def of(cls, result: Result, folder: Path) -> Outcome:
        """The outcome of one of Ray Tune's results."""
        metrics = result.metrics or {}
        state = "failed" if result.error else "finished" if metrics.get("finished") else "stopped early"
        lines = str(result.error).strip().splitlines() if result.error else [""]
        objective, reports = metrics.get(OBJECTIVE, math.nan), metrics.get(REPORT, 0)
        return cls(folder.name, dict(result.config or {}), objective, reports, state, metrics.get("miou"), lines[-1])

    @property
    def rank(self) -> tuple[Any, ...]:
        """Sorts finished trials first, the best of them foremost."""
        order = ("finished", "stopped early", "failed").index(self.state)
        return order, -self.reports, math.isnan(self.objective), -self.objective, self.name


def write_trials(outcomes: Sequence[Outcome], plan: Plan, searched: Sequence[str]) -> list[Outcome]:
    """Write table.md, table.json, trials.svg, and best.yaml of the best finished trial into the folder of the search.

    Returns:
        The trials, best first.
    """
    ranked = sorted(outcomes, key=lambda outcome: outcome.rank)
    oracle = plan.objective == "miou"
    correlation = rank_correlation([(o.objective, o.miou) for o in ranked if o.miou is not None])
    notes = [ORACLE_SELECTION] if oracle else []
    if not oracle and correlation is not None:
        notes.append(
            f"Rank correlation of the objective with the mIoU, which played no part in the choice: {correlation:+.2f} "
            f"over {sum(o.miou is not None for o in ranked)} finished trials."
        )
    table = markdown(ranked, searched, plan.objective)
    write_text(plan.folder / "table.md", "\n\n".join([*notes, table]) + "\n")
    write_json(
        plan.folder / "table.json",
        {
            "objective": plan.objective,
            "oracle": oracle,
            "rank_correlation": correlation,
            "trials": [{**vars(o), "objective": None if math.isnan(o.objective) else o.objective} for o in ranked],
        },
    )
    if ranked and ranked[0].state == "finished":
        best = config_of(read_settings(type(plan.base), ranked[0].config, plan.base))
        comment = f"# {ORACLE_SELECTION}\n" if oracle else ""
        write_text(plan.folder / "best.yaml", comment + yaml.safe_dump(best, sort_keys=False))
    return ranked


def markdown(ranked: Sequence[Outcome], searched: Sequence[str], objective: str) -> str:
    """A table of trials, in the order given."""
    measured = objective != "miou" and any(outcome.miou is not None for outcome in ranked)
    header = ["trial", *searched, objective, "reports", "state", *(["mIoU (not used)"] if measured else [])]
    rows = []
    for o in ranked:
        row = [o.name, *(short(o.config[name]) for name in searched)]
        row += ["" if math.isnan(o.objective) else f"{o.objective:.4f}", str(o.reports)]
        row += [f"{o.state}: {o.error}" if o.error else o.state]
        row += ["" if o.miou is None else f"{o.miou:.3f}"] if measured else []
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])


def short(value: Any) -> str:
    """A setting's value as people write it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation of (objective, mIoU) pairs; None of fewer than three or where one has no order."""
    if len(pairs) < 3 or any(len(set(values)) == 1 for values in zip(*pairs, strict=True)):
        return None
    import torch
    from torchmetrics.functional import spearman_corrcoef

    ours, true = torch.tensor(pairs, dtype=torch.float64).T
    return float(spearman_corrcoef(ours, true))
