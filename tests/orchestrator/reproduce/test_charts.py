"""The chart of a sweep: every number has its mark, ours and the paper's apart, and nothing lies outside the axes."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from orchestrator.reproduce.charts import _measured, _published, standalone, table_chart
from orchestrator.reproduce.tables import Quantity

MIOU = Quantity("mIoU, %", {"off": [30.0, 34.0, 35.0], "on": [36.0, 31.0, 33.0]}, {"off": 44.9, "on": 47.6})
UNPUBLISHED = Quantity("self-entropy", {"off": [20.0], "on": []}, {})


@pytest.fixture
def axes():
    return Figure().subplots()


def places(axes, mark: str | None = None) -> list[tuple[float, float]]:
    """Every marked point, or those whose marks are filled so."""
    lines = [line for line in axes.lines if line.get_marker() == "o" and mark in (None, line.get_markerfacecolor())]
    return sorted((float(x), float(y)) for line in lines for x, y in line.get_xydata())


def test_each_seed_and_each_mean_is_a_point_and_deviations_fit(axes):
    _measured(axes, MIOU)
    off, on = (33.0, 0.0), (100 / 3, 1.0)
    seeds = [(v, float(row)) for row, values in enumerate(MIOU.values.values()) for v in values]
    np.testing.assert_allclose(places(axes), sorted([*seeds, off, on]))
    low, high = axes.get_xlim()
    for bars in axes.collections:
        ends = [x for segment in bars.get_segments() for x in segment[:, 0]]
        assert low < min(ends) < max(ends) < high


def test_published_numbers_are_hollow_and_without_any_the_axes_are_gone(axes):
    _published(axes, MIOU, ["off", "on"])
    assert places(axes, "none") == places(axes) == [(44.9, 0.0), (47.6, 1.0)]
    assert axes.get_visible()
    _published(axes, UNPUBLISHED, ["off", "on"])
    assert not axes.get_visible()


def test_differences_of_nothing_do_not_fill_the_axes(axes):
    _measured(axes, Quantity("mIoU, %", {"off": [30.00], "on": [30.01]}, {}))
    low, high = axes.get_xlim()
    assert high - low > 2


def test_every_quantity_has_a_title_and_all_is_escaped():
    chart = table_chart("key", "<both>", (MIOU, UNPUBLISHED), "<GTA5>")
    assert "<both>" not in chart
    assert "<GTA5>" not in chart
    page = ElementTree.fromstring(standalone(chart))
    text = "".join(page.itertext())
    assert all(words in text for words in ("mIoU, %", "self-entropy", "published", "<GTA5>", "off", "on"))
