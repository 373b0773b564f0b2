"""Memory of translated images that discriminators are shown (CycleGAN, Zhu et al. 2017; Shrivastava et al. 2017).

Shapes: B batch, N images held, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn


class ImagePool(nn.Module):
    """The last images of a generator, mixed: a discriminator that sees old ones too does not swing with the newest.

    What it holds are buffers, so it is saved and restored with the networks and a training that was killed goes on
    with the same images. In a group of workers all hold the same images, those of all.

    Args:
        capacity: N, images that are remembered (paper: 50); 0: none, every image is shown as it comes.
        height: H of its images.
        width: W of its images.
    """

    images_N3HW: Tensor
    held: Tensor

    def __init__(self, capacity: int, height: int, width: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.register_buffer("images_N3HW", torch.zeros(capacity, 3, height, width))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, image_B3HW: Tensor, draw: torch.Generator) -> Tensor:
        """Put images in; for each, get it back or, once the pool is full, half the time an older one in its place.

        Args:
            image_B3HW: newest images, of the pool's size.
            draw: generator of this micro-batch, on the host.

        Returns:
            B images without gradient, of the type of the input.
        """
        chance_B2 = torch.rand(len(image_B3HW), 2, generator=draw)
        images, chances, rank = _of_all_workers(image_B3HW.detach(), chance_B2)
        shown = torch.stack([self._exchange(*pair) for pair in zip(images, chances.tolist(), strict=True)])
        return shown[rank * len(image_B3HW) :][: len(image_B3HW)]

    def _exchange(self, image_3HW: Tensor, chance: list[float]) -> Tensor:
        held = int(self.held)
        if held < self.capacity:
            self.images_N3HW[held] = image_3HW
            self.held += 1
            return image_3HW
        if self.capacity == 0 or chance[0] < 0.5:
            return image_3HW
        place = min(int(chance[1] * self.capacity), self.capacity - 1)
        older_3HW = self.images_N3HW[place].to(image_3HW.dtype, copy=True)
        self.images_N3HW[place] = image_3HW
        return older_3HW


def _of_all_workers(image_B3HW: Tensor, chance_B2: Tensor) -> tuple[Tensor, Tensor, int]:
    """Images and draws of all workers, in the order of their ranks, and the rank of this one."""
    if not (distributed.is_initialized() and distributed.get_world_size() > 1):
        return image_B3HW, chance_B2, 0
    found = []
    for own in (image_B3HW.contiguous(), chance_B2.to(image_B3HW.device)):
        parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, own)
        found.append(torch.cat(parts))
    return found[0], found[1], distributed.get_rank()
