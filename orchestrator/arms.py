"""What a published table is made of, as plain data; `orchestrator.sweep` carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Measure = Literal["adaptation", "pseudo_labels"]


@dataclass(frozen=True)
class Arm:
    """One row of a table."""

    title: str
    changes: Mapping[str, Any]
    """Settings that differ from the base, by dotted name."""
    published: float | None = None
    """mIoU in percent that the paper gives."""
    published_rounds: tuple[tuple[float, float], ...] = ()
    """Of pseudo-labels: mIoU in percent and self-entropy that the paper gives at the start of each round."""


@dataclass(frozen=True)
class Sweep:
    """A published table as runs."""

    description: str
    """Which table it is and what varies."""
    arms: tuple[Arm, ...]
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
        """Settings that every arm decides, by dotted name."""
        return tuple(name for name in self.arms[0].changes if all(name in arm.changes for arm in self.arms))
