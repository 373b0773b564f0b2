"""The tasks of a translation, its shards after damage, and what its report shows; no Ray needed."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from domains.base.errors import DataError
from domains.base.settings import DomainSettings, IsaSettings, PairSettings
from domains.stores.translations import Translations
from models.settings import TranslatorSettings
from orchestrator.base.errors import StageFailed
from orchestrator.base.progress import Progress
from orchestrator.contract.settings import ComputeSettings
from orchestrator.contract.stages import Panels, Train, Translation
from orchestrator.mapreduce import panels, translation
from orchestrator.report.page import write_report
from orchestrator.report.summary import build_summary, show_result, show_summary
from orchestrator.run.context import Context, open_domains
from orchestrator.run.fingerprint import fingerprints_of
from orchestrator.run.folder import finish_stage
from orchestrator.train.loop import NETWORKS
from pipelines.drsl import PRESETS
from pipelines.translate import Translate

SIZE = (32, 66)
METHOD = Translate(
    pair=PairSettings(
        source=DomainSettings(count=5),
        target=DomainSettings(style="street", count=3),
        evaluation=DomainSettings(kind="none"),
        height=SIZE[0],
        width=SIZE[1],
    ),
    translator=TranslatorSettings(width=4, blocks=1, judge_width=4),
    compute=ComputeSettings(tasks=2, precision="fp32"),
    panels=2,
)


@pytest.fixture
def done(monkeypatch) -> list[str]:
    """Names of the tasks that are carried out, here and one after the other."""
    names: list[str] = []

    def run_tasks(function, items, _compute, _name, on_result=lambda _index, _result: None):
        results = []
        for index, item in enumerate(items):
            names.append(function.__name__)
            results.append(function(item))
            on_result(index, results[-1])
        return results

    for module in (translation, panels):
        monkeypatch.setattr(module, "run_tasks", run_tasks)
    return names


@pytest.fixture
def context(tmp_path, done) -> Context:
    """A run whose translator has been trained, all but."""
    progress = Progress(Console(file=io.StringIO(), width=200))
    context = Context(method=METHOD, domains=open_domains(METHOD), run=tmp_path, progress=progress)
    for number, name in enumerate(("translator", "translation", "panels")):
        context.folders[name] = tmp_path / "stages" / f"{number:02d}-{name}"
        context.folders[name].mkdir(parents=True)
    network = METHOD.networks(12)["to_target"]
    with torch.no_grad():  # as drawn, it makes everything grey
        for parameter in network.parameters():
            parameter.mul_(8)
    (context.folders["translator"] / NETWORKS).mkdir()
    save_file(network.state_dict(), context.folders["translator"] / NETWORKS / "to_target.safetensors")
    finish_stage(context.folders["translator"], "fingerprint", {})
    return context


def translate(context: Context) -> dict:
    _, stage, _ = METHOD.stages(context.domains.sizes)
    assert isinstance(stage, Translation)
    context.results["translation"] = translation.run(stage, context)
    return context.results["translation"]


def pixels(images: list[torch.Tensor]) -> np.ndarray:
    return np.concatenate([image.flatten(1).numpy() for image in images], axis=1).astype(np.float64)


def test_every_source_image_is_translated_as_the_network_does(context):
    result, source = translate(context), context.domains.source
    store = Translations(context.folders["translation"])
    assert store.ids == source.ids
    assert (store.manifest.height, store.manifest.width) == SIZE
    (part, *_) = translation.make_parts(METHOD.stages(context.domains.sizes)[1], context)  # type: ignore[arg-type]
    network = translation.load_network(part)
    originals = [source.sample(index).image for index in range(5)]
    with torch.inference_mode():
        moved = [(network(image[None].float() / 255)[0] * 255).round().byte() for image in originals]
    for id, image in zip(source.ids, moved, strict=True):
        # Layouts in memory differ, and with them the last bits of a sum.
        assert (store.image(id).int() - image.int()).abs().max() <= 1
    kept = [store.image(id) for id in source.ids]
    target = [context.domains.target.sample(index).image for index in range(3)]
    for name, images in (("source", originals), ("translated", kept), ("target", target)):
        assert result["colours"][name]["mean"] == pytest.approx(pixels(images).mean(1))
        assert result["colours"][name]["deviation"] == pytest.approx(pixels(images).std(1))
    for name, images in (("source", originals), ("translated", kept)):
        apart = [pixels(images).mean(1) - pixels(target).mean(1), pixels(images).std(1) - pixels(target).std(1)]
        assert result["distance"][name] == pytest.approx(np.linalg.norm(apart))


def test_only_shards_that_are_missing_damaged_or_of_another_translator_are_made_again(context, done):
    first = translate(context)
    folder = context.folders["translation"]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    shards = sorted(folder.glob("*.arrow"))
    assert [done.count(name) for name in ("translate_part", "count_colours")] == [len(shards), len(shards) + 2]
    assert len(shards) == 2

    def again() -> int:
        done.clear()
        assert translate(context) == first
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        return done.count("translate_part")

    assert again() == 0
    shards[1].unlink()
    assert again() == 1
    shards[0].write_bytes(shards[0].read_bytes()[:-100])
    (folder / "manifest.json").unlink()
    assert again() == 1
    weights = context.folders["translator"] / NETWORKS / "to_target.safetensors"
    save_file(METHOD.networks(12)["to_target"].state_dict(), weights)
    finish_stage(context.folders["translator"], "another", {})
    done.clear()
    assert translate(context) != first
    assert done.count("translate_part") == 2


def test_summary_and_report_show_colours_and_pictures_and_no_number_of_a_segmentation(context):
    stages = METHOD.stages(context.domains.sizes)
    result = translate(context)
    assert isinstance(stages[2], Panels)
    assert panels.run(stages[2], context) == {"images": 2}
    summary = json.loads(json.dumps(build_summary(stages, context)))
    assert summary["translation"] == json.loads(json.dumps(result))
    assert not {"source_only", "adapted"} & set(summary)
    assert summary["protocol"]["name"] == "not measured"
    show_result(stages[1], result, context)
    show_summary(summary, context.progress)
    printed = context.progress.console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{result['distance']['source']:.1f} grey values from the target's" in printed
    assert "mIoU" not in printed
    (context.run / "summary.json").write_text(json.dumps(summary))
    page = write_report(context.run).read_text()
    assert "mIoU" not in page
    for moments in result["colours"].values():
        for mean, deviation in zip(moments["mean"], moments["deviation"], strict=True):
            assert f"{mean:.1f} ± {deviation:.1f}" in page
    assert page.count("data:image/png;base64,") == 8


def test_adaptation_depends_on_the_content_of_the_translations_it_uses(context):
    translate(context)
    used = IsaSettings(translator="run", run=str(context.run), ratio=0.5)

    def fingerprints(isa: IsaSettings) -> dict[str, str]:
        method = dataclasses.replace(PRESETS["toy"](), isa=isa)
        return fingerprints_of(method.stages(context.domains.sizes), method)

    before, unused = fingerprints(used), fingerprints(dataclasses.replace(used, ratio=0.0))
    weights = context.folders["translator"] / NETWORKS / "to_target.safetensors"
    save_file(METHOD.networks(12)["to_target"].state_dict(), weights)
    finish_stage(context.folders["translator"], "another", {})
    translate(context)
    after = fingerprints(used)
    assert before["source"] == after["source"]
    assert before["adapt-0"] != after["adapt-0"]
    assert fingerprints(dataclasses.replace(used, ratio=0.0)) == unused
    (context.folders["translation"] / "manifest.json").unlink()
    with pytest.raises(DataError, match="holds no finished"):
        fingerprints(used)


def test_fingerprints_see_the_domains_that_a_translation_reads():
    def fingerprints(**changes: object) -> dict[str, str]:
        method = dataclasses.replace(METHOD, pair=dataclasses.replace(METHOD.pair, **changes))
        return fingerprints_of(method.stages(context_sizes), method)

    context_sizes = open_domains(METHOD).sizes
    before = fingerprints()
    for side, count in (("source", 4), ("target", 2)):
        changed = fingerprints(**{side: dataclasses.replace(getattr(METHOD.pair, side), count=count)})
        assert not set(before.values()) & set(changed.values())
    assert isinstance(METHOD.stages(context_sizes)[0], Train)


def test_weights_that_changed_after_their_stage_had_finished_translate_nothing(context):
    weights = context.folders["translator"] / NETWORKS / "to_target.safetensors"
    translation_stage = METHOD.stages(context.domains.sizes)[1]
    (part, *_) = translation.make_parts(translation_stage, context)  # type: ignore[arg-type]
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(
        StageFailed, match=r"to_target\.safetensors was damaged or changed after its stage had finished"
    ):
        translate(context)
    with pytest.raises(StageFailed, match=r"to_target\.safetensors was damaged or changed while it was in use"):
        translation.load_network(part)
    assert not list(context.folders["translation"].iterdir())
