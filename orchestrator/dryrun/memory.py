"""What a training stage takes, counted without carrying it out: the step itself is run on tensors without content.

On torch's "meta" device a tensor has a shape and no values, so networks, optimisers and the activations that a step
saves for its backward pass can be counted exactly, on any machine, in no memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from domains.batches.batch import Batch, Images, LabelledImages, PseudoLabelledImages
from models.segmenter import set_train_mode
from orchestrator.contract.method import Method
from orchestrator.contract.stages import TARGET, Train

if TYPE_CHECKING:
    from orchestrator.contract.method import Networks

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Memory:
    """Bytes of a training stage on one worker."""

    networks: dict[str, int]
    """Numbers of parameters of each network that learns."""
    weights: int
    gradients: int
    optimisers: int
    activations: int | None
    """Tensors that the first loss of a step keeps for its backward pass, in float32; None where they cannot be
    counted because the step has to look at values."""

    @property
    def total(self) -> int:
        """All that is known of it."""
        return self.weights + self.gradients + self.optimisers + (self.activations or 0)


def memory_of(stage: Train, method: Method, num_classes: int, source: Size, target: Size, soft: bool) -> Memory:
    """Count the memory of a stage.

    Args:
        stage: the training stage.
        method: its method; its settings name no weights.
        num_classes: K.
        source: size of a source crop.
        target: size of a target crop.
        soft: whether target labels are soft.
    """
    from orchestrator.train.optim import make_optimiser

    settings = stage.settings
    with torch.device("meta"):
        built = method.networks(num_classes)
    networks: Networks = {name: built[name] for name in stage.networks}
    others: Networks = {name: built[name] for name in (*stage.kept, *stage.fixed)}
    for network in networks.values():
        set_train_mode(network, settings.batchnorm, settings.affine)
    for network in others.values():
        network.eval().requires_grad_(False)
    activations = _activations(stage, method, networks | others, _batch(stage, num_classes, source, target, soft))
    states = 0
    learning = dict.fromkeys(networks, settings) | dict(stage.optimisers)
    for name, network in networks.items():
        optimiser = make_optimiser(method, name, network, learning[name])
        for parameter in network.parameters():
            parameter.grad = torch.empty_like(parameter) if parameter.requires_grad else None
        optimiser.step()
        states += sum(_bytes(value) for state in optimiser.state.values() for value in state.values())
    parameters = [p for network in networks.values() for p in network.parameters()]
    held = [
        tensor for network in (networks | others).values() for tensor in (*network.parameters(), *network.buffers())
    ]
    return Memory(
        networks={name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()},
        weights=sum(map(_bytes, held)),
        gradients=sum(_bytes(p) for p in parameters if p.requires_grad),
        optimisers=states,
        activations=activations,
    )


def _batch(stage: Train, num_classes: int, source: Size, target: Size, soft: bool) -> Batch:
    """A micro-batch without content."""
    settings = stage.settings

    def labels(count: int, size: Size) -> Tensor:
        return torch.empty((count, *size), dtype=torch.int64, device="meta")

    def images(count: int, size: Size) -> Tensor:
        return torch.empty((count, 3, *size), device="meta")

    labelled = LabelledImages(images(settings.source_batch, source), labels(settings.source_batch, source))
    if not stage.target:
        return Batch(labelled, None)
    count = settings.target_batch
    if stage.target == TARGET:
        return Batch(labelled, Images(images(count, target)))
    scores = torch.empty((count, num_classes, *target), device="meta") if soft else None
    return Batch(labelled, PseudoLabelledImages(images(count, target), labels(count, target), scores))


def _activations(stage: Train, method: Method, networks: Networks, batch: Batch) -> int | None:
    own = {t.untyped_storage()._cdata for net in networks.values() for t in (*net.parameters(), *net.buffers())}
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            step = getattr(method, stage.step)(networks, batch, torch.Generator().manual_seed(0))
            held = next(step)  # as long as the loss lives, no storage is given to another tensor
    except (NotImplementedError, RuntimeError):  # what torch raises where a step asks for a value
        return None
    del held
    return sum(saved.values())


def _bytes(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0
