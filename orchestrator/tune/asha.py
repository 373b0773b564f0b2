"""ASHA for a search that goes on where it stopped: Ray Tune stores no scheduler with a search."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

ENDLESS = 10**6
"""More reports than any trial makes: ASHA would stop a trial at the last one it is told of."""


class ResumableAsha(ASHAScheduler):
    """Asynchronous successive halving (ASHA, Li et al. 2020), which knows what trials reported before it was made."""

    def __init__(self, time: str, objective: str, reduction: int, reports: Callable[[Trial], dict[int, float]]) -> None:
        """Stop a trial at report 1, R, R², … unless it is among the best of 1/R (R: `reduction`) there so far.

        Args:
            time: name of a report's number.
            objective: name of what is compared; more is better.
            reduction: R.
            reports: the objective of each report that a trial has made, by number.
        """
        super().__init__(
            time_attr=time, metric=objective, mode="max", max_t=ENDLESS, grace_period=1, reduction_factor=reduction
        )
        self._time, self._objective, self._reports = time, objective, reports

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """A trial is new, tried again, or was brought back with the search: then its reports count as they did."""
        super().on_trial_add(tune_controller, trial)
        for number, value in sorted(self._reports(trial).items()):
            self.on_trial_result(tune_controller, trial, {self._time: number, self._objective: value})
