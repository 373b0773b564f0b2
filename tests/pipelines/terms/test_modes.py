"""The mixture head as an ingredient."""

from __future__ import annotations

import torch

from pipelines.terms.modes import EmbeddedPoints


def test_points_are_split_by_image():
    points = EmbeddedPoints(torch.arange(6.0).view(3, 2, 1), torch.zeros(3, 2, 1, 1), torch.arange(6).view(3, 2))
    first, rest = points.split(1)
    assert torch.equal(first.label_BP, torch.tensor([[0, 1]]))
    assert torch.equal(rest.embedding_BPd, points.embedding_BPd[1:])
