"""Confusion matrix and IoU: counting in chunks of `bincount`, which is an order faster than general libraries.

Shapes: K classes, H x W pixels. Rows of a confusion matrix are ground truth, columns predictions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CHUNK = 1 << 16


def confusion_matrix(label_HW: Tensor, prediction_HW: Tensor, num_classes: int) -> np.ndarray:
    """Count (ground truth, prediction) pairs over pixels where both name a class.

    Args:
        label_HW: uint8 ground truth; ids of num_classes and above (255: ignore) are not counted.
        prediction_HW: uint8 predictions; 255 (no pseudo-label selected) is not counted.
        num_classes: K.

    Returns:
        K x K int64.

    Raises:
        ValueError: the two maps differ in size.
    """
    if label_HW.shape != prediction_HW.shape:
        raise ValueError(f"label is {tuple(label_HW.shape)}, prediction {tuple(prediction_HW.shape)}: sizes must agree")
    # One more class on both sides swallows what is not counted, so that no boolean index is needed.
    width = num_classes + 1
    truth = label_HW.flatten().clamp(max=num_classes).int()
    pairs = truth * width + prediction_HW.flatten().clamp(max=num_classes).int()
    counts = torch.zeros(width * width, dtype=torch.int64)
    for chunk in pairs.split(CHUNK):
        counts += torch.bincount(chunk, minlength=width * width)
    return counts.view(width, width)[:num_classes, :num_classes].numpy().copy()


def iou_per_class(confusion_KK: np.ndarray) -> np.ndarray:
    """Intersection over union, TP / (TP + FP + FN), of each class.

    Returns:
        K float64 in [0, 1]; NaN for a class absent from both ground truth and prediction.
    """
    hit = np.diag(confusion_KK).astype(np.float64)
    union = confusion_KK.sum(0) + confusion_KK.sum(1) - hit
    return np.divide(hit, union, out=np.full_like(hit, np.nan), where=union > 0)


def mean_iou(confusion_KK: np.ndarray) -> float:
    """Mean of the classes' IoU, absent classes left out; NaN where nothing was counted."""
    return mean_of(iou_per_class(confusion_KK))


def mean_of(values_K: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN where all are."""
    return float(np.nanmean(values_K)) if np.isfinite(values_K).any() else float("nan")


def precision_per_class(confusion_KK: np.ndarray) -> np.ndarray:
    """Share of the pixels predicted as a class that are of it; NaN where none was predicted."""
    predicted = confusion_KK.sum(0)
    hit = np.diag(confusion_KK).astype(np.float64)
    return np.divide(hit, predicted, out=np.full_like(hit, np.nan), where=predicted > 0)


def named(values_K: np.ndarray, classes: tuple[str, ...]) -> dict[str, float | None]:
    """Values by class name; NaN becomes None (null in JSON)."""
    return {name: None if np.isnan(v) else float(v) for name, v in zip(classes, values_K, strict=True)}
