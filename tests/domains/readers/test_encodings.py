"""What values of label files mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from domains.base.errors import DataError
from domains.base.labels import LabelSpace
from domains.readers.encodings import ColourLabels, IdLabels

SPACE = LabelSpace("abc", ("a", "b", "c"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)))


def write(path: Path, pixels: list) -> Path:
    Image.fromarray(np.array(pixels, dtype=np.uint8)).save(path)
    return path


def test_without_a_table_ids_are_those_of_the_space(tmp_path):
    path = write(tmp_path / "a.png", [[0, 1], [2, 255]])
    label = IdLabels(SPACE)(path)
    assert label.dtype == torch.uint8
    assert label.tolist() == [[0, 1], [2, 255]]


def test_a_table_joins_ids_and_may_leave_classes_out(tmp_path):
    path = write(tmp_path / "a.png", [[40, 41, 7], [9, 200, 9]])
    assert IdLabels(SPACE, {"c": (40, 41), "a": (7,)}, void=(9, 200))(path).tolist() == [[2, 2, 0], [255, 255, 255]]


@pytest.mark.parametrize("value", [3, 42, 254, 255])
def test_ids_that_no_table_holds_are_refused_with_a_histogram(tmp_path, value):
    path = write(tmp_path / "a.png", [[0, 1, 1, value]])
    with pytest.raises(DataError, match=rf"a.png holds class ids outside abc \(0 to 2, 9\); .*0: 1, 1: 2, {value}: 1$"):
        IdLabels(SPACE, void=(9,))(path)


def test_every_id_of_the_largest_space_is_told_from_strangers(tmp_path):
    names = tuple(f"c{i}" for i in range(254))
    large = LabelSpace("large", names, tuple((i, i, i) for i in range(254)))
    path = write(tmp_path / "a.png", [[*range(254), 255]])
    assert IdLabels(large)(path)[0].tolist() == [*range(254), 255]
    with pytest.raises(DataError, match="254: 1"):
        IdLabels(large)(write(tmp_path / "b.png", [[253, 254]]))


def test_a_table_that_contradicts_itself_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="id 4 is given twice"):
        IdLabels(SPACE, {"a": (4,), "b": (4,)})
    with pytest.raises(ValueError, match="id 4 is given twice"):
        IdLabels(SPACE, {"a": (4,)}, void=(4,))


def test_colours_are_compared_exactly_whatever_their_order(tmp_path):
    decode = ColourLabels(SPACE, {"b": ((200, 0, 0), (0, 0, 1)), "a": ((0, 1, 0),)}, void=((0, 0, 0),))
    path = write(tmp_path / "a.png", [[(0, 0, 1), (0, 1, 0), (0, 1, 1)], [(200, 0, 0), (0, 0, 0), (255, 255, 255)]])
    assert decode(path).tolist() == [[1, 0, 255], [1, 255, 255]]
