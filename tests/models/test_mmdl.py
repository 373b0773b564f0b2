"""The DRSL head: sampling, unit length, distances and where gradients go."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from losses.sampling import point_coordinates
from losses.triplet import triplet_to_modes
from models.deeplab import upsample
from models.mmdl import SHORTEST, MmdlHead, sample_at
from models.settings import MmdlSettings

TINY = MmdlSettings(embed_dim=6, modes=3)


def head(settings: MmdlSettings = TINY, num_classes: int = 4) -> MmdlHead:
    network = MmdlHead(5, num_classes, settings, dilations=(1, 2))
    # The initial weights are so small that unit length and raw length would be hard to tell from noise.
    for branch in network.embed.branches:
        torch.nn.init.normal_(branch.weight)
    return network


def coordinates(points: int = 7, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, points, 2) * 2 - 1


def grid_sample_at(features: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    return F.grid_sample(features, points[:, None], align_corners=True)[:, :, 0].transpose(1, 2)


def test_sampling_equals_upsampling_and_gathering():
    features = torch.randn(2, 4, 9, 11)
    height, width = 32, 40
    index = torch.randint(height * width, (2, 50))
    volume = upsample(features, (height, width)).flatten(2)
    expected = volume.gather(2, index[:, None].expand(-1, 4, -1)).transpose(1, 2)
    actual = sample_at(features, point_coordinates(index, height, width))
    assert torch.allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(9, 11), (1, 5), (1, 1)])
def test_sampling_and_its_gradient_equal_those_of_grid_sample(size: tuple[int, int]):
    corners = torch.tensor([[[-1.0, -1], [1, 1], [-1, 1]]]).expand(2, -1, -1)
    points = torch.cat([coordinates(20), corners], dim=1)
    results = []
    for sample in (sample_at, grid_sample_at):
        features = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(0)).requires_grad_()
        sampled = sample(features, points)
        (sampled * torch.arange(23.0)[:, None]).sum().backward()
        results.append((sampled.detach(), features.grad))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-5)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-3)


def test_corner_coordinates_read_corner_cells():
    features = torch.arange(6.0).view(1, 1, 2, 3)
    corners = torch.tensor([[[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]])
    assert sample_at(features, corners).flatten().tolist() == [0, 2, 3, 5, 2.5]


def test_coordinates_beyond_the_border_read_the_border():
    features = torch.arange(6.0).view(1, 1, 2, 3)
    assert sample_at(features, torch.tensor([[[-3.0, -3.0], [3.0, 3.0]]])).flatten().tolist() == [0, 5]


def test_sampling_has_a_deterministic_gradient():
    features = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    points = coordinates(4, 1).double()
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.autograd.gradcheck(lambda value: sample_at(value, points), features)
    finally:
        torch.use_deterministic_algorithms(before)


def test_shapes_and_unit_length():
    embedding, distance = head()(torch.randn(2, 5, 9, 9), coordinates())
    assert embedding.shape == (2, 7, 6)
    assert distance.shape == (2, 7, 4, 3)
    assert torch.allclose(embedding.norm(dim=-1), torch.ones(2, 7), atol=1e-6)
    assert distance.min() >= 0
    assert distance.max() <= 4 + 1e-5


@pytest.mark.parametrize("normalise", ["both", "none"])
def test_distances_equal_those_computed_one_by_one(normalise):
    network = head(MmdlSettings(embed_dim=6, normalise=normalise))
    with torch.no_grad():
        network.modes.mul_(1.7)
    features, points = torch.randn(2, 5, 9, 9), coordinates()
    embedding, distance = network(features, points)
    volume = F.grid_sample(network.embed(features), points[:, None], align_corners=True)
    for image in range(2):
        for point in range(7):
            vector, modes = volume[image, :, 0, point], network.modes
            if normalise == "both":
                vector, modes = vector / vector.norm(), modes / modes.norm(dim=-1, keepdim=True)
            assert torch.allclose(embedding[image, point], vector, atol=1e-5, rtol=1e-4)
            expected = (vector - modes).square().sum(dim=-1)
            assert torch.allclose(distance[image, point], expected, atol=1e-4, rtol=1e-4)


def test_modes_start_on_the_unit_sphere_and_apart():
    modes = head().modes
    assert torch.allclose(modes.norm(dim=-1), torch.ones(4, 3), atol=1e-6)
    assert torch.cdist(modes.flatten(0, 1), modes.flatten(0, 1)).add(torch.eye(12)).min() > 0.01


def test_a_triplet_reaches_the_nearest_modes_only():
    network = head(num_classes=3)
    _, distance = network(torch.randn(1, 5, 9, 9), coordinates(1, 1))
    nearest_K = distance[0, 0].min(dim=-1)
    wrong = 1 if nearest_K.values[1] < nearest_K.values[2] else 2
    (nearest_K.values[0] - nearest_K.values[wrong] + 10).relu().backward()
    moved = network.modes.grad.abs().sum(dim=-1).nonzero().tolist()
    assert moved == [[0, nearest_K.indices[0].item()], [wrong, nearest_K.indices[wrong].item()]]


def test_gradient_reaches_the_features():
    features = torch.randn(1, 5, 9, 9, requires_grad=True)
    head()(features, coordinates(3, 1)).distance_BPKM[..., 0, 0].sum().backward()
    assert features.grad.abs().sum() > 0


def test_distances_are_float32_under_autocast():
    network, features, points = head(), torch.randn(1, 5, 9, 9), coordinates(3, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedding, distance = network(features, points)
    assert embedding.dtype == distance.dtype == torch.float32
    assert torch.allclose(embedding.norm(dim=-1), torch.ones(1, 3), atol=1e-6)


def test_no_points_give_no_embeddings():
    embedding, distance = head()(torch.randn(2, 5, 9, 9), torch.zeros(2, 0, 2))
    assert embedding.shape == (2, 0, 6)
    assert distance.shape == (2, 0, 4, 3)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e-3, 1.0, 1e4])
def test_gradients_are_bounded_where_the_features_are_all_zero(scale):
    network = head()
    features = (scale * torch.randn(2, 5, 9, 9)).requires_grad_()
    _, distance = network(features, coordinates())
    triplet_to_modes(distance.flatten(0, 1), torch.arange(14) % 4, margin=1.0).backward()
    for branch in network.embed.branches:
        # Of a triplet of unit vectors, at most 4 by the embedding.
        assert branch.bias.grad.norm() <= 4 / SHORTEST
        assert branch.weight.grad.isfinite().all()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_all_but_the_shortest_embeddings_have_unit_length():
    network = head()
    for length in (2 * SHORTEST, 1.0, 1e3):
        with torch.no_grad():
            for branch in network.embed.branches:
                branch.weight.zero_()
                branch.bias.fill_(length / len(network.embed.branches) / 6**0.5)
        embedding, _ = network(torch.zeros(1, 5, 3, 3), coordinates(batch=1))
        torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(1, 7))
