"""Slow, obvious versions of what the engine does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest


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
