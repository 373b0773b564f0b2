"""Entropy and its relatives: how sure a network is of each pixel (CRST, Zou et al. 2019; ADVENT, Vu et al. 2019).

Shapes: B batch, K classes, H W pixels. Label 255 is ignored.
"""

from __future__ import annotations

import math

from torch import Tensor

from losses.ignore import IGNORE
from losses.numeric import at_least_float32, masked_mean


def kl_to_uniform(logits_BKHW: Tensor, label_BHW: Tensor) -> Tensor:
    """Cross-entropy of the prediction against the uniform distribution (CRST's MRKLD, without its weight).

    Mean over labelled pixels of `-(1/K) sum_c log p_c`: the Kullback-Leibler divergence from the uniform distribution
    plus log K. It keeps a network from being surer than its pseudo-labels deserve.

    Args:
        logits_BKHW: unnormalised scores, any float; half precision is upcast to float32.
        label_BHW: pseudo-labels; 255 leaves a pixel out.

    Returns:
        A scalar >= log K; 0 with zero gradient where every pixel is left out.
    """
    log_prob_BKHW = at_least_float32(logits_BKHW).log_softmax(1)
    return masked_mean(-log_prob_BKHW.mean(1), label_BHW != IGNORE)


def negative_entropy(logits_BKHW: Tensor, label_BHW: Tensor) -> Tensor:
    """Mean of `sum_c p_c log p_c` over labelled pixels (CRST's MRENT, without its weight).

    Args:
        logits_BKHW: unnormalised scores, any float; half precision is upcast to float32.
        label_BHW: pseudo-labels; 255 leaves a pixel out.

    Returns:
        A scalar in [-log K, 0]; 0 with zero gradient where every pixel is left out.
    """
    return masked_mean(-_entropy(logits_BKHW), label_BHW != IGNORE)


def normalised_entropy(logits_BKHW: Tensor) -> Tensor:
    """Mean over all pixels of the entropy in units of that of the uniform distribution (MinEnt's loss).

    Args:
        logits_BKHW: unnormalised scores, any float; half precision is upcast to float32.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: if there is only one class.
    """
    return _entropy(logits_BKHW).mean() / _most(logits_BKHW)


def self_information(logits_BKHW: Tensor) -> Tensor:
    """Weighted self-information `-p_c log p_c / log K` of each class, what AdvEnt's discriminator sees.

    Args:
        logits_BKHW: unnormalised scores, any float; half precision is upcast to float32.

    Returns:
        B x K x H x W, each in [0, 1 / (e log K)]; the sum over classes is the normalised entropy.

    Raises:
        ValueError: if there is only one class.
    """
    return _self_information(logits_BKHW) / _most(logits_BKHW)


def _self_information(logits_BKHW: Tensor) -> Tensor:
    log_prob_BKHW = at_least_float32(logits_BKHW).log_softmax(1)
    # Through the logarithm: where a probability is 0, the slope of -p log p by p is infinite and by a logit it is 0.
    return -(log_prob_BKHW.exp() * log_prob_BKHW)


def _entropy(logits_BKHW: Tensor) -> Tensor:
    return _self_information(logits_BKHW).sum(1)


def _most(logits_BKHW: Tensor) -> float:
    """Entropy of the uniform distribution over the classes."""
    num_classes = logits_BKHW.shape[1]
    if num_classes < 2:
        raise ValueError(f"an entropy in units of the largest needs at least 2 classes, got {num_classes}")
    return math.log(num_classes)
