"""What the runs of a reproduced table gave: its cells, the numbers of its chart and of its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.base.files import read_json
from orchestrator.contract.published_table import PublishedTable
from orchestrator.report.tables import SOURCE_ONLY, comparison_rows, each, protocol_of, results_of, spread

Runs = Mapping[str, Sequence[Path]]
"""Run folders of each variant, by title, one a seed."""


@dataclass(frozen=True)
class Quantity:
    """One number that was measured of every variant; what their runs began with is left out."""

    name: str
    values: Mapping[str, Sequence[float]]
    """Of each variant, one a seed; empty where it could not be measured."""
    published: Mapping[str, float]
    """Of the variants for which the paper has it."""


@dataclass(frozen=True)
class Findings:
    """What was found, in the forms that are written."""

    protocol: str
    """A line on how it was measured."""
    rows: list[list[str]]
    """Cells of the table, header first."""
    quantities: tuple[Quantity, ...]
    numbers: dict[str, Any]
    """For other programs."""


def findings(table: PublishedTable, runs: Runs) -> Findings:
    """Read what the table measures from finished runs."""
    return (_adaptation if table.measures == "adaptation" else _pseudo_labels)(table, runs)


def _adaptation(table: PublishedTable, runs: Runs) -> Findings:
    """The mIoU of the networks, before and after."""
    found = {title: [results_of(run) for run in folders] for title, folders in runs.items()}
    published = {variant.title: variant.published for variant in table.variants if variant.published is not None}
    if table.source is not None:
        published[SOURCE_ONLY] = table.source
    percent = {variant: [100 * after for _, after in values] for variant, values in found.items()}
    return Findings(
        protocol=protocol_of(next(iter(runs.values()))[0]),
        rows=comparison_rows(found, published),
        quantities=(Quantity("mIoU, %", percent, published),),
        # In units of the mIoU, [source-only, adapted] of each variant and seed.
        numbers={"miou": found, "published_percent": published},
    )


def _pseudo_labels(table: PublishedTable, runs: Runs) -> Findings:
    """How good the labels are at the start of each round: mIoU on labelled pixels, and self-entropy."""
    found = {title: [read_json(run / "summary.json")["rounds"] for run in folders] for title, folders in runs.items()}
    header = ["variant", "round", "mIoU of the labels, mean ± sd", "each seed", "published"]
    rows = [[*header, "self-entropy, mean ± sd", "each seed", "published (its unit is not given)"]]
    quantities = []
    for number in range(len(found[table.variants[0].title][0])):
        miou = _by_variant(found, number, "pseudo_label_miou")
        entropy = _by_variant(found, number, "self_entropy")
        said = {
            variant.title: variant.published_rounds[number]
            for variant in table.variants
            if number < len(variant.published_rounds)
        }
        for variant, values in miou.items():
            paper = [f"{said[variant][0]:.1f}", f"{said[variant][1]:.2f}"] if variant in said else ["", ""]
            measured = [spread(values), each(values)] if values else ["not measured", ""]
            unsure = [spread(entropy[variant], ".2f"), each(entropy[variant], ".2f")]
            rows.append([variant, str(number), *measured, paper[0], *unsure, paper[1]])
        percent = {variant: [100 * value for value in values] for variant, values in miou.items()}
        published = [{variant: pair[place] for variant, pair in said.items()} for place in (0, 1)]
        quantities.append(Quantity(f"round {number}: label mIoU, %", percent, published[0]))
        quantities.append(Quantity(f"round {number}: self-entropy", entropy, published[1]))
    kept = ("round", "portion", "coverage", "pseudo_label_miou", "self_entropy")
    numbers = {
        variant: [[{key: entry[key] for key in kept} for entry in rounds] for rounds in seeds]
        for variant, seeds in found.items()
    }
    return Findings(
        protocol="Protocol: labelled pixels of the target's training images, in all classes of the label space, with "
        "the labels that training never sees; self-entropy is the mean over all pixels, 100 is uniform.",
        rows=rows,
        quantities=tuple(quantities),
        # [rounds] of each variant and seed.
        numbers={
            "rounds": numbers,
            "published_rounds": {variant.title: variant.published_rounds for variant in table.variants},
        },
    )


def _by_variant(found: Mapping[str, Sequence[Any]], number: int, name: str) -> dict[str, list[float]]:
    """One number of one round, of each variant and seed; left out where it was not measured."""
    return {
        variant: [rounds[number][name] for rounds in seeds if rounds[number][name] is not None]
        for variant, seeds in found.items()
    }
