"""Tiny methods whose steps need what no method of `pipelines/` needs yet: several passes, teachers, averages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.utils.data import Dataset

from orchestrator.contract.method import Method, Sizes
from orchestrator.contract.settings import TrainSettings
from orchestrator.contract.stages import Stage, Train

if TYPE_CHECKING:
    from orchestrator.contract.method import Networks, Steps


class Numbers(Dataset[Tensor]):
    """Micro-batches of five vectors, each a function of its position; the first number tells an even one."""

    def __getitem__(self, position: int) -> Tensor:
        numbers_58 = torch.randn(5, 8, generator=torch.Generator().manual_seed(position))
        numbers_58[:, 0] = float(position % 2)
        return numbers_58


class Student(nn.Module):
    """An encoder and a head; `sometimes` is used by odd micro-batches alone, `never` by none."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Tanh())
        self.head = nn.Linear(6, 3)
        self.sometimes = nn.Linear(6, 3)
        self.never = nn.Linear(6, 3)

    def forward(self, x_B8: Tensor, *, head: bool = True) -> Tensor:
        found = self.encoder(x_B8)
        if not head:
            return found
        return self.head(found) + (self.sometimes(found) if x_B8[0, 0] else 0)


def learning(**changes: Any) -> TrainSettings:
    return TrainSettings(**{"steps": 30, "lr": 0.02, "head_multiplier": 1.0, "checkpoint_every": 10, **changes})


@dataclass(frozen=True, kw_only=True)
class Passes(Method):
    """Two passes through one forward, a second forward that reaches the encoder alone, then a rival's turn."""

    name: ClassVar[str] = "passes"
    exported: ClassVar[str] = ""

    train: TrainSettings = field(default_factory=learning)

    def networks(self, num_classes: int) -> Networks:
        """A student and its rival."""
        torch.manual_seed(0)
        return {"student": Student(), "judge": nn.Linear(3, 1)}

    def stages(self, sizes: Sizes) -> list[Stage]:
        """One training."""
        return [Train(name="train", step="step", networks=("student", "judge"), settings=self.train, passes="several")]

    def step(self, nets: Networks, batch: Tensor, draw: Generator) -> Steps:
        """Three passes of the student, one of its rival."""
        seen = nets["student"](batch)
        first, second = seen.square().mean(), (seen - 1).abs().mean()
        yield (), first + 0 * second, {"first": first.detach()}
        noise = torch.rand(batch.shape, generator=draw)
        features = nets["student"](batch + noise, head=False)
        yield (), features.square().mean(), {}
        yield ("student",), nets["student"](-batch).exp().mean(), {}
        yield ("judge",), (nets["judge"](seen.detach()) - 1).square().mean(), {}


def method_named(name: str) -> Method:
    """The method of this name."""
    return {method.name: method for method in (Passes,)}[name]()
