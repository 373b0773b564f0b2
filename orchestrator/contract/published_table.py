"""A table of a paper as plain data: its variants and its numbers. `orchestrator.reproduce` makes it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Measure = Literal["adaptation", "pseudo_labels"]


@dataclass(frozen=True)
class Variant:
    """One row of a table."""

    title: str
    changes: Mapping[str, Any]
    """Settings that differ from the base, by dotted name."""
    published: float | None = None
    """mIoU in percent that the paper gives."""
    published_rounds: tuple[tuple[float, float], ...] = ()
    """Of pseudo-labels: mIoU in percent and self-entropy that the paper gives at the start of each round."""


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper, as the runs that reproduce it."""

    description: str
    """Which table it is and what varies."""
    variants: tuple[Variant, ...]
    benchmark: str
    """What the published numbers were measured on."""
    source: float | None = None
    """mIoU in percent that the paper gives for the network before adaptation."""
    measures: Measure = "adaptation"
    """What its table shows: mIoU of the adapted networks, or how good the pseudo-labels of each round are."""

    @property
    def text(self) -> str:
        """What it is, with the benchmark of the published numbers."""
        return f"{self.description} (published: {self.benchmark})"

    @property
    def decided(self) -> tuple[str, ...]:
        """Settings that every variant decides, by dotted name."""
        return tuple(
            name for name in self.variants[0].changes if all(name in variant.changes for variant in self.variants)
        )
