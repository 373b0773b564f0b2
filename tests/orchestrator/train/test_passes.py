"""Several backward passes before an update: two workers train as one does that sees the micro-batches of both."""

from __future__ import annotations

import torch

from tests.orchestrator.train.group import same, train
from tests.orchestrator.train.methods import Passes


def test_two_workers_come_to_the_weights_of_one_with_two_micro_batches(tmp_path):
    alone = train(tmp_path / "alone", 1, "passes", steps=30)[0]
    both = train(tmp_path / "both", 2, "passes", steps=30)[0]
    same(both, alone)
    fresh = {f"student/{name}": value for name, value in Passes().networks(2)["student"].state_dict().items()}
    unused = {name for name in fresh if torch.equal(both[name], fresh[name])}
    assert unused == {"student/never.weight", "student/never.bias"}, "no worker used these, one alone `sometimes`"
    assert all(torch.equal(alone[name], fresh[name]) for name in unused)


def test_scaled_losses_with_clipping_come_to_the_weights_of_plain_ones(tmp_path):
    how = {"steps": 12, "settings": {"clip": 0.3}}
    plain = train(tmp_path / "plain", 2, "passes", **how)[0]
    same(train(tmp_path / "scaled", 2, "passes", scaled=True, **how)[0], plain)


def test_pass_without_an_update_is_refused_in_a_stage_of_one_pass(tmp_path):
    printed = train(tmp_path, 1, "passes", code=1, steps=2, stage={"passes": "one"})[1]
    assert (
        'ValueError: train: step yields a loss that updates no network, which only a stage with passes="several" may do'
        in printed
    )
