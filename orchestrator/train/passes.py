"""Several backward passes before an update: the workers average the gradients once, when a network is updated.

`DistributedDataParallel` averages within a backward pass and expects one pass an update. Of a second pass through the
same forward it averages nothing, and the workers part; a second forward that leaves parameters out is an error.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn


@torch.no_grad()
def average_gradients(networks: Iterable[nn.Module], workers: int) -> None:
    """Give every worker the mean of the gradients of all; called by all of them after the same pass.

    A gradient that some workers lack counts as zero there. One that all of them lack stays absent: the optimiser then
    leaves its parameter alone, as it does with one worker.

    Args:
        networks: those that are about to be updated, not wrapped by `DistributedDataParallel`.
        workers: of the group; all hold the same networks.
    """
    parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
    if workers == 1 or not parameters:
        return
    gradients = [p.grad for p in parameters]
    present_P = torch.tensor([float(gradient is not None) for gradient in gradients], device=parameters[0].device)
    # All in one sum, with a number for each parameter that says whether there is a gradient at all.
    flat = torch.cat([present_P, *(_flat(*pair) for pair in zip(parameters, gradients, strict=True))])
    distributed.all_reduce(flat)
    present_P, *means = torch.split(flat.div_(workers), [len(parameters), *(p.numel() for p in parameters)])
    # Where a worker has every gradient itself, as is usual, a GPU is not waited for.
    anywhere = present_P.tolist() if any(gradient is None for gradient in gradients) else [1.0] * len(parameters)
    for parameter, mean, share in zip(parameters, means, anywhere, strict=True):
        if share > 0:
            parameter.grad = torch.empty_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad.copy_(mean.view_as(parameter))


def _flat(parameter: Tensor, gradient: Tensor | None) -> Tensor:
    return torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten()
