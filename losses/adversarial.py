"""Losses of a discriminator of domains and of the network that deceives it (Goodfellow 2014; Mao 2017).

Shapes: any; a score is the discriminator's raw output for one place, above 0 (vanilla) or near 1 (least squares) where
it takes the place for source. Which domain is called 1 changes nothing but how the
discriminator's last layer turns out.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from losses.numeric import at_least_float32, check_choice

AdversarialKind = Literal["vanilla", "least_squares"]


def domain_loss(score: Tensor, is_source: bool, kind: AdversarialKind = "vanilla") -> Tensor:
    """How far the scores are from calling the domain source, or target.

    The discriminator minimises it for the true domain of a map. The segmenter minimises it for target maps called
    source: the form of Structure Enhancement's Eq. 2 whose gradient does not vanish while the discriminator wins.

    Args:
        score: raw scores, any float; half precision is upcast to float32.
        is_source: the domain to be called.
        kind: "vanilla" is binary cross-entropy with the sigmoid inside, "least_squares" the mean squared difference.

    Returns:
        A scalar >= 0, the mean over places.

    Raises:
        ValueError: if `kind` is unknown.
    """
    check_choice("kind", kind, get_args(AdversarialKind))
    score = at_least_float32(score)
    wanted = torch.full_like(score, float(is_source))
    if kind == "vanilla":
        return F.binary_cross_entropy_with_logits(score, wanted)
    return (score - wanted).square().mean()


def discriminator_loss(source: Tensor, target: Tensor, kind: AdversarialKind = "vanilla") -> Tensor:
    """Half the loss on source maps and half that on target maps (AdaptSegNet), from their scores."""
    return 0.5 * domain_loss(source, True, kind) + 0.5 * domain_loss(target, False, kind)
