"""The chart of a reproduced table: what was measured of each variant and, apart from it, what the paper gives."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from textwrap import fill
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from orchestrator.report.charts import ADAPTED, INK, drawing, short
from orchestrator.reproduce.tables import Quantity

PRINTED = "color: #1b1f24; background: #ffffff; --line: #d5dae0; --source: #8c939b; --adapted: #0072b2"
"""Colours of a chart outside a page: those of the report by day."""


def table_chart(key: str, title: str, quantities: Sequence[Quantity], benchmark: str) -> Markup:
    """A row of two axes for each quantity: ours on the left, the paper's on the right.

    Ours: each seed as a faint point, their mean as a strong one with its standard deviation. The paper's, hollow, have
    an axis of their own: they are from another benchmark.

    Args:
        key: makes the ids of this chart unique in the page.
        title: what it is read out as.
        quantities: what was measured, one or more.
        benchmark: what the published numbers are from.
    """
    variants = list(quantities[0].values)
    grid: dict[str, Any] = {
        "nrows": len(quantities),
        "ncols": 2,
        "sharey": True,
        "squeeze": False,
        "width_ratios": (3, 2),
    }
    height = 0.5 + len(quantities) * (0.5 + 0.2 * len(variants))
    with drawing(key, title, height, **grid) as chart:
        for place, quantity in enumerate(quantities):
            ours, paper = chart.figure.axes[2 * place : 2 * place + 2]
            _measured(ours, quantity)
            _published(paper, quantity, variants)
            ours.set_yticks(range(len(variants)), [short(variant) for variant in variants])
            ours.set_ylim(len(variants) - 0.4, -0.6)
        chart.figure.axes[-2].set_xlabel("ours", size=7.5)
        for paper in [axes for axes in chart.figure.axes[1::2] if axes.get_visible()][-1:]:
            paper.set_xlabel(fill(short(benchmark, 60), 22), size=7.5)
    return chart.svg


def standalone(svg: Markup) -> str:
    """A chart of a page as a file of its own."""
    return str(svg).replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" width="860" style="{PRINTED}" ', 1)


def _measured(axes: Axes, quantity: Quantity) -> None:
    reach: list[float] = []
    for row, values in enumerate(quantity.values.values()):
        axes.plot(values, [row] * len(values), ls="none", marker="o", ms=4, mew=0, color=ADAPTED, alpha=0.45)
        if values:
            mean = statistics.mean(values)
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            axes.errorbar(mean, row, xerr=deviation, color=ADAPTED, marker="o", ms=5.5, lw=1.3)
            reach += [*values, mean - deviation, mean + deviation]
    _finish(axes, quantity.name, reach)


def _published(axes: Axes, quantity: Quantity, variants: Sequence[str]) -> None:
    for row, variant in enumerate(variants):
        if variant in quantity.published:
            axes.plot(quantity.published[variant], row, marker="o", ms=5.5, mfc="none", mec=INK, mew=1.2)
    axes.tick_params("y", labelleft=False)
    _finish(axes, "published", list(quantity.published.values()))
    axes.set_visible(bool(quantity.published))


def _finish(axes: Axes, title: str, values: Sequence[float]) -> None:
    axes.set_title(title, size=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params("y", length=0)
    if values:
        middle = (min(values) + max(values)) / 2
        # No closer than a tenth of the number, or differences of nothing would fill the axes.
        half = max(0.58 * (max(values) - min(values)), 0.05 * abs(middle), 1e-3)
        axes.set_xlim(middle - half, middle + half)
