"""The opened domain pair: what training may see, and at what size things are measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from domains.base.samples import Labelled, Unlabelled
from domains.base.settings import DomainSettings, PairSettings
from orchestrator.base.progress import Progress
from orchestrator.contract.method import Method, Sizes
from orchestrator.contract.settings import ProtocolSettings
from orchestrator.run.context import Context, describe, open_domains, protocol


@pytest.fixture
def method(tmp_path):
    draw = np.random.default_rng(0)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for number in range(3):
        Image.fromarray(draw.integers(0, 255, (8, 12, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(draw.integers(0, 11, (8, 12), dtype=np.uint8)).save(tmp_path / "labels" / f"{number}.png")
    labelled = DomainSettings(kind="folder", images="images", labels="labels")
    pair = PairSettings(
        source=labelled,
        target=dataclasses.replace(labelled, labels=""),
        evaluation=labelled,
        label_space="camvid11",
        height=4,
        width=6,
    )
    return Method(root=str(tmp_path), pair=pair)


def test_target_reaches_training_without_labels(method):
    domains = open_domains(method)
    assert type(domains.target) is Unlabelled
    assert {field.name for field in dataclasses.fields(domains.target.sample(0))} == {"image", "id"}
    assert domains.sizes == Sizes(source=3, target=3, classes=11)


def test_truth_is_there_where_the_target_has_labels(method):
    assert open_domains(method).truth is None
    labelled = dataclasses.replace(method, pair=dataclasses.replace(method.pair, target=method.pair.source))
    assert type(open_domains(labelled).truth) is Labelled


def test_source_labels_follow_the_working_size_and_evaluation_labels_keep_theirs(method):
    domains = open_domains(method)
    assert domains.evaluation is not None
    source, evaluation = domains.source.sample(0), domains.evaluation.sample(0)
    assert source.image.shape == evaluation.image.shape == (3, 4, 6)
    assert source.label.shape == (4, 6)
    assert evaluation.label.shape == (8, 12)


def test_protocol_names_both_sizes(method, tmp_path):
    context = Context(method=method, domains=open_domains(method), run=tmp_path, progress=Progress())
    found = protocol(context)
    assert found["resolution"] == "prediction 4x6, labels 8x12 (height x width)"
    assert found["name"] == "camvid11-single-scale"


def test_resolution_is_that_of_evaluation_images_and_the_views_are_those_of_the_run(method, tmp_path):
    evaluation = dataclasses.replace(method.pair.evaluation, height=2, width=3)
    pair = dataclasses.replace(method.pair, evaluation=evaluation)
    own = dataclasses.replace(method, pair=pair, protocol=ProtocolSettings(scales=(0.5, 2.0), window=(2, 2)))
    found = protocol(Context(method=own, domains=open_domains(own), run=tmp_path, progress=Progress()))
    assert found["resolution"] == "prediction 2x3, labels 8x12 (height x width)"
    assert (found["scales"], found["window"], found["stride"]) == ([0.5, 2.0], [2, 2], [1, 1])
    assert found["name"] == "camvid11-scales-0.5-2.0-window-2x2-stride-1x1"


def test_pair_without_evaluation_domain_is_opened_and_not_measured(tmp_path):
    pair = PairSettings(
        source=DomainSettings(count=2),
        target=DomainSettings(style="street", count=3),
        evaluation=DomainSettings(kind="none"),
        height=32,
        width=64,
    )
    domains = open_domains(Method(pair=pair))
    assert domains.evaluation is None
    assert domains.sizes == Sizes(source=2, target=3, classes=12)
    found = protocol(Context(method=Method(pair=pair), domains=domains, run=tmp_path, progress=Progress()))
    assert found["name"] == "not measured"
    assert found["size"] == (32, 64)
    assert found["classes"] == list(domains.space.classes)


def test_size_of_the_protocol_is_that_of_target_images_as_the_network_sees_them(method, tmp_path):
    context = Context(method=method, domains=open_domains(method), run=tmp_path, progress=Progress())
    assert protocol(context)["size"] == (4, 6)
    own = dataclasses.replace(method, pair=dataclasses.replace(method.pair, height=0, width=0))
    assert protocol(dataclasses.replace(context, domains=open_domains(own)))["size"] == (8, 12)


def test_domains_are_described_in_words():
    assert describe(DomainSettings(kind="none"), 0) == "none: nothing was measured"
    assert describe(DomainSettings(style="street", split="val"), 7) == "toy city, street/val (7 images)"
    assert describe(DomainSettings(kind="camvid", list="day.txt"), 7) == "camvid, day.txt (7 images)"
    assert describe(DomainSettings(kind="cityscapes", split="val"), 500) == "cityscapes, val (500 images)"
    assert describe(DomainSettings(kind="gta5"), 9) == "gta5, all (9 images)"
    assert describe(DomainSettings(kind="acdc", condition="fog"), 4) == "acdc, fog/train (4 images)"
    assert describe(DomainSettings(kind="folder", images="a/b"), 1) == "folder, a/b (1 images)"
