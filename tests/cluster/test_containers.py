"""The image and the Kubernetes manifest. Neither can be carried out here: what is promised of them is read off them.

The rules of the manifest are those of KubeRay's API reference (RayJob, ray.io/v1).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cluster.cluster_file import ROOT

pytestmark = pytest.mark.without_ray

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split())


def lint(path: Path) -> str:
    done = subprocess.run([Path(sys.executable).parent / "hadolint", path], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_dockerfile_has_no_lint(tmp_path):
    assert lint(DEPLOY / "Dockerfile") == ""
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN pip install torch\n")
    assert "DL3006" in lint(tmp_path / "Dockerfile")


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_both_images_are_pinned_and_run_without_root(target):
    (stage,) = re.findall(rf"^FROM base AS {target}\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^USER (\w+)", stage, re.MULTILINE) == ["1000"]
    for command in re.findall(r"pip install[^\\\n]*", DOCKERFILE):
        assert "--constraint constraints.txt" in command
    assert '".[cluster]"' in stage


def test_base_image_has_the_python_of_the_project():
    (base,) = re.findall(r"^FROM python:([\d.]+)-slim", DOCKERFILE, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"PYTHON ?= python{base}\n" in makefile


def test_image_gets_the_packages_alone():
    copied = {word for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()}
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignore
    assert {line.removeprefix("!") for line in ignore if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)


@pytest.fixture
def job():
    return yaml.safe_load((DEPLOY / "rayjob.yaml").read_text(encoding="utf-8"))


def test_job_runs_the_installed_pipeline_with_its_runs_on_the_shared_volume(job):
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    words = job["spec"]["entrypoint"].split()
    assert words[:2] == ["python", "-m"]
    assert (ROOT / words[2].replace(".", "/")).with_suffix(".py").exists()
    assert words[words.index("--runs") + 1].startswith("/shared/")
    assert job["spec"]["shutdownAfterJobFinishes"] is True


def test_job_has_token_authentication_which_needs_the_version(job):
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == PINS["ray"]


def test_every_pod_mounts_the_shared_volume_and_has_no_rights_that_it_does_not_need(job):
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 1000)
        (container,) = pod["containers"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert "/shared" in {mount["mountPath"] for mount in container["volumeMounts"]}
        assert "memory" in container["resources"]["limits"]
        assert "env" not in container  # the token is the operator's to hand out


def test_all_workers_of_a_job_are_there_from_the_beginning(job):
    (workers,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] > 0
    assert workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
