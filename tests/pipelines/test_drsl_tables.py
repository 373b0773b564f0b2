"""The variants of DRSL's tables: valid settings that differ in what the table is about and in nothing else."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.contract.config import config_of, flatten, read_settings
from orchestrator.run.folder import differences
from pipelines.drsl import PRESETS, Drsl
from pipelines.drsl_tables import TABLES

ABOUT = {
    "table1": {"loss.consistency"},
    "table2": {"loss.consistency"},
    "table3": {"loss.triplet", "loss.mixture"},
    "table4": {"loss.triplet", "loss.mixture"},
    "table5": {"mmdl.modes"},
    "table6": {"mmdl.label_reduction"},
    "table7": {"loss.triplet", "loss.mixture"},
    "table8": {"loss.consistency"},
    "isa": {"isa.ratio"},
}


def variants(name: str, base: Drsl) -> list[Drsl]:
    return [read_settings(Drsl, variant.changes, base) for variant in TABLES[name].variants]


def test_every_table_has_its_subject():
    assert ABOUT.keys() == TABLES.keys()


@pytest.mark.parametrize("preset", ["toy", "toy-camvid"])
@pytest.mark.parametrize("name", TABLES)
def test_arms_differ_in_the_subject_of_the_table_alone_and_all_of_them_do(name, preset):
    configs = [config_of(method) for method in variants(name, PRESETS[preset]())]
    found = [set(differences(configs[0], config)) for config in configs[1:]]
    assert all(found)
    assert set.union(*found) == ABOUT[name]


@pytest.mark.parametrize("name", TABLES)
def test_consistency_is_off_but_in_the_tables_about_it(name):
    values = {method.loss.consistency for method in variants(name, PRESETS["toy"]())}
    expected = {"table1": {0, 0.1}, "table2": {0, 0.1}, "table8": {0.01, 0.1, 0.25}}.get(name, {0})
    assert values == expected


@pytest.mark.parametrize("name", TABLES)
def test_every_arm_can_be_run_and_every_change_is_a_setting(name):
    assert {setting for variant in TABLES[name].variants for setting in variant.changes} <= flatten(Drsl).keys()
    for method in variants(name, PRESETS["toy"]()):
        assert method.problems() == []


def test_the_published_best_of_each_table_is_the_usual_setting():
    for name in ("table3", "table5", "table6", "table8"):
        best = max(TABLES[name].variants, key=lambda variant: variant.published or 0)
        usual = Drsl()
        plain = dataclasses.replace(usual, loss=dataclasses.replace(usual.loss, consistency=0))
        assert read_settings(Drsl, best.changes, usual) == (usual if name == "table8" else plain)


def test_tables_with_an_arm_in_common_agree_on_its_published_number():
    by_settings: dict[Drsl, set[float]] = {}
    for name, table in TABLES.items():
        for method, variant in zip(variants(name, Drsl()), table.variants, strict=True):
            if variant.published is not None and name != "table2":
                by_settings.setdefault(method, set()).add(variant.published)
    assert all(len(numbers) == 1 for numbers in by_settings.values())
    assert len(by_settings) < sum(len(table.variants) for table in TABLES.values()) - 4


def test_a_sweep_decides_what_all_of_its_arms_set():
    assert set(TABLES["table3"].decided) == {"loss.triplet", "loss.mixture", "loss.consistency"}
    assert TABLES["table4"].decided == ("loss.consistency",)
    assert TABLES["table1"].decided == ()
