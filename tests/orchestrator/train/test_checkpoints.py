"""Checkpoints: exact, whole or absent, and never silently wrong."""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from domains.base.files import TEMPORARY
from orchestrator.base import files
from orchestrator.base.errors import StageFailed, UserError
from orchestrator.base.files import digests_below, write_json
from orchestrator.run.fingerprint import Fingerprint
from orchestrator.train import checkpoints
from orchestrator.train.checkpoints import optimiser_tensors, restore_optimiser
from orchestrator.train.finite import Diverged

OWN = Fingerprint.of({"name": "adapt-0", "settings": {"lr": 0.1}}, {"source": "abc"})


def newest_verified(folder: Path) -> checkpoints.Checkpoint | None:
    return checkpoints.newest_verified(folder, OWN)


def save(folder: Path, step: int, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> Path:
    return checkpoints.save(folder, step, tensors, state, OWN)


def tensors_of(step: int) -> dict[str, dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(step)
    return {
        "networks": {"net/weight": torch.rand(2, 3, generator=draw), "net/count": torch.tensor(step)},
        "optimisers": {"net/0/momentum_buffer": torch.rand(4, generator=draw)},
    }


def state_of(step: int) -> dict[str, Any]:
    return {"schedules": {"net": {"last_epoch": step, "lr": 0.1 / 3}}}


@pytest.fixture
def folder(tmp_path):
    for step in (10, 20):
        save(tmp_path / "all", step, tensors_of(step), state_of(step))
    return tmp_path / "all"


def assert_is_as_saved(found: checkpoints.Checkpoint | None, step: int) -> None:
    assert found is not None
    assert found.step == step
    assert found.state() == {
        "schema": checkpoints.SCHEMA,
        "step": step,
        "fingerprint": OWN.digest,
        "decided_by": OWN.decided_by,
        **state_of(step),
    }
    for kind, values in tensors_of(step).items():
        loaded = found.tensors(kind)
        assert loaded.keys() == values.keys()
        assert all(torch.equal(loaded[name], values[name]) for name in values)
        assert all(loaded[name].dtype == values[name].dtype for name in values)


def test_nothing_saved_is_nothing_found(tmp_path):
    assert newest_verified(tmp_path) is None
    assert newest_verified(tmp_path / "absent") is None


def test_newest_is_found_as_it_was_saved(folder):
    assert_is_as_saved(newest_verified(folder), 20)


def test_two_are_kept(folder):
    save(folder, 30, tensors_of(30), state_of(30))
    assert sorted(p.name for p in folder.iterdir()) == ["step-00000020", "step-00000030"]


def test_newest_goes_by_number_and_not_by_time(tmp_path):
    save(tmp_path, 1000, tensors_of(1000), state_of(1000))
    save(tmp_path, 999, tensors_of(999), state_of(999))
    assert_is_as_saved(newest_verified(tmp_path), 1000)


def test_saving_a_step_again_replaces_it(folder):
    save(folder, 20, tensors_of(21), state_of(20))
    found = newest_verified(folder)
    assert found is not None
    assert torch.equal(found.tensors("networks")["net/weight"], tensors_of(21)["networks"]["net/weight"])


def test_tensors_of_any_layout_and_graph_can_be_saved(tmp_path):
    image = torch.rand(2, 3, 4, 5, requires_grad=True).to(memory_format=torch.channels_last)
    save(tmp_path, 1, {"networks": {"a": image, "b": image[:, 1:]}}, {})
    found = newest_verified(tmp_path)
    assert found is not None
    assert torch.equal(found.tensors("networks")["a"], image)
    assert torch.equal(found.tensors("networks")["b"], image[:, 1:])


def make(kind: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    groups = [
        {"name": "encoder", "params": list(network[0].parameters()), "lr": 0.1},
        {"name": "head", "params": list(network[1].parameters()), "lr": 0.3},
    ]
    if kind == "adamw":
        return network, torch.optim.AdamW(groups, betas=(0.8, 0.99), weight_decay=0.01)
    return network, torch.optim.SGD(groups, lr=0.1, momentum=0.9 if kind == "momentum" else 0, weight_decay=0.01)


def step(network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    network(torch.arange(6.0).view(2, 3) / 6).square().sum().backward()
    optimiser.step()


@pytest.mark.parametrize("kind", ["momentum", "adamw", "plain"])
def test_optimiser_continues_bit_for_bit(kind, tmp_path):
    network, optimiser = make(kind)
    for _ in range(3):
        step(network, optimiser)
    optimiser.param_groups[1]["lr"] = 0.07
    values, rest = optimiser_tensors("net", optimiser)
    save(tmp_path, 3, {"networks": network.state_dict(), "optimisers": values}, {"optimisers": {"net": rest}})
    found = newest_verified(tmp_path)
    assert found is not None

    other, restored = make(kind)
    other.load_state_dict(found.tensors("networks"))
    restore_optimiser("net", restored, found.tensors("optimisers"), found.state()["optimisers"]["net"])
    assert_same(restored.state_dict(), optimiser.state_dict())
    for _ in range(2):
        step(network, optimiser)
        step(other, restored)
    assert_same(other.state_dict(), network.state_dict())
    assert_same(restored.state_dict(), optimiser.state_dict())


def assert_same(left: Any, right: Any) -> None:
    """Equal to the last bit and of the same types, through lists and dictionaries."""
    assert type(left) is type(right)
    if isinstance(left, Tensor):
        assert left.dtype == right.dtype
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same(a, b)
    else:
        assert left == right


def test_optimisers_of_two_networks_do_not_mix():
    (one, first), (two, second) = make("momentum"), make("adamw")
    step(one, first)
    step(two, second)
    mixed = optimiser_tensors("a", first)[0] | optimiser_tensors("ab", second)[0]
    fresh = make("momentum")[1]
    restore_optimiser("a", fresh, mixed, optimiser_tensors("a", first)[1])
    assert_same(fresh.state_dict(), first.state_dict())


WRITES = [
    (checkpoints, "write_tensors"),
    (checkpoints, "write_json"),
    (checkpoints, "remove"),
    (files, "remove"),
    (files, "sync_folder"),
    (Path, "mkdir"),
    (Path, "touch"),
    (Path, "replace"),
]


class Crash(Exception):
    """The power goes."""


def crash_at(monkeypatch: pytest.MonkeyPatch, moment: int, after: bool) -> None:
    """Let the write of this number fail, before or just after it happened; nothing is written after it."""
    count = 0

    def breaking(original: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count > moment:
                return None
            mine = count == moment
            if mine and not after:
                raise Crash
            made = original(*args, **kwargs)
            if mine:
                raise Crash
            return made

        return write

    for owner, name in WRITES:
        monkeypatch.setattr(owner, name, breaking(getattr(owner, name)))


@pytest.mark.parametrize("after", [False, True])
def test_crash_at_any_moment_of_a_save_leaves_a_whole_checkpoint(after, folder, tmp_path, monkeypatch):
    steps, moment = [], 0
    while True:
        moment += 1
        trial = tmp_path / f"trial-{moment}"
        shutil.copytree(folder, trial)
        with monkeypatch.context() as patch:
            crash_at(patch, moment, after)
            try:
                save(trial, 30, tensors_of(30), state_of(30))
            except Crash:
                done = False
            else:
                done = True
        found = newest_verified(trial)
        assert found is not None
        assert_is_as_saved(found, found.step)
        assert not list(trial.glob(TEMPORARY))
        save(trial, 30, tensors_of(30), state_of(30))
        assert_is_as_saved(newest_verified(trial), 30)
        steps.append(found.step)
        if done:
            break
    assert moment > 8
    assert steps == sorted(steps)
    assert set(steps) == {20, 30}


@pytest.mark.parametrize("after", [False, True])
def test_crash_in_the_first_save_leaves_nothing(after, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        crash_at(patch, 5, after)
        with pytest.raises(Crash):
            save(tmp_path, 10, tensors_of(10), state_of(10))
    assert newest_verified(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def damage(path: Path, draw: random.Random) -> bool:
    """Flip a bit, cut, overwrite, remove or grow a file; returns whether it still holds what it held."""
    good = path.read_bytes()
    bad = bytearray(good)
    match draw.randrange(6):
        case 0:
            path.unlink()
            return False
        case 1:
            bad = bad[: draw.randrange(len(bad) + 1)]
        case 2:
            bad += draw.randbytes(3)
        case 3:
            start = draw.randrange(len(bad) + 1)
            bad[start : start + 8] = draw.randbytes(len(bad[start : start + 8]))
        case _ if bad:
            bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
    path.write_bytes(bad)
    return bytes(bad) == good


def test_no_damage_is_loaded_silently(folder, tmp_path):
    draw = random.Random(0)
    fallen_back = 0
    for number in range(200):
        trial = tmp_path / f"trial-{number}"
        shutil.copytree(folder, trial)
        path = draw.choice(sorted((trial / "step-00000020").iterdir()))
        same = damage(path, draw)
        found = newest_verified(trial)
        assert found is not None
        assert_is_as_saved(found, found.step)
        if found.step == 10:
            assert not same
            assert (trial / "step-00000020.corrupt").is_dir()
            fallen_back += 1
        elif path.name not in (checkpoints.MARKER, checkpoints.MANIFEST):
            assert same
        shutil.rmtree(trial)
    assert fallen_back > 130


def test_damaged_newest_is_set_aside_with_a_warning(folder, caplog):
    weights = folder / "step-00000020" / "networks.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert_is_as_saved(newest_verified(folder), 10)
    assert "step-00000020" in caplog.text
    assert sorted(p.name for p in folder.iterdir()) == ["step-00000010", "step-00000020.corrupt"]
    save(folder, 20, tensors_of(20), state_of(20))
    assert_is_as_saved(newest_verified(folder), 20)
    assert (folder / "step-00000020.corrupt").exists()


def test_extra_file_in_a_checkpoint_is_damage(folder):
    (folder / "step-00000020" / "old.safetensors").touch()
    assert_is_as_saved(newest_verified(folder), 10)


def test_half_removed_old_checkpoint_does_no_harm(folder):
    (folder / "step-00000010" / "COMPLETE").unlink()
    assert_is_as_saved(newest_verified(folder), 20)
    save(folder, 30, tensors_of(30), state_of(30))
    assert_is_as_saved(newest_verified(folder), 30)


def test_training_never_starts_over_when_all_are_damaged(folder):
    for path in folder.glob("step-*/state.json"):
        path.write_text("{}")
    for _ in range(2):
        with pytest.raises(StageFailed, match="intact") as caught:
            newest_verified(folder)
        for word in (str(folder), "step-00000010.corrupt", "step-00000020.corrupt", "--fresh"):
            assert word in str(caught.value)


def test_checkpoint_of_another_schema_is_refused(folder):
    path = folder / "step-00000020"
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, "schema": checkpoints.SCHEMA + 1}))
    for name in (checkpoints.MANIFEST, checkpoints.MARKER):
        (path / name).unlink()
    write_json(path / checkpoints.MANIFEST, digests_below(path))
    (path / checkpoints.MARKER).touch()
    with pytest.raises(StageFailed, match=f"schema {checkpoints.SCHEMA + 1}, this version reads {checkpoints.SCHEMA}"):
        newest_verified(folder)
    assert path.exists()


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (Fingerprint.of({"name": "adapt-0", "settings": {"lr": 0.3}}, {"source": "abc"}), "lr: was 0.1, now 0.3"),
        (Fingerprint.of({"name": "source", "settings": {"lr": 0.1}}, {}), "name: was 'adapt-0', now 'source'"),
        (Fingerprint.of({"name": "adapt-0", "settings": {"lr": 0.1}}, {"source": "abd"}), "source: was 'abc', now"),
    ],
)
def test_checkpoint_of_another_training_is_refused_with_what_differs(other, named, folder):
    before = digests_below(folder)
    with pytest.raises(UserError, match="belongs to another training") as refused:
        checkpoints.newest_verified(folder, other)
    assert named in str(refused.value)
    assert digests_below(folder) == before


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("kind", ["networks", "optimisers"])
def test_nothing_is_saved_that_holds_a_bad_number(value, kind, folder):
    tensors, before = tensors_of(30), digests_below(folder)
    next(iter(tensors[kind].values())).view(-1)[-1] = value
    with pytest.raises(Diverged, match="step 30"):
        save(folder, 30, tensors, state_of(30))
    assert digests_below(folder) == before


def test_resuming_falls_back_past_a_checkpoint_that_holds_a_bad_number(folder, monkeypatch, caplog):
    tensors = tensors_of(30)
    tensors["networks"]["net/weight"][1, 2] = torch.nan
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "bad_tensors", lambda _: [])  # as a version that did not look
        save(folder, 30, tensors, state_of(30))
    with caplog.at_level(logging.WARNING):
        assert_is_as_saved(newest_verified(folder), 20)
    assert "step-00000030 holds NaN or infinity; set aside as step-00000030.corrupt" in caplog.text
