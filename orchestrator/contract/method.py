"""What a method is: settings that are its configuration, networks, stages, and one generator a kind of step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from annotated_types import Ge, Lt

from domains.base.settings import AugmentSettings, IsaSettings, PairSettings
from models.settings import SegmenterSettings
from orchestrator.contract.published_table import PublishedTable
from orchestrator.contract.settings import ComputeSettings, ProtocolSettings, TrainSettings, ValidationSettings
from orchestrator.contract.stages import Stage, Train

if TYPE_CHECKING:
    from typing import Annotated

    import torch
    from torch import nn

    Networks = dict[str, nn.Module]
    Steps = Iterator[tuple[tuple[str, ...], torch.Tensor, dict[str, torch.Tensor]]]
else:
    from typing import Annotated


@dataclass(frozen=True)
class Sizes:
    """What the stages of a run depend on in its data."""

    source: int
    """Labelled source images."""
    target: int
    """Target images for training."""
    classes: int
    """Classes of the label space."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """Base of every method: one subclass, in one file of `pipelines/`, is a method and its configuration.

    The engine calls `networks`, `parameter_groups`, `stages`, `begin` and `after_step`, and in a training stage the
    generator that the stage names: `step(networks, batch, draw)`, which yields `(network names, loss, terms)`. Between
    yields the engine runs backward and steps the optimisers of the networks named, so a method with several optimisers
    needs no loop of its own. `draw` is the generator of (seed, stage, step, rank): the only source of randomness in a
    step.
    """

    name: ClassVar[str]
    """Short name; run folders begin with it."""
    exported: ClassVar[str] = "segmenter"
    """The network that is evaluated, labels, and leaves the run as `model/`; "": there is no such network."""
    oracle: ClassVar[bool] = False
    """True where target labels are used for training; marked in every output."""

    tables: ClassVar[Mapping[str, PublishedTable]] = {}
    """Published tables that `sweep NAME` runs."""

    preset: str = ""
    """Preset these settings come from."""
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    """Everything random in the run is a function of it."""
    root: str = ""
    """Folder that the domains' own folders are relative to."""
    pair: PairSettings = field(default_factory=PairSettings)
    augment: AugmentSettings = field(default_factory=lambda: AugmentSettings(crop_height=512, crop_width=512))
    model: SegmenterSettings = field(default_factory=SegmenterSettings)
    protocol: ProtocolSettings = field(default_factory=ProtocolSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    panels: Annotated[int, Ge(0)] = 6
    """Target images shown in the report."""

    @property
    def title(self) -> str:
        """The method's name as people write it."""
        return self.name

    @property
    def translation(self) -> IsaSettings:
        """Input space adaptation, where a method has it."""
        return IsaSettings(ratio=0)

    def networks(self, num_classes: int) -> Networks:
        """Build the networks by name, freshly initialised from the seed."""
        raise NotImplementedError

    def parameter_groups(self, name: str, network: nn.Module, lr: float, head_multiplier: float) -> list[Any]:
        """Optimiser parameter groups of one network; a network without an encoder learns at the head's rate."""
        own = getattr(network, "parameter_groups", None)
        return own(lr, head_multiplier) if own else [{"params": network.parameters(), "lr": lr * head_multiplier}]

    def begin(self, stage: Train, nets: Networks) -> None:
        """Prepare the networks of a training stage before its first step: a teacher becomes the student, say.

        Called by every worker, without gradients, when the weights that the stage begins with are loaded. A stage that
        goes on from a checkpoint calls it too, before the weights of the checkpoint are loaded. Networks that do not
        learn are in eval mode; what is put in another mode here stays so.

        Args:
            stage: the stage.
            nets: those that it lists, by name, none of them wrapped.
        """

    def after_step(self, stage: Train, nets: Networks, step: int) -> None:
        """Change the networks that do not learn, once after each optimiser step: an average of weights, say.

        Called by every worker, without gradients, whatever the number of micro-batches. All workers hold the same
        weights; the outcome must be a function of these, so that it is the same everywhere.

        Args:
            stage: the stage.
            nets: as in `begin`.
            step: optimiser steps that are done, from 1.
        """

    def stages(self, sizes: Sizes) -> list[Stage]:
        """The stage graph in an order in which every stage follows what it needs."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """What cannot work in these settings and the data they name, a sentence each.

        Decodes no image. Pretrained weights are read, and fetched from the hub where they are not here yet.
        """
        from domains.registry import check_pair

        untrained = [
            f"{name}: steps and epochs are both 0, so nothing would be trained"
            for name, value in vars(self).items()
            if isinstance(value, TrainSettings) and not (value.steps or value.epochs)
        ]
        return [
            *check_pair(self.pair, self.augment, self.translation, self.root),
            *self._protocol_problems(),
            *untrained,
            *self._weights_problems(),
        ]

    def _protocol_problems(self) -> list[str]:
        from domains.base.errors import DataError
        from domains.base.labels import label_space
        from domains.metrics.class_rules import rule_problem

        try:
            problem = rule_problem(self.protocol.classes, label_space(self.pair.label_space))
        except DataError:  # one of the problems of the pair
            return []
        return [f"protocol.classes: {problem}"] if problem else []

    def _weights_problems(self) -> list[str]:
        if not self.model.pretrained:
            return []
        if self.model.wanted:
            from models.published import how_to_get

            return [f"model.weights: {how_to_get(self.model.wanted)}"]
        from models.build import check_weights

        return check_weights(self.model)
