"""TensorBoard: event files in the run folder, which `tensorboard --logdir` of any folder above them shows."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from orchestrator.trackers.log_tail import Line

FOLDER = "tensorboard"
FLUSH_S = 5
WIDEST = 512
"""Pixels: wider pictures are scaled down to it."""


class TensorBoard:
    """Written anew in each session, so that a run that was killed leaves no cut records and no point twice.

    Args:
        run: the run folder.
    """

    def __init__(self, run: Path) -> None:
        from tensorboardX import SummaryWriter

        shutil.rmtree(run / FOLDER, ignore_errors=True)
        self._writer = SummaryWriter(str(run / FOLDER), flush_secs=FLUSH_S)
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        # Markdown: four spaces make a block of code.
        text = "".join(f"    {line}\n" for line in yaml.safe_dump(config, sort_keys=False).splitlines())
        self._writer.add_text("config.yaml", text, 0)

    def log(self, group: str, lines: Sequence[Line]) -> None:
        """Add a point to the curve of each value."""
        for step, values in lines:
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def picture(self, group: str, name: str, file: Path) -> None:
        """Add a picture."""
        with Image.open(file) as image:
            image.thumbnail((WIDEST, WIDEST))
            self._writer.add_image(f"{group}/{name}", np.asarray(image.convert("RGB")), 0, dataformats="HWC")

    def close(self, state: str) -> None:
        """Write out what is waiting."""
        self._writer.close()
