"""Entropy and its relatives: how sure a network is of each pixel (CRST, Zou et al. 2019; ADVENT, Vu et al. 2019).

Shapes: B batch, K classes, H W pixels. Label 255 is ignored.
"""

from __future__ import annotations

import math

import torch
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
    """
    return _entropy(logits_BKHW).mean() / math.log(logits_BKHW.shape[1])


def self_information(prob_BKHW: Tensor) -> Tensor:
    """Weighted self-information `-p_c log p_c / log K` of each class, what AdvEnt's discriminator sees.

    Args:
        prob_BKHW: probabilities; 0 has the limit 0.

    Returns:
        B x K x H x W; the sum over classes is the normalised entropy.
    """
    return torch.special.entr(prob_BKHW) / math.log(prob_BKHW.shape[1])


def _entropy(logits_BKHW: Tensor) -> Tensor:
    log_prob_BKHW = at_least_float32(logits_BKHW).log_softmax(1)
    # Through the logarithm, whose gradient stays finite where a probability is 0.
    return -(log_prob_BKHW.exp() * log_prob_BKHW).sum(1)
