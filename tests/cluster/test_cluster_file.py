"""The cluster file in all its variants, against Ray's own schema and against what we promise of it."""

from __future__ import annotations

import copy
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE

from tests.cluster.cluster_file import PROVIDERS, ROOT, blocks, text, variant

pytestmark = pytest.mark.without_ray

PACKAGES = ("losses", "models", "domains", "orchestrator", "pipelines")
CLOUDS = tuple(name for name in PROVIDERS if name != "local")


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as `ray up` fills it in, after Ray's check."""
    filled = prepare_config(copy.deepcopy(config))
    validate_config(filled)
    return filled


def start_of(commands: list[str]) -> list[str]:
    """Words of the one command that starts Ray."""
    (command,) = (command for command in commands if "ray start" in command)
    return shlex.split(command.split(";")[-1])


def test_file_holds_all_variants_and_one_is_active():
    assert tuple(blocks()) == PROVIDERS
    assert yaml.safe_load(text()) == variant("aws")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_ray_accepts_every_variant(provider):
    config = prepared(variant(provider))
    assert config["provider"]["type"] == provider
    assert config["max_workers"] == 2


def test_ray_notices_a_misspelt_variant():
    with pytest.raises(jsonschema.ValidationError):
        prepared({**variant("aws"), "setup_command": []})


@pytest.mark.parametrize("provider", CLOUDS)
def test_head_is_on_demand_and_workers_are_spot(provider):
    config = prepared(variant(provider))
    head, worker = (config["available_node_types"][name]["node_config"] for name in ("head", "worker"))
    spot = ("spot", "Spot", "preemptible")
    assert config["head_node_type"] == "head"
    assert not any(word in str(head) for word in spot)
    assert any(word in str(worker) for word in spot)


@pytest.mark.parametrize("provider", CLOUDS)
def test_all_workers_are_there_from_the_beginning(provider):
    worker = variant(provider)["available_node_types"]["worker"]
    assert worker["min_workers"] == worker["max_workers"] > 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_dashboard_listens_on_the_loopback_alone(provider):
    words = start_of(prepared(variant(provider))["head_start_ray_commands"])
    assert [word for word in words if word.startswith("--dashboard-host")] == ["--dashboard-host=127.0.0.1"]
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in words


@pytest.mark.parametrize("provider", PROVIDERS)
def test_workers_join_the_head(provider):
    config = prepared(variant(provider))
    port = next(word for word in start_of(config["head_start_ray_commands"]) if word.startswith("--port="))
    assert f"--address=$RAY_HEAD_IP:{port.removeprefix('--port=')}" in start_of(config["worker_start_ray_commands"])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_node_gets_the_packages_the_pins_and_the_token(provider):
    mounts = dict(prepared(variant(provider))["file_mounts"])
    assert mounts.pop("~/.ray/auth_token") == "~/.ray/auth_token"
    assert mounts == {f"~/segadapt/{local}": local for local in mounts.values()}
    assert {*PACKAGES, "deploy", "pyproject.toml", "constraints.txt"} <= set(mounts.values())
    for local in mounts.values():
        assert (ROOT / local).exists()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_everything_is_installed_in_pinned_versions(provider):
    config = prepared(variant(provider))
    lines = [*config["head_setup_commands"], *config["worker_setup_commands"]]
    installs = [line.split(" && ")[-1] for line in lines if "bin/pip" in line]
    assert any("'.[cluster]'" in line for line in installs)
    for line in installs:
        assert line.startswith("~/segadapt-env/bin/pip install --no-cache-dir -c ")
        assert {"constraints.txt", "~/segadapt/constraints.txt", "~/segadapt/aws.txt"} & set(line.split())


def test_setting_for_lost_machines_is_one_that_ray_train_hands_to_its_controller():
    assert "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S" in ENV_VARS_TO_PROPAGATE


def test_token_is_readable_by_its_owner_alone():
    assert variant("aws")["setup_commands"][0] == "chmod 700 ~/.ray && chmod 600 ~/.ray/auth_token"


def test_environment_of_a_node_is_read_before_every_command():
    lines = (ROOT / "deploy" / "environment.sh").read_text(encoding="utf-8").splitlines()
    exported = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    assert exported == {
        "PATH": '"$HOME/segadapt-env/bin:$PATH"',
        "RAY_ADDRESS": "auto",
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONSAFEPATH": "1",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900",
    }
    assert any("source ~/segadapt/deploy/environment.sh" in line for line in variant("aws")["setup_commands"])


@pytest.mark.parametrize("path", ["ray_cluster.yaml", "deploy"])
def test_no_secret_lies_in_the_repository(path):
    place: Path = ROOT / path
    for file in [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()]:
        held = file.read_text(encoding="utf-8")
        for word in ("AKIA", "BEGIN OPENSSH", "BEGIN RSA", "aws_secret", "RAY_AUTH_TOKEN="):
            assert word not in held, f"{file} holds {word}"
