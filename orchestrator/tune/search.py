"""A search over settings: Ray Tune draws them, each trial is a run of its own, poor ones are stopped early (ASHA)."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher

from orchestrator.base.errors import Interrupted, UserError
from orchestrator.base.progress import Progress
from orchestrator.base.signals import noted
from orchestrator.cluster.placement_groups import remove_leaked_placement_groups
from orchestrator.cluster.resources import resolve
from orchestrator.contract.config import config_of
from orchestrator.contract.flags import SearchFlags
from orchestrator.contract.method import Method
from orchestrator.contract.neutral import neutral_values
from orchestrator.contract.settings import ComputeSettings
from orchestrator.run.folder import RunFolder
from orchestrator.trackers.tracking import chosen, environment
from orchestrator.tune.asha import ResumableAsha
from orchestrator.tune.outcome import Outcome, short
from orchestrator.tune.results import write_trials
from orchestrator.tune.search_space import Dimension
from orchestrator.tune.trial import OBJECTIVE, REPORT, Plan, Trial, reports_of

RECORDS = "tune"
"""Folder of Ray Tune's own records, TensorBoard's event files among them."""


def carry_out(
    base: Method,
    space: Sequence[Dimension],
    flags: SearchFlags,
    home: RunFolder,
    progress: Progress,
    reuse: Sequence[Path],
) -> list[Outcome]:
    """Run the trials, in a cluster that is already connected, and write their table.

    The same search continues in the same folder: trials that are finished stay as they are, others go on.

    Args:
        base: settings that the trials start from.
        space: what they vary.
        flags: how many, how chosen.
        home: folder of the search.
        progress: where to report.
        reuse: other runs whose finished stages may be taken over.

    Returns:
        The trials, best first.
    """
    compute, at_once = shares(resolve(base.compute), ray.cluster_resources())
    at_once = min(at_once, flags.concurrent or at_once)
    base = dataclasses.replace(base, compute=compute)
    plan = Plan(base, home.path, tuple(reuse), flags.objective, chosen(flags.track), environment())
    config = {**config_of(base), "search": _described(space, flags)}
    home.adopt_config(config, flags.allow_change, neutral_values(type(base)))
    progress.say(f"searching {', '.join(dimension.setting for dimension in space)}; trials at a time: {at_once}")
    with progress.bar("trials", _draws(space, flags) * _grid(space), unit="trial") as bar:
        done = itertools.count(1)

        def told(trial: TuneTrial, what: str) -> None:
            settings = ", ".join(f"{name} {short(value)}" for name, value in trial.config.items())
            progress.say(f"{plan.run_folder(trial.config).name} ({settings}): {what}")
            bar.update(next(done), {})

        _Watcher.told = told
        # Tune ends a search early at this signal: each trial saves a checkpoint.
        with noted(lambda: os.kill(os.getpid(), signal.SIGUSR1), flags.grace) as note:
            results = _tuner(plan, space, flags, at_once).fit()
    if note.number:
        raise Interrupted(note.number)
    outcomes = [Outcome.of(result, plan.run_folder) for result in results]
    return write_trials(outcomes, plan, space)


def shares(compute: ComputeSettings, total: Mapping[str, float]) -> tuple[ComputeSettings, int]:
    """How many trials a cluster carries at a time, and the compute of one of them.

    A trial's workers train while another's tasks label: each has tasks for its own share alone, so that all that runs
    at a time fits the cluster and no trial waits for what another holds.

    Args:
        compute: of one run, as `resources.resolve` fills it in.
        total: what the cluster has.
    """
    cores = max(1.0, compute.workers * compute.cpus_per_worker)
    fits = total.get("CPU", 0.0) // cores
    if gpus := compute.workers * compute.gpus_per_worker:
        fits = min(fits, total.get("GPU", 0.0) // gpus)
    return dataclasses.replace(compute, tasks=max(1, int(gpus or cores))), max(1, int(fits))


def _tuner(plan: Plan, space: Sequence[Dimension], flags: SearchFlags, at_once: int) -> tune.Tuner:
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C is like any other request to end
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # what the trials say is in their own logs; the table is ours
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # Trials hold no cores, what they start does. They live on the head, which no spot market takes away.
    trainable = tune.with_resources(
        tune.with_parameters(Trial, plan=plan), tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}])
    )
    records = plan.folder / RECORDS
    if tune.Tuner.can_restore(str(records)):
        return tune.Tuner.restore(str(records), trainable, resume_unfinished=True, resume_errored=True)
    return tune.Tuner(
        trainable,
        param_space={dimension.setting: dimension.domain() for dimension in space},
        tune_config=tune.TuneConfig(
            search_alg=_algorithm(flags, plan.base.seed, at_once),
            scheduler=_scheduler(flags, plan),
            num_samples=_draws(space, flags),
            trial_name_creator=lambda trial: plan.run_folder(trial.config).name,
            trial_dirname_creator=lambda trial: plan.run_folder(trial.config).name,
        ),
        run_config=tune.RunConfig(
            name=RECORDS,
            storage_path=str(plan.folder),
            failure_config=tune.FailureConfig(max_failures=plan.base.compute.max_failures),
            callbacks=[_Watcher()],
            verbose=0,
        ),
    )


def _algorithm(flags: SearchFlags, seed: int, at_once: int) -> Searcher | SearchAlgorithm:
    if flags.algorithm == "random":
        return BasicVariantGenerator(max_concurrent=at_once, random_state=seed)
    try:
        from ray.tune.search.optuna import OptunaSearch

        return ConcurrencyLimiter(OptunaSearch(metric=OBJECTIVE, mode="max", seed=seed), at_once)
    except (ImportError, AssertionError) as error:
        raise UserError("--algorithm optuna needs Optuna: pip install 'segadapt[optuna]'.") from error


def _scheduler(flags: SearchFlags, plan: Plan) -> TrialScheduler:
    if flags.scheduler == "none":
        return FIFOScheduler()
    return ResumableAsha(REPORT, OBJECTIVE, flags.reduction, lambda trial: reports_of(plan.run_folder(trial.config)))


def _draws(space: Sequence[Dimension], flags: SearchFlags) -> int:
    """How often what is drawn at random is drawn for each point of the grid."""
    return 1 if all(dimension.kind == "grid" for dimension in space) else flags.trials


def _grid(space: Sequence[Dimension]) -> int:
    """Points of the grid."""
    return math.prod(len(dimension.values) for dimension in space if dimension.kind == "grid")


def _described(space: Sequence[Dimension], flags: SearchFlags) -> dict[str, Any]:
    """What decides a search beside its base, for config.yaml."""
    searched = {dimension.setting: f"{dimension.kind}({','.join(map(str, dimension.values))})" for dimension in space}
    chosen = ("trials", "objective", "scheduler", "reduction", "algorithm")
    return {"settings": searched, **{name: getattr(flags, name) for name in chosen}}


class _Watcher(tune.Callback):
    """Says what becomes of each trial."""

    told: ClassVar[Callable[[TuneTrial, str], None]]
    """Of the class: Ray Tune stores its callbacks, and brings them back empty when it continues."""

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A trial came to its end, or was stopped early."""
        result = trial.last_result
        how = "" if result.get("finished") else f", stopped after report {result.get(REPORT)}"
        type(self).told(trial, f"{result.get(OBJECTIVE, math.nan):.4f}{how}")

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A trial failed and is tried again: if its process died, what it held is free."""
        remove_leaked_placement_groups()

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A trial failed for good; the others go on."""
        remove_leaked_placement_groups()
        type(self).told(trial, "failed")
