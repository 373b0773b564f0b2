"""Micro-batches: subsample of the source, crops around rare classes, soft labels; all a function of the key."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from domains.base.samples import LabelledSample
from domains.base.settings import AugmentSettings
from domains.batches.batch import PseudoLabelledImages
from domains.batches.crop import RandomCrop
from domains.batches.microbatches import MicroBatches, Mining, chosen
from domains.pseudo.selection import SoftLabel
from domains.stores.pseudo_labels import PseudoLabelledSample

KEY = (3, "adapt-0")
SIZE = (20, 30)
CROP = RandomCrop(AugmentSettings(crop_height=7, crop_width=7, scale_min=1, scale_max=1, flip=False))


class Domain(list):
    def sample(self, index: int):
        return self[index]


def sources(count: int) -> Domain:
    return Domain(
        LabelledSample(torch.full((3, *SIZE), index, dtype=torch.uint8), torch.zeros(SIZE).byte(), str(index))
        for index in range(count)
    )


def target(label: torch.Tensor, soft: SoftLabel | None = None) -> Domain:
    rows = torch.arange(SIZE[0], dtype=torch.uint8)[:, None].expand(SIZE)
    columns = torch.arange(SIZE[1], dtype=torch.uint8).expand(SIZE)
    image = torch.stack([rows, columns, rows])  # a crop shows where it was cut
    return Domain([PseudoLabelledSample(image, label, "a", soft)])


def feed(images, given: Domain | None = None, **settings) -> MicroBatches:
    return MicroBatches(images, given, CROP, (2, 1), KEY, **settings)  # type: ignore[arg-type]


def seen(made: MicroBatches, micros: int) -> Counter[int]:
    return Counter(int(image[0, 0, 0]) for micro in range(micros) for image in made[micro].source.image)


@pytest.mark.parametrize(("share", "count"), [(0.3, 6), (0.01, 1), (0.5, 10)])
def test_subsample_shows_each_of_its_images_equally_often_and_no_other(share, count):
    found = seen(feed(sources(20), source_share=share), count * 3)
    assert len(found) == count
    assert set(found.values()) == {6}
    assert set(found) == set(chosen(20, share, KEY))


def test_subsample_is_drawn_anew_for_every_stage_and_seed():
    drawn = {tuple(chosen(1000, 0.03, key)) for key in (KEY, (3, "adapt-1"), (4, "adapt-0"))}
    assert len(drawn) == 3
    assert tuple(chosen(1000, 0.03, KEY)) in drawn
    assert chosen(5, 1.0, KEY) == [0, 1, 2, 3, 4]


def test_mining_puts_a_pixel_of_a_rare_class_in_the_middle():
    label = torch.zeros(SIZE, dtype=torch.uint8)
    label[10, 15] = label[12, 20] = 4
    label[5:8, 5:8] = 2
    given = target(label)
    middles = Counter()
    for micro in range(300):
        batch = feed(sources(2), given, mining=Mining((2, 3, 4), 1.0))[micro].target
        assert isinstance(batch, PseudoLabelledImages)
        middle = int(batch.pseudo_label[0, 3, 3])
        row, column = batch.image[0, :2, 3, 3].tolist()
        assert label[row, column] == middle
        middles[middle, row, column] += 1
    # Of the two classes that the image shows, each half of the time; within a class, every pixel alike.
    by_class = {name: sum(n for (c, *_), n in middles.items() if c == name) for name in (2, 4)}
    assert sum(by_class.values()) == 300
    assert 107 < by_class[4] < 193  # five standard deviations
    assert len(middles) == 2 + 9


def test_mining_happens_as_often_as_asked_and_leaves_the_rest_as_it_was():
    label = torch.zeros(SIZE, dtype=torch.uint8)
    label[10, 15] = 4
    given = target(label)
    mined = feed(sources(2), given, mining=Mining((4,), 0.8))
    count = sum(int(mined[micro].target.pseudo_label[0, 3, 3]) == 4 for micro in range(300))  # type: ignore[union-attr]
    assert 205 < count < 275  # five standard deviations
    plain, without = feed(sources(2), given), feed(sources(2), given, mining=None)
    absent = feed(sources(2), target(torch.zeros(SIZE).byte()), mining=Mining((4,), 1.0))
    for micro in range(5):
        assert torch.equal(plain[micro].target.image, without[micro].target.image)  # type: ignore[union-attr]
        assert absent[micro].target.image.shape == (1, 3, 7, 7)  # type: ignore[union-attr]


def test_soft_labels_travel_with_the_crop():
    label = torch.randint(0, 3, SIZE, generator=torch.Generator().manual_seed(0)).byte()
    logits = 40 * torch.nn.functional.one_hot(label.long(), 3).permute(2, 0, 1).float()
    soft = SoftLabel([logits], SIZE, np.ones(3), 1.0)
    batch = feed(sources(2), target(label, soft))[0].to(torch.device("cpu")).target
    assert isinstance(batch, PseudoLabelledImages)
    assert batch.soft_label is not None
    assert batch.soft_label.shape == (1, 3, 7, 7)
    assert torch.equal(batch.soft_label.argmax(1), batch.pseudo_label)
    assert feed(sources(2), target(label))[0].target.soft_label is None  # type: ignore[union-attr]
