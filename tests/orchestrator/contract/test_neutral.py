"""Settings that came later: their neutral value is in no fingerprint, and no older folder differs by it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import pytest

from orchestrator.base.errors import UserError
from orchestrator.contract.neutral import deciding, neutral_values
from orchestrator.contract.settings import NEUTRAL
from orchestrator.run.folder import RunFolder


@dataclass(frozen=True)
class Inner:
    old: float = 0.5
    new: int = field(default=0, metadata=NEUTRAL)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    several: tuple[tuple[str, Inner], ...] = ()
    kind: str = field(default="one", metadata=NEUTRAL)


def test_neutral_value_is_left_out_wherever_it_stands_and_any_other_decides():
    neutral = Outer(several=(("a", Inner(old=1.0)),))
    assert deciding(neutral) == {"inner": {"old": 0.5}, "several": (("a", {"old": 1.0}),)}
    other = Outer(inner=Inner(new=3), several=(("a", Inner(new=4)),), kind="two")
    assert deciding(other) == dataclasses.asdict(other)


def test_neutral_values_are_known_by_their_dotted_names():
    assert neutral_values(Outer) == {"inner.new": 0, "kind": "one"}


def test_folder_that_is_older_than_a_setting_is_gone_on_with_at_its_neutral_value_alone(tmp_path):
    home, neutral = RunFolder(tmp_path), neutral_values(Outer)
    home.adopt_config({"inner": {"old": 0.5}})
    before = (tmp_path / "config.yaml").read_bytes()
    home.adopt_config({"inner": {"old": 0.5, "new": 0}, "kind": "one"}, neutral=neutral)
    assert (tmp_path / "config.yaml").read_bytes() == before
    with pytest.raises(UserError, match="other settings") as refused:
        home.adopt_config({"inner": {"old": 0.5, "new": 3}, "kind": "one"}, neutral=neutral)
    assert refused.value.details[0] == "inner.new: there None, now 3"


def test_folder_that_knows_a_setting_differs_by_its_neutral_value_too(tmp_path):
    home = RunFolder(tmp_path)
    home.adopt_config({"inner": {"old": 0.5, "new": 3}})
    with pytest.raises(UserError) as refused:
        home.adopt_config({"inner": {"old": 0.5, "new": 0}}, neutral=neutral_values(Outer))
    assert refused.value.details[0] == "inner.new: there 3, now 0"
