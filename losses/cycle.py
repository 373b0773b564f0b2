"""Losses that keep a translation of images between two domains true to its input (CycleGAN, Zhu et al. 2017).

Shapes: any, the same for an image and what is compared with it. Images may be of any range; the losses scale with it.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from losses.numeric import at_least_float32


def cycle_loss(again_source: Tensor, source: Tensor, again_target: Tensor, target: Tensor) -> Tensor:
    """How far images are from themselves after a translation there and back (Eq. 2).

    Args:
        again_source: F(G(x)), source images translated to the target and back.
        source: x.
        again_target: G(F(y)), target images translated to the source and back.
        target: y.

    Returns:
        A scalar >= 0: the mean absolute difference of both domains, added.

    Raises:
        ValueError: if an image and its counterpart differ in shape.
    """
    return _difference(again_source, source) + _difference(again_target, target)


def identity_loss(kept_source: Tensor, source: Tensor, kept_target: Tensor, target: Tensor) -> Tensor:
    """How much the networks change images that are of the domain they translate to (Sec. 5.2).

    Without it nothing keeps them from swapping colours that the discriminators like as well.

    Args:
        kept_source: F(x), source images through the network that makes source images.
        source: x.
        kept_target: G(y), target images through the network that makes target images.
        target: y.

    Returns:
        A scalar >= 0: the mean absolute difference of both domains, added.

    Raises:
        ValueError: if an image and its counterpart differ in shape.
    """
    return _difference(kept_source, source) + _difference(kept_target, target)


def _difference(found: Tensor, wanted: Tensor) -> Tensor:
    if found.shape != wanted.shape:  # it would be broadcast otherwise
        raise ValueError(f"images must be of one shape, got {tuple(found.shape)} and {tuple(wanted.shape)}")
    return F.l1_loss(at_least_float32(found), at_least_float32(wanted))
