"""The network, classes and image sizes of the papers, once: what only their shapes could break."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from domains.base.labels import label_space
from domains.base.samples import Labelled, Unlabelled
from domains.batches.crop import RandomCrop
from domains.batches.microbatches import MicroBatches
from domains.placeholder import write_placeholder
from domains.pseudo.selection import thresholds
from domains.registry import open_reader
from domains.stores.pseudo_labels import Manifest, PseudoLabelled, PseudoLabels, write_manifest
from losses.ignore import IGNORE
from models.placeholder import write_placeholder_weights
from models.segmenter import set_train_mode
from models.weights import save_model
from orchestrator.contract.settings import ViewSettings
from orchestrator.mapreduce.labelling import Counts, Cut, Part, score_part, select_part
from orchestrator.train.optim import make_optimiser
from pipelines.drsl import PRESETS

SPACE = label_space("cityscapes19")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_image_is_labelled_and_one_step_of_adaptation_is_taken_at_full_size(tmp_path):
    method = PRESETS["gta5-cityscapes"]()
    # Random weights, their averages tempered: those of a plain random network overflow in half precision.
    assert write_placeholder_weights(replace(method.model, weights="none"), tmp_path / "weights")
    method = replace(method, model=replace(method.model, weights=str(tmp_path / "weights")))
    networks = method.networks(len(SPACE))
    save_model(tmp_path / "model", networks["segmenter"], method.model, {"classes": SPACE.classes}, {})  # type: ignore[arg-type]

    # Label half of Cityscapes' size, as the memory of a small machine allows.
    pair = method.pair
    source = open_reader(write_placeholder(pair.source, tmp_path / "gta5", 1), SPACE, "", 1052, 1914)
    target = open_reader(write_placeholder(pair.target, tmp_path / "cityscapes", 1), SPACE, "", 512, 1024)
    images, folder = Unlabelled(target), tmp_path / "labels"
    folder.mkdir()
    part = Part(0, folder, tmp_path / "model", images, [0], len(SPACE), ViewSettings(), "fp32", "random", None)
    score_part(part)
    counts = Counts.read(part.counts, part.origin)
    assert counts is not None
    assert counts.histogram.counts.sum() == 512 * 1024
    cut = Cut(part, thresholds(counts.histogram, portion=1.0), softness=0.0)
    select_part(cut)
    named = dict.fromkeys(SPACE.classes, 1)
    write_manifest(folder, Manifest("random", 1.0, named, named, named, {part.labels.name: str(cut.digest)}))
    labels = PseudoLabels(folder)
    label = labels.label(images.ids[0])
    assert label.shape == (512, 1024)
    assert (label != IGNORE).all()

    # One step of DRSL+, an image of each domain, twice as wide as the crop of the preset: the largest of the papers'.
    crop = RandomCrop(replace(method.augment, crop_height=512, crop_width=1024))
    feed = MicroBatches(Labelled(source), PseudoLabelled(images, labels), crop, (1, 1), (0, "adapt-0"))
    batch = feed[0].to(torch.device("cpu"))
    assert batch.source.image.shape == (1, 3, 512, 1024)
    for network in networks.values():
        set_train_mode(network, method.adapt.batchnorm, method.adapt.affine)
    before = {name: [p.detach().clone() for p in net.parameters()] for name, net in networks.items()}
    optimisers = [make_optimiser(method, name, net, method.adapt) for name, net in networks.items()]
    (step,) = list(method.adaptation(networks, batch, torch.Generator().manual_seed(0)))
    names, loss, terms = step
    assert set(names) == set(networks)
    assert set(terms) == {"seg_source", "seg_target", "triplet", "mixture", "consistency"}
    assert all(torch.isfinite(value) for value in terms.values())
    loss.backward()
    for optimiser in optimisers:
        optimiser.step()
    for name, network in networks.items():
        for parameter, old in zip(network.parameters(), before[name], strict=True):
            assert torch.isfinite(parameter).all()
            assert torch.equal(parameter, old) != parameter.requires_grad
