"""How well a network suits a domain without labels, judged by its predictions there and by the source's class shares.

The mutual information of images and predictions, with the source's shares of classes as the prior of the predictions
(regularised information maximisation, Gomes, Krause and Perona, NeurIPS 2010), in place of a metric that needs labels:
a network that fits is sure of each pixel, and what it predicts over all images is as mixed as what the source shows.
Sureness alone would prefer a network that calls everything road.

Shapes: K classes, h w feature grid.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def prediction_sums(logits_Khw: Tensor) -> Tensor:
    """What the score needs to know of the predictions for an image; adds up over images.

    Returns:
        float64 (K + 1,): the sum over the grid of the probability of each class, then that of the entropies in nats.
    """
    log_prob_Khw = logits_Khw.double().log_softmax(0)
    prob_Khw = log_prob_Khw.exp()
    return torch.cat([prob_Khw.sum((1, 2)), -(prob_Khw * log_prob_Khw).sum()[None]])


def transfer_score(sums: Tensor, source_counts_K: Tensor) -> float:
    """`-(KL(mean prediction || source's class shares) + mean entropy)`, in units of the uniform distribution's entropy.

    Args:
        sums: total of `prediction_sums` over images of the target.
        source_counts_K: pixels of each class in the source; one is added to each, so that none is impossible.

    Returns:
        At most 0, reached by a network that is certain everywhere and predicts classes as often as the source shows
        them. Higher is better.
    """
    mean_K = sums[:-1] / sums[:-1].sum()
    entropy = sums[-1] / sums[:-1].sum()
    share_K = (source_counts_K.double() + 1) / (source_counts_K + 1).sum()
    mismatch = (torch.xlogy(mean_K, mean_K) - torch.xlogy(mean_K, share_K)).sum()
    return -float(mismatch + entropy) / math.log(len(mean_K))
