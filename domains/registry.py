"""From settings to readers, and every mistake in the settings as a sentence, before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from domains.base.errors import DataError
from domains.base.labels import LabelSpace, label_space, remap, too_few_classes
from domains.base.samples import Reader
from domains.base.settings import AugmentSettings, DomainSettings, IsaSettings, PairSettings
from domains.layouts.acdc import acdc, dark_zurich
from domains.layouts.bdd100k import bdd100k
from domains.layouts.camvid import camvid, camvid_original
from domains.layouts.cityscapes import cityscapes, foggy_cityscapes
from domains.layouts.gta5 import gta5
from domains.layouts.mapillary import mapillary
from domains.layouts.synthia import synthia
from domains.readers.folder import FolderReader, Translated, read_list
from domains.readers.layout import Layout
from domains.readers.wrappers import Cached, Mapped, Resized, ResizedImages, Subset
from domains.stores.dataset import ArrowReader
from domains.stores.translations import TranslatedByRun
from losses.ignore import IGNORE

CACHE_BYTES = 512 * 2**20
"""Decoded pixels that one process keeps for one domain."""

ANY_SPACE = "cityscapes19"
"""Label space of folders whose labels play no part."""

TOY_SIZE = (128, 256)
"""Height and width in pixels of the toy city where the run sets none."""

LAYOUTS: dict[str, Callable[[DomainSettings, Path], Layout]] = {
    "camvid": camvid,
    "camvid_original": camvid_original,
    "cityscapes": cityscapes,
    "foggy_cityscapes": foggy_cityscapes,
    "gta5": gta5,
    "synthia": synthia,
    "acdc": acdc,
    "dark_zurich": dark_zurich,
    "bdd100k": bdd100k,
    "mapillary": mapillary,
}
"""By kind of domain, what finds the part of a data set that settings name below a folder."""

_FILES = {"root", "list", "count", "height", "width"}

FIELDS = {
    "toycity": {"split", "style", "count", "height", "width"},
    "camvid": {*_FILES, "split"},
    "camvid_original": _FILES,
    "cityscapes": {*_FILES, "split"},
    "foggy_cityscapes": {*_FILES, "split", "fog_beta"},
    "gta5": _FILES,
    "synthia": {*_FILES, "lane_marking"},
    "acdc": {*_FILES, "split", "condition"},
    "dark_zurich": {*_FILES, "split", "condition"},
    "bdd100k": {*_FILES, "split"},
    "mapillary": {*_FILES, "split"},
    "folder": {*_FILES, "images", "labels", "label_space"},
    "arrow": _FILES,
    "none": set(),
}
"""Settings that mean something to each kind of domain."""


def open_reader(
    settings: DomainSettings,
    space: LabelSpace | None,
    root: str,
    height: int = 0,
    width: int = 0,
    *,
    resize_labels: bool = True,
    cache_bytes: int = CACHE_BYTES,
    problems: list[str] | None = None,
) -> Reader:
    """Open a domain as the run sees it: at the working size, in the run's label space, remembered once read.

    Args:
        settings: which domain.
        space: label space of the run; None = that of the domain.
        root: data root that relative folders start from.
        height: working height in pixels, 0 = as the images are.
        width: working width in pixels, 0 = as the images are.
        resize_labels: whether labels follow the images to the working size; evaluation keeps them as they are.
        cache_bytes: decoded pixels that are remembered.
        problems: where files without their other half are told, if not to be raised (`FolderReader`).

    Raises:
        DataError: if the files are not there or the label spaces share no class.
    """
    decoded = (height, width) if resize_labels or settings.kind == "toycity" else (0, 0)
    reader = _open(settings, space or label_space(ANY_SPACE), Path(root).absolute(), *decoded, problems)
    reader = _counted(reader, settings)
    reader = Resized(reader, height, width) if resize_labels else ResizedImages(reader, height, width)
    if space and reader.has_labels and reader.space != space:
        reader = Mapped(reader, space)
    return Cached(reader, cache_bytes)


def open_translated(reader: Reader, settings: IsaSettings, root: str, height: int = 0, width: int = 0) -> Reader:
    """Open the copies of a source domain that were translated beforehand, into a folder or by a run.

    Raises:
        DataError: if they are missing or lack an image.
    """
    return Cached(_translated(reader, settings, Path(root).absolute(), height, width), CACHE_BYTES)


def check_settings(settings: DomainSettings, root: str, *, complete: bool = True) -> list[str]:
    """Return what is wrong with a domain, one sentence each; folders are listed but no image is decoded.

    Args:
        settings: which domain.
        root: data root that relative folders start from.
        complete: whether an image or a label without its other half is wrong.
    """
    plain = DomainSettings(kind=settings.kind)
    problems = [
        f"{name} has no meaning for a domain of kind {settings.kind}: leave it out"
        for name in vars(plain)
        if name not in {"kind", *FIELDS[settings.kind]} and getattr(settings, name) != getattr(plain, name)
    ]
    if settings.kind == "none":
        return problems
    if settings.kind == "folder" and not settings.images:
        return [*problems, "images is not set: name the folder of this domain's images"]
    if settings.count < 0:
        return [*problems, f"count must be 0 (all) or more, got {settings.count}"]
    try:
        told_later = None if complete else []
        _open(settings, label_space(settings.label_space or ANY_SPACE), Path(root), 0, 0, told_later)
    except ValueError as error:
        problems.append(str(error))
    return problems


def check_pair(pair: PairSettings, augment: AugmentSettings, isa: IsaSettings, root: str) -> list[str]:
    """Return what is wrong with the data of a run, one sentence each, without decoding an image."""
    problems = [*_size_problems(pair, augment), *_augment_problems(augment), *_isa_problems(isa)]
    domains = {"source": pair.source, "target": pair.target, "evaluation": pair.evaluation}
    broken = {name: check_settings(domain, root) for name, domain in domains.items()}
    problems += [f"{name}: {problem}" for name, found in broken.items() for problem in found]
    absent = [name for name, domain in domains.items() if domain.kind == "none"]
    problems += [
        f"{name}: a run needs this domain, it cannot be of kind none" for name in absent if name != "evaluation"
    ]
    try:
        space = label_space(pair.label_space)
    except DataError as error:
        return [*problems, str(error)]
    if problem := too_few_classes(space):
        problems.append(f"pair.label_space: {problem}")
    readers = {
        name: _open(domain, space, Path(root), 0, 0)
        for name, domain in domains.items()
        if not broken[name] and name not in absent
    }
    for name in ("source", "evaluation"):
        if name in readers and not readers[name].has_labels:
            problems.append(f"{name}: this domain needs labels: {how_to_label(domains[name], root)}")
    problems += _space_problems({name: reader for name, reader in readers.items() if reader.has_labels}, space)
    if isa.ratio > 0 and isa.beforehand and not broken["source"] and "source" not in absent:
        problems += _translation_problems(pair, isa, space, root)
    return problems


def _counted(reader: Reader, settings: DomainSettings) -> Reader:
    """The first images of a domain, as many as are wanted."""
    if settings.count and settings.kind != "toycity":
        return Subset(reader, range(min(settings.count, len(reader))))
    return reader


def _open(
    settings: DomainSettings,
    space: LabelSpace,
    root: Path,
    height: int,
    width: int,
    problems: list[str] | None = None,
) -> Reader:
    folder = root / settings.root
    if settings.kind == "toycity":
        return _open_toycity(settings, height or TOY_SIZE[0], width or TOY_SIZE[1])
    if settings.kind in LAYOUTS:
        return LAYOUTS[settings.kind](settings, folder).open(folder, settings.list, height, width, problems)
    labels = folder / settings.labels if settings.labels else None
    own_space = label_space(settings.label_space) if settings.label_space else space
    ids = read_list(folder / settings.list) if settings.list else None
    if settings.kind == "arrow":
        return ArrowReader(folder, ids)
    images = folder / settings.images
    return FolderReader(images, labels, own_space, ids=ids, height=height, width=width, problems=problems)


def _open_toycity(settings: DomainSettings, height: int, width: int) -> Reader:
    from domains.toycity.reader import ToyCity
    from domains.toycity.scene import Split

    count = settings.count or (400 if settings.split == "train" else 100)
    split = cast(Split, settings.split)  # the reader itself refuses any other
    city = ToyCity(style=settings.style, split=split, count=count, height=height, width=width)
    return cast(Reader, city)  # type checkers do not take its cached ids for the property that they are


def how_to_label(settings: DomainSettings, root: str) -> str:
    """Return why a domain has no labels, and what to do."""
    if settings.kind == "arrow":
        return "these shards were written without labels: write them again from a domain that has some"
    if settings.kind not in LAYOUTS:
        return "set its folder of labels"
    folder = Path(root) / settings.root
    return LAYOUTS[settings.kind](settings, folder).without_labels(folder)


def _space_problems(labelled: dict[str, Reader], space: LabelSpace) -> list[str]:
    """What keeps labels of the domains, by name, from being read in the space of the run and from being compared."""
    problems, known = [], {}
    for name, reader in labelled.items():
        try:
            Mapped(reader, space)
        except DataError as error:
            problems.append(f"{name}: {error}")
            continue
        known[name] = set(remap(reader.space, space).tolist()) - {IGNORE}
    for name in ("target", "evaluation"):
        if {"source", name} <= known.keys() and not known["source"] & known[name]:
            own, other = labelled["source"].space.name, labelled[name].space.name
            problems.append(
                f"source and {name} have no class in common: of the classes of {space.name}, labels in {own} and in "
                f"{other} show different ones"
            )
    return problems


def _translated(reader: Reader, isa: IsaSettings, root: Path, height: int, width: int) -> Reader:
    if isa.translator == "run":
        return TranslatedByRun(reader, Path(isa.run), height, width)
    return Translated(reader, root / isa.folder, height, width)


def _translation_problems(pair: PairSettings, isa: IsaSettings, space: LabelSpace, root: str) -> list[str]:
    if not (isa.run if isa.translator == "run" else isa.folder):
        return []  # said before
    try:
        source = _counted(_open(pair.source, space, Path(root), 0, 0), pair.source)
        _translated(source, isa, Path(root), *pair.size_of(pair.source))
    except DataError as error:
        return [f"translated source images: {error}"]
    return []


def _size_problems(pair: PairSettings, augment: AugmentSettings) -> list[str]:
    for size in (pair, pair.source, pair.target, pair.evaluation):
        if size.height < 0 or size.width < 0 or (size.height == 0) != (size.width == 0):
            return [f"height and width must both be 0 or both be positive, got {size.height} and {size.width}"]
    for height, width in (pair.size_of(pair.source), pair.size_of(pair.target)):
        if height and (augment.crop_height > height or augment.crop_width > width):
            crop = f"{augment.crop_height}x{augment.crop_width}"
            return [f"the crop ({crop}, height x width) must fit in the images ({height}x{width})"]
    return []


def _augment_problems(augment: AugmentSettings) -> list[str]:
    limits = {
        "photometric_probability": 1.0,
        "brightness": 1.0,
        "contrast": 1.0,
        "saturation": 1.0,
        "hue": 0.5,
    }
    limits |= {"gamma": 2.0, "blur": 10.0}
    problems = [
        f"{name} must lie in [0, {limit:g}], got {getattr(augment, name)}"
        for name, limit in limits.items()
        if not 0 <= getattr(augment, name) <= limit
    ]
    if augment.crop_height < 0 or augment.crop_width < 0:
        crop = f"{augment.crop_height}x{augment.crop_width}"
        problems.append(f"the crop must be at least 1x1 pixels, or 0 for the image's own size, got {crop}")
    if not 0 < augment.scale_min <= augment.scale_max:
        scales = f"{augment.scale_min} and {augment.scale_max}"
        problems.append(f"scales must satisfy 0 < scale_min <= scale_max, got {scales}")
    if not augment.scale_step >= 0:
        problems.append(f"scale_step must be 0 or more, got {augment.scale_step}")
    return problems


def _isa_problems(isa: IsaSettings) -> list[str]:
    problems = []
    if not 0 <= isa.ratio <= 1:
        problems.append(f"the share of translated source images must lie in [0, 1], got {isa.ratio}")
    if not 0 <= isa.fourier_beta <= 0.5:
        problems.append(f"fourier_beta must lie in [0, 0.5], got {isa.fourier_beta}")
    if isa.translator == "folder" and not isa.folder:
        problems.append("translator folder needs the folder of the translated source images")
    if isa.translator == "run" and not isa.run:
        problems.append("translator run needs the folder of the run that translated the source images (isa.run)")
    return problems
