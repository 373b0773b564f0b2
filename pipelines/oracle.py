"""Target oracle: the same network and budget trained on target labels. What adaptation could reach, not a method.

It is the only pipeline that trains on target labels, and says so in every output.
"""

from __future__ import annotations

if __name__ == "__main__":
    # As the installed module: what lies beside a copied script must not hide our packages, and workers would not find
    # the classes of a script.
    import sys

    sys.path[:] = sys.path[not sys.flags.safe_path :]
    from pipelines import oracle

    oracle.main()

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from domains.base.settings import PairSettings
from orchestrator import cli
from orchestrator.contract.method import Sizes
from orchestrator.contract.stages import Evaluate, Panels, Stage
from pipelines.benchmarks import ONE_SCALE, TORCHVISION, on_every_benchmark, stepped
from pipelines.presets import Setting, on_every_pair
from pipelines.source_only import SourceOnly


@dataclass(frozen=True, kw_only=True)
class Oracle(SourceOnly):
    """Supervised training on the labelled target domain, which takes the source's place in the pair."""

    name: ClassVar[str] = "oracle"
    oracle: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """The name shown in tables."""
        return "target oracle"

    def stages(self, sizes: Sizes) -> list[Stage]:
        """Train, measure, draw; what is measured stands where an adapted network would."""
        return [
            dataclasses.replace(self.source_training(), name="oracle"),
            Evaluate(name="evaluate", of="oracle", role="adapted"),
            Panels(name="panels", models=(("oracle", "oracle"),)),
        ]


def _on_target(setting: Setting) -> Oracle:
    pair = dataclasses.replace(setting.pair, source=setting.pair.target)
    return Oracle(pair=pair, augment=setting.augment, model=setting.model, source=setting.source)


def _published(pair: PairSettings) -> Oracle:
    plain = Oracle(pair=dataclasses.replace(pair, source=pair.target), model=TORCHVISION, protocol=ONE_SCALE)
    return dataclasses.replace(plain, augment=stepped(plain.augment))


PRESETS = {**on_every_pair(_on_target), **on_every_benchmark(_published, "crst", note="as CRST trains on the source")}


def main() -> None:
    """Entry point of the command line."""
    cli.main(Oracle, PRESETS)
