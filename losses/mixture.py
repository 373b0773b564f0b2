"""Cross-entropy of the class posterior that the modes define (DRSL, Eq. 5; RepMet, Karlinsky et al. 2019).

Shapes: N points, K classes, M modes a class. Label 255 is ignored.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional as F

from losses.ignore import IGNORE
from losses.numeric import at_least_float32, check_choice, masked_mean

Posterior = Literal["normalised", "raw", "softmax_of_prob"]
ModePooling = Literal["max", "sum"]


def mixture_cross_entropy(
    distance_NKM: Tensor,
    label_N: Tensor,
    sigma2: float = 0.5,
    posterior: Posterior = "normalised",
    modes: ModePooling = "max",
) -> Tensor:
    """Negative log posterior of the labelled class, mean over the valid points.

    The likelihood of a mode is `exp(-D / (2 sigma2))`; a class takes its best mode ("max") or their sum. Its
    logarithm z is computed directly, since the likelihood itself underflows for far points.

    Args:
        distance_NKM: squared distances, as of `squared_distances`.
        label_N: class ids in [0, K), 255 = ignore.
        sigma2: variance of every mode, > 0.
        posterior: "normalised" is Eq. 5, equal priors: `-(z_c - logsumexp z)`; "raw" is `-z_c`, a pure pull
            without rivalry of classes; "softmax_of_prob" feeds `exp(z)` to a softmax, as RepMet's code does.
        modes: pooling of a class's modes, "max" (the paper) or "sum".

    Returns:
        A scalar; exactly 0 with zero gradient if every point is ignored.

    Raises:
        ValueError: if `posterior` or `modes` is unknown or `sigma2` is not positive.
    """
    check_choice("posterior", posterior, get_args(Posterior))
    check_choice("modes", modes, get_args(ModePooling))
    if sigma2 <= 0:
        raise ValueError(f"sigma2 must be greater than 0, got {sigma2}")
    log_likelihood_NKM = at_least_float32(distance_NKM) / (-2 * sigma2)
    z_NK = log_likelihood_NKM.amax(2) if modes == "max" else log_likelihood_NKM.logsumexp(2)
    valid_N = label_N != IGNORE
    class_N = label_N.long().where(valid_N, 0)
    if posterior == "raw":
        loss_N = -z_NK.gather(1, class_N.unsqueeze(1)).squeeze(1)
    else:
        loss_N = F.cross_entropy(z_NK if posterior == "normalised" else z_NK.exp(), class_N, reduction="none")
    return masked_mean(loss_N, valid_N)
