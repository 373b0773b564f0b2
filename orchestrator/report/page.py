"""Writes `report.html`: what a run did and how well, in one file that needs nothing but a browser."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from domains.base.files import write_text
from orchestrator.report.charts import class_chart, curve_chart, trend_chart
from orchestrator.report.data import (
    Metrics,
    Round,
    Summary,
    printable,
    read_environment,
    read_metrics,
    read_own,
    read_panels,
    read_summary,
)

HERE = Path(__file__).parent


@dataclass(frozen=True)
class ClassRow:
    """One class of the table: its colour and its IoU before, after, and the gain."""

    name: str
    colour: str
    source: float | None
    adapted: float | None
    gain: float | None


@dataclass(frozen=True)
class HeatTable:
    """Classes x rounds.

    Attributes:
        title: what the values are.
        meaning: how to read them.
        form: printf form of a value.
        rounds: number of each column.
        rows: class name and its value in each round, None where not known.
        low: smallest value of the table, drawn without colour.
        span: largest value less the smallest, or 1 where they are equal.
    """

    title: str
    meaning: str
    form: str
    rounds: tuple[int, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    low: float
    span: float

    def level(self, value: float | None) -> str:
        """Strength of the colour of a value, "0.000" to "1.000"."""
        return "0.000" if value is None else f"{(value - self.low) / self.span:.3f}"


def write_report(run: Path) -> Path:
    """Writes `report.html` of a run folder from the files that lie there.

    Only `summary.json` is needed; what else is missing, or lies elsewhere by a symbolic link, is left out of the page.

    Args:
        run: the run folder.

    Returns:
        The path of the report: one file, without scripts and without links to other files.

    Raises:
        UserError: if `summary.json` is missing, broken or lies elsewhere; the message names the file.
    """
    path = run / "report.html"
    write_text(path, printable(_page(run)))
    return path


def _page(run: Path) -> str:
    summary, notes = read_summary(run / "summary.json"), []
    metrics = read_metrics(run / "metrics.jsonl", notes)
    parts = {
        "summary": summary,
        "title": summary.title or summary.method,
        "moved": summary.translation,
        "gain": _gain(summary.result and summary.result.miou, summary.baseline and summary.baseline.miou),
        "rows": _class_rows(summary),
        "measured": sum(row.adapted is not None for row in _class_rows(summary)),
        "class_chart": _class_chart(summary),
        "heat_tables": _heat_tables(summary),
        "trends": _trends(summary.rounds, metrics),
        "curves": _curves(metrics),
        "stages": tuple(metrics.ends),
        "panels": read_panels(run, notes),
        "legend": {name: _css_colour(rgb) for name, rgb in summary.palette.items()},
        "environment": read_environment(run / "environment.json", notes),
        "config": read_own(run / "config.yaml", run, notes),
        "command": _command(summary),
        "style": style(),
    }
    return templates().get_template("report.html").render(**parts, warnings=(*summary.warnings, *notes))


def style() -> Markup:
    """The look of every page."""
    return Markup((HERE / "report.css").read_text(encoding="utf-8"))


def templates() -> Environment:
    """The pages of this folder, everything escaped; a name that a page lacks is an error."""
    pages = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(percent=_percent, points=_points, number=_number, duration=_duration)
    return pages


def _command(summary: Summary) -> str:
    return shlex.join(["python", f"pipelines/{summary.method}.py", "--config", f"runs/{summary.name}/config.yaml"])


def _gain(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def _class_rows(summary: Summary) -> tuple[ClassRow, ...]:
    before = summary.baseline.iou if summary.baseline else {}
    after = summary.result.iou if summary.result else {}
    return tuple(
        ClassRow(
            name,
            _css_colour(summary.palette.get(name)),
            before.get(name),
            after.get(name),
            _gain(after.get(name), before.get(name)),
        )
        for name in summary.classes()
    )


def _class_chart(summary: Summary) -> Markup:
    rows = _class_rows(summary)
    if not any(value is not None for row in rows for value in (row.source, row.adapted)):
        return Markup()
    source = [row.source for row in rows] if summary.baseline else None
    return class_chart([row.name for row in rows], [row.adapted for row in rows], source)


def _heat_tables(summary: Summary) -> tuple[HeatTable, ...]:
    tables = (
        _heat_table(
            summary,
            "Confidence threshold",
            "A pixel that the network takes for this class is labelled if its confidence (0 to 1) reaches this "
            "value; a low threshold means that the network was unsure of the class.",
            "%.4f",
            [a.thresholds for a in summary.rounds],
        ),
        _heat_table(
            summary,
            "Pixels labelled, % of those predicted",
            "Pixels labelled as this class over pixels that the network took for it. Above 100 where the selection "
            "gave it pixels that the network took for other classes.",
            "%.1f",
            [_percentages(a.selected) for a in summary.rounds],
        ),
        _heat_table(
            summary,
            "Pseudo-labels that were right, %",
            "Of the labelled pixels of this class, how many agree with the true labels, which served for this "
            "check alone.",
            "%.1f",
            [_percentages(a.pseudo_label_accuracy) for a in summary.rounds],
        ),
    )
    return tuple(table for table in tables if table.rows)


def _heat_table(
    summary: Summary,
    title: str,
    meaning: str,
    form: str,
    columns: Sequence[Mapping[str, float | None] | None],
) -> HeatTable:
    filled = [column or {} for column in columns]
    known = [value for column in filled for value in column.values() if value is not None]
    low, span = (min(known), max(known) - min(known) or 1.0) if known else (0.0, 1.0)
    listed = dict.fromkeys(name for column in filled for name in column)
    ordered = dict.fromkeys((*(name for name in summary.classes() if name in listed), *listed))
    rows = tuple((name, tuple(column.get(name) for column in filled)) for name in ordered) if known else ()
    return HeatTable(title, meaning, form, tuple(a.round for a in summary.rounds), rows, low, span)


def _trends(rounds: Sequence[Round], metrics: Metrics) -> tuple[tuple[Markup, str], ...]:
    labels = [str(a.round) for a in rounds]
    lines = (
        (
            "Share of pixels labelled, %, by round",
            "It rises as the network grows surer and as a larger portion is asked for.",
            zip(labels, [_hundredfold(a.coverage) for a in rounds], strict=True),
        ),
        (
            "mIoU of the pseudo-labels, %, by round",
            "How well the labelled pixels agree with the truth; higher is better.",
            zip(labels, [_hundredfold(a.pseudo_label_miou) for a in rounds], strict=True),
        ),
        (
            "Self-entropy by round",
            "How unsure the network is of its own predictions; lower is surer.",
            zip(labels, [a.self_entropy for a in rounds], strict=True),
        ),
        (
            "mIoU of the network, %, by evaluation",
            "Measured under the protocol above after the named stages; higher is better.",
            ((stage, 100 * miou) for stage, miou in metrics.evaluations.items()),
        ),
    )
    charts = []
    for place, (title, meaning, points) in enumerate(lines):
        known = [(label, value) for label, value in points if value is not None]
        if len(known) > 1:
            charts.append((trend_chart(f"trend-{place}", title, *zip(*known, strict=True)), meaning))
    return tuple(charts)


def _curves(metrics: Metrics) -> tuple[Markup, ...]:
    titles = {"lr": "learning rate"}
    return tuple(
        curve_chart(f"curve-{place}", titles.get(name, name.replace("_", " ")), segments, metrics.ends)
        for place, (name, segments) in enumerate(metrics.curves.items())
    )


def _css_colour(rgb: tuple[int, int, int] | None) -> str:
    return "rgb({} {} {})".format(*rgb) if rgb else ""


def _percentages(shares: Mapping[str, float | None] | None) -> dict[str, float | None]:
    return {name: _hundredfold(share) for name, share in (shares or {}).items()}


def _hundredfold(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _percent(value: float | None, missing: str = "absent") -> str:
    return missing if value is None else f"{100 * value:.1f}"


def _points(value: float | None, missing: str = "–") -> str:
    return missing if value is None else f"{100 * value:+.1f}".replace("-", "−")


def _number(value: float | None, missing: str = "–") -> str:
    return missing if value is None else f"{value:.4g}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not recorded"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
