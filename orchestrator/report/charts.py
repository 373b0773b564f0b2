"""Charts of the report, drawn by matplotlib as SVG that takes its colours from the page.

Every chart is drawn for the width of a phone and scales up, so its letters are readable everywhere.
Shapes: T logged steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from orchestrator.report.data import Segment, printable

# Placeholders: matplotlib wants fixed colours, the page has a light and a dark set of them.
INK, LINE, SOURCE, ADAPTED = "#010203", "#040506", "#070809", "#0a0b0c"
PAGE_COLOURS = {INK: "currentColor", LINE: "var(--line)", SOURCE: "var(--source)", ADAPTED: "var(--adapted)"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 8.5,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.edgecolor": LINE,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.solid_capstyle": "round",
}
WIDTH = 4.1  # inches; a phone shows about as many
NAME_LIMIT = 28  # letters of a class name that fit beside the bars
POINT_LIMIT = 400  # points of a curve that can be told apart at this width


def class_chart(names: Sequence[str], adapted: Sequence[float | None], source: Sequence[float | None] | None) -> Markup:
    """Per-class IoU as horizontal bars: source-only grey, adapted blue, largest gain on top.

    Args:
        names: K class names.
        adapted: K values of IoU as fractions; None draws no bar.
        source: the same for the source-only network, or None where there was none.
    """
    gains = [_gain(after, before) for after, before in zip(adapted, source or [0.0] * len(names), strict=True)]
    order = sorted(range(len(names)), key=lambda i: -gains[i])
    rows = np.arange(len(names))
    sides = [(adapted, ADAPTED, 0.0)] if source is None else [(source, SOURCE, -0.2), (adapted, ADAPTED, 0.2)]
    height = 0.8 / len(sides)
    with drawing("classes", "IoU of each class, %", 0.55 + 0.13 * (1 + len(sides)) * len(names)) as chart:
        axes = chart.axes
        for values, colour, shift in sides:
            percent = [100 * (values[i] or 0.0) for i in order]
            axes.barh(rows + shift, percent, height=height, color=colour)
        for row, i in enumerate(order):
            _bar_label(axes, row, adapted[i], source[i] if source else None, source is not None)
        axes.set_yticks(rows, [short(names[i]) for i in order])
        axes.set(ylim=(len(names) - 0.4, -0.6), xlim=(0, 112), xticks=range(0, 101, 20))
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    return chart.svg


def curve_chart(key: str, name: str, segments: Sequence[Segment], ends: Mapping[str, float]) -> Markup:
    """One logged value over the steps of the whole run, raw faint and smoothed strong.

    Args:
        key: makes the ids of this chart unique in the page.
        name: title of the chart.
        segments: its values, one segment a stage; a break is left between stages.
        ends: the last step of each training stage, numbered from 1 in the chart.
    """
    with drawing(key, name, 1.9) as chart:
        axes = chart.axes
        for segment in segments:
            steps_T, values_T = np.asarray(segment.steps), np.asarray(segment.values)
            every = max(1, len(steps_T) // POINT_LIMIT)
            alone = "." if len(steps_T) == 1 else ""
            axes.plot(steps_T[::every], values_T[::every], color=ADAPTED, alpha=0.3, lw=0.7, marker=alone)
            axes.plot(steps_T[::every], smooth(values_T)[::every], color=ADAPTED, lw=1.5)
        _mark_stages(axes, ends)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel("step")
    return chart.svg


def trend_chart(key: str, title: str, labels: Sequence[str], values: Sequence[float]) -> Markup:
    """A number that is known at a few named moments (rounds, evaluations), as a line with its values."""
    with drawing(key, title, 1.9) as chart:
        axes, places = chart.axes, range(len(values))
        axes.plot(places, values, color=ADAPTED, lw=1.5, marker="o", ms=4)
        shown = places[:: -(-len(values) // 6)]
        for place in shown:
            number = f"{values[place]:{'.1f' if abs(values[place]) >= 10 else '.3g'}}"
            axes.annotate(number, (place, values[place]), (0, 6), textcoords="offset points", ha="center")
        axes.set_xticks(shown, [short(labels[place], 16) for place in shown])
        if max(map(len, labels)) > 6:
            axes.tick_params("x", rotation=25)
            for tick in axes.get_xticklabels():
                tick.set(ha="right", rotation_mode="anchor")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.margins(0.12, 0.25)
    return chart.svg


def smooth(values_T: np.ndarray) -> np.ndarray:
    """Centred moving mean over about a twelfth of the values; the window shrinks at both ends."""
    half = len(values_T) // 24
    sums = np.concatenate([[0.0], np.cumsum(values_T)])
    places = np.arange(len(values_T))
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values_T))
    return (sums[high] - sums[low]) / (high - low)


def _gain(after: float | None, before: float | None) -> float:
    """Sorting key; classes without both numbers come last."""
    return -np.inf if after is None or before is None else after - before


def _bar_label(axes: Axes, row: int, after: float | None, before: float | None, paired: bool) -> None:
    if after is None and before is None:
        text = "absent"
    elif not paired:
        text = f"{100 * (after or 0.0):.1f}"
    else:
        text = "" if after is None or before is None else f"{100 * (after - before):+.1f}".replace("-", "−")
    longest = 100 * max(after or 0.0, before or 0.0)
    axes.annotate(text, (longest, row), (3, 0), textcoords="offset points", va="center", size=7.5)


def _mark_stages(axes: Axes, ends: Mapping[str, float]) -> None:
    borders = [0.0, *ends.values()]
    for number, (start, end) in enumerate(pairwise(borders), start=1):
        if number > 1:
            axes.axvline(start, color=INK, lw=0.7, ls=(0, (2, 2)), alpha=0.6)
        if end - start >= 0.04 * borders[-1]:
            place = ((start + end) / 2, 1.0)
            axes.annotate(
                str(number),
                place,
                (0, -1),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                va="top",
                size=7,
                alpha=0.75,
            )
    axes.set_xlim(0, borders[-1] or 1)


def short(name: str, limit: int = NAME_LIMIT) -> str:
    """A name on one line, cut where it would be longer than this many letters."""
    name = " ".join(printable(name).split())
    return name if len(name) <= limit else name[: limit - 1] + "…"


@dataclass
class Drawing:
    """A figure to draw on and, once it is done, its SVG."""

    figure: Figure
    svg: Markup = field(default_factory=Markup)

    @property
    def axes(self) -> Axes:
        """The first, or only, axes."""
        return self.figure.axes[0]


@contextmanager
def drawing(key: str, title: str, height: float, **grid: Any) -> Iterator[Drawing]:
    """A figure to draw on; once the block ends, it holds its SVG.

    Args:
        key: makes the ids of this chart unique in the page.
        title: stands above the first axes.
        height: in inches.
        grid: axes where there are several, as for `Figure.subplots`.
    """
    with rc_context({**STYLE, "svg.hashsalt": key}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's browser has the glyph
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        figure.subplots(**grid)
        chart = Drawing(figure)
        chart.axes.set_title(short(title, 44))
        yield chart
        buffer = BytesIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    chart.svg = _inline(buffer.getvalue(), key, title)


def _inline(svg: bytes, key: str, title: str) -> Markup:
    """Strips an SVG file to what a page needs, with ids of its own, page colours and a spoken title."""
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag.endswith(("}metadata", "}style"))]:
            parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {n.rpartition("}")[2]: _local(n, v, key) for n, v in element.attrib.items()}
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-label": printable(title)}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _local(name: str, value: str, key: str) -> str:
    if name == "id":
        return f"{key}-{value}"
    if name.endswith("href"):
        return value.replace("#", f"#{key}-")
    for placeholder, colour in PAGE_COLOURS.items():
        value = value.replace(placeholder, colour)
    return value.replace("url(#", f"url(#{key}-")
