"""AdaptSegNet: adversarial alignment in output space (Tsai et al., CVPR 2018), on one level or two.

A discriminator learns to tell softmax maps of the source from those of the target; the segmenter learns to make target
maps that it takes for the source's. The two learn in turn.

Run `python pipelines/adaptsegnet.py --help` for every setting.
"""

from __future__ import annotations

if __name__ == "__main__":
    # As the installed module: what lies beside a copied script must not hide our packages, and workers would not find
    # the classes of a script.
    import sys

    sys.path[:] = sys.path[not sys.flags.safe_path :]
    from pipelines import adaptsegnet

    adaptsegnet.main()

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge

from models.settings import DiscriminatorSettings
from orchestrator import cli
from orchestrator.contract.settings import OptimiserSettings
from pipelines.alignment import Alignment, adversary, presets, published

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from domains.batches.batch import Batch
    from orchestrator.contract.method import Networks, Steps


@dataclass(frozen=True, kw_only=True)
class AdaptSegNet(Alignment):
    """The two-level model of the paper; `auxiliary` 0 is the single-level one."""

    name: ClassVar[str] = "adaptsegnet"

    discriminator: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)
    adversaries: OptimiserSettings = field(default_factory=adversary)
    """Optimiser of the discriminators."""
    adversarial: Annotated[float, Ge(0)] = 1e-3
    """Weight of the adversarial loss (least squares, single level: 0.01)."""
    adversarial_auxiliary: Annotated[float, Ge(0)] = 2e-4
    """The same for the auxiliary classifier."""
    objective: Literal["vanilla", "least_squares"] = "vanilla"
    """Adversarial loss: binary cross-entropy, or LS-GAN's mean square."""

    @property
    def title(self) -> str:
        """The name shown in tables."""
        return "AdaptSegNet" if self.auxiliary > 0 else "AdaptSegNet (single level)"

    @property
    def discriminators(self) -> tuple[str, ...]:
        """Names of the discriminators, one a level."""
        return ("discriminator", "discriminator_auxiliary")[: len(self.segmenting)]

    def networks(self, num_classes: int) -> Networks:
        """The segmenter's, and a discriminator for each level."""
        from models.build import build_discriminator

        found = super().networks(num_classes)
        for number, name in enumerate(self.discriminators):
            found[name] = build_discriminator(self.discriminator, num_classes, self.seed + number)
        return found

    def others(self) -> tuple[tuple[str, OptimiserSettings], ...]:
        """The discriminators learn by their own optimiser."""
        return tuple((name, self.adversaries) for name in self.discriminators)

    def adaptation_uses(self) -> tuple[object, ...]:
        """The discriminators and the weights of their losses too."""
        weights = (self.adversarial, self.adversarial_auxiliary)
        return (*super().adaptation_uses(), self.discriminator, *weights, self.objective)

    def seen(self, logits_BKHW: Tensor) -> Tensor:
        """What a discriminator is shown of a prediction: its probabilities."""
        from losses.numeric import at_least_float32

        return at_least_float32(logits_BKHW).softmax(1)

    def adaptation(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """First the segmenter against fixed discriminators, then these on what it made."""
        from losses.adversarial import discriminator_loss, domain_loss
        from models.discriminator import frozen

        assert batch.target is not None
        source = self.segment(nets, batch.source.image, draw).levels
        loss, terms = self.supervised(source, batch.source.label)
        target = [self.seen(logits) for logits in self.segment(nets, batch.target.image, draw).levels]
        weights = (self.adversarial, self.adversarial_auxiliary)
        for name, weight, maps in zip(self.discriminators, weights, target, strict=False):
            deceived = domain_loss(frozen(nets[name])(maps), is_source=True, kind=self.objective)
            terms[name.replace("discriminator", "adversarial")] = deceived
            loss = loss + weight * deceived
        yield self.segmenting, loss, terms

        shown = zip(source, target, strict=True)
        found = {
            name: discriminator_loss(nets[name](self.seen(a.detach())), nets[name](b.detach()), self.objective)
            for name, (a, b) in zip(self.discriminators, shown, strict=True)
        }
        yield self.discriminators, sum(found.values(), start=loss.new_zeros(())), found


SHORT = {
    "discriminator": DiscriminatorSettings(width=16),
    "adversaries": adversary(lr=1e-3),
    "adversarial": 0.03,
    "adversarial_auxiliary": 0.006,
}
"""Of the presets: a discriminator in proportion to their networks, and one that has something to say within a
hundred steps. At the published weights, made for a thousand times as many, it changes nothing."""

PRESETS = {**presets(AdaptSegNet, **SHORT), **published(AdaptSegNet)}


def main() -> None:
    """Entry point of the command line."""
    cli.main(AdaptSegNet, PRESETS)
