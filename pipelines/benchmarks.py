"""Full-size domain pairs, read as the papers read them, for presets with the published settings.

Unlike the small pairs of `pipelines.presets`, which fix one network for all methods, these belong to lines of public
code, and a method keeps the sizes, views and first weights of its own. Values that no paper or code gives are
marked "reconstructed" here and in docs/protocols.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from domains.base.settings import AugmentSettings, DomainSettings, PairSettings
from models.settings import REQUIRED, SegmenterSettings
from orchestrator.contract.settings import ProtocolSettings, TrainSettings

Line = Literal["crst", "adaptsegnet"]
"""Lines of public code: that of CBST and CRST, which DRSL follows; that of AdaptSegNet, which ADVENT and Structure
Enhancement follow."""

SCALE_STEP = 0.1
"""CRST's code draws scales in steps of this."""

ONE_SCALE = ProtocolSettings(flip=True)
"""Full size and mirrored: CRST's evaluation script; for DRSL reconstructed."""
THREE_SCALES = ProtocolSettings(scales=(0.9, 1.0, 1.2), flip=True)
"""How CRST's code measures its rounds."""


@dataclass(frozen=True)
class Benchmark:
    """A source domain and the classes that it shares with Cityscapes."""

    title: str
    source: DomainSettings
    label_space: str

    def read_as(self, line: Line) -> PairSettings:
        """The pair at the sizes of a line of code; evaluation labels keep their full size in both."""
        source, sizes = self.source, {}
        if line == "crst":
            # GTA5's images differ by a few pixels; CRST's instructions bring all to one size. SYNTHIA's are alike.
            height, width = (1052, 1914) if source.kind == "gta5" else (0, 0)
            # Its code takes lane markings for road.
            source = replace(source, height=height, width=width)
            source = replace(source, lane_marking="road") if source.kind == "synthia" else source
        else:
            source = replace(source, height=720 if source.kind == "gta5" else 760, width=1280)
            sizes = {"height": 512, "width": 1024}
        return PairSettings(
            source=source,
            target=DomainSettings(kind="cityscapes", root="cityscapes"),
            evaluation=DomainSettings(kind="cityscapes", root="cityscapes", split="val"),
            label_space=self.label_space,
            **sizes,
        )


BENCHMARKS: Mapping[str, Benchmark] = {
    "gta5-cityscapes": Benchmark("GTA5 to Cityscapes", DomainSettings(kind="gta5", root="gta5"), "cityscapes19"),
    "synthia-cityscapes": Benchmark(
        "SYNTHIA to Cityscapes, 16 classes", DomainSettings(kind="synthia", root="synthia"), "cityscapes16"
    ),
}
"""By preset name; the domains lie in folders gta5, synthia and cityscapes below --root."""


def imagenet(weights: str, **settings: object) -> SegmenterSettings:
    """A network whose published weights the user has to name."""
    return SegmenterSettings(weights=REQUIRED + weights, **settings)  # type: ignore[arg-type]


TORCHVISION = imagenet("resnet101-torchvision")
"""DeepLab-v2 on ResNet-101 as CRST begins it."""
CAFFE = imagenet("resnet101-caffe")
"""The same as AdaptSegNet begins it."""


def stepped(augment: AugmentSettings) -> AugmentSettings:
    """The same crops at CRST's scales."""
    return replace(augment, scale_step=SCALE_STEP)


MIT_B5 = imagenet("mit_b5-imagenet", backbone="mit_b5", output_stride=32, dilations=(2, 3, 5, 6))
"""SegFormer's encoder; at stride 32 these dilations reach as many pixels as DeepLab's do at stride 8."""


def transformer(training: TrainSettings, lr: float, **settings: object) -> TrainSettings:
    """A training whose optimiser is DAFormer's for the same encoder, without its warm-up."""
    return replace(training, optimiser="adamw", lr=lr, weight_decay=0.01, power=1.0, **settings)  # type: ignore[arg-type]


Kind = TypeVar("Kind")


def on_every_benchmark(
    build: Callable[[PairSettings], Kind], line: Line, note: str = ""
) -> dict[str, Callable[[], Kind]]:
    """The full-size presets of a method.

    Args:
        build: makes the method from a pair.
        line: the code whose sizes the pair has.
        note: what of the settings is not published, for the description.
    """

    def preset_of(benchmark: Benchmark) -> Callable[[], Kind]:
        def preset() -> Kind:
            return build(benchmark.read_as(line))

        preset.__doc__ = f"{benchmark.title}, published settings{f' ({note})' if note else ''}; name --model.weights."
        return preset

    return {name: preset_of(benchmark) for name, benchmark in BENCHMARKS.items()}
