"""Write a domain as Arrow shards in parallel tasks; a run that was cut off redoes what is missing or damaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from domains.base.errors import DataError
from domains.base.files import refuse_links
from domains.base.samples import Reader
from domains.stores.arrow import intact_digest
from domains.stores.dataset import DomainManifest, Encoding, Row, read_domain, write_images
from domains.stores.store import MANIFEST, write_store_manifest
from orchestrator.base.errors import UserError
from orchestrator.base.files import digest_of
from orchestrator.base.progress import Progress
from orchestrator.contract.settings import ComputeSettings
from orchestrator.mapreduce.tasks import run_tasks, split

IMAGES = 64
"""Images in a shard: with every machine the same, so that shards of one can be completed on another."""


@dataclass(frozen=True)
class Shard:
    """The images that one task writes."""

    path: Path
    reader: Reader
    indices: Sequence[int]
    encoding: Encoding
    quality: int
    made_from: str
    """Digest of all that decides its content."""

    @property
    def origin(self) -> dict[str, str]:
        """Stored in the shard, compared before it is kept."""
        return {"images": f"{self.indices[0]}-{self.indices[-1]}", "made_from": self.made_from}

    @property
    def digest(self) -> str | None:
        """The sha256 of the shard if it is whole and was made from just this, else None."""
        return intact_digest(self.path, self.origin)


def write_shards(
    reader: Reader,
    contents: Sequence[str],
    folder: Path,
    size: tuple[int, int],
    encoding: Encoding,
    quality: int,
    compute: ComputeSettings,
    progress: Progress,
) -> None:
    """Make a folder a verified store of a domain, which the kind arrow reads.

    Args:
        reader: domain at the working size.
        contents: digest of what each image and label is on disk: a shard of images that changed is written again.
        folder: the store; older shards of it that are still true are kept.
        size: working height and width, 0 = as the images are.
        encoding: how images are stored.
        quality: of the JPEGs.
        compute: how many tasks at a time.
        progress: who is told.

    Raises:
        UserError: the folder holds a store of another kind.
        DataError: a symbolic link leads out of it.
    """
    _require_own(folder)
    how = [encoding, quality if encoding == "jpeg" else 0, size, reader.space.to_json(), reader.has_labels]
    shards = [
        Shard(
            path=folder / f"images-{number:05d}.arrow",
            reader=reader,
            indices=indices,
            encoding=encoding,
            quality=quality,
            made_from=digest_of([how, [[reader.ids[index], contents[index]] for index in indices]]),
        )
        for number, indices in enumerate(split(len(reader), 1, IMAGES))
    ]
    missing = [shard for shard in shards if shard.digest is None]
    if missing:  # until all are there again, the folder is no store
        (folder / MANIFEST).unlink(missing_ok=True)
    done = 0
    with progress.bar("shards", sum(len(shard.indices) for shard in missing), unit="image") as bar:

        def advance(index: int, _digest: str) -> None:
            nonlocal done
            done += len(missing[index].indices)
            bar.update(done, {})

        written = run_tasks(write_shard, missing, compute, "shards", advance)
    fresh = {shard.path: digest for shard, digest in zip(missing, written, strict=True)}
    digests = {shard.path.name: fresh.get(shard.path) or str(shard.digest) for shard in shards}
    how_stored = f"jpeg {quality}" if encoding == "jpeg" else "raw"
    space = reader.space.to_json()
    write_store_manifest(folder, DomainManifest(len(reader), reader.has_labels, space, how_stored, digests))
    for path in folder.glob("images-*.arrow*"):  # of an earlier, larger domain
        if path.name.removesuffix(".sha256") not in digests:
            path.unlink()
    kept = f", {len(shards) - len(missing)} kept" if len(missing) < len(shards) else ""
    progress.say(f"shards: {len(missing)} written{kept} in {folder}")


def write_shard(shard: Shard) -> str:
    """One task: write the images of a shard; returns its sha256."""
    reader = shard.reader

    def rows() -> Iterator[Row]:
        for index in shard.indices:
            label = reader.label(index) if reader.has_labels else None
            yield Row(reader.ids[index], index, reader.image(index), label)

    return write_images(shard.path, rows(), shard.encoding, shard.quality, shard.origin, labelled=reader.has_labels)


def _require_own(folder: Path) -> None:
    """Refuse to write over a store of something else, such as the pseudo-labels of a run, or out of the folder."""
    refuse_links(folder)
    if (folder / MANIFEST).exists():
        try:
            read_domain(folder)
        except DataError as error:
            raise UserError(f"--shards {folder} holds something else: {error}", "Name another folder.") from error
