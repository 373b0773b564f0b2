"""Multi-modal distribution learning head of DRSL (arXiv 2206.09683, section 3).

Shapes: B batch, P points, K classes, M modes, D feature channels, d embedding length, h w feature grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from losses.distance import squared_distances
from losses.numeric import at_least_float32
from models.deeplab import DilatedSum
from models.settings import MmdlSettings

SHORTEST = 1e-3
"""Embeddings shorter than this are not brought to unit length: the slope of that is one over the length. Features that
are all 0 give the embedding 0, those of a network before its first step one of about 1."""


class Embedded(NamedTuple):
    """Embeddings of the sampled points and where they stand.

    Attributes:
        embedding_BPd: float32, of unit length where settings.normalise is "both".
        distance_BPKM: squared Euclidean distance to every mode of every class; then in [0, 4].
    """

    embedding_BPd: Tensor
    distance_BPKM: Tensor


class MmdlHead(nn.Module):
    """Embeds pixels and measures how far they are from the M modes of each class.

    A side head for training only: it shapes the encoder, and prediction does without it.

    Args:
        in_channels: D.
        num_classes: K.
        settings: length of the embedding, number of modes, normalisation.
        dilations: branches of the embedding block (paper: those of the classifier).

    Attributes:
        modes: the centres as they are learned, shape (K, M, d), drawn on the unit sphere.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        settings: MmdlSettings,
        dilations: Sequence[int] = (6, 12, 18, 24),
    ) -> None:
        super().__init__()
        self.normalise = settings.normalise == "both"
        self.embed = DilatedSum(in_channels, settings.embed_dim, dilations)
        directions_KMd = torch.randn(num_classes, settings.modes, settings.embed_dim)
        self.modes = nn.Parameter(F.normalize(directions_KMd, dim=-1))

    def forward(self, features_BDhw: Tensor, coordinates_BP2: Tensor) -> Embedded:
        """Embed the given points, in float32 also under autocast.

        Args:
            features_BDhw: output of the encoder.
            coordinates_BP2: (x, y) in [-1, 1], -1 and 1 being the centres of the outermost pixels.

        Returns:
            Embeddings of the points and their distances to all modes.
        """
        embedding_Bdhw = at_least_float32(self.embed(features_BDhw))
        # Sampled before it is normalised: a mean of unit vectors is shorter than one.
        embedding_BPd = sample_at(embedding_Bdhw, coordinates_BP2)
        if self.normalise:
            embedding_BPd = F.normalize(embedding_BPd, dim=-1, eps=SHORTEST)
        distance_NKM = squared_distances(embedding_BPd.flatten(0, 1), self.centres())
        return Embedded(embedding_BPd, distance_NKM.unflatten(0, coordinates_BP2.shape[:2]))

    def centres(self) -> Tensor:
        """The modes as distances see them, shape (K, M, d): of unit length where settings say so."""
        return F.normalize(self.modes, dim=-1) if self.normalise else self.modes


def sample_at(features_BDhw: Tensor, coordinates_BP2: Tensor) -> Tensor:
    """Interpolate features bilinearly at points, shape (B, P, D).

    Equals upsampling with align_corners=True followed by gathering, without the upsampled volume, and equals
    `grid_sample`, whose gradient on a GPU has no deterministic form, while that of `embedding_bag` has.

    Args:
        features_BDhw: any feature map.
        coordinates_BP2: (x, y) in [-1, 1], -1 and 1 being the centres of the outermost cells.
    """
    height, width = features_BDhw.shape[-2:]
    columns = _neighbours(coordinates_BP2[..., 0], width)
    rows = _neighbours(coordinates_BP2[..., 1], height)
    image_B1 = torch.arange(len(features_BDhw), device=coordinates_BP2.device)[:, None]
    cells, weights = [], []
    for (row_BP, row_share_BP), (column_BP, column_share_BP) in product(rows, columns):
        cells.append((image_B1 * height + row_BP) * width + column_BP)
        weights.append(row_share_BP * column_share_BP)
    sample_ND = F.embedding_bag(
        torch.stack(cells, dim=-1).flatten(0, 1),
        features_BDhw.permute(0, 2, 3, 1).flatten(0, 2),
        per_sample_weights=torch.stack(weights, dim=-1).flatten(0, 1).to(features_BDhw.dtype),
        mode="sum",
    )
    return sample_ND.unflatten(0, coordinates_BP2.shape[:2])


def _neighbours(coordinate_BP: Tensor, size: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The two cells of an axis around each coordinate, each with its share; shares sum to 1."""
    cell_BP = (coordinate_BP.clamp(-1, 1) + 1) / 2 * (size - 1)
    low_BP = cell_BP.floor()
    share_BP = cell_BP - low_BP
    high_BP = (low_BP + 1).clamp(max=size - 1)
    return (low_BP.long(), 1 - share_BP), (high_BP.long(), share_BP)
