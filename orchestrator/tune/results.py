"""The trials of a search as a table, a plot, and the best one's settings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import yaml

from orchestrator.base.files import write_json, write_text
from orchestrator.contract.config import config_of, read_settings
from orchestrator.report.data import printable
from orchestrator.report.page import style, templates
from orchestrator.report.tables import markdown
from orchestrator.tune.charts import trial_charts
from orchestrator.tune.outcome import Outcome, short
from orchestrator.tune.search_space import Dimension
from orchestrator.tune.trial import Plan

MEANINGS = {
    "validation": "The objective looks at no label of the target: predictions should be sure, and their classes as "
    "frequent as in the source.",
    "miou": "The objective is the mIoU on labelled images of the target.",
}
ORACLE_SELECTION = "Oracle selection: these trials were chosen by labels of the target, which no real user has."


def write_trials(outcomes: Sequence[Outcome], plan: Plan, space: Sequence[Dimension]) -> list[Outcome]:
    """Write table.md, table.html, table.json, and best.yaml of the best finished trial into the folder of the search.

    Args:
        outcomes: the trials, in any order.
        plan: what they share.
        space: what they vary.

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
    rows = table_rows(ranked, [dimension.setting for dimension in space], plan.objective)
    write_text(plan.folder / "table.md", "\n\n".join([*notes, markdown(rows)]) + "\n")
    _write_page(ranked, plan, space, notes, rows)
    trials = [{**vars(o), "objective": None if math.isnan(o.objective) else o.objective} for o in ranked]
    content = {"objective": plan.objective, "oracle": oracle, "rank_correlation": correlation, "trials": trials}
    write_json(plan.folder / "table.json", content)
    if ranked and ranked[0].state == "finished":
        best = config_of(read_settings(type(plan.base), ranked[0].config, plan.base))
        comment = f"# {ORACLE_SELECTION}\n" if oracle else ""
        write_text(plan.folder / "best.yaml", comment + yaml.safe_dump(best, sort_keys=False))
    return ranked


def _write_page(
    ranked: Sequence[Outcome],
    plan: Plan,
    space: Sequence[Dimension],
    notes: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> None:
    """Write table.html: the table, with the way to each run, and the charts."""
    links = [f"{o.name}/report.html" if (plan.folder / o.name / "report.html").exists() else "" for o in ranked]
    page = templates().get_template("trials.html")
    parts = {
        "name": plan.folder.name,
        "style": style(),
        "searched": [dimension.setting for dimension in space],
        "notes": notes,
        "oracle": plan.objective == "miou",
        "meaning": MEANINGS[plan.objective],
        "header": rows[0],
        "trials": list(zip(rows[1:], links, strict=True)),
        "charts": trial_charts(ranked, space, plan.objective),
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


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation of (objective, mIoU) pairs; None of fewer than three or where one has no order."""
    if len(pairs) < 3 or any(len(set(values)) == 1 for values in zip(*pairs, strict=True)):
        return None
    import torch
    from torchmetrics.functional import spearman_corrcoef

    ours, true = torch.tensor(pairs, dtype=torch.float64).T
    return float(spearman_corrcoef(ours, true))
