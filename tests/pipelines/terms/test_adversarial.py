"""Discriminators as an ingredient, on views made by hand."""

from __future__ import annotations

import torch
from torch import Generator, nn

from losses.adversarial import discriminator_loss, domain_loss
from models.segmenter import Prediction
from models.settings import DiscriminatorSettings
from orchestrator.contract.settings import OptimiserSettings
from pipelines.source_only import SourceOnly
from pipelines.terms.adversarial import Adversarial, probabilities
from pipelines.terms.base import Step, View

K = 3
TWO = Adversarial(DiscriminatorSettings(width=2), (0.5, 0.25), OptimiserSettings(), levels=2)


def view(seed: int) -> View:
    draw = Generator().manual_seed(seed)
    logits = tuple(torch.randn(2, K, 32, 32, generator=draw, requires_grad=True) for _ in range(2))
    return View(torch.zeros(2, 3, 32, 32), Prediction(*[logits[0]] * 3), logits)


def step(nets: dict[str, nn.Module]) -> Step:
    source, target = view(0), view(1)
    return Step(nets, None, Generator(), {"source": lambda _: source, "target": lambda _: target})  # type: ignore[arg-type]


def test_the_segmenter_deceives_fixed_discriminators():
    nets = TWO.networks(SourceOnly(), K)
    begun = step(nets)
    found = TWO.losses(begun)
    sum(found.values(), start=torch.zeros(())).backward()
    for name, loss, level in zip(TWO.rivals, found, begun["target"].levels, strict=True):
        torch.testing.assert_close(found[loss], domain_loss(nets[name](level.softmax(1)), is_source=True))
        assert level.grad is not None
        assert all(p.grad is None for p in nets[name].parameters())
    assert list(found) == ["adversarial", "adversarial_auxiliary"]
    assert TWO.weights() == {"adversarial": 0.5, "adversarial_auxiliary": 0.25}


def test_the_discriminators_learn_in_one_turn_that_leaves_the_segmenter_alone():
    nets = TWO.networks(SourceOnly(), K)
    begun = step(nets)
    ((names, loss, terms),) = TWO.turns(begun)
    loss.backward()
    assert names == TWO.rivals == ("discriminator", "discriminator_auxiliary")
    assert all(level.grad is None for name in ("source", "target") for level in begun[name].levels)
    for name, real, made in zip(names, begun["source"].levels, begun["target"].levels, strict=True):
        wanted = discriminator_loss(nets[name](real.softmax(1)), nets[name](made.softmax(1)))
        torch.testing.assert_close(terms[name], wanted)
    assert dict(TWO.optimisers()).keys() == set(names)


def test_what_is_shown_may_be_something_else():
    shown = Adversarial(TWO.discriminator, (1.0,), OptimiserSettings(), shown=lambda logits: probabilities(2 * logits))
    nets = shown.networks(SourceOnly(), K)
    found = shown.losses(step(nets))
    wanted = domain_loss(nets["discriminator"]((2 * view(1).levels[0]).softmax(1)), is_source=True)
    torch.testing.assert_close(found, {"adversarial": wanted})
