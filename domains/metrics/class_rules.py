"""Class rules of the evaluation protocols: whose pixels count, and over which classes the mean is taken.

Shapes: K classes of the label space, M of them in the mean. Rows of a confusion matrix are ground truth, columns
predictions; pixels of 255 in the ground truth are in neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from domains.base.labels import NOT_IN_SYNTHIA, SPACES, THIN, LabelSpace
from domains.metrics.iou import iou_per_class


@dataclass(frozen=True)
class ClassRule:
    """Which pixels of the ground truth count, and which classes make the mean."""

    ignored: tuple[str, ...] = ()
    """Pixels of these classes in the ground truth count nowhere, like 255. A pixel of another class that is predicted
    as one of them is missed by its own class, as cityscapesScripts counts its ignored classes."""
    left_out: tuple[str, ...] = ()
    """Classes without a place in the mean; pixels of those that are not ignored still count against the others."""
    spaces: tuple[str, ...] = ()
    """Label spaces that it is defined in, by the names of built-in ones with these classes; empty: any."""
    meaning: str = ""
    """How the mean differs from that of all classes, in words."""

    def classes(self, space: LabelSpace) -> tuple[str, ...]:
        """The M classes of the mean, in the order of the label space."""
        return tuple(name for name in space.classes if name not in self.left_out)

    def iou(self, confusion_KK: np.ndarray, space: LabelSpace) -> np.ndarray:
        """Intersection over union, TP / (TP + FP + FN), of the classes of the mean.

        Args:
            confusion_KK: counts of all classes of the label space, as by `domains.metrics.iou.confusion_matrix`.
            space: names the rows and columns.

        Returns:
            M float64 in [0, 1]; NaN for a class absent from both the ground truth that counts and its predictions.
        """
        counted_KK = confusion_KK.copy()
        # In a space without them, their pixels are 255 in the ground truth.
        counted_KK[[space.classes.index(name) for name in self.ignored if name in space.classes]] = 0
        return iou_per_class(counted_KK)[[space.classes.index(name) for name in self.classes(space)]]


RULES: Mapping[str, ClassRule] = {
    "all": ClassRule(),
    "16": ClassRule(
        ignored=NOT_IN_SYNTHIA,
        left_out=NOT_IN_SYNTHIA,
        spaces=("cityscapes19", "cityscapes16"),
        meaning="pixels of terrain, truck and train are ignored",
    ),
    "16_of_19": ClassRule(
        left_out=NOT_IN_SYNTHIA,
        spaces=("cityscapes19",),
        meaning="pixels of terrain, truck and train count against them",
    ),
    "13": ClassRule(
        ignored=NOT_IN_SYNTHIA,
        left_out=(*NOT_IN_SYNTHIA, *THIN),
        spaces=("cityscapes19", "cityscapes16"),
        meaning="pixels of wall, fence and pole count against them, of terrain, truck and train are ignored",
    ),
}
"""By name: all classes of the label space, or those of Cityscapes that SYNTHIA has too, in the versions in use.

16_of_19 is the mean of 16 classes in an evaluation of 19. For a network that is never right about the other three, as
one that learned from SYNTHIA, it is the published 19/16 of the mean of 19.
"""


def rule_problem(name: str, space: LabelSpace) -> str | None:
    """A sentence where a class rule means nothing in a label space, else None."""
    spaces = RULES[name].spaces
    if not spaces or space.classes in [SPACES[known].classes for known in spaces]:
        return None
    known = f"label space{'s' if len(spaces) > 1 else ''} {' and '.join(spaces)}"
    return f"classes {name} are defined for the {known} alone, got {space.name}: leave it at all"
