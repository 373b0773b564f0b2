"""Settings of the networks."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

import models.settings
from models.settings import MmdlSettings, SegmenterSettings


def test_defaults_are_those_of_the_paper():
    segmenter, mmdl = SegmenterSettings(), MmdlSettings()
    assert (segmenter.backbone, segmenter.output_stride, segmenter.dilations) == (
        "resnet101",
        8,
        (6, 12, 18, 24),
    )
    assert (mmdl.modes, mmdl.sigma2, mmdl.label_reduction, mmdl.samples_per_class) == (3, 0.5, 2, 300)


def test_settings_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        SegmenterSettings().width = 1  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("field", "value"),
    [("backbone", "resnet9"), ("width", 0), ("output_stride", 4), ("dilations", ()), ("dilations", (6, 0))],
)
def test_impossible_segmenter_settings_are_refused_by_name(field: str, value: Any):
    with pytest.raises(ValueError, match=field):
        SegmenterSettings(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("embed_dim", 0),
        ("modes", 0),
        ("label_reduction", 0),
        ("samples_per_class", 0),
        ("sigma2", 0.0),
        ("sigma2", float("nan")),
        ("margin", -1.0),
        ("margin_consistency", -0.5),
    ],
)
def test_impossible_mmdl_settings_are_refused_by_name(field: str, value: Any):
    with pytest.raises(ValueError, match=f"^{field} must"):
        MmdlSettings(**{field: value})


def test_settings_are_read_without_torch():
    code = "import sys, models.settings; sys.exit('torch' in sys.modules)"
    root = Path(models.settings.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
