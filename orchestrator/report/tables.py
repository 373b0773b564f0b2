"""Tables of several runs: mean over seeds of each variant, its gain over source-only, share of the gap closed."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.base.files import read_json

SOURCE_ONLY = "source-only"
ORACLE = "target oracle"
Measured = tuple[float | None, float]
"""mIoU before (None where a run has no source-only network) and after adaptation, in [0, 1]."""


def slug(title: str) -> str:
    """A variant's title as a part of a folder's name."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower().replace("+", "-plus")).strip("-")


def results_of(run: Path) -> Measured:
    """What was measured of a finished run, over the classes that the evaluation images show.

    A run's own mIoU also counts a class that no image shows, as 0, once the network predicts it anywhere: fair for one
    network, but variants that are averaged over different classes do not compare.
    """
    summary = read_json(run / "summary.json")
    measured = read_json(next(run.glob("stages/*/evaluation.json")))
    shown = {name for name, row in zip(measured["classes"], measured["confusion"], strict=True) if any(row)}
    classes = [name for name in measured["iou"] if name in shown]

    def mean(role: str) -> float:
        return statistics.mean(summary[role]["iou"][name] for name in classes)

    return mean("source_only") if "source_only" in summary else None, mean("adapted")


def protocol_of(run: Path) -> str:
    """The line that says how the numbers of a table were measured, from one of its runs."""
    return f"Protocol: {read_json(run / 'summary.json')['protocol']['name']}; classes that the evaluation images show."


def comparison(found: Mapping[str, Sequence[Measured]], published: Mapping[str, float] | None = None) -> str:
    """`comparison_rows` as Markdown."""
    return markdown(comparison_rows(found, published))


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a Markdown table; the first is its header."""
    header, *rest = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rest])


def comparison_rows(
    found: Mapping[str, Sequence[Measured]], published: Mapping[str, float] | None = None
) -> list[list[str]]:
    """Cells of a table of variants, header first.

    Args:
        found: what was measured of each variant, by title and seed. The source-only of the table is that of the first
            variant that has one; each gain is over the variant's own, where it has one. "target oracle", if it is
            there, is what the gap is to.
        published: mIoU in percent that a paper gives for a variant (or for "source-only"), shown beside ours.
    """
    source = source_of(found)
    oracle = [after for _, after in found.get(ORACLE, ())]
    gap = statistics.mean(oracle) - statistics.mean(source) if oracle else None
    header = ["variant", "mIoU, mean ± sd", "each seed", "gain over source-only"]
    header += ["share of the gap closed"] if gap else []
    header += ["published"] if published else []
    rows = [header, [SOURCE_ONLY, spread(source), each(source), *[""] * (len(header) - 3)]]
    if published and SOURCE_ONLY in published:
        rows[1][-1] = f"{published[SOURCE_ONLY]:.1f}"
    for variant, measured in found.items():
        values = [after for _, after in measured]
        gains = [
            after - (usual if before is None else before)
            for (before, after), usual in zip(measured, source, strict=True)
        ]
        row = [variant, spread(values), each(values), spread(gains, "+.3f")]
        row += ["" if variant == ORACLE else f"{statistics.mean(gains) / gap:.0%}"] if gap else []
        row += [f"{published[variant]:.1f}" if variant in published else ""] if published else []
        rows.append(row)
    return rows


def source_of(found: Mapping[str, Sequence[Measured]]) -> list[float]:
    """The mIoU of the source-only network of each seed, of the first variant that has one."""
    sources = ([before for before, _ in measured if before is not None] for measured in found.values())
    return next(values for values in sources if values)


def spread(values: Sequence[float], form: str = ".3f") -> str:
    """Mean and, of several values, standard deviation."""
    deviation = f" ± {statistics.stdev(values):{form.removeprefix('+')}}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{form}}{deviation}"


def each(values: Sequence[float], form: str = ".3f") -> str:
    """The values themselves."""
    return ", ".join(f"{value:{form}}" for value in values)
