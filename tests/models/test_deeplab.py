"""The summed classifier and the upsampling."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.deeplab import DilatedSum, upsample


def test_output_is_the_sum_of_every_branch():
    head = DilatedSum(5, 3, (6, 12, 18, 24))
    for branch in head.branches:
        torch.nn.init.normal_(branch.bias)
    features = torch.randn(2, 5, 9, 11)
    expected = torch.zeros(2, 3, 9, 11)
    for branch, dilation in zip(head.branches, (6, 12, 18, 24), strict=True):
        expected = expected + F.conv2d(features, branch.weight, branch.bias, padding=dilation, dilation=dilation)
    assert torch.equal(head(features), expected)


def test_a_lone_cell_answers_at_each_dilation():
    head = DilatedSum(1, 1, (1, 3))
    for branch in head.branches:
        torch.nn.init.ones_(branch.weight)
    impulse = torch.zeros(1, 1, 9, 9)
    impulse[..., 4, 4] = 1
    expected = torch.zeros(9, 9)
    expected[3:6, 3:6] += 1
    expected[1::3, 1::3] += 1
    assert torch.equal(head(impulse)[0, 0], expected)


def test_weights_start_as_the_paper_says():
    head = DilatedSum(64, 64, (6, 12))
    for branch in head.branches:
        assert branch.weight.std().item() == pytest.approx(0.01, rel=0.03)
        assert abs(branch.weight.mean().item()) < 3e-4
        assert not branch.bias.any()


def test_every_branch_receives_a_gradient():
    head = DilatedSum(2, 3, (1, 2))
    head(torch.randn(1, 2, 6, 6)).square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in head.parameters())


def test_embedding_block_has_18_9_million_parameters():
    with torch.device("meta"):
        block = DilatedSum(2048, 256, (6, 12, 18, 24))
    assert sum(weight.numel() for weight in block.parameters()) == 4 * (2048 * 256 * 9 + 256) == 18_875_392


def test_upsampling_keeps_corners_and_is_linear_between():
    ramp = torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]])
    assert torch.allclose(
        upsample(ramp, (3, 5))[0, 0],
        torch.tensor([[0, 0.5, 1, 1.5, 2], [2, 2.5, 3, 3.5, 4], [4, 4.5, 5, 5.5, 6]]),
    )
