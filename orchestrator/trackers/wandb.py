"""Weights & Biases: WANDB_MODE says where to (online, offline, disabled), WANDB_PROJECT to which project.

Online, a run that goes on is told from where it stopped. Offline, each session writes all of it anew and the folder of
the session before is removed: `wandb sync` of what is there then has every point once.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml

from domains.base.files import links_below
from orchestrator.trackers.log_tail import Line
from orchestrator.trackers.run_ids import recall, remember

PROJECT = "segadapt"
"""Where WANDB_PROJECT names no other."""
CODES = {"finished": 0, "failed": 1, "interrupted": 255}


class Wandb:
    """The run with the id that its folder remembers.

    Args:
        run: the run folder; what W&B writes itself lies in its folder wandb.
    """

    def __init__(self, run: Path) -> None:
        import wandb

        self._wandb = wandb
        identity = recall(run, "wandb") or secrets.token_hex(4)
        remember(run, "wandb", identity)
        offline = os.environ.get("WANDB_MODE") == "offline"
        if offline:
            for before in run.glob(f"wandb/offline-run-*-{identity}"):
                shutil.rmtree(before)
        elif os.environ.get("WANDB_MODE") != "disabled" and not wandb.api.api_key:
            # It would ask for one on a terminal.
            raise RuntimeError("no key for W&B; set WANDB_API_KEY, or WANDB_MODE=offline to send the run later")
        self._run = wandb.init(
            id=identity,
            resume=None if offline else "allow",
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            group=run.parent.name,
            dir=run,
            config=yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")),
            # The machine, its git remotes and what else it prints are nobody's business.
            settings=wandb.Settings(
                host="not told",
                silent=True,
                symlink=False,
                console="off",
                disable_git=True,
                save_code=False,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_disable_stats=True,
                x_save_requirements=False,
            ),
        )
        # It leaves a link to a log of its own elsewhere, and a run folder holds none that leads out of it.
        for link in [*links_below(run / "wandb")]:
            link.unlink()
        self._last: dict[str, int] = {}

    def log(self, group: str, lines: Sequence[Line]) -> None:
        """Send what the run does not have yet; each group has an axis of its own, since W&B's own step only grows."""
        axis = f"{group}/step"
        if group not in self._last:
            self._last[group] = self._run.summary.get(axis, -1)
            self._run.define_metric(axis, hidden=True)
            self._run.define_metric(f"{group}/*", step_metric=axis)
        for step, values in lines:
            if step > self._last[group]:
                self._last[group] = step
                self._run.log({axis: step, **{f"{group}/{name}": value for name, value in values.items()}})

    def picture(self, group: str, name: str, file: Path) -> None:
        """Send a picture that the run does not have yet."""
        if self._run.summary.get(f"{group}/{name}") is None:
            self._run.log({f"{group}/{name}": self._wandb.Image(str(file))})

    def close(self, state: str) -> None:
        """Write out what is waiting."""
        self._run.finish(exit_code=CODES[state])
