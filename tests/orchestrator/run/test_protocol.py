"""Protocols: their names, what they refuse, and what goes with a number."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from domains.base.labels import SPACES
from domains.base.settings import PairSettings
from models.build import build_segmenter
from models.settings import SegmenterSettings
from models.weights import save_model
from orchestrator.base.errors import UserError
from orchestrator.contract.config import read_settings
from orchestrator.contract.flags import EvaluateFlags
from orchestrator.contract.method import Method
from orchestrator.contract.settings import ProtocolSettings, ViewSettings
from orchestrator.mapreduce.evaluation import evaluation_content, evaluation_result
from orchestrator.run.protocol import name_of, stamp
from orchestrator.verbs.models import evaluate
from pipelines.drsl import PRESETS, Drsl

CITY = SPACES["cityscapes19"]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "cityscapes19-single-scale"),
        ({"flip": True}, "cityscapes19-flip"),
        ({"classes": "16"}, "cityscapes19-16-single-scale"),
        ({"classes": "13", "scales": (0.9, 1.0), "flip": True}, "cityscapes19-13-scales-0.9-1.0-flip"),
        ({"classes": "16_of_19", "window": (512, 1024)}, "cityscapes19-16_of_19-window-512x1024-stride-256x512"),
        ({"window": (9, 9), "stride": (3, 9)}, "cityscapes19-window-9x9-stride-3x9"),
    ],
)
def test_names_say_what_differs_from_one_look_at_the_whole_image(settings, name):
    assert name_of(ProtocolSettings(**settings), CITY) == name


def test_every_part_goes_with_the_number():
    settings = ProtocolSettings(classes="13", scales=(0.5, 1.0), flip=True, window=(8, 9))
    found = json.loads(json.dumps(stamp(settings, CITY, (16, 32), "in words")))
    assert found == {
        "name": "cityscapes19-13-scales-0.5-1.0-flip-window-8x9-stride-4x4",
        "classes": [n for n in CITY.classes if n not in {"wall", "fence", "pole", "terrain", "truck", "train"}],
        "class_rule": "13",
        "ignore": "255, terrain, truck, train in the ground truth",
        "size": [16, 32],
        "resolution": "in words",
        "flip": True,
        "scales": [0.5, 1.0],
        "window": [8, 9],
        "stride": [4, 4],
        "checkpoint": "last",
        "mean": found["mean"],
    }
    assert "of these 13; pixels of wall" in found["mean"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scales": ()}, "scales must be one or more"),
        ({"scales": (1.0, 0.0)}, "scales must be"),
        ({"scales": (float("nan"),)}, "scales must be"),
        ({"window": (8,)}, "window must be a height and a width"),
        ({"window": (8, 0)}, "window must be"),
        ({"stride": (4, 4)}, "without a window"),
        ({"window": (8, 8), "stride": (4, 9)}, "leave gaps"),
    ],
)
def test_impossible_views_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        ViewSettings(**values)


def test_flags_make_protocols_of_runs_and_of_pseudo_labels():
    words = {"protocol.classes": "16", "protocol.scales": ["0.9", "1"], "pseudo.scales": ["0.9"], "pseudo.flip": True}
    settings = read_settings(Drsl, words)
    assert settings.protocol == ProtocolSettings(classes="16", scales=(0.9, 1.0))
    assert settings.pseudo.views == ViewSettings(scales=(0.9,), flip=True)
    with pytest.raises(UserError, match="protocol: window must be"):
        read_settings(Drsl, {"protocol.window": ["512"]})


def test_rules_of_cityscapes_are_refused_in_another_label_space():
    method = PRESETS["toy"]()
    assert method.problems() == []
    sixteen = dataclasses.replace(method, protocol=ProtocolSettings(classes="16"))
    (problem,) = sixteen.problems()
    assert problem.startswith(
        "protocol.classes: classes 16 are defined for the label spaces cityscapes19 and cityscapes16 alone, got toy"
    )
    city = dataclasses.replace(sixteen, pair=dataclasses.replace(method.pair, label_space="cityscapes19"))
    assert not [problem for problem in city.problems() if "protocol" in problem]


def test_unknown_label_space_is_one_problem():
    pair = PairSettings(label_space="cityscape19")
    problems = Method(pair=pair, protocol=ProtocolSettings(classes="16")).problems()
    assert len([problem for problem in problems if "label space" in problem]) == 1


class NoRay:
    """A session that must not be started."""

    progress = None

    def connect(self) -> None:
        raise AssertionError("nothing may start")


def test_evaluation_under_a_rule_of_another_label_space_is_refused_before_anything_starts(tmp_path):
    settings, space = SegmenterSettings(backbone="resnet10", width=4), SPACES["toycity12"]
    save_model(tmp_path / "model", build_segmenter(settings, 12, 0), settings, json.loads(space.to_json()), {})
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((8, 8, 3) if name == "images" else (8, 8), np.uint8)).save(tmp_path / name / "a.png")
    places = {name: str(tmp_path / name) for name in ("model", "images", "labels")}
    flags = EvaluateFlags(**places, label_space="toycity12", classes="13")
    with pytest.raises(
        UserError, match="classes 13 are defined for the label spaces cityscapes19 and cityscapes16 alone"
    ):
        evaluate(flags, NoRay())  # type: ignore[arg-type]


def test_result_holds_the_classes_of_the_mean_and_the_content_all_counts():
    confusion = np.diag(np.arange(19)).astype(np.int64)
    confusion[CITY.classes.index("truck"), CITY.classes.index("car")] = 13
    settings = ProtocolSettings(classes="16")
    result = evaluation_result(confusion, CITY, settings)
    assert result["protocol"] == "cityscapes19-16-single-scale"
    assert list(result["iou"]) == stamp(settings, CITY, (1, 1), "")["classes"]
    assert result["iou"]["road"] is None
    assert result["miou"] == 1.0
    strict = evaluation_result(confusion, CITY, ProtocolSettings(classes="16_of_19"))
    assert strict["iou"]["car"] == 0.5
    content = evaluation_content(result, confusion, CITY, {"name": "whole"})
    assert content["protocol"] == {"name": "whole"}
    assert dict(zip(content["classes"], np.diag(content["confusion"]), strict=True))["truck"] == 14
