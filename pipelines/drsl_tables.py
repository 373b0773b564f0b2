"""The tables of DRSL's paper (arXiv 2206.09683) as sweeps of `pipelines/drsl.py`.

Variants name what the paper varies and leave the rest to the preset and the flags. Tables 3 to 7 are about DRSL, so the
consistency loss of DRSL+ is off in them.
"""

from __future__ import annotations

from orchestrator.contract.published_table import PublishedTable, Variant

GTA5 = "GTA5 to Cityscapes, 19 classes"
PLAIN = {"loss.consistency": 0}
"""DRSL; everything else as the settings have it."""
OFF = {"loss.triplet": 0, "loss.mixture": 0, "loss.consistency": 0}
"""Self-training without the mixture head."""


def _weights(triplet: float, mixture: float, published: float) -> Variant:
    changes = {**PLAIN, "loss.triplet": triplet, "loss.mixture": mixture}
    return Variant(f"triplet {triplet:g}, mixture {mixture:g}", changes, published)


def _modes(count: int, published: float) -> Variant:
    return Variant(f"{count} mode{'s' if count > 1 else ''}", {**PLAIN, "mmdl.modes": count}, published)


def _reduction(ratio: int, published: float) -> Variant:
    return Variant(f"label reduction {ratio}", {**PLAIN, "mmdl.label_reduction": ratio}, published)


def _consistency(weight: float, published: float) -> Variant:
    return Variant(f"consistency {weight:g}", {"loss.consistency": weight}, published)


TABLES = {
    "table1": PublishedTable(
        "Table 1: DRSL and DRSL+",
        (Variant("DRSL", PLAIN, 47.6), Variant("DRSL+", {}, 47.8)),
        GTA5,
        source=33.8,
    ),
    "table2": PublishedTable(
        "Table 2: the same from SYNTHIA; --protocol.classes 16, or 13 for its other mean",
        (Variant("DRSL", PLAIN, 45.9), Variant("DRSL+", {}, 46.7)),
        "SYNTHIA to Cityscapes, 16 classes",
        source=35.2,
    ),
    "table3": PublishedTable(
        "Table 3: weights of the triplet and the mixture loss, DRSL",
        (
            _weights(0, 0, 44.9),
            _weights(0.1, 0.1, 46.1),
            _weights(0.25, 0.1, 47.6),
            _weights(0.5, 0.5, 45.9),
            _weights(1, 1, 46.0),
        ),
        GTA5,
    ),
    "table4": PublishedTable(
        "Table 4: without and with the mixture head (MMDL), DRSL",
        (Variant("without MMDL", OFF, 44.9), Variant("with MMDL", PLAIN, 47.6)),
        GTA5,
        source=33.6,
    ),
    "table5": PublishedTable(
        "Table 5: modes of each class, DRSL",
        (_modes(1, 44.7), _modes(3, 47.6), _modes(5, 46.2)),
        GTA5,
    ),
    "table6": PublishedTable(
        "Table 6: label reduction, DRSL",
        (_reduction(1, 47.1), _reduction(2, 47.6), _reduction(4, 46.8), _reduction(8, 46.4)),
        GTA5,
    ),
    "table7": PublishedTable(
        "Table 7: pseudo-labels at the start of each round, without and with the mixture head (MMDL), DRSL",
        (
            Variant("without MMDL", OFF, published_rounds=((73.9, 6.56), (76.4, 1.57))),
            Variant("with MMDL", PLAIN, published_rounds=((73.9, 6.56), (78.7, 1.14))),
        ),
        GTA5,
        measures="pseudo_labels",
    ),
    "table8": PublishedTable(
        "Table 8: weight of the consistency loss, DRSL+",
        (_consistency(0.01, 46.0), _consistency(0.1, 47.8), _consistency(0.25, 45.3)),
        GTA5,
    ),
    "isa": PublishedTable(
        "Input space adaptation off and on (from the text of the paper), DRSL",
        (Variant("without ISA", {**PLAIN, "isa.ratio": 0}, 46.0), Variant("with ISA", PLAIN, 47.6)),
        GTA5,
    ),
}
