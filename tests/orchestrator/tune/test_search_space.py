"""Searched settings as they are written on the command line."""

from __future__ import annotations

import pytest

from orchestrator.contract.config import flatten
from orchestrator.tune.search_space import Dimension, parse_search_space
from pipelines.drsl import Drsl

KNOWN = flatten(Drsl)


def test_every_kind_is_understood_and_numbers_are_numbers():
    space, complaints = parse_search_space(
        [
            "adapt.lr=loguniform(1e-5,1e-3)",
            " loss.triplet = uniform( 0, 1 )",
            "adapt.steps=randint(10,20)",
            "mmdl.modes=choice(1,3,5)",
            "adapt.batchnorm=grid(train,eval)",
        ],
        KNOWN,
    )
    assert complaints == []
    assert space == [
        Dimension("adapt.lr", "loguniform", (1e-5, 1e-3)),
        Dimension("loss.triplet", "uniform", (0.0, 1.0)),
        Dimension("adapt.steps", "randint", (10, 20)),
        Dimension("mmdl.modes", "choice", ("1", "3", "5")),
        Dimension("adapt.batchnorm", "grid", ("train", "eval")),
    ]
    assert space[2].extremes == (10, 19)
    assert space[3].extremes == ("1", "3", "5")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("adapt.lr", "write SETTING=KIND(VALUE"),
        ("adapt.lr=1e-3", "write SETTING=KIND(VALUE"),
        ("adapt.lr=normal(0,1)", "no such kind normal; there are uniform, loguniform"),
        ("adapt.lr=uniform(1)", "takes two numbers, got 1"),
        ("adapt.lr=uniform(a,b)", "takes two numbers, got 2: a, b"),
        ("adapt.lr=uniform(2,1)", "lower bound first"),
        ("adapt.lr=loguniform(0,1)", "bounds above 0, got 0"),
        ("adapt.steps=randint(1.5,3)", "takes two numbers"),
        ("mmdl.modes=choice(1,,3)", "empty value"),
        ("adapt.rate=uniform(0,1)", "no such setting"),
        ("compute.workers=choice(1,2)", "trials share the cluster evenly"),
    ],
)
def test_what_is_none_is_said(text, complaint):
    _, complaints = parse_search_space([text], KNOWN)
    assert len(complaints) == 1
    assert complaint in complaints[0]


def test_a_setting_is_searched_once():
    _, complaints = parse_search_space(["adapt.lr=uniform(0,1)", "adapt.lr=choice(1,2)"], KNOWN)
    assert complaints == ["search adapt.lr: is searched twice"]
