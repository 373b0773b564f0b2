"""A model folder turned into predictions, one image at a time, without ever holding full-size probabilities."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from domains.scores import score_strips
from models.weights import load_model

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Predictor:
    """Low-resolution logits of a trained network.

    Args:
        folder: model folder as `models.weights.save_model` writes it.
        precision: "fp32", "bf16" or "fp16".
        flip: also predict the mirrored image; its logits, mirrored back, are a second view.
    """

    def __init__(self, folder: Path, precision: str = "fp32", flip: bool = False) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # one core a task: tasks are the parallelism
        network, self.config = load_model(folder)
        self.network = network.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.precision, self.flip = precision, flip

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, DTYPES[self.precision])

    @torch.inference_mode()
    def logits(self, image_3HW: Tensor) -> Tensor:
        """Logits V x K x h x w (float32, on the host) of the V views of a uint8 image, at the network's stride."""
        image = (image_3HW.to(self.device)[None].float() / 255).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            views = [self.network(image).logits_BKhw]
            if self.flip:
                views.append(self.network(image.flip(-1)).logits_BKhw.flip(-1))
        return torch.cat(views).float().cpu()

    def labels(self, image_3HW: Tensor, size: tuple[int, int]) -> Tensor:
        """The most probable class of every pixel, uint8, at `size` (height, width)."""
        strips = score_strips(list(self.logits(image_3HW)), size)
        return torch.cat([scores.argmax(0).to(torch.uint8) for _, scores in strips])
