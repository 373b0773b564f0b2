"""Triplet loss of embeddings against the modes of their own and of the other classes (DRSL, Eq. 4 and 7).

Shapes: N points, K classes, M modes a class. Label 255 is ignored.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional as F

from losses.ignore import IGNORE
from losses.numeric import at_least_float32, check_choice, masked_mean

TripletDistance = Literal["squared", "euclidean"]
_SMALLEST_SQUARE = 1e-12
"""Below this squared distance the root is constant: its slope at 0 is infinite."""


def triplet_to_modes(
    distance_NKM: Tensor, label_N: Tensor, margin: float, distance: TripletDistance = "squared"
) -> Tensor:
    """Ask that the nearest mode of the true class be nearer by `margin` than that of any other class.

    `mean_n ReLU( min_k D[n,c,k] - min_{c' != c} min_k D[n,c',k] + margin )` over the valid points. Eq. 7 is
    the sum of two calls, one a domain.

    Args:
        distance_NKM: squared distances, as of `squared_distances`.
        label_N: class ids in [0, K), 255 = ignore.
        margin: >= 0, in the unit of `distance`.
        distance: "squared" compares squared distances (RepMet), "euclidean" their roots.

    Returns:
        A scalar >= 0; exactly 0 with zero gradient if every point is ignored.

    Raises:
        ValueError: if `distance` is unknown, `margin` negative or there is only one class.
    """
    check_choice("distance", distance, get_args(TripletDistance))
    if margin < 0:
        raise ValueError(f"margin must be at least 0, got {margin}")
    if distance_NKM.shape[1] < 2:
        raise ValueError(f"a triplet needs at least 2 classes, got {distance_NKM.shape[1]}")
    valid_N = label_N != IGNORE
    class_N1 = label_N.long().where(valid_N, 0).unsqueeze(1)
    nearest_NK = at_least_float32(distance_NKM).amin(2)
    positive_N = nearest_NK.gather(1, class_N1).squeeze(1)
    negative_N = nearest_NK.scatter(1, class_N1, float("inf")).amin(1)
    if distance == "euclidean":
        positive_N = positive_N.clamp(min=_SMALLEST_SQUARE).sqrt()
        negative_N = negative_N.clamp(min=_SMALLEST_SQUARE).sqrt()
    return masked_mean(F.relu(positive_N - negative_N + margin), valid_N)
