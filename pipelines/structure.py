"""Structure Enhancement: reconstruct both domains from the encoder's features, align the outputs adversarially.

A decoder that both domains share keeps in the features what an image is made of, so that alignment of the class maps
cannot throw it away. The decoder and the discriminator are dropped at the end.

Run `python pipelines/structure.py --help` for every setting.
"""

from __future__ import annotations

if __name__ == "__main__":
    # As the installed module: what lies beside a copied script must not hide our packages, and workers would not find
    # the classes of a script.
    import sys

    sys.path[:] = sys.path[not sys.flags.safe_path :]
    from pipelines import structure

    structure.main()

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from models.settings import DiscriminatorSettings
from orchestrator import cli
from orchestrator.contract.published_table import PublishedTable, Variant
from orchestrator.contract.settings import OptimiserSettings
from pipelines.alignment import Alignment, Segmented, adversary, presets, published

if TYPE_CHECKING:
    from torch import Generator, Tensor
    from torch.nn import Module

    from domains.batches.batch import Batch
    from orchestrator.contract.method import Networks, Steps


@dataclass(frozen=True, kw_only=True)
class Structure(Alignment):
    """The full model of the paper; a weight of 0 leaves the part out (the variants of its Table 1)."""

    name: ClassVar[str] = "structure"
    tables: ClassVar[Mapping[str, PublishedTable]] = {
        "table1": PublishedTable(
            "Table 1: which level is aligned",
            (
                Variant("source only", {"reconstruction": 0, "adversarial": 0}, 36.6),
                Variant("feature level", {"adversarial": 0}, 39.1),
                Variant("output level", {"reconstruction": 0}, 41.7),
                Variant("full", {}, 44.8),
            ),
            "GTA5 to Cityscapes, 19 classes",
        )
    }

    auxiliary: Annotated[float, Ge(0)] = 0.0
    """Weight of a second classifier on the encoder's third stage: the paper has none."""
    reconstruction: Annotated[float, Ge(0)] = 1e-5
    """lambda_rec, weight of the reconstruction of both domains; 0: output level alone."""
    reduction: Literal["mean", "sum"] = "mean"
    """Over the values of an image; the paper leaves it open, and a sum would drown the segmentation."""
    pixel_scale: Annotated[float, Gt(0)] = 127.5
    """Grey values that a difference of 1 in [-1, 1] stands for: 127.5 measures it in 0 to 255."""
    adversarial: Annotated[float, Ge(0)] = 1e-3
    """lambda_adv, weight of the adversarial loss on target maps; 0: feature level alone."""
    discriminator: DiscriminatorSettings = field(default_factory=lambda: DiscriminatorSettings(layers="aspp"))
    decoder_width: Annotated[int, Ge(8)] = 256
    """Channels of the decoder's residual blocks (UNIT: 256)."""
    encoder_grad: Literal["sum", "mean"] = "sum"
    """How the encoder's gradients from the losses come together; the paper says averaged, which differs from their
    sum by a constant factor."""
    adversaries: OptimiserSettings = field(default_factory=adversary)
    """Optimiser of the decoder and the discriminator."""

    @property
    def title(self) -> str:
        """The name shown in tables, with the variant."""
        variants = {(True, True): "", (True, False): " (feature level)", (False, True): " (output level)"}
        return "Structure Enhancement" + variants.get((self.reconstruction > 0, self.adversarial > 0), " (source only)")

    def networks(self, num_classes: int) -> Networks:
        """The segmenter, the decoder and the discriminator."""
        from models.build import build_decoder, build_discriminator

        return {
            **super().networks(num_classes),
            "decoder": build_decoder(self.model, self.decoder_width, self.seed),
            "discriminator": build_discriminator(self.discriminator, num_classes, self.seed),
        }

    def others(self) -> tuple[tuple[str, OptimiserSettings], ...]:
        """The decoder and the discriminator, where their weights count, learn by their own optimiser."""
        parts = {"decoder": self.reconstruction, "discriminator": self.adversarial}
        return tuple((name, self.adversaries) for name, weight in parts.items() if weight > 0)

    def adaptation_uses(self) -> tuple[object, ...]:
        """The side networks and the weights of their losses too."""
        decoding = (self.reconstruction, self.reduction, self.pixel_scale, self.decoder_width, self.encoder_grad)
        return (*super().adaptation_uses(), *decoding, self.adversarial, self.discriminator)

    def adaptation(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Eq. 3 for segmenter and decoder against a fixed discriminator, then Eq. 2 for that."""
        from losses.adversarial import discriminator_loss, domain_loss
        from losses.numeric import at_least_float32
        from models.discriminator import frozen

        assert batch.target is not None
        source = self.segment(nets, batch.source.image, draw)
        loss, terms = self.supervised(source.levels, batch.source.label)
        learning = self.segmenting
        if not self.others():
            # Source only: even looking at the target would move the averages of batch normalisation.
            yield learning, loss, terms
            return
        target = self.segment(nets, batch.target.image, draw)
        maps = at_least_float32(target.levels[0]).softmax(1)
        if self.reconstruction > 0:
            terms["reconstruction"] = self._reconstruct(nets, source) + self._reconstruct(nets, target)
            loss = loss + self.reconstruction * terms["reconstruction"]
            learning = (*learning, "decoder")
        if self.adversarial > 0:
            terms["adversarial"] = domain_loss(frozen(nets["discriminator"])(maps), is_source=True)
            loss = loss + self.adversarial * terms["adversarial"]
        with self._averaging(nets["segmenter"]):
            yield learning, loss, terms

        if self.adversarial > 0:
            real = nets["discriminator"](at_least_float32(source.levels[0].detach()).softmax(1))
            found = discriminator_loss(real, nets["discriminator"](maps.detach()))
            yield ("discriminator",), found, {"discriminator": found}

    @contextmanager
    def _averaging(self, segmenter: Module) -> Iterator[None]:
        """While it lasts, backward gives the encoder the mean of what its branches ask for, if that is wanted."""
        from models.discriminator import unwrapped

        branches = 1 + len(self.others())
        encoder = unwrapped(segmenter).get_submodule("encoder")
        averaged = [p for p in encoder.parameters() if p.requires_grad and self.encoder_grad == "mean"]
        hooks = [parameter.register_hook(lambda gradient: gradient / branches) for parameter in averaged]
        yield
        for hook in hooks:
            hook.remove()

    def _reconstruct(self, nets: Networks, seen: Segmented) -> Tensor:
        """L1 between an image and what the decoder makes of its features."""
        from losses.numeric import at_least_float32

        image = nets["decoder"](seen.prediction.features_BDhw, seen.image_B3HW.shape[2:])
        difference = (at_least_float32(image) - (2 * seen.image_B3HW - 1)).abs() * self.pixel_scale
        return difference.mean() if self.reduction == "mean" else difference.sum() / len(difference)


# Weights and rate for a hundred steps, in the papers' proportion: see `pipelines/adaptsegnet.py`.
_SMALL = presets(
    Structure,
    discriminator=DiscriminatorSettings(layers="aspp", width=16),
    decoder_width=64,
    adversaries=adversary(lr=1e-3),
    adversarial=0.03,
    reconstruction=3e-4,
)

PRESETS = {**_SMALL, **published(Structure, note="side networks and scale of the reconstruction reconstructed")}


def main() -> None:
    """Entry point of the command line."""
    cli.main(Structure, PRESETS)
