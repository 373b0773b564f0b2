"""What a step takes, counted without values, against the same step carried out."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from models.segmenter import set_train_mode
from models.settings import SegmenterSettings
from orchestrator.contract.method import Method, Sizes
from orchestrator.contract.stages import Train, representatives
from orchestrator.dryrun.memory import Memory, memory_of
from orchestrator.train.optim import make_optimiser
from pipelines import adaptsegnet, crst, drsl, minent, structure

MODULES = (drsl, crst, adaptsegnet, minent, structure)
NETWORK = SegmenterSettings(backbone="resnet10", width=4)
SIZES = Sizes(source=8, target=8, classes=5)


def small(module) -> Method:
    return dataclasses.replace(module.PRESETS["gta5-cityscapes"](), model=NETWORK)


def trainings(method: Method) -> list[Train]:
    return [stage for stage in representatives(method.stages(SIZES)) if isinstance(stage, Train)]


def counted(stage: Train, method: Method, size: tuple[int, int] = (64, 64)) -> Memory:
    return memory_of(stage, method, SIZES.classes, size, size, soft=False)


@pytest.mark.parametrize("module", MODULES)
def test_every_step_of_every_method_can_be_counted(module):
    for stage in trainings(small(module)):
        memory = counted(stage, small(module))
        assert memory.activations
        assert memory.total > memory.activations


def test_weights_gradients_and_states_are_those_of_the_networks():
    method = small(drsl)
    stage = trainings(method)[-1]
    memory = counted(stage, method)
    networks = method.networks(SIZES.classes)
    for network in networks.values():
        set_train_mode(network, stage.settings.batchnorm, stage.settings.affine)
    parameters = [p for network in networks.values() for p in network.parameters()]
    assert sum(memory.networks.values()) == sum(p.numel() for p in parameters)
    learning = sum(p.nbytes for p in parameters if p.requires_grad)
    assert memory.gradients == memory.optimisers == learning
    assert memory.weights == sum(t.nbytes for n in networks.values() for t in (*n.parameters(), *n.buffers()))


@pytest.mark.parametrize("role", ["kept", "fixed"])
def test_network_that_does_not_learn_takes_room_for_its_weights_alone(role):
    method = dataclasses.replace(small(drsl), pretrain="joint")
    stage = next(stage for stage in trainings(method) if stage.networks == ("segmenter",))
    alone, beside = counted(stage, method), counted(dataclasses.replace(stage, **{role: ("mmdl",)}), method)
    head = method.networks(SIZES.classes)["mmdl"]
    more = sum(tensor.nbytes for tensor in (*head.parameters(), *head.buffers()))
    assert more > 0
    assert beside == dataclasses.replace(alone, weights=alone.weights + more)


def test_adam_keeps_two_values_a_parameter():
    method = small(drsl)
    stage = trainings(method)[0]
    adam = dataclasses.replace(stage, settings=dataclasses.replace(stage.settings, optimiser="adamw"))
    assert counted(adam, method).optimisers == pytest.approx(2 * counted(stage, method).optimisers, rel=0.01)


def test_activations_are_those_that_the_real_step_saves():
    method = small(crst)
    stage = trainings(method)[0]
    networks = method.networks(SIZES.classes)
    set_train_mode(networks["segmenter"], stage.settings.batchnorm, stage.settings.affine)
    make_optimiser(method, "segmenter", networks["segmenter"], stage.settings)
    own = {t.data_ptr() for t in (*networks["segmenter"].parameters(), *networks["segmenter"].buffers())}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    from domains.batches.batch import Batch, LabelledImages

    count = stage.settings.source_batch
    source = LabelledImages(torch.rand(count, 3, 64, 64), torch.zeros(count, 64, 64, dtype=torch.int64))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        held = next(getattr(method, stage.step)(networks, Batch(source, None), torch.Generator().manual_seed(0)))
    assert held[1].isfinite()
    assert counted(stage, method).activations == pytest.approx(sum(saved.values()), rel=0.02)


def test_a_crop_of_twice_the_pixels_takes_twice_the_activations():
    method = small(drsl)
    stage = trainings(method)[0]
    one, two = (counted(stage, method, size).activations for size in ((128, 128), (128, 256)))
    assert one is not None
    assert two == pytest.approx(2 * one, rel=0.05)


def test_a_step_that_looks_at_values_is_said_to_be_unknown():
    class Looking(crst.Crst):
        def source_alone(self, nets, batch, draw):
            if batch.source.label.sum().item() > 0:
                yield ("segmenter",), batch.source.image.sum(), {}

    method = Looking(model=NETWORK)
    assert counted(trainings(method)[0], method).activations is None
