"""summary.json: every number in its place, time over all sessions, and warnings that are due."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import pytest
from rich.console import Console

from domains.base.settings import DomainSettings
from domains.metrics.class_rules import RULES
from orchestrator.base.progress import Progress
from orchestrator.contract.config import config_of
from orchestrator.contract.settings import ComputeSettings, ProtocolSettings
from orchestrator.contract.stages import Evaluate, Label, Stage
from orchestrator.report.summary import build_summary, show_result, show_summary
from orchestrator.run.context import Context, open_domains
from orchestrator.run.folder import RunFolder
from pipelines.drsl import PRESETS
from pipelines.oracle import PRESETS as ORACLES
from pipelines.selftraining import PseudoSettings


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200, markup=False)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def context(tmp_path, console):
    method = dataclasses.replace(PRESETS["toy"](), pseudo=PseudoSettings(rounds=3))
    context = Context(method=method, domains=open_domains(method), run=tmp_path, progress=Progress(console))
    for stage in method.stages(context.domains.sizes):
        context.results[stage.name] = result_of(stage, context)
    return context


def result_of(stage: Stage, context: Context) -> dict[str, Any]:
    classes = context.domains.space.classes
    if isinstance(stage, Evaluate):
        value = 0.5 + 0.1 * stage.round
        return {"protocol": "toycity12-single-scale", "miou": value, "iou": dict.fromkeys(classes, value)}
    if isinstance(stage, Label):
        return {
            "thresholds": dict.fromkeys(classes, 0.9),
            "coverage": stage.portion,
            "selected": dict.fromkeys(classes, stage.portion),
            "self_entropy": 3.0,
            "pseudo_label_miou": 0.6,
            "pseudo_label_accuracy": dict.fromkeys(classes, 0.8),
        }
    return {}


def summary_of(context: Context) -> dict[str, Any]:
    return build_summary(context.method.stages(context.domains.sizes), context)


def test_every_result_is_in_its_place(context):
    summary = summary_of(context)
    assert summary["source_only"]["miou"] == pytest.approx(0.4)
    assert summary["adapted"]["miou"] == pytest.approx(0.7)
    assert [r["round"] for r in summary["rounds"]] == [0, 1, 2]
    assert [r["portion"] for r in summary["rounds"]] == pytest.approx([0.2, 0.25, 0.3])
    assert [r["adapted_miou"] for r in summary["rounds"]] == pytest.approx([0.5, 0.6, 0.7])
    assert summary["rounds"][1]["pseudo_label_miou"] == 0.6
    assert summary["warnings"] == []
    assert summary["oracle"] is False
    assert (summary["schema"], summary["method"], summary["title"], summary["seed"]) == (1, "drsl", "DRSL+", 0)


def test_summary_is_json_and_names_its_protocol(context):
    summary = json.loads(json.dumps(summary_of(context)))
    assert summary["protocol"]["classes"] == list(context.domains.space.classes)
    assert summary["protocol"]["flip"] is False
    assert summary["protocol"]["name"] == "toycity12-single-scale"
    assert summary["protocol"]["size"] == [128, 256]
    assert set(summary["palette"]) == set(summary["protocol"]["classes"])


def test_summary_under_a_rule_of_cityscapes_holds_its_classes_alone(tmp_path, console):
    toy = PRESETS["toy"]()
    pair = dataclasses.replace(toy.pair, label_space="cityscapes19")
    method = dataclasses.replace(toy, pair=pair, protocol=ProtocolSettings(classes="13", flip=True))
    context = Context(method=method, domains=open_domains(method), run=tmp_path, progress=Progress(console))
    classes = RULES["13"].classes(context.domains.space)
    for stage in method.stages(context.domains.sizes):
        context.results[stage.name] = result_of(stage, context)
        if isinstance(stage, Evaluate):
            context.results[stage.name]["iou"] = dict.fromkeys(classes, 0.5 + 0.1 * stage.round)
    summary = summary_of(context)
    assert summary["protocol"]["name"] == "cityscapes19-13-flip"
    assert tuple(summary["protocol"]["classes"]) == tuple(summary["adapted"]["iou"]) == classes
    assert summary["warnings"] == []
    show_summary(summary, context.progress)
    lines = text_of(console).splitlines()
    assert "cityscapes19-13-flip" in lines[0]
    assert "wall" not in {line.split()[0] for line in lines if line.strip()}


def test_oracle_has_no_source_only_and_is_marked(tmp_path, console):
    method = ORACLES["toy"]()
    context = Context(method=method, domains=open_domains(method), run=tmp_path, progress=Progress(console))
    for stage in method.stages(context.domains.sizes):
        context.results[stage.name] = result_of(stage, context)
    summary = summary_of(context)
    assert summary["oracle"] is True
    assert "source_only" not in summary
    assert "adapted" in summary
    assert summary["rounds"] == []
    show_summary(summary, context.progress)
    assert "trained on target labels" in text_of(console)


def test_seconds_add_up_over_the_sittings_of_a_stage(context):
    home = RunFolder(context.run)
    home.record("started", stage="source", fingerprint="x")
    home.record("interrupted", stage="source", seconds=1.25)
    home.record("started", stage="source", fingerprint="x")
    home.record("finished", stage="source", seconds=2.5)
    home.record("finished", stage="adapt-0", seconds=0.5)
    home.record("reused", stage="label-0", origin="elsewhere")
    home.close()
    assert summary_of(context)["seconds"] == {"source": pytest.approx(3.75, abs=0.1), "adapt-0": 0.5}


@pytest.mark.parametrize("share", [0.0, None])
def test_class_without_any_pseudo_label_is_warned_of(share, context):
    context.results["label-1"]["selected"] |= {"road": share, "sky": share}
    (warning,) = summary_of(context)["warnings"]
    assert warning == "label-1: no pixel was labelled as road, sky"


def test_workers_that_were_missing_for_a_while_are_told(context):
    method = dataclasses.replace(context.method, compute=ComputeSettings(workers=4))
    context = dataclasses.replace(context, method=method)
    context.results["source"]["workers"] = [4]
    context.results["adapt-0"]["workers"] = [4, 2]
    (warning,) = summary_of(context)["warnings"]
    assert warning == (
        "adapt-0: trained by 4, then 2 of 4 workers; the batch stayed the same, the last digits may differ"
    )


def test_collapse_of_a_class_is_warned_of(context):
    context.results["evaluate-0"]["iou"]["car"] = 0.10
    context.results["source-only"]["iou"]["car"] = 0.05
    for number in (1, 2):
        context.results[f"evaluate-{number}"]["iou"]["car"] = 0.009
    (warning,) = summary_of(context)["warnings"]
    assert warning == "car: IoU fell from 0.10 to 0.01 (class collapse)"


@pytest.mark.parametrize("course", [(0.09, 0, 0, 0), (0.5, 0, 0, 0.02), (None, None, None, None), (0.0, 0.0, 0.0, 0.5)])
def test_class_that_was_never_good_or_came_back_has_not_collapsed(course, context):
    for name, value in zip(("source-only", "evaluate-0", "evaluate-1", "evaluate-2"), course, strict=True):
        context.results[name]["iou"]["car"] = value
    assert summary_of(context)["warnings"] == []


def test_closing_table_shows_before_after_and_gain(context, console):
    context.results["source-only"]["iou"]["rider"] = None
    show_summary(summary_of(context), context.progress)
    lines = text_of(console).splitlines()
    assert "60 images" in lines[0]
    assert lines[1].split() == ["class", "source-only", "DRSL+", "gain"]
    assert ["road", "0.400", "0.700", "+0.300"] in [line.split() for line in lines]
    assert ["rider", "absent", "0.700"] in [line.split() for line in lines]
    assert lines[-1].split() == ["mean", "IoU", "0.400", "0.700", "+0.300"]


def test_results_are_told_as_they_come(context, console):
    for stage in context.method.stages(context.domains.sizes):
        show_result(stage, context.results[stage.name], context)
    lines = text_of(console).splitlines()
    assert lines[0] == "source-only: mIoU 0.400 on 60 images (toycity12-single-scale)"
    assert lines[1] == "label-0: 20.0% of the target's pixels labelled, mIoU of the labels 0.600"


def test_run_without_evaluation_domain_tells_its_rounds_and_no_result(tmp_path, console):
    method = PRESETS["toy"]()
    method = dataclasses.replace(method, pair=dataclasses.replace(method.pair, evaluation=DomainSettings(kind="none")))
    context = Context(method=method, domains=open_domains(method), run=tmp_path, progress=Progress(console))
    stages: list[Stage] = [stage for stage in method.stages(context.domains.sizes) if not isinstance(stage, Evaluate)]
    context.results.update({stage.name: result_of(stage, context) for stage in stages})
    summary = json.loads(json.dumps(build_summary(stages, context)))
    assert not {"source_only", "adapted"} & summary.keys()
    assert summary["pair"]["evaluation"] == "none: nothing was measured"
    assert summary["protocol"]["name"] == "not measured"
    assert [(r["adapted_miou"], r["pseudo_label_miou"]) for r in summary["rounds"]] == [(None, 0.6), (None, 0.6)]
    assert summary["warnings"] == []
    show_summary(summary, context.progress)
    assert text_of(console) == "No evaluation domain: nothing was measured; look at the pictures in the report.\n"


def test_round_without_truth_is_told_without_its_quality(context, console):
    stage = next(s for s in context.method.stages(context.domains.sizes) if isinstance(s, Label))
    show_result(stage, {**context.results[stage.name], "pseudo_label_miou": None}, context)
    assert text_of(console) == "label-0: 20.0% of the target's pixels labelled\n"


def test_config_is_plain_data_and_names_the_method():
    config = config_of(PRESETS["toy"]())
    assert config["method"] == "drsl"
    assert config["model"]["dilations"] == [2, 4, 6, 8]
    assert json.loads(json.dumps(config)) == config
