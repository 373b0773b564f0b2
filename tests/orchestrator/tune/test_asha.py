"""Early stopping goes by everything that was reported, also before the search was stopped."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from orchestrator.tune.asha import ResumableAsha

GOOD, POOR, FAIR = (SimpleNamespace(trial_id=name) for name in ("good", "poor", "fair"))


def halving(known=None) -> ResumableAsha:
    known = known or {}
    return ResumableAsha("report", "objective", 2, lambda trial: known.get(trial.trial_id, {}))


def told(scheduler: ResumableAsha, trial, number: int, value: float) -> str:
    return scheduler.on_trial_result(None, trial, {"report": number, "objective": value})


@pytest.fixture
def fresh():
    scheduler = halving()
    for trial in (GOOD, POOR, FAIR):
        scheduler.on_trial_add(None, trial)
    return scheduler


def test_a_trial_below_the_better_half_is_stopped(fresh):
    assert told(fresh, GOOD, 1, -0.1) == TrialScheduler.CONTINUE
    assert told(fresh, POOR, 1, -0.9) == TrialScheduler.STOP
    assert told(fresh, FAIR, 1, -0.05) == TrialScheduler.CONTINUE


def test_trials_are_compared_at_reports_that_double(fresh):
    assert told(fresh, GOOD, 2, -0.1) == TrialScheduler.CONTINUE
    assert told(fresh, GOOD, 3, -0.1) == TrialScheduler.CONTINUE
    assert told(fresh, POOR, 3, -0.9) == TrialScheduler.STOP


@pytest.mark.parametrize(("known", "expected"), [({"good": {1: -0.1, 2: -0.1}}, "STOP"), ({}, "CONTINUE")])
def test_a_search_that_goes_on_compares_with_what_was_reported_before(known, expected):
    scheduler = halving(known)
    for trial in (GOOD, POOR):
        scheduler.on_trial_add(None, trial)
    assert told(scheduler, POOR, 1, -0.9) == expected


def test_a_trial_that_is_tried_again_is_not_compared_with_itself():
    scheduler = halving({"poor": {1: -0.9}})
    scheduler.on_trial_add(None, POOR)
    assert told(scheduler, POOR, 1, -0.9) == TrialScheduler.CONTINUE
