"""The report of a run folder: complete, safe, self-contained, and the same each time."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.report.charts import smooth
from orchestrator.report.data import read_metrics
from orchestrator.report.page import write_report

PALETTE = {
    "road": [128, 64, 128],
    "sidewalk": [244, 35, 232],
    "building": [70, 70, 70],
    "fence": [190, 153, 153],
    "pole": [153, 153, 153],
    "traffic sign": [220, 220, 0],
    "vegetation": [107, 142, 35],
    "sky": [70, 130, 180],
    "person": [220, 20, 60],
    "rider": [255, 0, 0],
    "car": [0, 0, 142],
    "bicycle": [119, 11, 32],
}
BEFORE = [0.842, 0.381, 0.553, 0.121, 0.156, 0.094, 0.617, 0.803, 0.187, 0.052, 0.401, None]
AFTER = [0.913, 0.527, 0.668, 0.143, 0.231, 0.318, 0.702, 0.894, 0.342, 0.031, 0.588, None]
COLUMNS = ("image", "truth", "source-only", "pseudo-label (round 2)", "adapted")


def scores(values: list[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {"miou": float(np.mean(known)), "iou": dict(zip(PALETTE, values, strict=True))}


def full_summary() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    rounds = []
    for number in range(3):
        sure = {name: round(float(rng.uniform(0.55, 0.999)), 4) for name in PALETTE}
        rounds.append(
            {
                "round": number,
                "portion": 0.2 + 0.05 * number,
                "thresholds": sure,
                "coverage": 0.187 + 0.052 * number,
                "selected": {name: float(rng.uniform(0.15, 0.35)) for name in PALETTE},
                "pseudo_label_miou": 0.589 + 0.031 * number,
                "pseudo_label_accuracy": {name: float(rng.uniform(0.4, 0.99)) for name in PALETTE},
                "self_entropy": 12.34 / (number + 1),
                "adapted_miou": 0.402 + 0.04 * number,
            }
        )
    return {
        "schema": 1,
        "name": "drsl-toy-0",
        "method": "drsl",
        "title": "DRSL+",
        "preset": "toy",
        "seed": 0,
        "oracle": False,
        "pair": {
            "source": "toycity game/train (400 images)",
            "target": "toycity street/train (400 images)",
            "evaluation": "toycity street/val (100 images)",
        },
        "protocol": {
            "name": "toycity12-single-scale",
            "classes": list(PALETTE),
            "ignore": "255",
            "resolution": "prediction 128x256, labels 128x256",
            "flip": False,
            "scales": [1.0],
            "checkpoint": "last",
        },
        "source_only": scores(BEFORE),
        "adapted": scores(AFTER),
        "rounds": rounds,
        "seconds": {
            "source": 40.13,
            "eval-source": 3.2,
            "label-0": 5.9,
            "adapt-0": 65.0,
            "adapt-1": 64.0,
            "adapt-2": 4000.0,
        },
        "warnings": ["rider: IoU fell from 5.2 % to 3.1 % in round 2."],
        "palette": PALETTE,
    }


def log_lines() -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    lines: list[dict[str, Any]] = []
    for stage, count in {"source": 300, "mmdl": 100, "adapt-0": 200, "adapt-1": 200, "adapt-2": 200}.items():
        for step in range(2, count + 1, 2):
            fall = np.exp(-step / 80)
            line = {"stage": stage, "step": step, "lr": 2.5e-4 * (1 - step / (count + 1)) ** 0.9}
            line["seg_source"] = float((2.2 * fall + 0.3) * rng.lognormal(0, 0.15))
            if stage != "source":
                line["triplet"] = float((0.5 * fall + 0.2) * rng.lognormal(0, 0.3))
                line["mixture"] = float(1.5 + fall + rng.normal(0, 0.1))
            if stage.startswith("adapt"):
                line["seg_target"] = float((0.8 * fall + 0.1) * rng.lognormal(0, 0.25))
                line["consistency"] = float((0.3 * fall + 0.05) * rng.lognormal(0, 0.4))
            lines.append(line)
        lines.append({"stage": f"eval-{stage}", "miou": 0.35 + 0.01 * len(lines) / 100, "iou": {"road": 0.8}})
    return lines


def street(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A street seen from a car, 128x256: its class ids (255: ignore) and its image."""
    rng = np.random.default_rng(seed)
    classes = list(PALETTE)
    label = np.full((128, 256), classes.index("sky"), np.uint8)
    x = 0
    while x < 256:
        wide, top = int(rng.integers(20, 60)), int(rng.integers(15, 50))
        label[top:80, x : x + wide] = classes.index(str(rng.choice(["building", "vegetation"])))
        x += wide
    label[72:82] = classes.index("sidewalk")
    label[80:] = classes.index("road")
    for kind, size in (("car", (22, 40)), ("person", (26, 8)), ("pole", (60, 3)), ("traffic sign", (8, 8))):
        y, x = int(rng.integers(20, 70)), int(rng.integers(0, 210))
        label[y : y + size[0], x : x + size[1]] = classes.index(kind)
    label[120:] = 255
    shade = np.array([*PALETTE.values(), *[[0, 0, 0]] * (256 - len(PALETTE))], np.float64)[label] * 0.5 + 70
    return label, (shade + rng.normal(0, 12, shade.shape)).clip(0, 255).astype(np.uint8)


def write_panels(folder: Path) -> None:
    folder.mkdir(parents=True)
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(PALETTE)] = list(PALETTE.values())
    index = []
    for seed in range(3):
        label, image = street(seed)
        rng, columns = np.random.default_rng(seed), []
        for place, title in enumerate(COLUMNS):
            drawn = image if place == 0 else colours[label]
            if place == 2:
                wrong = rng.integers(0, 12, (16, 32), np.uint8).repeat(8, 0).repeat(8, 1)
                drawn = colours[np.where(rng.random((16, 32)).repeat(8, 0).repeat(8, 1) < 0.3, wrong, label)]
            if place == 3:
                drawn = drawn * (rng.random((32, 64)).repeat(4, 0).repeat(4, 1) < 0.4)[..., None]
            file = f"{seed}-{place}.png"
            Image.fromarray(drawn.astype(np.uint8)).save(folder / file)
            columns.append({"title": title, "file": file})
        index.append({"id": f"street-train-{seed:05d}", "columns": columns})
    (folder / "index.json").write_text(json.dumps(index))


def write_full_run(run: Path) -> Path:
    run.mkdir(parents=True)
    (run / "summary.json").write_text(json.dumps(full_summary()))
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log_lines()))
    (run / "config.yaml").write_text("method: drsl\nseed: 0\nrounds: 3\ntarget:\n  style: street\n")
    environment = {"versions": {"python": "3.11.2", "torch": "2.13.0+cpu", "ray": "2.60.0"}, "world_size": 2}
    (run / "environment.json").write_text(json.dumps(environment | {"devices": ["cpu", "cpu"], "gpu": None}))
    write_panels(run / "panels")
    return run


def write_small_run(run: Path, **changes: Any) -> Path:
    """A run without curves, rounds and pictures, so that few charts are drawn."""
    run.mkdir(parents=True)
    (run / "summary.json").write_text(json.dumps(full_summary() | {"rounds": []} | changes))
    return run


def write_minimal_run(run: Path) -> Path:
    """A supervised run on images without labels: nothing measured, nothing logged."""
    run.mkdir(parents=True)
    summary = {"schema": 1, "name": "source-0", "method": "source", "seconds": {"source": None}}
    empty = {"miou": None, "iou": {"road": None, "sky": None}}
    (run / "summary.json").write_text(json.dumps(summary | {"adapted": empty}))
    return run


class Page(HTMLParser):
    """What a browser would see: the words, the tags, and every attribute."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(word for word in self.words if word)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(write_full_run(tmp_path_factory.mktemp("runs") / "drsl-toy-0")).read_text("utf-8")


def numbers_of(value: Any) -> list[float]:
    """Every number in a part of the summary."""
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers_of(inner)]
    return [] if value is None else [value]


def test_every_number_of_the_summary_is_in_the_text(html: str) -> None:
    text, summary = Page(html).text, full_summary()
    for part in ("source_only", "adapted"):
        for value in numbers_of(summary[part]):
            assert f"{100 * value:.1f}" in text
    for a_round in summary["rounds"]:
        for name in ("portion", "coverage", "pseudo_label_miou", "adapted_miou"):
            assert f"{100 * a_round[name]:.1f}" in text
        assert f"{a_round['self_entropy']:.4g}" in text
        for value in a_round["thresholds"].values():
            assert f"{value:.4f}" in text
        for value in (*a_round["selected"].values(), *a_round["pseudo_label_accuracy"].values()):
            assert f"{100 * value:.1f}" in text
    for duration in ("40.1 s", "3.2 s", "5.9 s", "1 min 05 s", "1 min 04 s", "1 h 06 min"):
        assert duration in text


def test_more_pixels_labelled_than_predicted_as_a_class_are_explained(tmp_path: Path) -> None:
    run, name = write_full_run(tmp_path / "rescaled"), next(iter(PALETTE))
    summary = full_summary()
    summary["rounds"][0]["selected"][name] = 11.0
    (run / "summary.json").write_text(json.dumps(summary))
    text = Page(write_report(run).read_text("utf-8")).text
    assert "1100.0" in text
    assert "Above 100 where the selection gave it pixels that the network took for other classes." in text


def test_page_names_run_protocol_warning_and_environment(html: str) -> None:
    text, summary = Page(html).text, full_summary()
    for words in (*summary["pair"].values(), summary["protocol"]["resolution"], *summary["warnings"]):
        assert words in text
    assert "Protocol toycity12-single-scale" in text
    for words in ("DRSL+", "preset toy", "seed 0", "versions.torch", "2.13.0+cpu", "cpu, cpu", "rounds: 3"):
        assert words in text
    assert "python pipelines/drsl.py --config runs/drsl-toy-0/config.yaml" in text
    assert "none, the whole image at once" in text
    assert "black: ignored" in text
    assert "absent" in text


def test_page_names_every_part_of_the_protocol(tmp_path: Path) -> None:
    content = full_summary()
    content["protocol"] |= {"scales": [0.9, 1.0], "flip": True, "window": [512, 1024], "stride": [256, 512]}
    content["protocol"] |= {"mean": "of these 16", "ignore": "255, terrain, truck, train in the ground truth"}
    (tmp_path / "summary.json").write_text(json.dumps(content))
    text = Page(write_report(tmp_path).read_text()).text
    assert "512x1024 pixels every 256x512 (height x width), logits averaged where windows overlap" in text
    assert "0.9, 1.0; averaged with the mirrored image" in text
    assert "of these 16" in text
    assert "255, terrain, truck, train in the ground truth" in text


def test_differences_carry_their_sign(html: str) -> None:
    text = Page(html).text
    assert "bicycle absent absent –" in text
    assert "rider 5.2 3.1 −2.1" in text
    assert "traffic sign 9.4 31.8 +22.4" in text


def test_page_loads_nothing_from_elsewhere(html: str) -> None:
    page = Page(html)
    assert not {"script", "iframe", "object", "embed", "link", "base"} & set(page.tags)
    for tag, name, value in page.attributes:
        if name in ("src", "href", "srcset", "action", "data"):
            assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value[:60])
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}


def test_ids_are_unique_and_every_reference_has_its_id(html: str) -> None:
    attributes = Page(html).attributes
    ids = [value for _, name, value in attributes if name == "id"]
    used = [value[1:] for _, name, value in attributes if name == "href"] + re.findall(r"url\(#([^)]+)\)", html)
    assert len(ids) == len(set(ids))
    assert used
    assert set(used) <= set(ids)


def test_every_logged_value_has_a_chart_with_text_as_text(html: str) -> None:
    charts = [value for tag, name, value in Page(html).attributes if (tag, name) == ("svg", "aria-label")]
    for name in ("learning rate", "seg source", "seg target", "triplet", "mixture", "consistency"):
        assert charts.count(name) == 1
    assert re.search(r"<text[^>]*>traffic sign</text>", html)


def test_report_is_the_same_bytes_each_time(tmp_path: Path, html: str) -> None:
    path = write_report(write_full_run(tmp_path / "again"))
    assert path == tmp_path / "again" / "report.html"
    assert path.read_text("utf-8") == html
    assert not list(path.parent.glob(".report*"))


HOSTILE = "<script>alert(1)</script>"


def test_hostile_names_are_shown_as_words_in_page_and_charts(tmp_path: Path) -> None:
    def poison(value: Any) -> Any:
        if isinstance(value, dict):
            return {HOSTILE if name == "road" else name: poison(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [poison(inner) for inner in value]
        return HOSTILE if value in ("road", "DRSL+", "toy") or "toycity" in str(value) else value

    summary = poison(full_summary()) | {"warnings": [HOSTILE, '" onload="alert(1)'], "name": f"'; {HOSTILE}"}
    run = write_small_run(tmp_path / "run", **summary)
    (run / "config.yaml").write_text(f"title: '{HOSTILE}'\n")
    (run / "environment.json").write_text(json.dumps({HOSTILE: [HOSTILE]}))
    (run / "metrics.jsonl").write_text(json.dumps({"stage": HOSTILE, "step": 1, HOSTILE: 1.0}))
    html = write_report(run).read_text("utf-8")
    page = Page(html)
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert re.search(r"<text[^>]*>&lt;script&gt;alert\(1\)&lt;/script&gt;</text>", html)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


@pytest.mark.parametrize("name", ["$x^$", "$\\frac{1}$", "道路", "a\x00b", "\ud800", "x" * 300, "", 'id="figure_1"'])
def test_any_class_name_can_be_drawn(tmp_path: Path, name: str) -> None:
    run = write_small_run(tmp_path / "run", adapted={"miou": 0.5, "iou": {name: 0.5}}, source_only=None)
    html = write_report(run).read_text("utf-8")
    assert f">{name}</th>".translate({0: "\ufffd", 0xD800: "\ufffd"}) in unescape(html)


def test_run_without_any_measurement_still_has_a_page(tmp_path: Path) -> None:
    page = Page(write_report(write_minimal_run(tmp_path / "run")).read_text("utf-8"))
    assert "could not be measured" in page.text
    assert "nan" not in page.text.lower()
    assert "road absent" in page.text
    assert "The environment was not recorded." in page.text
    for heading in ("Rounds", "Pictures", "Training curves", "warning"):
        assert heading not in page.text
    assert "svg" not in page.tags


def test_run_without_evaluation_domain_shows_its_rounds_and_pictures_and_no_result(tmp_path: Path) -> None:
    run = write_full_run(tmp_path / "run")
    summary = {name: value for name, value in full_summary().items() if name not in ("source_only", "adapted")}
    summary["pair"]["evaluation"] = "none: nothing was measured"
    summary["rounds"] = [{**a_round, "adapted_miou": None} for a_round in summary["rounds"]]
    (run / "summary.json").write_text(json.dumps(summary))
    page = Page(write_report(run).read_text("utf-8"))
    for words in ("could not be measured", "none: nothing was measured", "Confidence threshold", "street-train-00001"):
        assert words in page.text
    assert "adapted to toycity street/train (400 images) without a label" in page.text
    for words in ("difference", "went from", "nan"):
        assert words not in page.text.lower()


def test_supervised_run_shows_one_result_and_no_difference(tmp_path: Path) -> None:
    run = write_small_run(tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    summary["result"] = summary.pop("adapted")
    del summary["source_only"]
    (run / "summary.json").write_text(json.dumps(summary))
    text = Page(write_report(run).read_text("utf-8")).text
    assert "mIoU in %, result" in text
    assert "source-only trained" not in text
    assert "difference" not in text


def test_run_without_adaptation_is_judged_by_its_source_only_network(tmp_path: Path) -> None:
    text = Page(write_report(write_small_run(tmp_path / "run", adapted=None)).read_text("utf-8")).text
    assert f"its mean intersection over union (mIoU, 100 is perfect) is {100 * scores(BEFORE)['miou']:.1f}" in text
    assert "adapted to" not in text
    assert "could not be measured" not in text


def test_rounds_without_target_labels_say_not_measured(tmp_path: Path) -> None:
    rounds = full_summary()["rounds"][:1]
    rounds[0] |= {"pseudo_label_miou": None, "pseudo_label_accuracy": None}
    text = Page(write_report(write_small_run(tmp_path / "run", rounds=rounds)).read_text("utf-8")).text
    assert "Confidence threshold" in text
    assert "Pseudo-labels that were right" not in text


def test_oracle_run_says_that_it_is_no_adaptation(tmp_path: Path, html: str) -> None:
    text = Page(write_report(write_small_run(tmp_path / "run", oracle=True)).read_text("utf-8")).text
    assert "Oracle run" in text
    assert "Oracle run" not in Page(html).text


def test_broken_side_files_become_warnings(tmp_path: Path) -> None:
    run = write_small_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text('{"stage": "a", "step": 1, "seg": 2.0}\n{"stage": "a", "st')
    (run / "environment.json").write_text("{")
    (run / "panels").mkdir()
    (run / "panels" / "index.json").write_text('[{"id": 1}]')
    text = Page(write_report(run).read_text("utf-8")).text
    assert "4 warnings" in text
    assert "metrics.jsonl: 1 unreadable line left out" in text
    assert "environment.json cannot be read" in text
    assert "panels/index.json cannot be read" in text


def test_only_png_files_inside_the_panel_folder_are_shown(tmp_path: Path) -> None:
    run = write_small_run(tmp_path / "run")
    write_panels(run / "panels")
    (tmp_path / "secret.png").write_bytes((run / "panels" / "0-0.png").read_bytes())
    (run / "panels" / "words.png").write_text("no picture")
    files = ["../../secret.png", str(tmp_path / "secret.png"), "words.png", "gone.png", "0-1.png"]
    columns = [{"title": "t", "file": file} for file in files]
    (run / "panels" / "index.json").write_text(json.dumps([{"id": "x", "columns": columns}]))
    page = Page(write_report(run).read_text("utf-8"))
    assert page.tags.count("img") == 1
    for file in files[:4]:
        assert f"{file} is missing" in page.text


def test_pictures_are_found_in_the_last_panel_stage(tmp_path: Path) -> None:
    run = write_small_run(tmp_path / "run")
    write_panels(run / "stages" / "07-panels")
    page = Page(write_report(run).read_text("utf-8"))
    assert page.tags.count("img") == 3 * len(COLUMNS)
    assert "pseudo-label (round 2)" in page.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        ("", "not valid JSON"),
        ('{"schema": 1, "na', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "the whole file"),
        ('{"schema": 2, "name": "a", "method": "b"}', "schema: "),
        ('{"schema": 1, "name": "a"}', "method: Field required"),
        (
            '{"schema": 1, "name": "a", "method": "b", "adapted": {"iou": {"road": "x"}}}',
            "adapted.iou.road: ",
        ),
        (
            '{"schema": 1, "name": "a", "method": "b", "palette": {"road": [0, 0, "red;"]}}',
            "palette.road.2: ",
        ),
    ],
)
def test_broken_summary_gives_one_clear_error(tmp_path: Path, content: str | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        write_report(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "summary.json"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_steps_run_on_from_stage_to_stage_and_count_once_after_a_restart(tmp_path: Path) -> None:
    lines = [("a", 10, 1.0), ("a", 20, 9.0), ("a", 20, 2.0), ("a", 30, float("nan")), ("b", 5, 4.0)]
    log = "".join(json.dumps({"stage": s, "step": n, "loss": v, "final": True}) + "\n" for s, n, v in lines)
    (tmp_path / "metrics.jsonl").write_text(log)
    metrics = read_metrics(tmp_path / "metrics.jsonl", [])
    assert list(metrics.curves) == ["loss"]
    first, second = metrics.curves["loss"]
    assert (first.steps, first.values) == ((10.0, 20.0), (1.0, 2.0))
    assert (second.steps, second.values) == ((35.0,), (4.0,))
    assert metrics.ends == {"a": 30.0, "b": 35.0}


def test_smoothing_equals_the_slow_mean_and_keeps_a_constant() -> None:
    values = np.random.default_rng(0).normal(size=100)
    half = 100 // 24
    slow = [values[max(i - half, 0) : i + half + 1].mean() for i in range(100)]
    np.testing.assert_allclose(smooth(values), slow, rtol=0, atol=1e-12)
    np.testing.assert_allclose(smooth(np.full(50, 3.0)), 3.0)
    np.testing.assert_array_equal(smooth(np.array([7.0])), [7.0])
