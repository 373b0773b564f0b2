"""Tiny methods whose steps need what no method of `pipelines/` needs yet: several passes, teachers, averages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.utils.data import Dataset

from models.ema import ramped, update_average
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


class Prototypes(nn.Module):
    """Centroids, and how often they were moved."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centroids", torch.rand(3, 6))
        self.register_buffer("moved", torch.zeros((), dtype=torch.int64))


@dataclass(frozen=True, kw_only=True)
class Taught(Method):
    """A student that follows a teacher, which is its average, and features of a network that never changes."""

    name: ClassVar[str] = "taught"
    exported: ClassVar[str] = ""

    train: TrainSettings = field(default_factory=learning)
    decay: float = 0.9
    ramp: bool = True

    def networks(self, num_classes: int) -> Networks:
        """Each with weights of its own."""
        torch.manual_seed(0)
        return {"student": Student(), "teacher": Student(), "prototypes": Prototypes(), "first": Student().encoder}

    def stages(self, sizes: Sizes) -> list[Stage]:
        """One training, of one pass: with two workers the student is wrapped and the others are not."""
        kept = ("teacher", "prototypes")
        return [
            Train(name="train", step="step", networks=("student",), kept=kept, fixed=("first",), settings=self.train)
        ]

    def begin(self, stage: Train, nets: Networks) -> None:
        """The teacher starts as the student."""
        nets["teacher"].load_state_dict(nets["student"].state_dict())

    def step(self, nets: Networks, batch: Tensor, draw: Generator) -> Steps:
        """Consistency with the teacher, and with the features of the first network."""
        still = [nets["teacher"], nets["prototypes"], nets["first"]]
        assert not any(layer.training for network in still for layer in network.modules())
        assert not any(parameter.requires_grad for network in still for parameter in network.parameters())
        taught, features = nets["teacher"](batch), nets["first"](batch)
        halves = nets["student"](batch).square().mean(), (nets["student"](-batch) - taught).square().mean()
        seen = {"autocast of first": (features != features.bfloat16()).sum() == 0}
        centroids = nets["prototypes"].centroids
        unused = sum(p.sum() * 0 for p in nets["student"].parameters())
        loss = sum(halves) + (features.mean() - centroids.mean()) ** 2 + unused
        yield ("student",), loss, {name: value.float() for name, value in seen.items()}

    def after_step(self, stage: Train, nets: Networks, step: int) -> None:
        """The average moves, and the centroids towards the weights of the head."""
        update_average(nets["teacher"], nets["student"], ramped(self.decay, step) if self.ramp else self.decay)
        nets["prototypes"].centroids.lerp_(nets["student"].head.weight, 0.1)  # type: ignore[union-attr,operator]
        nets["prototypes"].moved += 1  # type: ignore[operator]


def method_named(name: str, **settings: Any) -> Method:
    """The method of this name, with settings of its own."""
    return {method.name: method for method in (Passes, Taught)}[name](**settings)
