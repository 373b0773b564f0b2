"""What weights expect of images, in the forms that it is written down in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.normalisation import KNOWN, Normalisation
from models.segmenter import IMAGENET_MEAN, IMAGENET_STD

MEAN, STD = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
DEFAULT = {"image_mean": MEAN, "image_std": STD}


def test_imagenet_is_what_networks_have_without_weights():
    assert KNOWN["imagenet"].unit == (IMAGENET_MEAN, IMAGENET_STD)


def test_caffe_in_the_unit_of_networks_is_red_first_and_divides_by_a_255th():
    mean, std = KNOWN["caffe"].unit
    assert mean == pytest.approx((122.679 / 255, 116.669 / 255, 104.007 / 255))
    assert std == pytest.approx((1 / 255,) * 3)
    assert KNOWN["caffe"].reversed


@pytest.mark.parametrize("name", KNOWN)
def test_json_form_says_it_all(name: str):
    assert Normalisation.of(json.loads(json.dumps(KNOWN[name].as_json()))) == KNOWN[name]


@pytest.mark.parametrize(
    ("fields", "mean", "std"),
    [
        (DEFAULT, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        ({**DEFAULT, "do_flip_channel_order": True}, (0.3, 0.2, 0.1), (0.6, 0.5, 0.4)),
        ({**DEFAULT, "do_rescale": False}, (0.1 / 255, 0.2 / 255, 0.3 / 255), (0.4 / 255, 0.5 / 255, 0.6 / 255)),
        ({**DEFAULT, "rescale_factor": 2 / 255}, (0.05, 0.1, 0.15), (0.2, 0.25, 0.3)),
        ({"do_normalize": False}, (0, 0, 0), (1, 1, 1)),
    ],
    ids=["plain", "blue first", "bytes", "other scale", "none"],
)
def test_preprocessor_of_transformers_is_followed(fields: dict[str, Any], mean: Any, std: Any):
    found = Normalisation.of_preprocessor(fields)
    assert found.unit[0] == pytest.approx(mean)
    assert found.unit[1] == pytest.approx(std)


@pytest.mark.parametrize(
    "fields",
    [{}, {"image_mean": MEAN}, {**DEFAULT, "image_std": [0, 1, 1]}, {**DEFAULT, "image_mean": 0.5}],
    ids=["nothing", "half", "zero", "number"],
)
def test_preprocessor_that_leaves_it_open_is_refused(fields: dict[str, Any]):
    with pytest.raises(ValueError, match=r"normalisation|above 0"):
        Normalisation.of_preprocessor(fields)


@pytest.mark.parametrize("change", [{"channel_order": "GRB"}, {"scale": 0}, {"mean": [0, 0]}, {"std": None}])
def test_impossible_normalisations_are_refused(change: dict[str, Any]):
    with pytest.raises(ValueError, match=r"must|unusable"):
        Normalisation.of({**KNOWN["caffe"].as_json(), **change})
