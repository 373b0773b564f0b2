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
from pipelines.alignment import Alignment, adversary, presets, published
from pipelines.terms.adversarial import Adversarial
from pipelines.terms.labels import SourceLabels
from pipelines.terms.reconstruction import Reconstruction

if TYPE_CHECKING:
    from torch import Generator
    from torch.nn import Module

    from domains.batches.batch import Batch
    from orchestrator.contract.method import Networks, Steps
    from pipelines.terms.base import Term


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

    def ingredients(self) -> list[Term]:
        """Cross-entropy on the source, and of the two levels those whose weight counts (Eq. 3, Eq. 2)."""
        found: list[Term] = [SourceLabels(self.auxiliary)]
        if self.reconstruction > 0:
            decoding = (self.reconstruction, self.reduction, self.pixel_scale, self.decoder_width)
            found.append(Reconstruction(*decoding, optimiser=self.adversaries))
        if self.adversarial > 0:
            found.append(Adversarial(self.discriminator, weight=(self.adversarial,), optimiser=self.adversaries))
        return found

    def adaptation_uses(self) -> tuple[object, ...]:
        """All settings of both levels, also of one that does not count."""
        decoding = (self.reconstruction, self.reduction, self.pixel_scale, self.decoder_width, self.encoder_grad)
        own = (self.model, self.augment, self.auxiliary, *decoding, self.adversarial, self.discriminator)
        levels = (SourceLabels, Reconstruction, Adversarial)
        added = (value for term in self.ingredients() if not isinstance(term, levels) for value in term.decides)
        return (*own, *added)

    def adaptation(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Eq. 3 for segmenter and decoder against a fixed discriminator, then Eq. 2 for that."""
        updates = super().adaptation(nets, batch, draw)
        with self._averaging(nets["segmenter"]):
            yield next(updates)
        yield from updates

    @contextmanager
    def _averaging(self, segmenter: Module) -> Iterator[None]:
        """While it lasts, backward gives the encoder the mean of what its branches ask for, if that is wanted."""
        from models.discriminator import unwrapped

        branches = len(self.ingredients())
        encoder = unwrapped(segmenter).get_submodule("encoder")
        averaged = [p for p in encoder.parameters() if p.requires_grad and self.encoder_grad == "mean"]
        hooks = [parameter.register_hook(lambda gradient: gradient / branches) for parameter in averaged]
        yield
        for hook in hooks:
            hook.remove()


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
