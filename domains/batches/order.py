"""Randomness as arithmetic: seeds, generators and shuffles that depend on a key and a position alone.

A run that was stopped and continued therefore draws exactly what an uninterrupted one draws.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch

Key = int | str


def seed_of(*key: Key) -> int:
    """Return a seed in [0, 2**63) that depends on the key alone, not on process, platform or version.

    Args:
        *key: what the randomness is for, for instance (seed, stage name, "crop", step, rank). The number 1
            and the text "1" give different seeds.
    """
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*key: Key) -> torch.Generator:
    """Return a CPU generator seeded by `seed_of(*key)`."""
    return torch.Generator().manual_seed(seed_of(*key))


class EpochShuffle:
    """Endless shuffled passes over `size` samples, readable from any position.

    Position p lies in epoch p // size; every epoch is a full permutation of its own.

    Args:
        size: number of samples, at least 1.
        key: what `seed_of` derives the permutations from.

    Raises:
        ValueError: if there are no samples, or a position is negative.
    """

    def __init__(self, size: int, key: tuple[Key, ...]) -> None:
        if size < 1:
            raise ValueError(f"cannot draw from {size} samples: the domain must hold at least one")
        self.size = size
        self.key = key
        self._current = (-1, np.empty(0, dtype=np.int64))

    def __getitem__(self, position: int) -> int:
        if position < 0:
            raise ValueError(f"a sample position must be 0 or more, got {position}")
        epoch, offset = divmod(position, self.size)
        if self._current[0] != epoch:
            self._current = (epoch, _permutation(self.size, seed_of(*self.key, epoch)))
        return int(self._current[1][offset])


def sample_index(size: int, seed_key: tuple[Key, ...], position: int) -> int:
    """Return the sample at one position of `EpochShuffle(size, seed_key)`."""
    return EpochShuffle(size, seed_key)[position]


def _permutation(size: int, seed: int) -> np.ndarray:
    # Sorting raw Philox words: unlike Generator.permutation, no numpy release may change the result.
    return np.argsort(np.random.Philox(key=seed).random_raw(size), kind="stable")
