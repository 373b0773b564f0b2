"""summary.json: the numbers of a run in one stable, versioned file; and the short tables shown on the way."""

from __future__ import annotations

from typing import Any

from orchestrator.base.progress import Progress
from orchestrator.contract.stages import Evaluate, Label, Stage, Train, Translation
from orchestrator.run.context import Context, describe, protocol
from orchestrator.run.folder import ledger

SCHEMA = 1


def build_summary(stages: list[Stage], context: Context) -> dict[str, Any]:
    """Gather the results of the stages of a finished run."""
    method, domains = context.method, context.domains
    by_role = {s.role: context.results[s.name] for s in stages if isinstance(s, Evaluate) and s.role != "round"}
    translation = next((stage.name for stage in stages if isinstance(stage, Translation)), "")
    return {
        "schema": SCHEMA,
        "name": context.run.name,
        "method": method.name,
        "title": method.title,
        "preset": method.preset,
        "seed": method.seed,
        "oracle": method.oracle,
        "pair": {
            "source": describe(method.pair.source, len(domains.source)),
            "target": describe(method.pair.target, len(domains.target)),
            "evaluation": describe(method.pair.evaluation, len(domains.evaluation or ())),
        },
        "protocol": protocol(context),
        **{role: by_role[role] for role in ("source_only", "adapted") if role in by_role},
        **({"translation": context.results[translation]} if translation else {}),
        "rounds": [_round(stage, stages, context) for stage in stages if isinstance(stage, Label)],
        "palette": dict(zip(domains.space.classes, map(list, domains.space.palette), strict=True)),
        "seconds": _seconds(context),
        "warnings": _warnings(stages, context),
    }


def show_result(stage: Stage, result: dict[str, Any], context: Context) -> None:
    """Print what a stage found, if it found numbers."""
    if isinstance(stage, Evaluate):
        images = len(context.domains.evaluation or ())
        context.progress.say(f"{stage.name}: mIoU {result['miou']:.3f} on {images} images ({result['protocol']})")
    elif isinstance(stage, Label):
        measured = result["pseudo_label_miou"]
        quality = "" if measured is None else f", mIoU of the labels {measured:.3f}"
        context.progress.say(f"{stage.name}: {result['coverage']:.1%} of the target's pixels labelled{quality}")
    elif isinstance(stage, Translation):
        before, after = result["distance"]["source"], result["distance"]["translated"]
        context.progress.say(
            f"{stage.name}: {result['images']} source images; their colours were {before:.1f} grey values from the "
            f"target's, now {after:.1f}"
        )


def show_summary(summary: dict[str, Any], progress: Progress) -> None:
    """Print the closing table: IoU of each class before and after, or the colours of a translation."""
    if translation := summary.get("translation"):
        _show_colours(translation, progress)
        return
    before, after = summary.get("source_only"), summary.get("adapted")
    parts = [part for part in (before, after) if part]
    if not parts:
        progress.say("No evaluation domain: nothing was measured; look at the pictures in the report.")
        return
    columns = ["class", *(["source-only"] if before else []), *([summary["title"]] if after else [])]
    if before and after:
        columns.append("gain")

    def cells(values: list[float | None]) -> list[str]:
        shown = ["absent" if v is None else f"{v:.3f}" for v in values]
        if len(values) == 2:
            a, b = values
            shown.append("" if a is None or b is None else f"{b - a:+.3f}")
        return shown

    rows = [[name, *cells([part["iou"][name] for part in parts])] for name in summary["protocol"]["classes"]]
    rows.append(["mean IoU", *cells([part["miou"] for part in parts])])
    title = f"IoU on {summary['pair']['evaluation']} ({summary['protocol']['name']})"
    progress.table(title + (" - trained on target labels (oracle)" if summary["oracle"] else ""), columns, rows)


def _show_colours(translation: dict[str, Any], progress: Progress) -> None:
    """Print mean and deviation of every channel of each domain, and how far the target's are."""
    rows = []
    for name, moments in translation["colours"].items():
        pairs = zip(moments["mean"], moments["deviation"], strict=True)
        distance = translation["distance"].get(name)
        cells = (f"{mean:.1f} ± {deviation:.1f}" for mean, deviation in pairs)
        rows.append([name, *cells, "" if distance is None else f"{distance:.1f}"])
    columns = ["", "red", "green", "blue", "distance to the target"]
    progress.table("Colours in grey values of 0 to 255, mean ± standard deviation over pixels", columns, rows)


def _round(stage: Label, stages: list[Stage], context: Context) -> dict[str, Any]:
    after = next(
        (context.results[s.name]["miou"] for s in stages if isinstance(s, Evaluate) and s.round == stage.round), None
    )
    return {"round": stage.round, "portion": stage.portion, **context.results[stage.name], "adapted_miou": after}


def _seconds(context: Context) -> dict[str, float]:
    """Working time of each stage, over all the sessions it took."""
    total: dict[str, float] = {}
    for event in ledger(context.run):
        if "seconds" in event:
            total[event["stage"]] = round(total.get(event["stage"], 0.0) + event["seconds"], 1)
    return total


def _warnings(stages: list[Stage], context: Context) -> list[str]:
    found = [
        f"stages of this run were made with different versions: {'; '.join(event['changed'])}"
        for event in ledger(context.run)
        if event["event"] == "environment"
    ]
    asked = context.method.compute.workers
    for stage in stages:
        if isinstance(stage, Train) and (counts := context.results.get(stage.name, {}).get("workers", [])) not in (
            [],
            [asked],
        ):
            found.append(
                f"{stage.name}: trained by {', then '.join(map(str, counts))} of {asked} workers; "
                "the batch stayed the same, the last digits may differ"
            )
        if isinstance(stage, Label):
            empty = [name for name, share in context.results[stage.name]["selected"].items() if not share]
            if empty:
                found.append(f"{stage.name}: no pixel was labelled as {', '.join(empty)}")
    lasting = [context.results[s.name] for s in stages if isinstance(s, Evaluate)]
    for name in lasting[0]["iou"] if lasting else ():
        course = [result["iou"][name] or 0.0 for result in lasting]
        if course and max(course) >= 0.1 and course[-1] < 0.01:
            found.append(f"{name}: IoU fell from {max(course):.2f} to {course[-1]:.2f} (class collapse)")
    return found
