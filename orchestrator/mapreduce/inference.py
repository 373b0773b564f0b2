"""A model folder turned into predictions, one image at a time, without ever holding full-size probabilities."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from domains.pseudo.scores import score_strips
from domains.pseudo.windows import stitched, windows
from domains.readers.images import resize_image
from models.weights import load_model
from orchestrator.contract.settings import ViewSettings

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Predictor:
    """Low-resolution logits of a trained network.

    Args:
        folder: model folder as `models.weights.save_model` writes it.
        precision: "fp32", "bf16" or "fp16".
        settings: what the network is shown of an image: scales, mirrored or not, through a sliding window or whole.
    """

    def __init__(self, folder: Path, precision: str = "fp32", settings: ViewSettings | None = None) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # one core a task: tasks are the parallelism
        network, self.config = load_model(folder)
        self.network = network.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.precision = precision
        self.settings = (settings or ViewSettings()).views

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, DTYPES[self.precision])

    @torch.inference_mode()
    def views(self, image_3HW: Tensor) -> list[Tensor]:
        """Logits K x h x w (float32, on the host) of each view of a uint8 image, at the network's stride.

        Views are in the order of the scales, after each the mirrored one, whose logits are mirrored back. With a
        window, the logits of a view are those of `domains.pseudo.windows.stitched`.
        """
        found = []
        for scale in self.settings.scales:
            height, width = (max(1, round(length * scale)) for length in image_3HW.shape[1:])
            image_13HW = resize_image(image_3HW, height, width).to(self.device)[None].float() / 255
            found.append(self._logits(image_13HW))
            if self.settings.flip:
                found.append(self._logits(image_13HW.flip(-1)).flip(-1))
        return found

    def _logits(self, image_13HW: Tensor) -> Tensor:
        size = (image_13HW.shape[2], image_13HW.shape[3])
        boxes = windows(size, self.settings.window, self.settings.stride)
        return stitched(((box, self._whole(image_13HW[:, :, *box])) for box in boxes), size)

    def _whole(self, image_13HW: Tensor) -> Tensor:
        with self._autocast():
            logits_1Khw = self.network(image_13HW.contiguous(memory_format=torch.channels_last)).logits_BKhw
        return logits_1Khw[0].float().cpu()

    def labels(self, image_3HW: Tensor, size: tuple[int, int]) -> Tensor:
        """The most probable class of every pixel, uint8, at `size` (height, width)."""
        strips = score_strips(self.views(image_3HW), size)
        return torch.cat([scores.argmax(0).to(torch.uint8) for _, scores in strips])
