"""What a sweep found in its runs: the cells of its table, the numbers of its chart and of its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.arms import Sweep
from orchestrator.files import read_json
from orchestrator.tables import SOURCE_ONLY, comparison_rows, each, protocol_of, results_of, spread

Runs = Mapping[str, Sequence[Path]]
"""Run folders of each arm, by title, one a seed."""


@dataclass(frozen=True)
class Quantity:
    """One number that was measured of every arm; what their runs began with is left out."""

    name: str
    values: Mapping[str, Sequence[float]]
    """Of each arm, one a seed; empty where it could not be measured."""
    published: Mapping[str, float]
    """Of the arms for which the paper has it."""


@dataclass(frozen=True)
class Findings:
    """The outcome of a sweep, in the forms that are written."""

    protocol: str
    """A line on how it was measured."""
    rows: list[list[str]]
    """Cells of the table, header first."""
    quantities: tuple[Quantity, ...]
    numbers: dict[str, Any]
    """For other programs."""


def findings(sweep: Sweep, runs: Runs) -> Findings:
    """Read what the sweep measures from finished runs."""
    return (_adaptation if sweep.measures == "adaptation" else _pseudo_labels)(sweep, runs)


def _adaptation(sweep: Sweep, runs: Runs) -> Findings:
    """The mIoU of the networks, before and after."""
    found = {title: [results_of(run) for run in folders] for title, folders in runs.items()}
    published = {arm.title: arm.published for arm in sweep.arms if arm.published is not None}
    if sweep.source is not None:
        published[SOURCE_ONLY] = sweep.source
    percent = {arm: [100 * after for _, after in values] for arm, values in found.items()}
    return Findings(
        protocol=protocol_of(next(iter(runs.values()))[0]),
        rows=comparison_rows(found, published),
        quantities=(Quantity("mIoU, %", percent, published),),
        # In units of the mIoU, [source-only, adapted] of each arm and seed.
        numbers={"miou": found, "published_percent": published},
    )


def _pseudo_labels(sweep: Sweep, runs: Runs) -> Findings:
    """How good the labels are at the start of each round: mIoU on labelled pixels, and self-entropy."""
    found = {title: [read_json(run / "summary.json")["rounds"] for run in folders] for title, folders in runs.items()}
    header = ["arm", "round", "mIoU of the labels, mean ± sd", "each seed", "published"]
    rows = [[*header, "self-entropy, mean ± sd", "each seed", "published (its unit is not given)"]]
    quantities = []
    for number in range(len(found[sweep.arms[0].title][0])):
        miou = _by_arm(found, number, "pseudo_label_miou")
        entropy = _by_arm(found, number, "self_entropy")
        said = {arm.title: arm.published_rounds[number] for arm in sweep.arms if number < len(arm.published_rounds)}
        for arm, values in miou.items():
            paper = [f"{said[arm][0]:.1f}", f"{said[arm][1]:.2f}"] if arm in said else ["", ""]
            measured = [spread(values), each(values)] if values else ["not measured", ""]
            unsure = [spread(entropy[arm], ".2f"), each(entropy[arm], ".2f")]
            rows.append([arm, str(number), *measured, paper[0], *unsure, paper[1]])
        percent = {arm: [100 * value for value in values] for arm, values in miou.items()}
        published = [{arm: pair[place] for arm, pair in said.items()} for place in (0, 1)]
        quantities.append(Quantity(f"round {number}: label mIoU, %", percent, published[0]))
        quantities.append(Quantity(f"round {number}: self-entropy", entropy, published[1]))
    kept = ("round", "portion", "coverage", "pseudo_label_miou", "self_entropy")
    numbers = {
        arm: [[{key: entry[key] for key in kept} for entry in rounds] for rounds in seeds]
        for arm, seeds in found.items()
    }
    return Findings(
        protocol="Protocol: labelled pixels of the target's training images, in all classes of the label space, with "
        "the labels that training never sees; self-entropy is the mean over all pixels, 100 is uniform.",
        rows=rows,
        quantities=tuple(quantities),
        # [rounds] of each arm and seed.
        numbers={"rounds": numbers, "published_rounds": {arm.title: arm.published_rounds for arm in sweep.arms}},
    )


def _by_arm(found: Mapping[str, Sequence[Any]], number: int, name: str) -> dict[str, list[float]]:
    """One number of one round, of each arm and seed; left out where it was not measured."""
    return {
        arm: [rounds[number][name] for rounds in seeds if rounds[number][name] is not None]
        for arm, seeds in found.items()
    }
