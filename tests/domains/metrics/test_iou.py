import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

from domains.metrics.iou import confusion_matrix, iou_per_class, mean_iou, named, precision_per_class


def random_maps(seed: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (300, 260), generator=draw, dtype=torch.uint8)
    label[torch.rand(label.shape, generator=draw) < 0.1] = 255
    return label, torch.randint(0, classes, label.shape, generator=draw, dtype=torch.uint8)


def test_counts_equal_a_loop_over_pixels():
    label, prediction = random_maps(0, 4)
    label, prediction = label[:13, :11], prediction[:13, :11]
    expected = np.zeros((4, 4), dtype=np.int64)
    for truth, guess in zip(label.flatten().tolist(), prediction.flatten().tolist(), strict=True):
        if truth != 255:
            expected[truth, guess] += 1
    np.testing.assert_array_equal(confusion_matrix(label, prediction, 4), expected)


def test_iou_equals_torchmetrics():
    label, prediction = random_maps(1, 5)
    ours = iou_per_class(confusion_matrix(label, prediction, 5))
    theirs = multiclass_jaccard_index(prediction.long(), label.long(), 5, average="none", ignore_index=255)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)


def test_hand_worked_two_by_two():
    label = torch.tensor([[0, 0], [1, 255]], dtype=torch.uint8)
    prediction = torch.tensor([[0, 1], [1, 0]], dtype=torch.uint8)
    confusion = confusion_matrix(label, prediction, 3)
    np.testing.assert_array_equal(confusion, [[1, 1, 0], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(iou_per_class(confusion)[:2], [0.5, 0.5])
    assert mean_iou(confusion) == 0.5
    np.testing.assert_array_equal(precision_per_class(confusion)[:2], [1.0, 0.5])
    assert named(iou_per_class(confusion), ("a", "b", "c")) == {"a": 0.5, "b": 0.5, "c": None}


def test_unselected_predictions_are_not_counted():
    label = torch.zeros(2, 2, dtype=torch.uint8)
    prediction = torch.tensor([[0, 255], [255, 255]], dtype=torch.uint8)
    assert confusion_matrix(label, prediction, 2).sum() == 1


def test_nothing_counted_has_no_mean():
    assert np.isnan(mean_iou(np.zeros((3, 3), dtype=np.int64)))


def test_maps_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="sizes must agree"):
        confusion_matrix(torch.zeros(2, 2, dtype=torch.uint8), torch.zeros(2, 3, dtype=torch.uint8), 2)
