"""Random weights that stand in for pretrained ones: the right shape, and features of sensible size."""

from __future__ import annotations

from dataclasses import replace

import torch

from models.build import build_segmenter, check_weights
from models.placeholder import write_placeholder_weights
from models.settings import SegmenterSettings

DEEP = SegmenterSettings(backbone="resnet101", width=4)


def test_they_load_and_keep_features_of_a_deep_network_small(tmp_path):
    assert write_placeholder_weights(DEEP, tmp_path)
    tempered = replace(DEEP, weights=str(tmp_path))
    assert check_weights(tempered) == []
    image = torch.rand(1, 3, 65, 65)
    plain, other = (build_segmenter(settings, 3, seed=0).eval()(image) for settings in (DEEP, tempered))
    assert other.features_BDhw.std() < 100 < plain.features_BDhw.std()


def test_they_are_the_same_each_time_and_draw_nothing_from_the_callers_generator(tmp_path):
    before = torch.get_rng_state()
    for name in ("a", "b"):
        write_placeholder_weights(DEEP, tmp_path / name)
    assert torch.equal(torch.get_rng_state(), before)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert one == two


def test_networks_without_running_averages_need_none(tmp_path):
    assert not write_placeholder_weights(SegmenterSettings(backbone="mit_b0", output_stride=32), tmp_path / "a")
    assert not (tmp_path / "a").exists()
