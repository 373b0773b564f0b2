"""Methods that align outputs: their stage graphs, what each step minimises, and that the side at rest stays at rest."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Generator, nn

from domains.base.settings import AugmentSettings
from domains.batches.batch import Batch, Images, LabelledImages
from losses.adversarial import discriminator_loss, domain_loss
from losses.entropy import normalised_entropy, self_information
from losses.segmentation import cross_entropy
from models.deeplab import upsample
from models.settings import DiscriminatorSettings, SegmenterSettings
from orchestrator.contract.method import Sizes
from orchestrator.contract.stages import TARGET, Evaluate, Panels, Train
from pipelines.adaptsegnet import AdaptSegNet
from pipelines.advent import AdvEnt
from pipelines.alignment import Alignment
from pipelines.minent import MinEnt
from pipelines.structure import Structure

K = 5
SIZES = Sizes(source=8, target=8, classes=K)
MODEL = SegmenterSettings(backbone="resnet10", width=4, dilations=(1, 2))
CROP = AugmentSettings(crop_height=64, crop_width=64)
SMALL = DiscriminatorSettings(width=4)
METHODS: dict[str, Alignment] = {
    "minent": MinEnt(model=MODEL, augment=CROP),
    "adaptsegnet": AdaptSegNet(model=MODEL, augment=CROP, discriminator=SMALL),
    "single-level": AdaptSegNet(model=MODEL, augment=CROP, discriminator=SMALL, auxiliary=0),
    "least-squares": AdaptSegNet(
        model=MODEL, augment=CROP, discriminator=SMALL, auxiliary=0, objective="least_squares", adversarial=0.01
    ),
    "advent": AdvEnt(model=MODEL, augment=CROP, discriminator=SMALL),
    "structure": Structure(
        model=MODEL, augment=CROP, discriminator=DiscriminatorSettings(layers="aspp", width=4), decoder_width=8
    ),
}
every = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def batch() -> Batch:
    draw = Generator().manual_seed(3)
    image = torch.rand(4, 3, 64, 64, generator=draw)
    label = torch.randint(K, (2, 64, 64), generator=draw)
    label[:, :8] = 255
    return Batch(LabelledImages(image[:2], label), Images(image[2:]))


def steps(method: Alignment, nets: dict[str, nn.Module]):
    return method.adaptation(nets, batch(), Generator().manual_seed(0))


@every
def test_source_comes_first_and_the_target_joins_without_labels(method):
    stages = {stage.name: stage for stage in method.stages(SIZES)}
    assert list(stages) == ["source", "source-only", "adapt", "evaluate", "panels"]
    adapt = stages["adapt"]
    assert isinstance(adapt, Train)
    assert (adapt.target, adapt.needs) == (TARGET, ())
    assert set(map(type, stages.values())) == {Train, Evaluate, Panels}
    onward = dataclasses.replace(method, start="source").stages(SIZES)[2]
    assert onward.needs == ("source",)


@every
def test_every_network_of_adaptation_is_built_and_learns(method):
    adapt = method.stages(SIZES)[2]
    assert isinstance(adapt, Train)
    nets = method.networks(K)
    assert set(adapt.networks) <= set(nets)
    stepped = [name for names, _, _ in steps(method, nets) for name in names]
    assert sorted(stepped) == sorted(adapt.networks)
    own = dict(adapt.optimisers)
    assert set(own) == set(adapt.networks) - set(method.segmenting)
    for optimiser in own.values():
        assert (optimiser.optimiser, optimiser.lr, optimiser.beta2, optimiser.weight_decay) == ("adam", 1e-4, 0.99, 0)


@every
def test_the_side_that_does_not_learn_keeps_its_gradients_and_its_statistics(method):
    nets = method.networks(K)
    for network in nets.values():
        network.train()
    for names, loss, _ in steps(method, nets):
        others = [network for name, network in nets.items() if name not in names]
        for network in nets.values():
            network.zero_grad()
        before = [value.clone() for network in others for value in network.buffers()]
        loss.backward()
        assert all(p.grad is None or not p.grad.any() for network in others for p in network.parameters())
        assert all(p.grad is not None for name in names for p in nets[name].parameters())
        after = [value for network in others for value in network.buffers()]
        assert all(map(torch.equal, before, after))


@every
def test_all_of_a_step_is_computed_in_float64_where_the_networks_are(method):
    nets = {name: network.double() for name, network in method.networks(K).items()}
    data = batch()
    exact = Batch(LabelledImages(data.source.image.double(), data.source.label), Images(data.target.image.double()))
    weights = [weight for name in method.segmenting for weight in nets[name].parameters()]

    def loss() -> torch.Tensor:
        _, found, terms = next(method.adaptation(nets, exact, Generator().manual_seed(0)))
        assert {value.dtype for value in (found, *terms.values())} == {torch.float64}
        return found

    def moved(step: float) -> float:
        with torch.no_grad():
            for weight, direction in zip(weights, directions, strict=True):
                weight += step * direction
        return loss().item()

    directions = torch.autograd.grad(loss(), weights)
    length = sum(direction.square().sum() for direction in directions)
    step = 1e-7 / float(length) ** 0.5
    ahead, behind = moved(step), moved(-2 * step)
    assert (ahead - behind) / (2 * step) == pytest.approx(float(length), rel=1e-5)


@every
def test_gradients_are_finite_where_the_network_is_certain(method):
    nets = method.networks(K)
    with torch.no_grad():
        for name in method.segmenting:
            for weight in nets[name].parameters():
                weight *= 1e3 if weight.ndim == 4 and len(weight) == K else 1
    assert nets["segmenter"](batch().source.image).logits_BKhw.softmax(1).eq(0).any()
    for names, loss, _ in steps(method, nets):
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for name in names for p in nets[name].parameters())


def test_discriminators_turn_moves_no_statistics_of_the_segmenter():
    nets = METHODS["adaptsegnet"].networks(K)
    turns = steps(METHODS["adaptsegnet"], nets)
    next(turns)
    before = [value.clone() for value in nets["segmenter"].buffers()]
    next(turns)
    assert all(map(torch.equal, before, nets["segmenter"].buffers()))


def by_hand(nets: dict[str, nn.Module]):
    """Logits of both levels of both domains, each domain in a pass of its own."""
    data = batch()
    found = []
    for image in (data.source.image, data.target.image):
        prediction = nets["segmenter"](image)
        levels = [prediction.logits_BKhw, nets["auxiliary"](prediction.middle_BEhw)]
        found.append([upsample(level, (64, 64)) for level in levels])
    return found, data.source.label


@pytest.mark.parametrize("name", ["adaptsegnet", "advent"])
def test_losses_of_both_turns_are_those_of_the_paper(name):
    method = METHODS[name]
    nets = method.networks(K)
    (source, target), label = by_hand(nets)

    def seen(logits):
        return self_information(logits) if name == "advent" else logits.softmax(1)

    discriminators = nets["discriminator"], nets["discriminator_auxiliary"]
    deceived = [domain_loss(net(seen(level)), True) for net, level in zip(discriminators, target, strict=True)]
    segmented = cross_entropy(source[0], label) + 0.1 * cross_entropy(source[1], label)
    wanted = segmented + 1e-3 * deceived[0] + 2e-4 * deceived[1]
    told = [
        discriminator_loss(net(seen(a)), net(seen(b))) for net, a, b in zip(discriminators, source, target, strict=True)
    ]
    (_, loss, terms), (_, loss_of_discriminators, _) = steps(method, nets)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(terms["adversarial"], deceived[0])
    torch.testing.assert_close(loss_of_discriminators, told[0] + told[1])


def test_minent_adds_the_entropy_of_both_levels():
    nets = METHODS["minent"].networks(K)
    (source, target), label = by_hand(nets)
    segmented = cross_entropy(source[0], label) + 0.1 * cross_entropy(source[1], label)
    wanted = segmented + 1e-3 * normalised_entropy(target[0]) + 2e-4 * normalised_entropy(target[1])
    ((_, loss, _),) = steps(METHODS["minent"], nets)
    torch.testing.assert_close(loss, wanted)


@pytest.mark.parametrize(("reduction", "scale"), [("mean", 127.5), ("sum", 1.0)])
def test_structure_reconstructs_both_domains(reduction, scale):
    base = METHODS["structure"]
    method = dataclasses.replace(base, reduction=reduction, pixel_scale=scale)
    nets, data = method.networks(K), batch()
    wanted = torch.zeros(())
    for image in (data.source.image, data.target.image):
        made = nets["decoder"](nets["segmenter"](image).features_BDhw, (64, 64))
        difference = scale * (made - (2 * image - 1)).abs()
        wanted = wanted + (difference.mean() if reduction == "mean" else difference.sum() / 2)
    (_, loss, terms), _ = steps(method, nets)
    torch.testing.assert_close(terms["reconstruction"], wanted)
    parts = terms["seg_source"] + 1e-5 * terms["reconstruction"] + 1e-3 * terms["adversarial"]
    torch.testing.assert_close(loss, parts)


@pytest.mark.parametrize(
    ("weights", "title", "networks"),
    [
        ({}, "Structure Enhancement", ("segmenter", "decoder", "discriminator")),
        ({"adversarial": 0}, "Structure Enhancement (feature level)", ("segmenter", "decoder")),
        ({"reconstruction": 0}, "Structure Enhancement (output level)", ("segmenter", "discriminator")),
        ({"reconstruction": 0, "adversarial": 0}, "Structure Enhancement (source only)", ("segmenter",)),
    ],
)
def test_arms_of_structure_leave_out_what_does_not_count(weights, title, networks):
    method = dataclasses.replace(METHODS["structure"], **weights)
    adapt = method.stages(SIZES)[2]
    assert isinstance(adapt, Train)
    assert (method.title, adapt.networks) == (title, networks)
    assert [name for names, _, _ in steps(method, method.networks(K)) for name in names] == list(networks)


def test_source_only_arm_does_not_look_at_the_target():
    method = dataclasses.replace(METHODS["structure"], reconstruction=0, adversarial=0)
    seen, other = method.networks(K), method.networks(K)
    list(steps(method, seen))
    data = batch()
    blank = dataclasses.replace(data, target=Images(torch.zeros_like(data.source.image)))
    list(method.adaptation(other, blank, Generator().manual_seed(0)))
    assert all(map(torch.equal, seen["segmenter"].buffers(), other["segmenter"].buffers()))


def test_mean_of_the_branches_divides_the_gradients_of_the_encoder_alone():
    summed, averaged = METHODS["structure"], dataclasses.replace(METHODS["structure"], encoder_grad="mean")
    gradients = []
    for method in (summed, averaged):
        nets = method.networks(K)
        turns = steps(method, nets)
        _, loss, _ = next(turns)
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in nets["segmenter"].named_parameters()})
        gradients[-1] |= {f"decoder.{name}": p.grad.clone() for name, p in nets["decoder"].named_parameters()}
        next(turns)  # the hooks are gone: another backward is not divided
        nets["segmenter"].zero_grad()
        nets["segmenter"](batch().source.image).logits_BKhw.sum().backward()
        gradients[-1]["after"] = next(nets["segmenter"].encoder.parameters()).grad.clone()
    for name, gradient in gradients[0].items():
        divisor = 3 if name.startswith("encoder") else 1
        torch.testing.assert_close(gradient / divisor, gradients[1][name], msg=name)
