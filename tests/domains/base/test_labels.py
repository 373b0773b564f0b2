"""Label spaces and the maps between them."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from domains.base.errors import DataError
from domains.base.labels import SPACES, LabelSpace, label_space, remap

PAIR = LabelSpace("pair", ("sky", "ground"), ((1, 2, 3), (4, 5, 6)))


def table(source: str, to: str) -> dict[str, str]:
    """The remap of two built-in spaces, by name."""
    a, b = label_space(source), label_space(to)
    ids = remap(a, b)
    return {name: b.classes[ids[i]] for i, name in enumerate(a.classes) if ids[i] != 255}


def test_built_in_spaces_have_the_published_number_and_order_of_classes():
    assert {name: len(space) for name, space in SPACES.items()} == {
        "cityscapes19": 19,
        "cityscapes16": 16,
        "cityscapes13": 13,
        "camvid11": 11,
        "toycity12": 12,
    }
    assert [label_space("cityscapes19").classes[i] for i in (0, 10, 13, 18)] == ["road", "sky", "car", "bicycle"]
    assert label_space("camvid11").classes[:4] == ("sky", "building", "pole", "road")
    assert label_space("toycity12").classes[-3:] == ("rider", "car", "bicycle")


@pytest.mark.parametrize("name", ["cityscapes16", "cityscapes13", "toycity12"])
def test_smaller_spaces_are_parts_of_cityscapes_in_the_same_order_and_colours(name):
    toy, city = label_space(name), label_space("cityscapes19")
    ids = [city.classes.index(name) for name in toy.classes]
    assert ids == sorted(ids)
    assert [city.palette[i] for i in ids] == list(toy.palette)


def test_spaces_of_synthia_lack_what_it_never_shows_and_what_its_13_classes_leave_out():
    all_names, sixteen, thirteen = (set(label_space(f"cityscapes{n}").classes) for n in (19, 16, 13))
    assert all_names - sixteen == {"terrain", "truck", "train"}
    assert sixteen - thirteen == {"wall", "fence", "pole"}


def test_remap_to_the_same_space_is_the_identity_and_ignores_every_other_id():
    ids = remap(PAIR, PAIR)
    assert ids.dtype == np.uint8
    assert ids.shape == (256,)
    assert ids.tolist() == [0, 1] + [255] * 254


def test_cityscapes_classes_reach_camvid_by_name_and_alias():
    assert table("cityscapes19", "camvid11") == {
        "road": "road",
        "sidewalk": "pavement",
        "building": "building",
        "fence": "fence",
        "pole": "pole",
        "traffic sign": "sign",
        "vegetation": "tree",
        "sky": "sky",
        "person": "pedestrian",
        "rider": "bicyclist",
        "car": "car",
        "bicycle": "bicyclist",
    }


def test_a_class_that_the_other_space_splits_is_ignored():
    names = table("camvid11", "cityscapes19")
    assert "bicyclist" not in names
    assert names["pavement"] == "sidewalk"
    assert len(names) == 10


def test_colour_paints_the_palette_and_leaves_ignored_pixels_black():
    painted = PAIR.colour(np.array([[0, 1, 255, 7]], dtype=np.uint8))
    assert painted.dtype == np.uint8
    assert painted.tolist() == [[[1, 2, 3], [4, 5, 6], [0, 0, 0], [0, 0, 0]]]


@pytest.mark.parametrize("name", SPACES)
def test_a_space_survives_json_and_pickle(name):
    space = label_space(name)
    assert LabelSpace.from_json(space.to_json()) == space
    assert pickle.loads(pickle.dumps(space)) == space


def test_a_file_without_palette_gets_distinct_colours(tmp_path):
    path = tmp_path / "my space.json"
    path.write_text(json.dumps({"name": "mine", "classes": [f"c{i}" for i in range(40)]}))
    space = label_space(str(path))
    assert len(set(space.palette)) == 40


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "JSON"),
        ("[1]", "name"),
        ('{"name": "x"}', "classes"),
        ('{"name": "x", "classes": [1]}', "classes"),
        ('{"name": "x", "classes": []}', "1 to 254"),
        ('{"name": "x", "classes": ["a", "a"]}', "unique, used twice: a"),
        ('{"name": "x", "classes": ["a"], "palette": [[1, 2]]}', "palette"),
        ('{"name": "x", "classes": ["a"], "palette": [[1, 2, 256]]}', "0 to 255"),
        ('{"name": "x", "classes": ["a"], "palette": [[1, 2, 3], [4, 5, 6]]}', "2 colours for 1"),
        ('{"name": "x", "classes": ["a"], "aliases": {"b": "c"}}', "alias 'b'"),
        ('{"name": "x", "classes": ["a"], "colors": []}', "'colors'"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path_and_the_wrong_part(tmp_path, content, word):
    path = tmp_path / "space.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"space.json") as caught:
        label_space(str(path))
    assert word in str(caught.value)


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(DataError, match="did you mean cityscapes19"):
        label_space("cityscape19")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.json"):
        label_space(str(tmp_path / "nowhere.json"))
