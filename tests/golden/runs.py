"""Tiny runs of every method in all its variants."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SMALL: Mapping[str, object] = {
    "pair.source.count": 6,
    "pair.target.count": 6,
    "pair.evaluation.count": 3,
    "pair.height": 64,
    "pair.width": 128,
    "augment.crop_height": 48,
    "augment.crop_width": 96,
    "model.width": 8,
    "mmdl.embed_dim": 8,
    "mmdl.samples_per_class": 10,
    "discriminator.width": 8,
    "decoder_width": 8,
    "translator.width": 4,
    "translator.blocks": 1,
    "translator.judge_width": 4,
    "translator.pool": 2,
    "source.steps": 6,
    "source.source_batch": 4,
    "source.checkpoint_every": 3,
    "source.log_every": 1,
    "adapt.steps": 4,
    "adapt.checkpoint_every": 2,
    "adapt.log_every": 1,
    "train.steps": 4,
    "train.checkpoint_every": 2,
    "train.log_every": 1,
    "pseudo.rounds": 1,
    "compute.precision": "fp32",
    "compute.cpus_per_worker": 1,
    "compute.tasks": 2,
    "panels": 0,
}
"""Changes to the toy preset; of a method, those that it knows."""


@dataclass(frozen=True)
class Run:
    """A command: its pipeline, and what differs from the settings above."""

    pipeline: str
    changes: Mapping[str, object] = field(default_factory=dict)
    reads: str = ""
    """Another of the runs, whose translations it trains on."""


RUNS: Mapping[str, Run] = {
    "source_only": Run("source_only", {"validation.times": 2, "source.optimiser": "sgd", "source.schedule": "poly"}),
    "oracle": Run("oracle", {"protocol.flip": True, "protocol.scales": "0.75 1.25", "compute.accumulation": 2}),
    "drsl": Run(
        "drsl", {"pseudo.rounds": 2, "pretrain": "joint", "adapt.batchnorm": "train", "adapt.optimiser": "sgd"}
    ),
    "drsl-frozen": Run(
        "drsl",
        {
            "loss.reduction": "joint",
            "mmdl.negative": "hardest",
            "mmdl.triplet_distance": "euclidean",
            "mmdl.mode_pooling": "sum",
            "mmdl.sampling": "uniform",
            "isa.translator": "fourier",
            "adapt.clip": 0.1,
        },
    ),
    "drsl-translated": Run(
        "drsl",
        {
            "isa.translator": "run",
            "labeller": "source_mmdl",
            "pretrain": "joint",
            "mmdl.label_reduction_rule": "majority",
            "mmdl.posterior": "raw",
            "mmdl.detach_source": True,
            "mmdl.normalise": "none",
        },
        "translate",
    ),
    "cbst": Run(
        "cbst",
        {
            "pseudo.rounds": 2,
            "pseudo.flip": True,
            "pseudo.scales": "0.75 1",
            "pseudo.mining": 0.8,
            "pseudo.rare": 0.05,
            "pseudo.source_portion": 0.5,
            "augment.hue": 0.1,
            "augment.saturation": 0.3,
            "augment.gamma": 0.3,
            "augment.blur": 1.0,
        },
    ),
    "cbst-windows": Run("cbst", {"pseudo.spatial_prior": False, "pseudo.window": "48 64", "isa.ratio": 0}),
    "crst-mrkld": Run("crst", {"alpha_source": 0.05}),
    "crst-mrent": Run("crst", {"regulariser": "mrent", "square_alpha": True}),
    "crst-lrent": Run("crst", {"regulariser": "lrent"}),
    "minent": Run("minent", {"compute.accumulation": 2, "adapt.batchnorm": "train"}),
    "adaptsegnet": Run("adaptsegnet", {"adapt.clip": 0.5}),
    "adaptsegnet-single": Run("adaptsegnet", {"auxiliary": 0, "objective": "least_squares", "start": "fresh"}),
    "advent": Run("advent"),
    "structure": Run("structure", {"encoder_grad": "mean"}),
    "structure-sum": Run("structure", {"reduction": "sum", "pixel_scale": 1, "auxiliary": 0.1}),
    "translate": Run("translate"),
}
"""By name. Settings that choose a branch of a step are spread over them."""


def words_of(run: Run, folder: Path) -> list[str]:
    """The words of a command, without its name.

    Args:
        run: which one.
        folder: where the runs lie that it reads.
    """
    from orchestrator.contract.config import flatten

    script = importlib.import_module(f"pipelines.{run.pipeline}")
    known = flatten(type(script.PRESETS["toy"]()))
    settings = {name: value for name, value in SMALL.items() if name in known}
    if run.pipeline == "translate":  # it measures nothing
        del settings["pair.evaluation.count"]
    settings |= {**run.changes, **({"isa.run": folder / "runs" / run.reads} if run.reads else {})}
    return [word for name, value in settings.items() for word in (f"--{name}", *str(value).split())]


def carry_out(name: str, folder: Path) -> Path:
    """Carry out a run in this process, after what it reads; returns its folder."""
    from tests import one_process

    run = RUNS[name]
    if run.reads:
        carry_out(run.reads, folder)
    one_process.carry_out(run.pipeline, [*words_of(run, folder), "--name", name], folder, folder)
    return folder / "runs" / name
