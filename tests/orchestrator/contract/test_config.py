"""Settings from flags, files and presets: what is understood, and how mistakes are told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

import pytest
import yaml
from annotated_types import Gt

from domains.base.settings import DomainSettings
from models.settings import SegmenterSettings
from orchestrator.base.errors import UserError
from orchestrator.contract.config import config_of, flatten, parse_flags, read_file, read_settings, usable_settings
from pipelines import drsl, oracle


@dataclass(frozen=True, kw_only=True)
class Inner:
    lr: Annotated[float, Gt(0)] = 0.1
    head_multiplier: float = 10.0
    flip: bool = False
    dilations: tuple[int, ...] = (6, 12)


@dataclass(frozen=True, kw_only=True)
class Outer:
    seed: int = 0
    name: str = ""
    source: Inner = field(default_factory=Inner)
    model: SegmenterSettings = field(default_factory=SegmenterSettings)


NAMES = flatten(Outer)


def read(*words: str, base: Outer | None = None) -> Outer:
    values, complaints = parse_flags(words, NAMES)
    assert complaints == []
    return read_settings(Outer, values, base or Outer())


def complaints_of(*words: str) -> tuple[str, ...]:
    values, complaints = parse_flags(words, NAMES)
    _, problems = usable_settings(Outer, values, Outer())
    return (*complaints, *problems)


def test_names_are_dotted_and_typed():
    assert NAMES["seed"] is int
    assert NAMES["source.flip"] is bool
    assert "source" not in NAMES


def test_flags_change_the_base_and_nothing_else():
    base = Outer(seed=3, source=Inner(lr=0.5, flip=True))
    changed = read("--source.lr", "0.25", base=base)
    assert changed == Outer(seed=3, source=Inner(lr=0.25, flip=True))


@pytest.mark.parametrize("spelling", ["--source.head_multiplier", "--source.head-multiplier"])
def test_hyphens_and_underscores_are_the_same(spelling):
    assert read(spelling, "2").source.head_multiplier == 2.0


def test_value_may_follow_an_equals_sign():
    assert read("--seed=7", "--name=a=b") == Outer(seed=7, name="a=b")


def test_tuple_takes_the_words_up_to_the_next_flag():
    settings = read("--source.dilations", "1", "2", "3", "--seed", "5")
    assert settings.source.dilations == (1, 2, 3)
    assert settings.seed == 5


@pytest.mark.parametrize(
    ("words", "value"), [(["--source.flip"], True), (["--source.flip", "true"], True), (["--source.flip", "no"], False)]
)
def test_bool_flag_needs_no_value(words, value):
    assert read(*words, base=Outer(source=Inner(flip=not value))).source.flip is value


def test_last_of_repeated_flags_counts():
    assert read("--seed", "1", "--seed", "2").seed == 2


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("--source.learning", None),
        ("--source.lrr", "source.lr"),
        ("--sorce.lr", "source.lr"),
        ("--flip", "source.flip"),
    ],
)
def test_unknown_name_names_the_nearest(word, near):
    (complaint,) = complaints_of(word, "1")
    assert complaint.startswith(f"{word[2:]}: no such setting")
    if near:
        assert f"did you mean {near}?" in complaint


def test_every_mistake_is_told_at_once():
    complaints = complaints_of(
        "stray",
        "--source.lr", "-1",
        "--seed", "abc",
        "--sead", "1",
        "--name",
        "--source.dilations", "1", "x",
        "--source.flip", "perhaps",
    )  # fmt: skip
    starts = ("'stray'", "source.lr:", "seed:", "sead:", "name:", "source.dilations.1:", "source.flip:")
    assert len(complaints) == len(starts)
    for start in starts:
        assert [line for line in complaints if line.startswith(start)], start


def test_message_shows_the_value_and_the_rule():
    with pytest.raises(UserError) as caught:
        read_settings(Outer, {"source.lr": "-1", "seed": "abc"}, Outer())
    assert caught.value.details == (
        "seed: input should be a valid integer, unable to parse string as an integer, got 'abc'",
        "source.lr: input should be greater than 0, got '-1'",
    )


def test_rule_over_a_group_is_found_beside_a_wrong_type_in_it():
    complaints = complaints_of("--model.output_stride", "7", "--model.width", "0")
    assert len(complaints) == 2
    assert any("width must be at least 1, got 0" in line for line in complaints)


def test_settings_are_usable_without_the_mistaken_ones():
    settings, problems = usable_settings(Outer, {"seed": "x", "source.lr": "-1", "name": "kept"}, Outer(seed=4))
    assert settings == Outer(seed=4, name="kept")
    assert len(problems) == 2


def test_setting_without_default_must_be_given():
    @dataclass(frozen=True)
    class Needs:
        images: str
        count: int = 0

    settings, problems = usable_settings(Needs, {"count": "many"})
    assert settings is None
    assert [line.split(":")[0] for line in problems] == ["images", "count"]
    assert read_settings(Needs, {"images": "a"}) == Needs("a")


@pytest.mark.parametrize(
    ("module", "preset"), [(module, preset) for module in (drsl, oracle) for preset in module.PRESETS]
)
def test_written_settings_read_back_equal(module, preset, tmp_path):
    settings = module.PRESETS[preset]()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config_of(settings), sort_keys=False))
    values = read_file(tmp_path / "config.yaml")
    assert values.pop("method") == settings.name
    again = read_settings(type(settings), values)
    assert again == settings
    assert isinstance(again.model.dilations, tuple)


def test_who_computes_is_no_part_of_what_a_run_is():
    settings = drsl.PRESETS["toy"]()
    local = replace(settings, compute=replace(settings.compute, backend="local"))
    assert config_of(local) == config_of(settings)


def test_file_keeps_small_numbers_and_numbers_without_a_point(tmp_path):
    (tmp_path / "a.yaml").write_text("source:\n  lr: 1e-4\n  head_multiplier: 2\n")
    settings = read_settings(Outer, read_file(tmp_path / "a.yaml"), Outer())
    assert settings.source == Inner(lr=1e-4, head_multiplier=2.0)


@pytest.mark.parametrize("text", ["a: [1\n", "- a\n", "", "just text", "!!python/object/apply:os.getcwd []", "\x00"])
def test_file_that_holds_no_settings_is_refused_in_one_line(text, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=r"a\.yaml") as caught:
        read_file(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)


def test_missing_or_binary_file_is_refused(tmp_path):
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\xff")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "b.yaml"):
        with pytest.raises(UserError, match="--config"):
            read_file(path)


def test_unknown_key_of_a_file_names_the_nearest(tmp_path):
    (tmp_path / "a.yaml").write_text("source: {learning_rate: 1}\nmodel: {widht: 3}\n")
    with pytest.raises(UserError) as caught:
        read_settings(Outer, read_file(tmp_path / "a.yaml"), Outer())
    assert caught.value.details[1] == "model.widht: no such setting; did you mean model.width?"
    assert caught.value.details[0].startswith("source.learning_rate: no such setting")


def test_another_kind_of_domain_starts_from_its_own_defaults():
    toy = drsl.PRESETS["toy"]()
    measured = read_settings(drsl.Drsl, {"pair.evaluation.count": 5}, toy).pair.evaluation
    assert measured == replace(toy.pair.evaluation, count=5)
    flags = {"pair.evaluation.images": "photos", "pair.evaluation.kind": "folder"}
    own = read_settings(drsl.Drsl, flags, toy)
    assert own.pair.evaluation == DomainSettings(kind="folder", images="photos")
    assert own.pair.target == toy.pair.target
    assert read_settings(drsl.Drsl, {"pair.evaluation.kind": "none"}, toy).problems() == []


def test_names_given_one_a_flag_add_up_and_a_number_given_again_replaces_the_first():
    names = {"reuse": tuple[str, ...], "scales": tuple[float, ...], "seed": int}
    words = ["--reuse", "a", "--reuse", "b", "c", "--scales", "1", "--scales", "2", "--seed", "0", "--seed", "1"]
    assert parse_flags(words, names) == ({"reuse": ["a", "b", "c"], "scales": ["2"], "seed": "1"}, [])
