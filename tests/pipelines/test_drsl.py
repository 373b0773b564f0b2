"""DRSL: its stage graph, what its settings refuse, and what each step minimises, on tiny random batches.

Shapes: B images, H W pixels, K classes.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from domains.base.settings import AugmentSettings, IsaSettings
from domains.batches.batch import Batch, LabelledImages, PseudoLabelledImages
from losses.segmentation import cross_entropy
from models.deeplab import upsample
from models.segmenter import Prediction, set_train_mode
from models.settings import MmdlSettings, SegmenterSettings
from orchestrator.contract.method import Sizes
from orchestrator.contract.settings import TrainSettings
from orchestrator.contract.stages import Evaluate, Label, Panels, Stage, Train
from pipelines.drsl import PRESETS, Drsl, LossSettings
from pipelines.selftraining import PseudoSettings
from pipelines.terms.modes import embed, mode_losses

K = 5
SIZES = Sizes(source=8, target=8, classes=K)
PLAIN = LossSettings(triplet=0, mixture=0, consistency=0)
TINY = Drsl(
    model=SegmenterSettings(backbone="resnet10", width=4, dilations=(1, 2)),
    mmdl=MmdlSettings(embed_dim=4, modes=2, samples_per_class=6),
    augment=AugmentSettings(crop_height=32, crop_width=48),
    isa=IsaSettings(ratio=0),
)


def named(method: Drsl) -> dict[str, Stage]:
    return {stage.name: stage for stage in method.stages(SIZES)}


def train(method: Drsl, name: str) -> Train:
    stage = named(method)[name]
    assert isinstance(stage, Train)
    return stage


# The stage graph


def test_rounds_follow_the_source_and_its_regularised_twin():
    rounds = [f"{kind}-{number}" for number in range(3) for kind in ("label", "adapt", "evaluate")]
    assert list(named(TINY)) == ["source", "source-only", "source-mmdl", *rounds, "panels"]


def test_networks_start_from_eq_8_and_labels_from_eq_1():
    stages = named(TINY)
    assert stages["label-0"].needs == ("source",)
    assert stages["adapt-0"].needs == ("source-mmdl", "label-0")
    assert stages["label-1"].needs == ("adapt-0",)
    assert stages["adapt-1"].needs == ("adapt-0", "label-1")
    assert train(TINY, "source-mmdl").needs == ()


def test_labels_of_round_0_can_come_from_eq_8():
    method = dataclasses.replace(TINY, labeller="source_mmdl")
    assert named(method)["label-0"].needs == ("source-mmdl",)
    assert named(method)["label-1"].needs == ("adapt-0",)


def test_head_beside_the_first_training_needs_no_second_one():
    method = dataclasses.replace(TINY, pretrain="frozen_backbone")
    assert "source-mmdl" not in named(method)
    source = train(method, "source")
    assert (source.step, source.networks) == ("source_with_fixed_features", ("segmenter", "mmdl"))
    assert named(method)["adapt-0"].needs == ("source", "label-0")


@pytest.mark.parametrize("pretrain", ["joint", "frozen_backbone"])
def test_without_weights_it_is_plain_self_training(pretrain):
    method = dataclasses.replace(TINY, loss=PLAIN, pretrain=pretrain)
    stages = named(method)
    rounds = [f"{kind}-{number}" for number in range(3) for kind in ("label", "adapt", "evaluate")]
    assert list(stages) == ["source", "source-only", *rounds, "panels"]
    assert train(method, "source").step == "source_alone"
    assert {stage.networks for stage in stages.values() if isinstance(stage, Train)} == {("segmenter",)}
    assert stages["adapt-0"].needs == ("source", "label-0")
    assert method.title == "self-training (CBST)"


def test_last_round_is_the_adapted_one():
    stages = named(TINY)
    roles = {name: (s.role, s.round) for name, s in stages.items() if isinstance(s, Evaluate)}
    assert roles == {
        "source-only": ("source_only", -1),
        "evaluate-0": ("round", 0),
        "evaluate-1": ("round", 1),
        "evaluate-2": ("adapted", 2),
    }
    panels = stages["panels"]
    assert isinstance(panels, Panels)
    assert panels.models[-1][1] == "adapt-2"


@pytest.mark.parametrize(
    ("pseudo", "portions"),
    [
        (PseudoSettings(), [0.20, 0.25, 0.30]),
        (PseudoSettings(rounds=1, initial_portion=1.0, max_portion=1.0), [1.0]),
        (PseudoSettings(rounds=4, initial_portion=0.3, portion_step=0.15), [0.3, 0.45, 0.5, 0.5]),
    ],
)
def test_portion_grows_to_its_limit(pseudo, portions):
    stages = named(dataclasses.replace(TINY, pseudo=pseudo)).values()
    assert [stage.portion for stage in stages if isinstance(stage, Label)] == pytest.approx(portions)


def test_titles_follow_the_weights():
    assert TINY.title == "DRSL+"
    assert dataclasses.replace(TINY, loss=LossSettings(consistency=0)).title == "DRSL"


# What cannot work


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_complain_of_missing_data_at_most(preset, tmp_path):
    problems = dataclasses.replace(PRESETS[preset](), root=str(tmp_path)).problems()
    missing = "images is not set" if preset == "folders" else "does not exist"
    assert all(missing in problem for problem in problems if not problem.startswith("model.weights"))
    assert (not problems) == (preset == "toy")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"augment": AugmentSettings(crop_height=33, crop_width=48)}, "mmdl.label_reduction"),
        ({"pseudo": PseudoSettings(initial_portion=0.6)}, "pseudo.initial_portion"),
        ({"adapt": TrainSettings(steps=1, target_batch=0)}, "adapt.target_batch"),
        ({"isa": IsaSettings(ratio=2)}, "translated source images"),
    ],
)
def test_settings_that_cannot_work_together_are_told(change, name):
    assert TINY.problems() == []
    (problem,) = dataclasses.replace(TINY, **change).problems()
    assert name in problem


def test_problems_are_told_together():
    changes = {"augment": AugmentSettings(crop_height=33, crop_width=-1), "pseudo": PseudoSettings(initial_portion=0.6)}
    assert len(dataclasses.replace(TINY, **changes).problems()) >= 3


def test_head_that_takes_no_part_asks_for_nothing():
    odd = AugmentSettings(crop_height=33, crop_width=47)
    assert dataclasses.replace(TINY, loss=PLAIN, augment=odd).problems() == []


# The networks


def test_networks_are_a_function_of_the_seed():
    again = TINY.networks(K)
    for name, network in TINY.networks(K).items():
        state, other = network.state_dict(), again[name].state_dict()
        assert all(torch.equal(state[key], other[key]) for key in state)
    different = dataclasses.replace(TINY, seed=1).networks(K)["mmdl"].state_dict()["modes"]
    assert not torch.equal(different, again["mmdl"].state_dict()["modes"])


def test_heads_learn_at_the_multiplied_rate():
    nets = TINY.networks(K)
    groups = TINY.parameter_groups("segmenter", nets["segmenter"], 0.1, 10.0)
    assert [(group["name"], group["lr"]) for group in groups] == [("encoder", 0.1), ("classifier", 1.0)]
    (group,) = TINY.parameter_groups("mmdl", nets["mmdl"], 0.1, 10.0)
    assert group["lr"] == 1.0
    assert len(list(group["params"])) == len(list(nets["mmdl"].parameters()))


# The steps


@pytest.fixture
def nets() -> dict[str, nn.Module]:
    built = TINY.networks(K)
    for network in built.values():
        set_train_mode(network, "eval")  # so that an image's prediction does not depend on its neighbours
    return built


@pytest.fixture
def batch() -> Batch:
    draw = Generator().manual_seed(0)

    def labels(kept: float) -> Tensor:
        coarse = torch.randint(0, K, (2, 4, 6), generator=draw).repeat_interleave(8, 1).repeat_interleave(8, 2)
        return torch.where(torch.rand(coarse.shape, generator=draw) < kept, coarse, 255)

    images = torch.rand(2, 2, 3, 32, 48, generator=draw)
    return Batch(LabelledImages(images[0], labels(0.9)), PseudoLabelledImages(images[1], labels(0.3)))


def carry_out(
    method: Drsl, step: str, nets: dict[str, nn.Module], batch: Batch
) -> tuple[tuple[str, ...], Tensor, dict[str, Tensor]]:
    """What a step yields: exactly one update."""
    ((names, loss, terms),) = list(getattr(method, step)(nets, batch, Generator().manual_seed(1)))
    return names, loss, terms


def segmentation(nets: dict[str, nn.Module], image: Tensor, label: Tensor) -> Tensor:
    return cross_entropy(upsample(nets["segmenter"](image).logits_BKhw, (label.shape[1], label.shape[2])), label)


def gradients(network: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in network.named_parameters() if n.startswith(prefix) and p.grad is not None}
    network.zero_grad()
    return found


def test_source_alone_is_cross_entropy(nets, batch):
    names, loss, terms = carry_out(TINY, "source_alone", nets, batch)
    assert names == ("segmenter",)
    assert torch.equal(loss, segmentation(nets, batch.source.image, batch.source.label))
    assert torch.equal(terms["seg_source"], loss)


def test_loss_is_the_weighted_sum_of_its_terms(nets, batch):
    weights = LossSettings(triplet=0.5, mixture=0.25, consistency=2.0)
    method = dataclasses.replace(TINY, loss=weights)
    for step, first in (("source_regularised", ["seg_source"]), ("adaptation", ["seg_source", "seg_target"])):
        names, loss, terms = carry_out(method, step, nets, batch)
        assert names == ("segmenter", "mmdl")
        assert list(terms) == [*first, "triplet", "mixture", *(["consistency"] if step == "adaptation" else [])]
        factors = {"triplet": 0.5, "mixture": 0.25, "consistency": 2.0}
        torch.testing.assert_close(loss, sum(factors.get(name, 1.0) * value for name, value in terms.items()))
        assert all(value > 0 for value in terms.values())


def test_mode_terms_of_adaptation_are_those_of_both_domains(nets, batch):
    every_point = dataclasses.replace(TINY, mmdl=dataclasses.replace(TINY.mmdl, samples_per_class=16 * 24))
    _, _, both = carry_out(every_point, "adaptation", nets, batch)

    def terms(image: Tensor, label: Tensor) -> dict[str, Tensor]:
        prediction = nets["segmenter"](image)
        points = embed(nets["mmdl"], prediction, label, every_point.mmdl, Generator().manual_seed(7))
        return mode_losses(points, every_point.mmdl)

    source, target = terms(batch.source.image, batch.source.label), terms(batch.target.image, batch.target.pseudo_label)
    for name in ("triplet", "mixture"):
        torch.testing.assert_close(both[name], source[name] + target[name])
        assert not torch.isclose(source[name], target[name])


@pytest.mark.parametrize("term", ["triplet", "mixture", "consistency"])
def test_every_term_of_the_head_shapes_the_encoder(term, nets, batch):
    _, _, terms = carry_out(TINY, "adaptation", nets, batch)
    terms[term].backward()
    encoder, head = gradients(nets["segmenter"], "encoder"), gradients(nets["mmdl"])
    assert all(grad.isfinite().all() for grad in (*encoder.values(), *head.values()))
    first = next(iter(encoder))
    assert encoder[first].abs().max() > 0
    assert any(grad.abs().max() > 0 for name, grad in head.items() if name.startswith("embed"))
    if term != "consistency":
        assert head["modes"].abs().max() > 0
    assert not gradients(nets["segmenter"], "classifier")


def test_whole_loss_reaches_every_parameter(nets, batch):
    carry_out(TINY, "adaptation", nets, batch)[1].backward()
    for network in nets.values():
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_without_weights_adaptation_is_the_sum_of_two_cross_entropies(nets, batch):
    method = dataclasses.replace(TINY, loss=PLAIN)
    names, loss, terms = carry_out(method, "adaptation", {"segmenter": nets["segmenter"]}, batch)
    source = segmentation(nets, batch.source.image, batch.source.label)
    target = segmentation(nets, batch.target.image, batch.target.pseudo_label)
    assert names == ("segmenter",)
    torch.testing.assert_close(loss, source + target)
    torch.testing.assert_close(terms["seg_target"], target)
    assert not torch.isclose(source, target)


def test_joint_reduction_is_one_cross_entropy_over_both_domains(nets, batch):
    method = dataclasses.replace(TINY, loss=dataclasses.replace(PLAIN, reduction="joint"))
    _, loss, terms = carry_out(method, "adaptation", nets, batch)
    image = torch.cat([batch.source.image, batch.target.image])
    label = torch.cat([batch.source.label, batch.target.pseudo_label])
    torch.testing.assert_close(loss, segmentation(nets, image, label))
    logits = upsample(nets["segmenter"](image).logits_BKhw, (32, 48))
    torch.testing.assert_close(loss, F.cross_entropy(logits, label, ignore_index=255))
    assert list(terms) == ["seg_joint"]


def test_drsl_has_no_consistency_term(nets, batch):
    method = dataclasses.replace(TINY, loss=LossSettings(consistency=0))
    assert "consistency" not in carry_out(method, "adaptation", nets, batch)[2]


def test_fixed_features_leave_the_encoder_the_gradient_of_eq_1(nets, batch):
    carry_out(TINY, "source_alone", nets, batch)[1].backward()
    alone = gradients(nets["segmenter"])
    names, loss, _ = carry_out(TINY, "source_with_fixed_features", nets, batch)
    loss.backward()
    beside, head = gradients(nets["segmenter"]), gradients(nets["mmdl"])
    assert names == ("segmenter", "mmdl")
    assert alone.keys() == beside.keys()
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
    assert head["modes"].abs().max() > 0

    carry_out(TINY, "source_regularised", nets, batch)[1].backward()
    jointly = gradients(nets["segmenter"], "encoder")
    assert not all(torch.equal(jointly[name], alone[name]) for name in jointly)


def test_step_is_a_function_of_its_generator(nets, batch):
    method = dataclasses.replace(TINY, augment=dataclasses.replace(TINY.augment, brightness=0.4, blur=1.0))
    torch.manual_seed(0)
    first = carry_out(method, "adaptation", nets, batch)[1]
    torch.manual_seed(1)
    assert torch.equal(carry_out(method, "adaptation", nets, batch)[1], first)
    ((_, other, _),) = list(method.adaptation(nets, batch, Generator().manual_seed(2)))
    assert not torch.equal(other, first)


@pytest.mark.parametrize("step", ["source_alone", "source_regularised", "source_with_fixed_features", "adaptation"])
def test_batch_without_any_label_changes_nothing_and_breaks_nothing(step, nets, batch):
    nothing = torch.full_like(batch.source.label, 255)
    empty = Batch(LabelledImages(batch.source.image, nothing), PseudoLabelledImages(batch.target.image, nothing))
    _, loss, _ = carry_out(TINY, step, nets, empty)
    assert loss == 0
    loss.backward()
    for network in nets.values():
        assert all(grad.abs().max() == 0 for grad in gradients(network).values())


class Spy(nn.Module):
    """Remembers the images that reach the network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor) -> Prediction:
        self.seen.append(image)
        return self.network(image)


def test_translation_moves_source_images_and_leaves_target_images(nets, batch):
    spy = Spy(nets["segmenter"])
    method = dataclasses.replace(TINY, isa=IsaSettings(ratio=1))
    carry_out(method, "adaptation", {**nets, "segmenter": spy}, batch)
    (seen,) = spy.seen
    assert torch.equal(seen[2:], batch.target.image)
    assert all(not torch.equal(seen[i], batch.source.image[i]) for i in range(2))
    assert seen.min() >= 0
    assert seen.max() <= 1


def test_source_training_translates_nothing(nets, batch):
    spy = Spy(nets["segmenter"])
    method = dataclasses.replace(TINY, isa=IsaSettings(ratio=1))
    for step in ("source_alone", "source_regularised"):
        carry_out(method, step, {**nets, "segmenter": spy}, batch)
    assert all(torch.equal(seen, batch.source.image) for seen in spy.seen)
