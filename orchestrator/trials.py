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
from orchestrator.report import style, templates
from orchestrator.report_data import printable
from orchestrator.space import Axis
from orchestrator.summary import config_of
from orchestrator.tables import markdown
from orchestrator.trial import OBJECTIVE, REPORT, Plan, reports_of
from orchestrator.trials_charts import trial_charts

if TYPE_CHECKING:
    from ray.tune import Result

MEANINGS = {
    "validation": "The objective looks at no label of the target: predictions should be sure, and their classes as "
    "frequent as in the source.",
    "miou": "The objective is the mIoU on labelled images of the target.",
}
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
    curve: tuple[tuple[int, float], ...] = ()
    """(number, objective) of each of its reports."""

    @classmethod
    def of(cls, result: Result, folder: Path) -> Outcome:
        """The outcome of one of Ray Tune's results."""
        metrics = result.metrics or {}
        state = "failed" if result.error else "finished" if metrics.get("finished") else "stopped early"
        lines = str(result.error).strip().splitlines() if result.error else [""]
        objective, reports = metrics.get(OBJECTIVE, math.nan), metrics.get(REPORT, 0)
        return cls(
            name=folder.name,
            config=dict(result.config or {}),
            objective=objective,
            reports=reports,
            state=state,
            miou=metrics.get("miou"),
            error=lines[-1],
            # A trial goes on while it is decided upon: what it reported after that counts for nothing.
            curve=tuple(pair for pair in sorted(reports_of(folder).items()) if pair[0] <= reports),
        )

    @property
    def rank(self) -> tuple[Any, ...]:
        """Sorts finished trials first, the best of them foremost."""
        order = ("finished", "stopped early", "failed").index(self.state)
        return order, -self.reports, math.isnan(self.objective), -self.objective, self.name


def write_trials(outcomes: Sequence[Outcome], plan: Plan, axes: Sequence[Axis]) -> list[Outcome]:
    """Write table.md, table.html, table.json, and best.yaml of the best finished trial into the folder of the search.

    Args:
        outcomes: the trials, in any order.
        plan: what they share.
        axes: what they vary.

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
    rows = table_rows(ranked, [axis.setting for axis in axes], plan.objective)
    write_text(plan.folder / "table.md", "\n\n".join([*notes, markdown(rows)]) + "\n")
    _write_page(ranked, plan, axes, notes, rows)
    trials = [{**vars(o), "objective": None if math.isnan(o.objective) else o.objective} for o in ranked]
    content = {"objective": plan.objective, "oracle": oracle, "rank_correlation": correlation, "trials": trials}
    write_json(plan.folder / "table.json", content)
    if ranked and ranked[0].state == "finished":
        best = config_of(read_settings(type(plan.base), ranked[0].config, plan.base))
        comment = f"# {ORACLE_SELECTION}\n" if oracle else ""
        write_text(plan.folder / "best.yaml", comment + yaml.safe_dump(best, sort_keys=False))
    return ranked


def _write_page(
    ranked: Sequence[Outcome], plan: Plan, axes: Sequence[Axis], notes: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Write table.html: the table, with the way to each run, and the charts."""
    links = [f"{o.name}/report.html" if (plan.folder / o.name / "report.html").exists() else "" for o in ranked]
    page = templates().get_template("trials.html")
    parts = {
        "name": plan.folder.name,
        "style": style(),
        "searched": [axis.setting for axis in axes],
        "notes": notes,
        "oracle": plan.objective == "miou",
        "meaning": MEANINGS[plan.objective],
        "header": rows[0],
        "trials": list(zip(rows[1:], links, strict=True)),
        "charts": trial_charts(ranked, axes, plan.objective),
    }
    write_text(plan.folder / "table.html", printable(page.render(**parts)))


def table_rows(ranked: Sequence[Outcome], searched: Sequence[str], objective: str) -> list[list[str]]:
    """Cells of a table of trials in the order given, header first."""
    measured = objective != "miou" and any(outcome.miou is not None for outcome in ranked)
    rows = [["trial", *searched, objective, "reports", "state", *(["mIoU (not used)"] if measured else [])]]
    for o in ranked:
        row = [o.name, *(short(o.config[name]) for name in searched)]
        row += ["" if math.isnan(o.objective) else f"{o.objective:.4f}", str(o.reports)]
        row += [f"{o.state}: {o.error}" if o.error else o.state]
        row += ["" if o.miou is None else f"{o.miou:.3f}"] if measured else []
        rows.append(row)
    return rows


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
