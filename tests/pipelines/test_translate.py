"""CycleGAN: its stages, what each turn minimises, and what stays at rest meanwhile."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Generator, nn
from torch.nn import functional as F

from domains.base.settings import AugmentSettings, DomainSettings, PairSettings
from domains.batches.batch import Batch, Images, LabelledImages
from models.settings import TranslatorSettings
from orchestrator.contract.method import Sizes
from orchestrator.contract.settings import OptimiserSettings
from orchestrator.contract.stages import TARGET, Panels, Train, Translation
from orchestrator.train.optim import make_optimiser, make_schedule
from pipelines.translate import GENERATORS, JUDGES, POOLS, PRESETS, Translate

SIZE = (32, 48)
METHOD = Translate(
    augment=AugmentSettings(crop_height=SIZE[0], crop_width=SIZE[1]),
    translator=TranslatorSettings(width=4, blocks=1, judge_width=4, judge_layers=2, pool=3),
)
SIZES = Sizes(source=8, target=8, classes=12)


def batch(seed: int = 0) -> Batch:
    draw = Generator().manual_seed(seed)
    source, target = torch.rand(2, 1, 3, *SIZE, generator=draw)
    return Batch(LabelledImages(source, torch.zeros(1, *SIZE, dtype=torch.int64)), Images(target))


def turns(method: Translate, nets: dict[str, nn.Module], seed: int = 0):
    return method.both_directions(nets, batch(seed), Generator().manual_seed(seed))


def gradients(nets: dict[str, nn.Module]) -> set[str]:
    return {name for name, net in nets.items() for p in net.parameters() if p.grad is not None and p.grad.any()}


def test_translator_is_trained_then_used_then_looked_at():
    train, translation, panels = METHOD.stages(SIZES)
    assert isinstance(train, Train)
    assert isinstance(translation, Translation)
    assert isinstance(panels, Panels)
    assert (train.target, set(train.networks)) == (TARGET, {*GENERATORS, *JUDGES, *POOLS})
    assert (translation.by, translation.needs, translation.network) == ("translator", ("translator",), "to_target")
    assert (panels.translated, panels.needs) == ("translation", ("translation",))
    assert set(METHOD.networks(12)) == set(train.networks)


def test_every_setting_of_the_losses_decides_the_training():
    for change in ({"cycle": 1.0}, {"identity": 0.0}, {"translator": TranslatorSettings(blocks=2)}):
        assert dataclasses.replace(METHOD, **change).stages(SIZES)[0] != METHOD.stages(SIZES)[0]


def test_losses_are_those_of_the_paper_on_images_from_minus_one_to_one():
    nets, (source, target) = METHOD.networks(12), (batch().source.image, batch().target.image)  # type: ignore[union-attr]
    to_target, to_source, judge_target, judge_source = (nets[name] for name in (*GENERATORS, *JUDGES))
    steps = turns(METHOD, nets)
    names, loss, terms = next(steps)
    assert names == GENERATORS
    fake_target, fake_source = to_target(source), to_source(target)

    def apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return F.l1_loss(2 * a - 1, 2 * b - 1)

    wanted = {
        "adversarial_target": (judge_target(fake_target) - 1).square().mean(),
        "adversarial_source": (judge_source(fake_source) - 1).square().mean(),
        "cycle": apart(to_source(fake_target), source) + apart(to_target(fake_source), target),
        "identity": apart(to_source(source), source) + apart(to_target(target), target),
    }
    assert terms.keys() == wanted.keys()
    for name, value in wanted.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-5), name
    total = wanted["adversarial_target"] + wanted["adversarial_source"] + 10 * wanted["cycle"] + 5 * wanted["identity"]
    assert loss.item() == pytest.approx(total.item(), rel=1e-5)

    names, loss, terms = next(steps)
    assert names == JUDGES
    for name, judge, real, fake in (
        ("judge_target", judge_target, target, fake_target),
        ("judge_source", judge_source, source, fake_source),
    ):
        half = (judge(real) - 1).square().mean() / 2 + judge(fake.detach()).square().mean() / 2
        assert terms[name].item() == pytest.approx(half.item(), rel=1e-5)
    assert loss.item() == pytest.approx(sum(term.item() for term in terms.values()))


def test_each_side_learns_in_its_turn_alone():
    nets = METHOD.networks(12)
    steps = turns(METHOD, nets)
    _, loss, _ = next(steps)
    loss.backward()
    assert gradients(nets) == set(GENERATORS)
    for net in nets.values():
        net.zero_grad()
    _, loss, _ = next(steps)
    loss.backward()
    assert gradients(nets) == set(JUDGES)


def test_without_the_identity_loss_it_is_not_computed():
    _, _, terms = next(turns(dataclasses.replace(METHOD, identity=0), METHOD.networks(12)))
    assert "identity" not in terms


def test_discriminators_are_shown_what_the_pool_gives_back():
    nets = METHOD.networks(12)
    for seed in range(4):
        list(turns(METHOD, nets, seed))
    held = nets["pool_target"].get_buffer("images_N3HW")
    assert int(nets["pool_target"].get_buffer("held")) == 3
    with torch.no_grad():
        made = [nets["to_target"](batch(seed).source.image)[0] for seed in range(4)]
    assert all(any(torch.equal(one, other) for other in made) for one in held)


def test_a_network_without_weights_has_an_optimiser_and_a_schedule_that_do_nothing():
    settings = METHOD.train
    optimiser = make_optimiser(METHOD, "pool_target", METHOD.networks(12)["pool_target"], settings)
    schedule = make_schedule(optimiser, settings, 10)
    optimiser.step()
    schedule.step()


@pytest.mark.parametrize(("share", "steps"), [(0.5, 10), (0.0, 8), (0.3, 10), (0.9, 7)])
def test_rate_is_constant_and_then_falls_in_a_straight_line_to_nothing(share, steps):
    settings = OptimiserSettings(optimiser="adam", lr=2e-4, schedule="constant_linear", constant_share=share)

    def rates(first: int = 0, state: dict | None = None) -> tuple[list[float], dict]:
        optimiser = make_optimiser(METHOD, "x", nn.Conv2d(1, 1, 1), dataclasses.replace(settings, head_multiplier=1.0))
        schedule = make_schedule(optimiser, settings, steps)
        if state:
            optimiser.load_state_dict(state["optimiser"])
            schedule.load_state_dict(state["schedule"])
        found = []
        for _ in range(first, steps):
            found.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            schedule.step()
            if len(found) == 3:
                state = {"optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
        assert schedule.get_last_lr()[0] == pytest.approx(0, abs=1e-12)
        return found, state or {}

    kept = int(share * steps)
    wanted = [2e-4 * (1 if step < kept else 1 - (step - kept) / (steps - kept)) for step in range(steps)]
    found, state = rates()
    assert found == pytest.approx(wanted)
    assert rates(3, state)[0] == found[3:]


def test_published_settings_are_those_of_the_paper():
    for made in (Translate(), PRESETS["gta5-cityscapes"]()):
        training = made.train
        assert (training.optimiser, training.lr, training.momentum, training.beta2) == ("adam", 2e-4, 0.5, 0.999)
        assert (training.source_batch, training.target_batch, training.head_multiplier) == (1, 1, 1)
        assert (training.schedule, training.constant_share, training.weight_decay) == ("constant_linear", 0.5, 0)
        assert (made.cycle, made.identity) == (10, 5)
        assert made.translator == TranslatorSettings(
            width=64, blocks=9, halvings=2, judge_width=64, judge_layers=3, pool=50
        )
    assert (Translate().train.epochs, Translate().augment.crop_height) == (200, 256)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"augment": AugmentSettings(crop_height=20, crop_width=64)}, "24 pixels a side, but its shorter side has 20"),
        ({"augment": AugmentSettings(crop_height=0, crop_width=0), "pair": PairSettings()}, "neither it nor"),
        ({"pair": PairSettings(evaluation=DomainSettings(style="street", split="val"))}, "pair.evaluation.kind"),
        ({"train": dataclasses.replace(METHOD.train, target_batch=0)}, "train.target_batch"),
        ({"train": dataclasses.replace(METHOD.train, epochs=0)}, "train: steps and epochs are both 0"),
    ],
)
def test_impossible_combinations_are_named(changes, said):
    problems = dataclasses.replace(PRESETS["toy"](), **changes).problems()
    assert any(said in problem for problem in problems), problems


def test_presets_that_need_no_data_have_no_problems():
    assert PRESETS["toy"]().problems() == []
