"""Two workers that part are noticed, by every difference in their weights; two that agree go on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WORKER = """
import sys
import torch
from accelerate import Accelerator
from torch import nn
from orchestrator.train.replicas import Parted, require_same

rank, meeting = int(sys.argv[2]), sys.argv[3]
torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
torch.manual_seed(0)
networks = {"same": nn.Linear(3, 2), "other": nn.Linear(3, 2), "empty": nn.Identity()}
if accelerator.process_index == 1:
    if sys.argv[1] == "nudged":
        weight = networks["other"].weight.data
        weight[1, 2] = torch.nextafter(weight[1, 2], torch.tensor(9.0))
if sys.argv[1] == "exchanged":
    torch.manual_seed(1)
    networks["other"] = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    if accelerator.process_index == 1:
        networks["other"] = nn.ModuleList(reversed(networks["other"]))
try:
    require_same(networks, accelerator)
except Parted as error:
    print(error, flush=True)
"""


@pytest.fixture
def group(tmp_path):
    def printed_by(what: str) -> list[str]:
        meeting = (tmp_path / "meeting").as_uri()
        # Accelerate asks for an address also where the group has met, and then does not use it.
        told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "1"}
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, what, str(rank), meeting],
                env={**os.environ, **told, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        printed = [worker.communicate()[0] for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0]
        return printed

    return printed_by


def test_workers_that_agree_go_on(group):
    assert group("equal") == ["", ""]


@pytest.mark.parametrize("what", ["nudged", "exchanged"])
def test_both_workers_notice_that_one_has_other_weights(what, group):
    for printed in group(what):
        assert "the 2 workers hold different weights of other;" in printed
