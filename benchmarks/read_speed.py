"""Time a sample (image and label) from shards against the reader that they were written from.

    python benchmarks/read_speed.py --kind camvid --root DIR --height 360 --width 480

Without a data set it draws toy images and writes them as PNG files. The readers take turns, sample by sample in a
random order, with the files in the page cache. Processor time is counted, which other load on the machine changes
least. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from PIL import Image

from domains.base.samples import Reader
from domains.base.settings import DomainSettings
from domains.registry import open_reader
from domains.stores.dataset import ArrowReader, DomainManifest, Row, write_images
from domains.stores.store import write_store_manifest
from domains.toycity.reader import ToyCity


def draw(folder: Path, count: int, height: int, width: int) -> DomainSettings:
    """Toy images and labels as PNG files."""
    city = ToyCity("street", "train", count, height, width)
    for index, name in enumerate(city.ids):
        for kind, pixels in (("images", city.image(index).permute(1, 2, 0)), ("labels", city.label(index))):
            path = folder / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.contiguous().numpy()).save(path)
    return DomainSettings(
        kind="folder", root=str(folder), images="images", labels="labels", label_space=city.space.name
    )


def store(reader: Reader, folder: Path, encoding: str) -> ArrowReader:
    """The same domain as shards."""
    rows = (Row(reader.ids[k], k, reader.image(k), reader.label(k)) for k in range(len(reader)))
    path = folder / "images-00000.arrow"
    digest = write_images(path, rows, "raw" if encoding == "raw" else "jpeg", 95, {}, labelled=True)
    write_store_manifest(
        folder, DomainManifest(len(reader), True, reader.space.to_json(), encoding, {path.name: digest})
    )
    return ArrowReader(folder)


def main() -> None:
    """Write the shards, read everything in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", default="", help="reader of a data set; empty: drawn images as PNG files")
    parser.add_argument("--root", default="")
    parser.add_argument("--split", default="train")
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--count", type=int, default=60, help="images")
    parser.add_argument("--rounds", type=int, default=5, help="times that each sample is read")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = (options.height, options.width)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        domain = (
            DomainSettings(kind=options.kind, root=options.root, split=options.split, count=options.count)
            if options.kind
            else draw(folder / "png", options.count, *size)
        )
        files = open_reader(domain, None, "", *size, cache_bytes=0)
        names = {
            f"files ({options.kind or 'PNG'})": files,
            "shards, jpeg 95": store(files, folder / "jpeg", "jpeg"),
            "shards, raw": store(files, folder / "raw", "raw"),
        }
        spent: dict[str, list[float]] = {name: [] for name in names}
        order = random.Random(0)
        for _ in range(options.rounds):
            for index in order.sample(range(len(files)), len(files)):
                for name, reader in order.sample(list(names.items()), len(names)):
                    start = time.thread_time()
                    reader.image(index)
                    reader.label(index)
                    spent[name].append(1000 * (time.thread_time() - start))
        base = statistics.median(spent[next(iter(names))])
        print(f"{len(files)} images of {size[0]}x{size[1]}, {options.rounds} rounds, one thread\n")
        print("| read from | processor ms a sample, median | times as fast | MB |\n| --- | --- | --- | --- |")
        for name, times in spent.items():
            held = {"shards, jpeg 95": "jpeg", "shards, raw": "raw"}.get(name)
            size_mb = f"{sum(p.stat().st_size for p in (folder / held).iterdir()) / 1e6:.0f}" if held else ""
            median = statistics.median(times)
            print(f"| {name} | {median:.2f} | {base / median:.1f} | {size_mb} |")


if __name__ == "__main__":
    main()
