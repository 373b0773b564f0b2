"""Views, terms and recipes: what is read is made once, losses are summed in order, and ingredients compose."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import pytest
import torch
from torch import Generator, Tensor, nn

from domains.base.settings import AugmentSettings
from domains.batches.batch import Batch, Images, LabelledImages, PseudoLabelledImages
from models.settings import MmdlSettings, SegmenterSettings
from orchestrator.contract.config import flatten
from orchestrator.contract.method import Method, Sizes
from orchestrator.contract.stages import Train
from orchestrator.run.fingerprint import fingerprints_of
from pipelines import adaptsegnet, advent, cbst, crst, drsl, minent, structure
from pipelines.crst import Crst
from pipelines.source_only import SourceOnly
from pipelines.terms.base import Recipe, Step, Term, View, total
from pipelines.terms.modes import Modes, ModeWeights

K = 5
SIZES = Sizes(source=8, target=8, classes=K)
MODEL = SegmenterSettings(backbone="resnet10", width=4, dilations=(1, 2))
CROP = AugmentSettings(crop_height=32, crop_width=48)


def batch(seed: int = 3) -> Batch:
    draw = Generator().manual_seed(seed)
    image = torch.rand(4, 3, 32, 48, generator=draw)
    label = torch.randint(K, (4, 4, 6), generator=draw).repeat_interleave(8, 1).repeat_interleave(8, 2)
    return Batch(LabelledImages(image[:2], label[:2]), PseudoLabelledImages(image[2:], label[2:]))


class Counting(nn.Module):
    """Counts what passes through a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.passes = network, 0

    def forward(self, image: Tensor):
        self.passes += 1
        return self.network(image)


def test_a_view_is_made_when_it_is_first_read_and_once():
    method = SourceOnly(model=MODEL, augment=CROP)
    network = Counting(method.networks(K)["segmenter"])
    step = Step({"segmenter": network}, batch(), Generator(), method.views())
    assert network.passes == 0
    assert step["source"] is step["source"]
    assert network.passes == 1
    assert step["target"].label_BHW is None
    assert network.passes == 2


def test_views_of_both_domains_are_parts_of_one_pass():
    method = Crst(model=MODEL, augment=CROP)
    network = Counting(method.networks(K)["segmenter"])
    given = batch()
    step = Step({"segmenter": network}, given, Generator(), method.joined_views())
    source, both, target = step["source"], step["both"], step["target"]
    assert network.passes == 1
    assert isinstance(given.target, PseudoLabelledImages)
    assert torch.equal(source.labels_BHW, given.source.label)
    assert torch.equal(target.labels_BHW, given.target.pseudo_label)
    assert torch.equal(torch.cat([source.logits_BKHW, target.logits_BKHW]), both.logits_BKHW)
    assert torch.equal(target.prediction.features_BDhw, both.prediction.features_BDhw[2:])


def test_images_without_labels_are_not_taken_for_labelled_ones():
    method = SourceOnly(model=MODEL, augment=CROP)
    given = Batch(batch().source, Images(batch().source.image))
    step = Step(method.networks(K), given, Generator(), method.views())
    with pytest.raises(AssertionError, match="have no labels"):
        _ = step["target"].labels_BHW


def test_losses_are_summed_in_their_order_and_one_without_a_weight_counts_once():
    losses = {"a": torch.tensor(1.0), "b": torch.tensor(2.0), "c": torch.tensor(4.0)}
    assert total(losses, {"b": 0.5, "d": 9.0}) == 1 + 0.5 * 2 + 4


@dataclass(frozen=True)
class Mean(Term):
    """Mean of a view's logits, and a network that learns in its turn."""

    name: str = "mean"
    weight: float = 2.0

    @property
    def rivals(self) -> tuple[str, ...]:
        return ("rival",)

    def networks(self, method: Method, num_classes: int) -> dict[str, nn.Module]:
        return {"rival": nn.Linear(num_classes, 1)}

    def losses(self, step: Step) -> dict[str, Tensor]:
        return {self.name: step["source"].logits_BKHW.mean()}

    def weights(self) -> dict[str, float]:
        return {self.name: self.weight}

    def turns(self, step: Step):
        seen = step["source"].logits_BKHW.detach().mean((0, 2, 3))
        yield ("rival",), step.nets["rival"](seen).sum(), {"rival": seen.sum()}


@dataclass(frozen=True, kw_only=True)
class Twice(Recipe):
    """Two ingredients."""

    other: str = "other"

    def ingredients(self) -> list[Term]:
        return [Mean(), Mean(self.other, 3.0)]


def test_a_recipe_updates_by_the_common_loss_and_then_its_rivals():
    method = Twice(model=MODEL, augment=CROP)
    nets = method.networks(K)
    assert set(nets) == {"segmenter", "rival"}
    step = Step(nets, batch(), Generator(), method.views())
    (names, loss, terms), *turns = method.minimise(method.ingredients(), step)
    assert names == ("segmenter",)
    assert list(terms) == ["mean", "other"]
    torch.testing.assert_close(loss, 2 * terms["mean"] + 3 * terms["other"])
    assert [names for names, _, _ in turns] == [("rival",), ("rival",)]


def test_two_losses_of_one_name_are_noticed():
    method = Twice(model=MODEL, augment=CROP, other="mean")
    step = Step(method.networks(K), batch(), Generator(), method.views())
    with pytest.raises(AssertionError, match="same name"):
        next(method.minimise(method.ingredients(), step))


# Ingredients compose.


@dataclass(frozen=True, kw_only=True)
class CrstWithModes(Crst):
    """CRST, and the mixture head of DRSL: settings, and one line."""

    mmdl: MmdlSettings = field(default_factory=lambda: MmdlSettings(embed_dim=4, modes=2, samples_per_class=6))
    modes: ModeWeights = field(default_factory=ModeWeights)

    def ingredients(self) -> list[Term]:
        return [*super().ingredients(), Modes(self.mmdl, self.modes)]


COMPOSED = CrstWithModes(model=MODEL, augment=CROP)


def test_an_ingredient_of_one_method_trains_in_another():
    nets = COMPOSED.networks(K)
    optimiser = torch.optim.SGD([p for network in nets.values() for p in network.parameters()], lr=0.05)
    before = {name: [p.clone() for p in network.parameters()] for name, network in nets.items()}
    losses = []
    for number in range(20):
        optimiser.zero_grad()
        ((names, loss, terms),) = COMPOSED.adaptation(nets, batch(), Generator().manual_seed(number))
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert names == ("segmenter", "mmdl")
    assert list(terms) == ["seg_source", "seg_target", "mrkld", "triplet", "mixture", "consistency"]
    assert losses[-1] < 0.8 * losses[0]
    for name, network in nets.items():
        changed = [not torch.equal(new, old) for new, old in zip(network.parameters(), before[name], strict=True)]
        assert all(changed), name


def test_an_added_ingredient_leaves_the_losses_of_the_others_as_they_were():
    plain = Crst(model=MODEL, augment=dataclasses.replace(CROP, brightness=0.3, blur=1.0))
    composed = dataclasses.replace(COMPOSED, augment=plain.augment)
    ((_, _, alone),) = plain.adaptation(plain.networks(K), batch(), Generator().manual_seed(0))
    ((_, _, beside),) = composed.adaptation(composed.networks(K), batch(), Generator().manual_seed(0))
    assert all(torch.equal(alone[name], beside[name]) for name in alone)


def test_stages_follow_the_ingredients_by_themselves():
    adapt = [stage for stage in COMPOSED.stages(SIZES) if isinstance(stage, Train)][-1]
    assert adapt.networks == ("segmenter", "mmdl")
    assert COMPOSED.problems() == []
    odd = dataclasses.replace(COMPOSED, augment=AugmentSettings(crop_height=33, crop_width=48))
    assert [line.split(":")[0] for line in odd.problems()] == ["mmdl.label_reduction"]


@pytest.mark.parametrize("change", [{"mmdl": MmdlSettings(modes=5)}, {"modes": ModeWeights(triplet=1)}, {"alpha": 0.7}])
def test_settings_of_an_added_ingredient_are_in_the_fingerprint(change):
    def last(method: CrstWithModes):
        return fingerprints_of(method.stages(SIZES), method)["adapt-0"]

    assert last(dataclasses.replace(COMPOSED, **change)) != last(COMPOSED)


METHODS = {module.__name__: module for module in (adaptsegnet, advent, cbst, crst, drsl, minent, structure)}


def changes(method: Method):
    """The method with one of its numbers, switches or choices changed, each in turn."""
    for name in flatten(type(method)):
        path = name.split(".")
        value = method
        for part in path:
            value = getattr(value, part)
        if isinstance(value, bool):
            yield name, _replaced(method, path, not value)
        elif isinstance(value, int | float):
            yield name, _replaced(method, path, value * 2 or 1)


def _replaced(settings, path: list[str], value):
    head, *rest = path
    return dataclasses.replace(settings, **{head: _replaced(getattr(settings, head), rest, value) if rest else value})


def in_a_fingerprint(method: Recipe) -> tuple[object, ...]:
    adapt = [stage for stage in method.stages(SIZES) if isinstance(stage, Train)][-1]
    return adapt.uses, adapt.optimisers


@pytest.mark.parametrize("name", METHODS)
def test_what_changes_an_ingredient_changes_the_fingerprint(name):
    method = METHODS[name].PRESETS["toy"]()
    found = 0
    for setting, other in changes(method):
        if other.ingredients() != method.ingredients():
            found += 1
            assert in_a_fingerprint(other) != in_a_fingerprint(method), setting
    assert found or name.endswith("cbst")  # whose one choice is a word


def test_a_part_of_a_view_has_the_same_images_of_everything():
    method = SourceOnly(model=MODEL, augment=CROP)
    view = Step(method.networks(K), batch(), Generator(), method.views())["source"]
    part = view.part(slice(1, None))
    assert isinstance(part, View)
    assert [len(tensor) for tensor in (part.image_B3HW, *part.prediction, *part.levels, part.labels_BHW)] == [1] * 6
    assert torch.equal(part.logits_BKHW, view.logits_BKHW[1:])


@pytest.mark.parametrize("name", METHODS)
def test_an_ingredient_added_to_any_method_is_trained_and_decides(name):
    base = METHODS[name].PRESETS["toy"]()

    class More(type(base)):
        def ingredients(self) -> list[Term]:
            return [*super().ingredients(), Mean("added", 17.5)]

    more = More(**{field.name: getattr(base, field.name) for field in dataclasses.fields(base)})
    adapt = [stage for stage in more.stages(SIZES) if isinstance(stage, Train)][-1]
    assert adapt.networks[-1] == "rival"
    assert {"added", 17.5} <= {value for value in adapt.uses if isinstance(value, str | float)}
    assert base.adaptation_uses() == more.adaptation_uses()[:-2]
