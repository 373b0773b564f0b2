"""Confidence regularisation as an ingredient: which pixels count, and how much."""

from __future__ import annotations

import torch
from torch import Generator

from losses.entropy import negative_entropy
from models.segmenter import Prediction
from pipelines.terms.base import Step, View
from pipelines.terms.confidence import Confidence


def step() -> Step:
    def view(seed: int) -> View:
        draw = Generator().manual_seed(seed)
        logits, label = torch.randn(1, 3, 4, 4, generator=draw), torch.randint(3, (1, 4, 4), generator=draw)
        return View(torch.zeros(1, 3, 4, 4), Prediction(logits, logits, logits), (logits,), label)

    return Step({}, None, Generator(), {"source": lambda _: view(0), "target": lambda _: view(1)})  # type: ignore[arg-type]


def test_it_counts_the_target_and_where_weighed_the_source():
    target, source = step()["target"], step()["source"]
    found = Confidence("mrent", 0.1, 0.2).losses(step())
    assert torch.equal(found["mrent"], negative_entropy(target.logits_BKHW, target.labels_BHW))
    assert torch.equal(found["mrent_source"], negative_entropy(source.logits_BKHW, source.labels_BHW))
    assert list(Confidence("mrkld", 0.1).losses(step())) == ["mrkld"]


def test_squared_weights_and_soft_labels():
    assert Confidence("mrkld", 0.5, 0.1, squared=True).weights() == {"mrkld": 0.25, "mrkld_source": 0.1**2}
    assert Confidence("lrent", 0.5).losses(step()) == {}
