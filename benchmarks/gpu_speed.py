"""Time training and labelling at full size on one GPU, and the share of its peak that arrives.

    python benchmarks/gpu_speed.py
    python benchmarks/gpu_speed.py --backbone resnet10 --width 8 --height 64 --steps 3   # anywhere, to try it out

DRSL+ on noise that is on the device already, random weights: this is what the GPU does, not the disk. A step sees
--batch images of each domain; labelling is a network's forward pass over an image and the count of its confidences,
as in a run. Operations are counted by torch on tensors without values; the peak is what the maker says of dense
matrices. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from domains.batches.batch import Batch, LabelledImages, PseudoLabelledImages
from domains.pseudo.scores import score_strips
from domains.pseudo.selection import ConfidenceHistogram, confidence_log_odds
from models.segmenter import set_train_mode
from orchestrator.train.optim import make_optimiser
from pipelines.drsl import PRESETS, Drsl

if TYPE_CHECKING:
    from orchestrator.contract.method import Networks

CLASSES = 19
PEAKS = {"A100": 312e12, "H100": 989e12, "H200": 989e12}
"""bf16, dense, in operations a second."""


def make_batch(count: int, height: int, width: int, device: torch.device) -> Batch:
    """Noise as images, patches as labels, `count` of each domain."""
    image = torch.rand(count, 3, height, width, device=device).contiguous(memory_format=torch.channels_last)
    label = torch.randint(CLASSES, (count, -(-height // 64), -(-width // 64)), device=device)
    label = label.repeat_interleave(64, 1).repeat_interleave(64, 2)[:, :height, :width]
    return Batch(LabelledImages(image, label), PseudoLabelledImages(image, label, None))


def train_once(method: Drsl, networks: Networks, batch: Batch, dtype: torch.dtype) -> None:
    """Forward and backward of one step of adaptation."""
    draw = torch.Generator().manual_seed(0)
    kind = batch.source.image.device.type
    with torch.autocast(kind if kind != "meta" else "cpu", dtype, enabled=dtype != torch.float32):
        for _, loss, _ in method.adaptation(networks, batch, draw):
            loss.backward()


def timed(work: Callable[[], object], times: int, device: torch.device) -> float:
    """Seconds of one repetition, after a third as many to warm up."""
    for _ in range(max(1, times // 3)):
        work()
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    begin = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - begin) / times


def main() -> None:
    """Build, count, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet101")
    parser.add_argument("--width", type=int, default=64, help="channels of the backbone's first layer")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--height", type=int, default=512, help="of an image, twice as wide")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--peak", type=float, default=0.0, help="operations a second; 0: by the name of the GPU")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    peak = options.peak or next((value for key, value in PEAKS.items() if key in name), 0.0)
    method = PRESETS["gta5-cityscapes"]()
    method = replace(
        method, model=replace(method.model, weights="none", backbone=options.backbone, width=options.width)
    )
    size = (options.height, 2 * options.height)

    def build(where: torch.device) -> Networks:
        with where:
            networks = method.networks(CLASSES)
        for network in networks.values():
            network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
            set_train_mode(network, method.adapt.batchnorm, method.adapt.affine)
        return networks

    meta = torch.device("meta")
    with FlopCounterMode(display=False) as counter:
        train_once(method, build(meta), make_batch(options.batch, *size, meta), torch.float32)
    training = counter.get_total_flops()
    networks, batch = build(device), make_batch(options.batch, *size, device)
    optimisers = [make_optimiser(method, key, network, method.adapt) for key, network in networks.items()]

    def step() -> None:
        train_once(method, networks, batch, dtype)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()

    each = timed(step, options.steps, device)
    memory = f"{torch.cuda.max_memory_reserved() / 2**30:.1f} GiB" if device.type == "cuda" else "memory of the host"
    segmenter = networks["segmenter"].eval()
    image = batch.source.image[:1]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        segmenter(image)
    forward = counter.get_total_flops()
    histogram = ConfidenceHistogram.empty(CLASSES)

    @torch.inference_mode()
    def label() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = segmenter(image).logits_BKhw
        for _, scores in score_strips([logits[0].float().cpu()], size):
            histogram.add(*confidence_log_odds(scores))

    @torch.inference_mode()
    def predict() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            segmenter(image)

    rows = [
        ("a training step", 2 * options.batch, training, each),
        ("predicting an image", 1, forward, timed(predict, options.steps, device)),
        ("the same, and counting its confidences on one core", 1, forward, timed(label, options.steps, device)),
    ]
    print(f"{name}, {options.backbone}, {size[0]}x{size[1]}, {dtype}, channels_last; training held {memory}.\n")
    print("| Work | s | images/s | TFLOP/s | share of peak |")
    print("|---|---|---|---|---|")
    for work, images, operations, took in rows:
        share = f"{operations / took / peak:.0%}" if peak else "unknown"
        print(f"| {work} | {took:.3f} | {images / took:.1f} | {operations / took / 1e12:.2f} | {share} |")


if __name__ == "__main__":
    main()
