"""Full-size presets: published settings but for what is listed here, and weights that the user has to name."""

from __future__ import annotations

import dataclasses

import pytest

from models.published import PUBLISHED
from models.settings import SegmenterSettings
from orchestrator import cli
from orchestrator.base.errors import UserError
from orchestrator.contract.config import flatten
from orchestrator.contract.flags import RunFlags
from orchestrator.contract.method import Method
from pipelines import adaptsegnet, advent, cbst, crst, drsl, minent, oracle, source_only, structure
from pipelines.adaptsegnet import AdaptSegNet
from pipelines.benchmarks import BENCHMARKS
from pipelines.drsl import Drsl
from pipelines.source_only import SourceOnly

SELF_TRAINING = {"drsl": drsl, "cbst": cbst, "crst": crst}
ALIGNMENT = {"adaptsegnet": adaptsegnet, "advent": advent, "minent": minent, "structure": structure}
MODULES = {**SELF_TRAINING, **ALIGNMENT, "source_only": source_only, "oracle": oracle}
FULL_SIZE = [
    (name, preset)
    for name, module in MODULES.items()
    for preset in module.PRESETS
    if preset.startswith(tuple(BENCHMARKS))
]


def made(name: str, preset: str) -> Method:
    return MODULES[name].PRESETS[preset]()


def differences(settings: Method, base: Method) -> set[str]:
    """Settings, but those of the pair, in which two differ."""

    def value(method: Method, name: str) -> object:
        for part in name.split("."):
            method = getattr(method, part)
        return method

    return {
        name
        for name in flatten(type(settings))
        if not name.startswith("pair.") and value(settings, name) != value(base, name)
    }


@pytest.mark.parametrize("name", MODULES)
def test_every_method_has_both_pairs_at_full_size(name):
    assert {preset for method, preset in FULL_SIZE if method == name} >= set(BENCHMARKS)


@pytest.mark.parametrize(("name", "preset"), FULL_SIZE)
def test_preset_is_documented_and_the_same_each_time(name, preset):
    make = MODULES[name].PRESETS[preset]
    assert "Cityscapes" in make.__doc__
    assert "--model.weights" in make.__doc__
    assert make() == make()


@pytest.mark.parametrize("preset", BENCHMARKS)
@pytest.mark.parametrize("name", MODULES)
def test_settings_differ_from_the_published_defaults_only_where_they_must(name, preset):
    expected = {"model.weights"}
    if name not in ALIGNMENT:
        expected |= {"augment.scale_step", "protocol.flip"}
    if name in SELF_TRAINING:
        expected |= {"pseudo.scales", "pseudo.flip"}
    if name in ("cbst", "crst"):
        expected |= {"protocol.scales"}
    settings = made(name, preset)
    assert differences(settings, type(settings)()) == expected


def test_source_only_of_the_other_line_is_that_of_its_methods():
    settings = made("source_only", "gta5-cityscapes-adaptsegnet")
    other = made("adaptsegnet", "gta5-cityscapes")
    assert isinstance(settings, SourceOnly)
    assert isinstance(other, AdaptSegNet)
    assert (settings.pair, settings.source, settings.augment, settings.model) == (
        *(other.pair, other.source, other.augment, other.model),
    )


def test_transformer_differs_in_network_and_optimiser_alone():
    settings = made("drsl", "gta5-cityscapes-mitb5")
    assert isinstance(settings, Drsl)
    changed = differences(settings, made("drsl", "gta5-cityscapes"))
    assert {name.split(".")[0] for name in changed} == {"model", "source", "adapt"}
    assert (settings.model.backbone, settings.model.output_stride) == ("mit_b5", 32)
    assert settings.adapt.lr / settings.source.lr == pytest.approx(Drsl().adapt.lr / Drsl().source.lr)


@pytest.mark.parametrize(("name", "preset"), FULL_SIZE)
def test_images_are_read_at_the_sizes_of_the_code_that_the_method_follows(name, preset):
    pair = made(name, preset).pair
    whole = name in ALIGNMENT or preset.endswith("adaptsegnet")
    gta5 = preset.startswith("gta5")
    assert pair.size_of(pair.target) == pair.size_of(pair.evaluation) == ((512, 1024) if whole else (0, 0))
    if name == "oracle":
        assert pair.source == pair.target
    elif whole:
        assert pair.size_of(pair.source) == ((720, 1280) if gta5 else (760, 1280))
    else:
        assert pair.size_of(pair.source) == ((1052, 1914) if gta5 else (0, 0))
    assert pair.label_space == ("cityscapes19" if gta5 else "cityscapes16")
    assert (pair.target.split, pair.evaluation.split) == ("train", "val")


def test_lane_markings_are_road_where_the_code_takes_them_for_it():
    assert made("crst", "synthia-cityscapes").pair.source.lane_marking == "road"
    assert made("advent", "synthia-cityscapes").pair.source.lane_marking == "ignore"


@pytest.mark.parametrize(("name", "preset"), FULL_SIZE)
def test_a_silently_random_network_is_refused_with_the_file_and_what_to_do(name, preset):
    settings = made(name, preset)
    (complaint,) = [line for line in settings.problems() if line.startswith("model.weights")]
    assert complaint.count("\n") == 0
    assert PUBLISHED[settings.model.wanted].what in complaint
    assert "--model.weights none" in complaint


def test_weights_none_by_name_are_allowed(tmp_path):
    base = made("drsl", "gta5-cityscapes")
    named = dataclasses.replace(base, model=dataclasses.replace(base.model, weights="none"))
    assert not [line for line in named.problems() if line.startswith("model.weights")]


def test_the_command_line_lists_missing_data_and_weights_together(tmp_path):
    flags = RunFlags(preset="gta5-cityscapes")
    with pytest.raises(UserError) as caught:
        cli._settings(Drsl, drsl.PRESETS, flags, {"root": str(tmp_path)}, [])
    assert [line.split(":")[0] for line in caught.value.details] == [
        *("source", "target", "evaluation", "model.weights"),
    ]


def test_weights_that_no_preset_can_require_are_refused():
    settings = dataclasses.replace(Drsl(), model=SegmenterSettings(weights="required:resnet102"))
    (complaint,) = settings.problems()
    assert "required:resnet102" in complaint
    assert "resnet101-caffe" in complaint
