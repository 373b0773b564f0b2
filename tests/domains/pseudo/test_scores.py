"""Upsampling of a part of an image equals that of the whole; scores of several views."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from domains.pseudo import scores


def logits(seed: int = 0, size: tuple[int, int] = (60, 80)) -> Tensor:
    return torch.randn(6, *size, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("rows", [1, 7, 64, 200])
@pytest.mark.parametrize("size", [(65, 97), (64, 128), (9, 13), (5, 4), (1, 1)])
def test_strips_equal_the_upsampling_of_the_whole(size: tuple[int, int], rows: int) -> None:
    low = torch.randn(3, 9, 13, generator=torch.Generator().manual_seed(0)) * 3
    strips = list(scores.upsampled_strips(low, size, rows))
    whole = F.interpolate(low[None], size=size, mode="bilinear", align_corners=True)[0]
    assert all(strip.shape[1] <= rows for _, strip in strips)
    assert (torch.cat([strip for _, strip in strips], 1) - whole).abs().max() < 1e-5
    assert [whole[:, rows_of].shape == strip.shape for rows_of, strip in strips] == [True] * len(strips)


def test_half_precision_is_upcast_before_upsampling() -> None:
    low = logits(size=(5, 7)).half()
    (_, from_half), (_, from_float) = (next(scores.upsampled_strips(x, (9, 9))) for x in (low, low.float()))
    assert from_half.dtype == torch.float32
    assert from_half.equal(from_float)


def test_scores_of_several_views_are_the_mean_probability() -> None:
    views = [logits(seed=1, size=(9, 13)), logits(seed=2, size=(12, 17))]
    prob = sum(F.interpolate(v[None], (33, 40), mode="bilinear", align_corners=True)[0].softmax(0) for v in views)
    score = torch.cat([strip for _, strip in scores.score_strips(views, (33, 40), rows=8)], 1)
    torch.testing.assert_close(score.softmax(0), prob / 2)


def test_bad_logits_and_views_are_refused() -> None:
    broken = logits(size=(4, 4))
    broken[0, 1, 1] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinity"):
        next(scores.upsampled_strips(broken, (8, 8)))
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        next(scores.upsampled_strips(logits(size=(4, 4)), (8, 8), rows=0))
    with pytest.raises(ValueError, match="at least one view"):
        next(scores.score_strips([], (8, 8)))


def test_rows_and_columns_alone_equal_the_upsampling_of_the_whole() -> None:
    low = torch.randn(3, 9, 13, generator=torch.Generator().manual_seed(0)) * 3
    rows, columns = torch.tensor([0, 5, 5, 64]), torch.tensor([96, 0, 17])
    whole = F.interpolate(low[None], size=(65, 97), mode="bilinear", align_corners=True)[0]
    found = scores.upsampled_at(low, (65, 97), rows, columns)
    assert (found - whole[:, rows][:, :, columns]).abs().max() < 1e-5
