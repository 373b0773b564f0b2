"""Slow, obvious versions of what the engine does, and commands that run in the process of the tests."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest

from orchestrator import cli
from pipelines.drsl import PRESETS, Drsl


@pytest.fixture(scope="session")
def upsample() -> Callable[[np.ndarray, tuple[int, int]], np.ndarray]:
    """Bilinear upsampling with the corners aligned, in float64."""

    def upsampled(logits_Khw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        result = logits_Khw.astype(np.float64)
        for axis, length in ((1, size[0]), (2, size[1])):
            place = np.linspace(0, result.shape[axis] - 1, length)
            before = np.minimum(place.astype(int), result.shape[axis] - 2)
            weight = np.moveaxis((place - before)[:, None, None], 0, axis)
            result = np.take(result, before, axis) * (1 - weight) + np.take(result, before + 1, axis) * weight
        return result

    return upsampled


@pytest.fixture
def call(cluster, monkeypatch, capfd):
    """Run a command in this process on the running cluster; returns its exit code and what it printed."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(Drsl, PRESETS, [str(word) for word in words])
        printed = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    yield run
    logging.disable(logging.NOTSET)
