"""A command without Ray: the same stages, one after the other in the process of the tests.

What runs on Ray is held against it: which worker or task computes something must not show in a single bit. It is also
much quicker, where what a method does is looked at and not who does it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate.state import AcceleratorState

from orchestrator.cluster.elastic import micro_batches
from orchestrator.contract.settings import ComputeSettings
from orchestrator.train import loop

RESOLVING = ("orchestrator.runner", "orchestrator.dryrun.run")
"""Modules that ask Ray what there is."""
TASKS = (
    "orchestrator.mapreduce.evaluation",
    "orchestrator.mapreduce.labelling",
    "orchestrator.mapreduce.panels",
    "orchestrator.mapreduce.statistics",
    "orchestrator.mapreduce.translation",
)
"""Modules of a run that start tasks."""


def carry_out(pipeline: str, words: Sequence[str], folder: Path, temp: Path, code: int = 0) -> str:
    """Carry out a run to its end; returns what it printed.

    Args:
        pipeline: name of its script.
        words: of the command, `--name` among them.
        folder: where the command is given.
        temp: for temporary files.
        code: that it must end with.
    """
    script = importlib.import_module(f"pipelines.{pipeline}")
    printed = io.StringIO()
    with (
        environment_kept(),
        _without_ray(words, temp),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        pytest.raises(SystemExit) as ended,
    ):
        script.main()
    assert ended.value.code == code, printed.getvalue()
    return printed.getvalue()


@contextlib.contextmanager
def environment_kept() -> Iterator[None]:
    """Leave the environment as it was: a command carried out in this process prepares it for a cluster with a token.

    A later driver in this process would then turn away a cluster without one, and every actor that it starts dies.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _without_ray(words: Sequence[str], temp: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["", *words])
        patch.setattr(tempfile, "tempdir", str(temp))
        patch.setattr("orchestrator.cluster.resources.connect", lambda *_: None)
        patch.setattr("orchestrator.cluster.shared_storage.require_shared", lambda *_: None)
        for module in RESOLVING:
            patch.setattr(f"{module}.resolve", _resolved)
        patch.setattr("orchestrator.train.stage.fitting", _one_worker)
        patch.setattr("orchestrator.train.stage.train", _train)
        patch.setattr(loop.ray.train, "get_preemption_info", lambda: None)
        patch.setattr(loop.ray.train, "get_context", lambda: SimpleNamespace(get_world_size=lambda: 1))
        for module in TASKS:
            patch.setattr(f"{module}.run_tasks", _run_tasks)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _resolved(compute: ComputeSettings, patience: float = 0.0) -> ComputeSettings:
    precision = "fp32" if compute.precision == "auto" else compute.precision
    return dataclasses.replace(compute, workers=compute.workers or 1, tasks=compute.tasks or 2, precision=precision)


def _one_worker(asked: ComputeSettings, most: int, patience: float) -> ComputeSettings:
    return dataclasses.replace(asked, workers=1, accumulation=micro_batches(asked))


def _train(job: loop.TrainJob) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    trained = loop.Loop(job)
    assert trained._writer is not None
    with trained._writer:  # a worker's lock goes with its process
        trained.run()


def _run_tasks(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    compute: ComputeSettings,
    name: str,
    on_result: Callable[[int, Any], None] = lambda _index, _result: None,
) -> list[Any]:
    results = []
    for index, item in enumerate(items):
        results.append(function(item))
        on_result(index, results[-1])
    return results
