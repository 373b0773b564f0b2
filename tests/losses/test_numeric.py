from __future__ import annotations

import pytest
import torch

from losses.numeric import at_least_float32, check_choice, masked_mean, uniform_index


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_only_half_precision_is_upcast(given: torch.dtype, wanted: torch.dtype) -> None:
    assert at_least_float32(torch.zeros(1, dtype=given)).dtype == wanted


def test_masked_mean_skips_invalid_entries_even_if_they_are_infinite() -> None:
    value = torch.tensor([1.0, 3.0, float("inf")])
    assert masked_mean(value, torch.tensor([True, True, False])) == 2.0


def test_masked_mean_of_nothing_is_zero_with_zero_gradient() -> None:
    value = torch.ones(3, requires_grad=True)
    mean = masked_mean(value, torch.zeros(3, dtype=torch.bool))
    mean.backward()
    assert mean == 0
    assert value.grad is not None
    assert value.grad.tolist() == [0, 0, 0]


def test_uniform_index_stays_below_its_count_and_is_uniform() -> None:
    count = torch.tensor([0, 1, 7]).repeat(7000, 1)
    index = uniform_index(count, torch.Generator().manual_seed(0))
    assert index[:, :2].eq(0).all()
    share = torch.bincount(index[:, 2], minlength=7) / 7000
    assert len(share) == 7
    assert (share - 1 / 7).abs().max() < 0.02


def test_unknown_choice_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="colour must be one of red, blue, got 'green'"):
        check_choice("colour", "green", ("red", "blue"))
