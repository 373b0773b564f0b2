"""Squared distances between sampled embeddings and the modes of every class (DRSL, sec. "modes").

Shapes: N points, K classes, M modes a class, D embedding dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor

from losses.ignore import IGNORE
from losses.numeric import at_least_float32, without_autocast


def squared_distances(embedding_ND: Tensor, modes_KMD: Tensor) -> Tensor:
    """Squared Euclidean distance of every point to every mode, through one matrix product.

    Args:
        embedding_ND: sampled embeddings, any float; half precision is upcast to float32.
        modes_KMD: centres of the mixture of each class.

    Returns:
        distance_NKM >= 0; where rounding would make it negative it is 0 with zero gradient.

    Raises:
        ValueError: if the embedding dimensions differ.
    """
    if embedding_ND.shape[-1] != modes_KMD.shape[-1]:
        raise ValueError(
            f"embeddings have dimension {embedding_ND.shape[-1]} but modes {modes_KMD.shape[-1]}: they must be equal"
        )
    embedding_ND = at_least_float32(embedding_ND)
    modes_LD = at_least_float32(modes_KMD).flatten(0, 1)
    # The three terms cancel for near points: in bfloat16 nothing of the distance would be left.
    with without_autocast(embedding_ND):
        product_NL = embedding_ND @ modes_LD.T
        norms_NL = embedding_ND.square().sum(1, keepdim=True) + modes_LD.square().sum(1)
        return (norms_NL - 2 * product_NL).clamp(min=0).unflatten(1, modes_KMD.shape[:2])


@torch.no_grad()
def nearest_mode(distance_NKM: Tensor, label_N: Tensor) -> Tensor:
    """Index of the mode of the labelled class that is nearest to each point, without gradient.

    Args:
        distance_NKM: distances of the points to all modes.
        label_N: class ids in [0, K), 255 = ignore.

    Returns:
        mode_N, int64 in [0, M); 0 for ignored points.
    """
    valid_N = label_N != IGNORE
    class_N = label_N.long().where(valid_N, 0)
    own_NM = distance_NKM.gather(1, class_N[:, None, None].expand(-1, 1, distance_NKM.shape[2])).squeeze(1)
    return own_NM.argmin(1).where(valid_N, 0)
