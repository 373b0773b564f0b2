"""The protocol that goes with every number: a name, and all that two numbers must agree in to compare."""

from __future__ import annotations

from typing import Any

from domains.base.labels import LabelSpace
from domains.metrics.class_rules import RULES
from orchestrator.contract.settings import ProtocolSettings


def name_of(settings: ProtocolSettings, space: LabelSpace) -> str:
    """Label space, class rule and views, such as "cityscapes19-16_of_19-scales-0.9-1.0-flip"."""
    rule = [] if settings.classes == "all" else [settings.classes]
    return "-".join([space.name, *rule, settings.kind])


def stamp(settings: ProtocolSettings, space: LabelSpace, size: tuple[int, int], resolution: str) -> dict[str, Any]:
    """A protocol as plain data.

    Args:
        settings: class rule and views.
        space: label space of the network.
        size: height and width that the network sees at scale 1.
        resolution: sizes of prediction and labels, in words.
    """
    rule, views = RULES[settings.classes], settings.views
    classes = rule.classes(space)
    of_these = f", of these {len(classes)}; {rule.meaning}" if rule.meaning else ""
    return {
        "name": name_of(settings, space),
        "classes": list(classes),
        "class_rule": settings.classes,
        "ignore": ", ".join(["255", *rule.ignored]) + " in the ground truth",
        "size": size,
        "resolution": resolution,
        "flip": views.flip,
        "scales": list(views.scales),
        "window": list(views.window),
        "stride": list(views.stride),
        "checkpoint": "last",
        "mean": "over classes present in ground truth or prediction" + of_these,
    }
