"""What became of the trials of a search."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.base.files import read_json
from orchestrator.tune.trial import OBJECTIVE, REPORT, reports_of

if TYPE_CHECKING:
    from ray.tune import Result

PARAMETERS = "params.json"
"""In Ray Tune's folder of a trial: what it varies."""


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
    def of(cls, result: Result, run_folder: Callable[[dict[str, Any]], Path]) -> Outcome:
        """The outcome of one of Ray Tune's results.

        Args:
            result: of a trial, which may have failed before it reported.
            run_folder: the run folder of a trial by what it varies.
        """
        metrics = result.metrics or {}
        # What a trial varies comes back with its reports; of one without any, Tune has it in a file alone.
        config = dict(result.config or read_json(Path(result.path) / PARAMETERS))
        folder = run_folder(config)
        state = "failed" if result.error else "finished" if metrics.get("finished") else "stopped early"
        lines = str(result.error).strip().splitlines() if result.error else [""]
        objective, reports = metrics.get(OBJECTIVE, math.nan), metrics.get(REPORT, 0)
        return cls(
            name=folder.name,
            config=config,
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


def short(value: Any) -> str:
    """A setting's value as people write it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
