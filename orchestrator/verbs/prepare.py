"""The verb prepare: unpack a data set, look at every file of it, count its classes, and write shards on request."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from domains.archives.unpack import unpack
from domains.base.labels import label_space
from domains.base.samples import Reader
from domains.base.settings import DomainSettings
from domains.dataset_check import Finding, examine, total
from domains.registry import LAYOUTS, check_settings, how_to_label, open_reader
from orchestrator.base.errors import UserError
from orchestrator.base.files import write_text
from orchestrator.base.progress import Progress
from orchestrator.cluster.backend import backend_of
from orchestrator.contract.settings import ComputeSettings
from orchestrator.mapreduce.tasks import run_tasks, split
from orchestrator.verbs.sharding import write_shards

if TYPE_CHECKING:
    from orchestrator.cluster.session import Session
    from orchestrator.contract.flags import PrepareFlags

OUT = "prepared.json"
SHOWN = 20
"""Problems that are printed; the file holds all of them."""


@dataclass(frozen=True)
class Part:
    """The images that one task looks at."""

    reader: Reader
    indices: Sequence[int]
    size: tuple[int, int]
    """Height and width that classes are counted at; 0 = those of the label."""


def prepare(flags: PrepareFlags, session: Session) -> None:
    """Check a domain, write what was found, and then its shards where they are wanted.

    Raises:
        UserError, DataError: the archives, the settings or the tree cannot be used, or files of it are broken: then all
            of them are in the written file, and no shard is written.
    """
    root = Path(flags.root).expanduser().resolve()
    out = _out(flags, root)
    problems = _flag_problems(flags)
    if problems:
        raise UserError("The settings cannot be used:", *problems)
    if flags.archive:
        session.progress.say(f"unpacking into {root} ...")
        archives = [Path(archive).expanduser() for archive in flags.archive]
        session.progress.say(f"unpacked: {unpack(archives, root, flags.sha256)} new files")
    domain = _domain(flags, root)
    problems = check_settings(domain, "", complete=False)
    if problems:
        raise UserError("The data set cannot be used:", *problems)
    space = label_space(flags.label_space) if flags.label_space else None
    missing: list[str] = []
    drawn_at = (flags.height, flags.width) if flags.kind == "toycity" else (0, 0)
    reader = open_reader(domain, space, "", *drawn_at, cache_bytes=0, problems=missing)
    if not reader.has_labels and not flags.unlabelled and not _has_none(flags):
        reason = how_to_label(domain, "")
        raise UserError(f"There are no labels: {reason}", "A target domain needs none: say so with --unlabelled.")
    session.connect(flags.compute)
    compute = backend_of(flags.compute).cores_alone()
    findings = _examine(reader, (flags.height, flags.width), compute, session.progress)
    problems = [*missing, *(problem for finding in findings for problem in finding.problems)]
    _write(out, flags, domain, reader, findings, problems)
    if problems:
        rest = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise UserError(f"{len(problems)} problems, all of them in {out}:", *problems[:SHOWN], *rest)
    _show(flags, reader, findings, session.progress)
    if flags.shards:
        sized = open_reader(domain, space, "", flags.height, flags.width, cache_bytes=0)
        size, folder = (flags.height, flags.width), Path(flags.shards).expanduser().resolve()
        contents = [finding.content for finding in findings]
        write_shards(sized, contents, folder, size, flags.encoding, flags.quality, compute, session.progress)
    session.progress.say(f"written: {out}")


def examine_part(part: Part) -> list[Finding]:
    """One task: what each image of a part is."""
    return [examine(part.reader, index, *part.size) for index in part.indices]


def _examine(reader: Reader, size: tuple[int, int], compute: ComputeSettings, progress: Progress) -> list[Finding]:
    parts = [Part(reader, indices, size) for indices in split(len(reader), compute.tasks)] if len(reader) else []
    done = 0
    with progress.bar("check", len(reader), unit="image") as bar:

        def advance(index: int, _found: list[Finding]) -> None:
            nonlocal done
            done += len(parts[index].indices)
            bar.update(done, {})

        found = run_tasks(examine_part, parts, compute, "check", advance)
    return [finding for part in found for finding in part]


def _domain(flags: PrepareFlags, root: Path) -> DomainSettings:
    """The settings of a run that read this domain; its size is that of the run there."""
    values = {field.name: getattr(flags, field.name) for field in dataclasses.fields(DomainSettings)}
    own_space = flags.label_space if flags.kind == "folder" else ""
    place = "" if flags.kind == "toycity" and not flags.root else str(root)
    return DomainSettings(**{**values, "root": place, "label_space": own_space, "height": 0, "width": 0})


def _flag_problems(flags: PrepareFlags) -> list[str]:
    """What of the flags that a run does not have cannot be used, one sentence each."""
    problems = []
    if flags.kind == "none":
        problems.append("kind: there is nothing to check in a domain of kind none")
    if flags.kind == "folder" and flags.labels and not flags.label_space:
        problems.append("label_space: a folder does not say what its labels mean; name a label space or a JSON file")
    if min(flags.height, flags.width) < 0 or (flags.height == 0) != (flags.width == 0):
        got = f"{flags.height} and {flags.width}"
        problems.append(f"height and width must both be 0 or both be positive, got {got}")
    if not 1 <= flags.quality <= 100:
        problems.append(f"quality must lie in 1 to 100, got {flags.quality}")
    if flags.archive and not flags.root:
        problems.append("archive: --root must name the folder to unpack into")
    if flags.sha256 and not flags.archive:
        problems.append("sha256: there is no --archive to compare it with")
    return problems


def _out(flags: PrepareFlags, root: Path) -> Path:
    """Where prepared.json goes; nothing is written into the data set that was not asked for."""
    if flags.out:
        return Path(flags.out).expanduser().resolve()
    if flags.shards:
        return Path(flags.shards).expanduser().resolve() / OUT
    if flags.root and Path.cwd().resolve().is_relative_to(root):
        raise UserError(f"The working folder lies in the data set: say with --out where {OUT} goes.")
    return Path.cwd() / OUT


def _has_none(flags: PrepareFlags) -> bool:
    """Whether the user, or whoever published the data set, says that this part of it has no labels."""
    if flags.kind in LAYOUTS:
        root = Path(flags.root).expanduser().resolve()
        return not LAYOUTS[flags.kind](_domain(flags, root), root).labels
    return flags.kind == "arrow" or not flags.labels


def _write(
    out: Path,
    flags: PrepareFlags,
    domain: DomainSettings,
    reader: Reader,
    findings: Sequence[Finding],
    problems: Sequence[str],
) -> None:
    """Write the file: sums for people first, then one line an image."""
    space = reader.space
    head = {
        "schema": 1,
        "kind": flags.kind,
        "domain": dataclasses.asdict(domain),
        "size": [flags.height, flags.width] if flags.height else None,
        "labelled": reader.has_labels,
        "label_space": space.name,
        "classes": space.classes,
        **total(findings, space),
        "problems": list(problems),
    }
    lines = ",\n    ".join(json.dumps(finding.record(space)) for finding in findings)
    write_text(out, f'{json.dumps(head, indent=2)[:-2]},\n  "samples": [\n    {lines}\n  ]\n}}\n')


def _show(flags: PrepareFlags, reader: Reader, findings: Sequence[Finding], progress: Progress) -> None:
    sums = total(findings, reader.space)
    sizes = [f"{size} ({count})" if len(sums["sizes"]) > 1 else size for size, count in sums["sizes"].items()]
    shown = ", ".join(sizes[:5]) + (f" and {len(sizes) - 5} more" if len(sizes) > 5 else "")
    progress.say(f"{flags.kind}: {sums['images']} images, all of them sound; height x width {shown}")
    if "pixels" not in sums:
        progress.say("without labels")
        return
    rows = [[name, f"{share:.2%}", str(sums["images_with"][name])] for name, share in sums["share"].items()]
    every = sum(sums["pixels"].values()) + sums["void"]
    rows.append(["no class", f"{sums['void'] / max(1, every):.2%} of all", ""])
    progress.table(f"classes of {reader.space.name}", ["class", "share", "images"], rows)
    if sums["all_void"]:
        progress.say(f"no class at all in {len(sums['all_void'])} images: {', '.join(sums['all_void'][:5])}")
