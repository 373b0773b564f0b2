"""The charts of a search: how its trials came on, and where in the range of each setting the good ones lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from orchestrator.report.charts import ADAPTED, SOURCE, drawing, short
from orchestrator.tune.outcome import Outcome
from orchestrator.tune.search_space import Dimension

HEIGHT = 2.0
"""Of one chart, in inches."""
BEST: dict[str, Any] = {"marker": "o", "ms": 5.5, "color": ADAPTED}
FINISHED: dict[str, Any] = {"marker": "o", "ms": 4, "mew": 0, "color": ADAPTED, "alpha": 0.5}
STOPPED: dict[str, Any] = {"marker": "o", "ms": 4, "mfc": "none", "mec": SOURCE}


def trial_charts(ranked: Sequence[Outcome], space: Sequence[Dimension], objective: str) -> list[Markup]:
    """One chart of the reports and one of each searched setting; with a mIoU that played no part, one of that too.

    Args:
        ranked: the trials, best first.
        space: what they vary.
        objective: name of what they were judged by.
    """
    scored = [outcome for outcome in ranked if not math.isnan(outcome.objective)]
    if not scored:
        return []
    charts = [_reports(scored, objective), *(_setting(scored, dimension, objective) for dimension in space)]
    if objective != "miou" and any(outcome.miou is not None for outcome in scored):
        charts.append(_agreement(scored, objective))
    return charts


def _reports(scored: Sequence[Outcome], objective: str) -> Markup:
    """The objective of every trial at each of its reports."""
    with drawing("reports", f"{objective} at each report", HEIGHT) as chart:
        for place, outcome in enumerate(scored):
            look = dict(_look(place, outcome))
            width = 1.6 if place == 0 else 0.8
            chart.axes.plot(*zip(*outcome.curve, strict=True), lw=width, **{"color": SOURCE, **look, "ms": 3})
        chart.axes.set_xlabel("report", size=7.5)
        chart.axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        chart.axes.yaxis.set_major_locator(MaxNLocator(4))
    return chart.svg


def _setting(scored: Sequence[Outcome], dimension: Dimension, objective: str) -> Markup:
    """The last objective of every trial over the value that it drew; values to choose from stand side by side."""
    with drawing(dimension.setting, f"{objective} over {dimension.setting}", HEIGHT) as chart:
        drawn = [outcome.config[dimension.setting] for outcome in scored]
        names = list(dict.fromkeys(str(value) for value in sorted(drawn, key=lambda value: (str(type(value)), value))))
        for place, outcome in enumerate(scored):
            value = outcome.config[dimension.setting]
            across = names.index(str(value)) if dimension.listed else value
            chart.axes.plot(across, outcome.objective, ls="none", **_look(place, outcome))
        if dimension.listed:
            chart.axes.set_xticks(range(len(names)), [short(name, 12) for name in names])
            chart.axes.set_xlim(-0.5, len(names) - 0.5)
        elif dimension.kind == "loguniform":
            chart.axes.set_xscale("log")
            chart.axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            chart.axes.xaxis.set_minor_formatter(NullFormatter())
        _finish(chart.axes, dimension.setting)
    return chart.svg


def _agreement(scored: Sequence[Outcome], objective: str) -> Markup:
    """The mIoU of finished trials over what they were judged by."""
    with drawing("agreement", "mIoU, which played no part", HEIGHT) as chart:
        for place, outcome in enumerate(scored):
            if outcome.miou is not None:
                chart.axes.plot(outcome.objective, outcome.miou, ls="none", **_look(place, outcome))
        _finish(chart.axes, objective)
    return chart.svg


def _look(place: int, outcome: Outcome) -> dict[str, Any]:
    if outcome.state != "finished":
        return STOPPED
    return BEST if place == 0 else FINISHED


def _finish(axes: Axes, label: str) -> None:
    axes.set_xlabel(label, size=7.5)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.margins(0.08, 0.15)
