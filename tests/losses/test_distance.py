from __future__ import annotations

import numpy as np
import pytest
import torch

from losses.distance import nearest_mode, squared_distances
from losses.ignore import IGNORE


def random_case(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    embedding = torch.randn(7, 5, generator=generator, dtype=dtype)
    return embedding, torch.randn(3, 2, 5, generator=generator, dtype=dtype)


def test_equals_the_slow_definition() -> None:
    embedding, modes = random_case()
    distance = squared_distances(embedding, modes)
    assert distance.shape == (7, 3, 2)
    for n, k, m in np.ndindex(7, 3, 2):
        assert distance[n, k, m].item() == pytest.approx(((embedding[n] - modes[k, m]) ** 2).sum().item())


def test_known_points() -> None:
    modes = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]]])
    assert squared_distances(torch.tensor([[0.0, 0.0], [3.0, 0.0]]), modes).squeeze(2).tolist() == [
        [0, 25],
        [9, 16],
    ]


def test_distance_to_itself_is_never_negative() -> None:
    points = torch.randn(50, 64, generator=torch.Generator().manual_seed(0)) * 100
    distance = squared_distances(points, points.unsqueeze(1))
    assert distance.min() >= 0


def test_gradient_is_right() -> None:
    embedding, modes = random_case()
    assert torch.autograd.gradcheck(squared_distances, (embedding.requires_grad_(), modes.requires_grad_()))


def test_autocast_does_not_cost_precision() -> None:
    embedding, modes = random_case(torch.float32)
    modes[0, 0] = embedding[0] + 1e-2
    with torch.autocast("cpu", torch.bfloat16):
        distance = squared_distances(embedding, modes)
    assert distance.dtype == torch.float32
    assert distance[0, 0, 0].item() == pytest.approx(5e-4, rel=1e-2)


def test_half_precision_is_upcast() -> None:
    embedding, modes = random_case()
    distance = squared_distances(embedding.half(), modes.half())
    assert distance.dtype == torch.float32
    torch.testing.assert_close(distance, squared_distances(embedding.half().float(), modes.half().float()))


def test_different_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="dimension 4 but modes 5"):
        squared_distances(torch.zeros(2, 4), torch.zeros(3, 1, 5))


def test_nearest_mode_is_of_the_labelled_class() -> None:
    distance = torch.tensor([[[3.0, 1.0, 2.0], [0.0, 9.0, 9.0]]]).repeat(3, 1, 1).requires_grad_()
    mode = nearest_mode(distance, torch.tensor([0, 1, IGNORE]))
    assert mode.tolist() == [1, 0, 0]
    assert not mode.requires_grad
