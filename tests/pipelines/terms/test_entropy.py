"""Entropy of target predictions as an ingredient."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from losses.entropy import normalised_entropy
from models.segmenter import Prediction
from pipelines.terms.base import Step, View
from pipelines.terms.entropy import Entropy


@pytest.mark.parametrize("levels", [1, 2])
def test_every_level_that_is_there_counts_with_its_own_weight(levels):
    logits = torch.randn(2, 1, 3, 4, 4, generator=Generator().manual_seed(0)).unbind()[:levels]
    target = View(torch.zeros(1, 3, 4, 4), Prediction(*[logits[0]] * 3), logits)
    step = Step({}, None, Generator(), {"target": lambda _: target})  # type: ignore[arg-type]
    found = Entropy(0.5, 0.25).losses(step)
    assert list(found) == ["entropy", "entropy_auxiliary"][:levels]
    assert all(
        torch.equal(value, normalised_entropy(level)) for value, level in zip(found.values(), logits, strict=True)
    )
    assert Entropy(0.5, 0.25).weights() == {"entropy": 0.5, "entropy_auxiliary": 0.25}
