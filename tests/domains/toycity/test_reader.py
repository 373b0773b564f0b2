from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch

from domains.toycity import reader
from domains.toycity.reader import ToyCity
from domains.toycity.style import CITY_LOOK, GAME_LOOK, StyleName, between

TWELVE = (0, 1, 2, 4, 5, 7, 8, 10, 11, 12, 13, 18)
ROAD, POLE, CAR, PERSON = 0, 5, 13, 11


def digest(city: ToyCity, index: int) -> str:
    image_HW3, label_HW = city.render(index)
    return hashlib.sha256(image_HW3.tobytes() + label_HW.tobytes()).hexdigest()


@cache
def sample(style: StyleName, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    city = ToyCity(style, "train", count)
    images, labels = zip(*(city.render(index) for index in range(count)), strict=True)
    return np.stack(images), np.stack(labels)


def shares(style: StyleName) -> np.ndarray:
    """Share of each trainId per image."""
    _, label_NHW = sample(style)
    return np.stack([np.bincount(label.ravel(), minlength=256) / label.size for label in label_NHW])


@pytest.mark.parametrize("style", ["game", "street"])
def test_same_index_gives_the_same_bytes_in_a_fresh_reader_and_in_any_order(style: StyleName) -> None:
    first = [digest(ToyCity(style, "val", 4), index) for index in range(4)]
    city = ToyCity(style, "val", 9)
    assert [digest(city, index) for index in (3, 2, 1, 0)] == first[::-1]
    assert len(set(first)) == 4


def test_another_process_renders_the_same_bytes() -> None:
    program = (
        "import hashlib\nfrom domains.toycity.scene import render_scene\n"
        "image, label = render_scene('street', 'train', 5, (128, 256))\n"
        "print(hashlib.sha256(image.tobytes() + label.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(ToyCity("street", "train", 8), 5)


def test_splits_and_styles_share_no_scene() -> None:
    cities = [ToyCity(style, split, 6) for style in ("game", "street") for split in ("train", "val")]
    digests = {digest(city, index) for city in cities for index in range(6)}
    labels = {city.label(index).numpy().tobytes() for city in cities for index in range(6)}
    assert len(digests) == len(labels) == 24


def test_image_and_label_are_uint8_tensors_of_the_size_asked_for() -> None:
    city = ToyCity("street", "train", 2, height=72, width=120)
    image, label = city.image(1), city.label(1)
    assert image.dtype == label.dtype == torch.uint8
    assert image.shape == (3, 72, 120)
    assert label.shape == (72, 120)
    image_HW3, label_HW = city.render(1)
    assert (image.permute(1, 2, 0).numpy() == image_HW3).all()
    assert (label.numpy() == label_HW).all()


def test_a_scene_keeps_its_layout_at_another_size() -> None:
    small = ToyCity("game", "train", 1).label(0)
    large = ToyCity("game", "train", 1, height=256, width=512).label(0)
    assert (large[1::2, 1::2] == small).float().mean() > 0.93


@pytest.mark.parametrize("style", ["game", "street"])
def test_labels_are_the_twelve_classes_and_ignore(style: StyleName) -> None:
    _, label_NHW = sample(style)
    assert set(np.unique(label_NHW).tolist()) - {255} == set(TWELVE)


@pytest.mark.parametrize("style", ["game", "street"])
def test_road_covers_about_a_third_and_poles_under_one_percent(style: StyleName) -> None:
    mean = shares(style).mean(0)
    assert 0.25 < mean[ROAD] < 0.42
    assert 0.002 < mean[POLE] < 0.010
    assert mean[255] < 0.06


@pytest.mark.parametrize("style", ["game", "street"])
def test_every_class_is_seen_in_a_third_of_the_images(style: StyleName) -> None:
    seen = (shares(style) > 5e-4).mean(0)
    assert {name: seen[name] for name in TWELVE if seen[name] < 0.33} == {}


def test_the_street_is_darker_flatter_and_yellower_than_the_game() -> None:
    game, street = sample("game")[0].astype(np.float32), sample("street")[0].astype(np.float32)
    game_rgb, street_rgb = game.mean((0, 1, 2)), street.mean((0, 1, 2))
    assert street.mean() < 0.85 * game.mean()
    assert street.std((1, 2)).mean() < 0.9 * game.std((1, 2)).mean()
    assert street_rgb[2] / street_rgb[0] < 0.75 * game_rgb[2] / game_rgb[0]


def test_the_street_holds_more_cars_and_persons() -> None:
    game, street = shares("game").mean(0), shares("street").mean(0)
    assert street[CAR] > 1.15 * game[CAR]
    assert street[PERSON] > 1.15 * game[PERSON]


@pytest.mark.parametrize("trainid", [2, 8, 11, 13])
def test_a_class_has_several_colour_modes(trainid: int) -> None:
    image_NHW3, label_NHW = sample("game")
    colours = image_NHW3[label_NHW == trainid].astype(int) // 64
    cells = np.bincount(colours @ np.array([16, 4, 1]), minlength=64) / len(colours)
    assert (cells > 0.02).sum() >= 5
    assert cells.max() < 0.6


def test_every_label_follows_a_change_of_colour() -> None:
    """Inside a sky region colours vary slowly; across its outline they jump: label and image share their edges."""
    image_HW3, label_HW = ToyCity("game", "train", 3).render(0)
    step = np.abs(np.diff(image_HW3.astype(int), axis=1)).sum(-1)
    sky = label_HW == 10
    inside, across = sky[:, 1:] & sky[:, :-1], sky[:, 1:] ^ sky[:, :-1]
    assert np.median(step[across]) > 3 * np.median(step[inside]) + 10


def test_image_and_label_of_one_index_cost_one_render(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    true_render = reader.render_scene

    def counted(style, split, index, shape):
        calls.append(index)
        return true_render(style, split, index, shape)

    monkeypatch.setattr(reader, "render_scene", counted)
    city = ToyCity("game", "train", 2)
    for index in (0, 1, 0):
        city.image(index), city.label(index)
    assert calls == [0, 1, 0]


def test_changing_a_returned_tensor_does_not_change_the_next_one() -> None:
    city = ToyCity("game", "train", 1)
    city.image(0).zero_()
    city.label(0).fill_(3)
    assert city.image(0).float().mean() > 10
    assert (city.label(0) != 3).all()


def test_a_pickled_reader_carries_numbers_only() -> None:
    city = ToyCity("street", "val", 500)
    city.image(0), city.ids
    data = pickle.dumps(city)
    assert len(data) < 400
    assert pickle.loads(data) == city
    assert pickle.loads(data).ids == city.ids


def test_ids_name_style_split_and_index() -> None:
    city = ToyCity("street", "val", 18)
    assert city.ids[17] == "street-val-00017"
    assert len(city) == len(city.ids) == 18
    assert city.has_labels
    assert city.space.classes[CAR] == "car"


def test_mixing_looks_returns_the_ends_and_the_middle() -> None:
    assert between(GAME_LOOK, CITY_LOOK, 0.0) == GAME_LOOK
    assert between(GAME_LOOK, CITY_LOOK, 0.5).noise == pytest.approx(
        tuple((a + b) / 2 for a, b in zip(GAME_LOOK.noise, CITY_LOOK.noise, strict=True))
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("film", "train", 1), "game, street, got 'film'"),
        (("game", "test", 1), "train or val, got 'test'"),
        (("game", "train", 0), "at least 1, got 0"),
        (("game", "train", 1, 16, 256), "at least 32 pixels, got 16x256"),
    ],
)
def test_a_bad_field_is_named_with_its_value(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ToyCity(*arguments)


def test_an_index_out_of_range_is_refused() -> None:
    with pytest.raises(IndexError, match="images 0 to 1, got 2"):
        ToyCity("game", "train", 2).image(2)
