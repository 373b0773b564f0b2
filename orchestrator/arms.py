"""What a published table is made of, as plain data; `orchestrator.sweep` carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Arm:
    """One row of a table."""

    title: str
    changes: Mapping[str, Any]
    """Settings that differ from the base, by dotted name."""
    published: float | None = None
    """mIoU in percent that the paper gives."""


@dataclass(frozen=True)
class Sweep:
    """A published table as runs."""

    description: str
    """What varies, and which benchmark the published numbers are from."""
    arms: tuple[Arm, ...]
