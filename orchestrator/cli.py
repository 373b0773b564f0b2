"""The command line of every method: verbs, help, exit codes. Heavy libraries are imported by what needs them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from domains.base.settings import IsaSettings
from orchestrator.base.errors import Abandoned, Interrupted, StageFailed, UserError
from orchestrator.base.files import read_json
from orchestrator.base.signals import handled
from orchestrator.cluster.session import open_session
from orchestrator.contract.config import Presets, flatten, parse_flags, read_file, usable_settings
from orchestrator.contract.flags import (
    ConvertFlags,
    EvaluateFlags,
    LabelFlags,
    PrepareFlags,
    ReportFlags,
    RunFlags,
    SearchFlags,
    SweepFlags,
)
from orchestrator.contract.method import Method
from orchestrator.run.folder import RunFolder, runs_at

if TYPE_CHECKING:
    from orchestrator.contract.published_table import Variant
    from orchestrator.tune.search_space import Dimension

USER_ERROR, FAILED = 2, 1
VALIDATIONS = 4
"""Times that a training stage of a search is validated where the settings do not say it."""


Flags = TypeVar("Flags", bound=RunFlags)


def main(method: type[Method], presets: Presets, arguments: list[str] | None = None) -> None:
    """Run the command line of a method and exit with its code.

    Args:
        method: the method's settings class.
        presets: functions that return full settings, by name; the first is the default.
        arguments: command-line words; those of the process where None.
    """
    words = sys.argv[1:] if arguments is None else arguments
    with handled():
        code = _guarded(lambda: _dispatch(method, presets, words), words)
    sys.exit(code)


def _dispatch(method: type[Method], presets: Presets, words: list[str]) -> None:
    verb, rest = (words[0], words[1:]) if words and not words[0].startswith("-") else ("run", words)
    verbs: dict[str, tuple[type, Callable[[Any], None]]] = {
        "evaluate": (EvaluateFlags, _evaluate),
        "label": (LabelFlags, _label),
        "report": (ReportFlags, _report),
        "convert": (ConvertFlags, _convert),
        "prepare": (PrepareFlags, _prepare),
    }
    if verb == "run":
        _run(method, presets, rest)
    elif verb == "sweep":
        _sweep(method, presets, rest)
    elif verb in verbs:
        flags, action = verbs[verb]
        if {"-h", "--help"} & set(rest):
            _help(flags, f"{method.name}.py {verb}", flags.__doc__ or "")
        found, complaints = parse_flags(rest, flatten(flags))
        settings, problems = usable_settings(flags, found)
        if complaints or problems:
            raise UserError("The command cannot be understood:", *complaints, *problems)
        action(settings)
    else:
        raise UserError(f"{verb}: no such command; there are run (the default), sweep, {', '.join(verbs)}.")


def _run(method: type[Method], presets: Presets, words: list[str]) -> None:
    if {"-h", "--help"} & set(words):
        _run_help(method, presets)
    flags, given, complaints = read_words(RunFlags, method, words)
    known = [f"{name}." for name in flatten(method)]
    complaints += [
        f"allow_change: {name} is no setting nor a group of them; see --help"
        for name in flags.allow_change
        if not any(setting.startswith(f"{name}.") for setting in known)
    ]
    if flags.dry_run:
        _dry_run(method, presets, flags, given, complaints)
        return
    settings = _settings(method, presets, flags, given, complaints)
    folder = run_folder(flags, settings)
    with open_session(flags.verbose) as session, contextlib.closing(RunFolder(folder)) as home:
        from orchestrator.report.summary import show_summary
        from orchestrator.run.resume import taken_up
        from orchestrator.trackers.tracking import chosen

        settings = taken_up(home, settings, flags.allow_change)
        session.progress.say(f"{settings.title}: {folder}")
        session.connect(settings.compute)
        from orchestrator import runner
        from orchestrator.cluster.backend import backend_of

        backend_of(settings.compute).require_shared(folder)
        reuse = [*home.earlier(), *_reused(flags)]
        report = runner.run(settings, home, session.progress, reuse, track=chosen(flags.track), grace_s=flags.grace)
        show_summary(read_json(folder / "summary.json"), session.progress)
        session.progress.say(f"report: {report}")


def _dry_run(
    method: type[Method], presets: Presets, flags: RunFlags, given: dict[str, Any], complaints: list[str]
) -> None:
    settings, problems = _understood(method, presets, flags, given)
    with open_session(flags.verbose) as session:
        from orchestrator.dryrun.run import dry_run, private_folder

        with private_folder(Path(flags.runs)) as folder:
            try:
                dry_run(settings, [*complaints, *problems], folder, session)
            except StageFailed as error:
                raise Abandoned(f"The dry run failed: {error}\nNothing is kept of it.", FAILED) from error
            except (Interrupted, KeyboardInterrupt) as error:
                raise Abandoned("Stopped; nothing is kept of a dry run.", _code_of(error)) from error


def _sweep(method: type[Method], presets: Presets, words: list[str]) -> None:
    if words and words[0] not in ("-h", "--help") and words[0].startswith("-"):
        _search(method, presets, words)
        return
    listed = "\n".join(f"  {name:<8} {table.text}" for name, table in method.tables.items())
    if {"-h", "--help"} & set(words):
        print(f"Sweeps ({method.name}.py sweep NAME, then flags and any setting of a run):\n{listed}\n")
        _help(SweepFlags, f"{method.name}.py sweep NAME", SweepFlags.__doc__ or "", leave=False)
        _help(SearchFlags, f"{method.name}.py sweep", SearchFlags.__doc__ or "")
    if not words or words[0] not in method.tables:
        known = f"there are:\n{listed}" if listed else "this method has none."
        raise UserError(f"sweep {' '.join(words[:1])}: name a sweep; {known}")
    name, table = words[0], method.tables[words[0]]
    flags, given, complaints = read_words(SweepFlags, method, words[1:])
    complaints += [f"{setting}: the variants of {name} decide it" for setting in table.decided if setting in given]
    complaints += ["dry_run: a sweep has none; try a run of the same preset"] if flags.dry_run else []

    def settings(variant: Variant, seed: int) -> Method:
        return _settings(method, presets, flags, {**given, **variant.changes, "seed": seed}, complaints)

    begin = _settings(method, presets, flags, given, complaints).seed
    seeds = range(begin, begin + flags.seeds)
    # All of them are made once before anything starts: so every mistake is found.
    first, *_ = [settings(variant, seed) for seed in seeds for variant in table.variants]
    if table.measures == "adaptation" and first.pair.evaluation.kind == "none":
        raise UserError("A sweep compares numbers: it needs an evaluation domain (--pair.evaluation.kind).")
    folder = run_folder(flags, first, f"{method.name}-{first.preset or 'custom'}-{name}")
    with open_session(flags.verbose) as session:
        from orchestrator.cluster.backend import backend_of
        from orchestrator.reproduce.run import carry_out
        from orchestrator.trackers.tracking import chosen

        session.connect(first.compute)
        backend_of(first.compute).require_shared(folder)
        print(
            carry_out(
                table,
                seeds,
                settings,
                folder,
                session.progress,
                _reused(flags),
                allowed=flags.allow_change,
                track=chosen(flags.track),
                grace_s=flags.grace,
            )
        )
        session.progress.say(f"table: {folder / 'table.html'}")


def read_search(
    method: type[Method], presets: Presets, words: list[str]
) -> tuple[SearchFlags, Method, list[Dimension]]:
    """What the words of a search say: its flags, the settings that its trials start from, and what varies.

    Raises:
        UserError: one message with everything that is wrong with them.
    """
    from orchestrator.tune.search_space import parse_search_space

    flags, given, complaints = read_words(SearchFlags, method, words)
    space, problems = parse_search_space(flags.search, flatten(method))
    if not space:
        problems.append("search: name at least one setting to vary, or give the name of a sweep; see sweep --help")
    base = _settings(method, presets, flags, given, [*complaints, *problems])
    for dimension in space:
        for value in dimension.extremes:
            _settings(method, presets, flags, {**given, dimension.setting: value}, [])
    if base.compute.backend != "ray":
        raise UserError("A search runs its trials by Ray Tune: leave --compute.backend out, or name ray.")
    if flags.objective == "miou" and base.pair.evaluation.kind == "none":
        raise UserError("--objective miou needs an evaluation domain (--pair.evaluation.kind).")
    if flags.objective == "validation" and not base.validation.times:
        base = dataclasses.replace(base, validation=dataclasses.replace(base.validation, times=VALIDATIONS))
    return flags, base, space


def _search(method: type[Method], presets: Presets, words: list[str]) -> None:
    flags, base, space = read_search(method, presets, words)
    folder = run_folder(flags, base, f"{method.name}-{base.preset or 'custom'}-search-{base.seed}")
    with open_session(flags.verbose) as session, contextlib.closing(RunFolder(folder)) as home:
        from orchestrator.cluster.shared_storage import require_shared
        from orchestrator.tune.search import carry_out

        session.connect(base.compute)
        require_shared(folder)
        best, *_ = carry_out(base, space, flags, home, session.progress, _reused(flags))
        session.progress.say(f"{(folder / 'table.md').read_text()}\nbest: {folder / best.name}")


def read_words(kind: type[Flags], method: type[Method], words: list[str]) -> tuple[Flags, dict[str, Any], list[str]]:
    """Split command-line words into flags of this kind and settings of the method, and say what is wrong with them."""
    own = flatten(kind)
    found, complaints = parse_flags(words, {**flatten(method), **own})
    flags, problems = usable_settings(kind, {k: v for k, v in found.items() if k in own})
    assert flags is not None, "every flag has a default"
    given = {k: v for k, v in found.items() if k not in own}
    return flags, given, [*complaints, *problems, *_flag_problems(flags)]


def _settings(
    method: type[Method], presets: Presets, flags: RunFlags, given: dict[str, Any], complaints: list[str]
) -> Method:
    """Preset or file, then flags, checked; all complaints are raised together."""
    settings, problems = _understood(method, presets, flags, given)
    problems = [*complaints, *problems, *settings.problems()]
    if problems:
        raise UserError("The settings cannot be used:", *problems)
    return settings


def _understood(
    method: type[Method], presets: Presets, flags: RunFlags, given: dict[str, Any]
) -> tuple[Method, list[str]]:
    """Preset or file, then flags, and what of these is no setting or value; nothing that they name is looked at."""
    from_file: dict[str, Any] = {}
    if flags.config:
        from_file = read_file(Path(flags.config))
        wanted = from_file.pop("method", method.name)
        if wanted != method.name:
            raise UserError(f"--config {flags.config} is of method {wanted}, this is {method.name}.")
    name = flags.preset or ("" if flags.config else next(iter(presets)))
    if name and name not in presets:
        raise UserError(f"--preset {name}: no such preset; there are {', '.join(presets)}.")
    base = dataclasses.replace(presets[name](), preset=name) if name else method()
    settings, problems = usable_settings(method, {**from_file, **given}, base)
    assert settings is not None, "every setting of a method has a default"
    return _absolute(settings), problems


def _absolute(settings: Method) -> Method:
    """The same settings wherever a worker's own folder is."""
    if settings.root:
        settings = dataclasses.replace(settings, root=str(Path(settings.root).expanduser().resolve()))
    if settings.model.local:
        weights = str(Path(settings.model.weights).expanduser().resolve())
        settings = dataclasses.replace(settings, model=dataclasses.replace(settings.model, weights=weights))
    for name, value in vars(settings).items():
        if isinstance(value, IsaSettings) and value.run:
            isa = dataclasses.replace(value, run=str(Path(value.run).expanduser().resolve()))
            settings = dataclasses.replace(settings, **{name: isa})
    return settings


def _flag_problems(flags: RunFlags) -> list[str]:
    problems = [f"reuse: {path} is no folder of a run or a sweep" for path in flags.reuse if not runs_at(Path(path))]
    if flags.track:
        from orchestrator.trackers import tracking

        problems += tracking.problems(flags.track)
    return [*problems, *([_bad_name(flags.name)] if flags.name and not _fits_a_folder(flags.name) else [])]


def _reused(flags: RunFlags) -> list[Path]:
    return [run for path in flags.reuse for run in runs_at(Path(path))]


def run_folder(flags: RunFlags, settings: Method, usual: str = "") -> Path:
    """The folder of a run: `runs/METHOD-PRESET-SEED` or as named; with --fresh the first free one beside it.

    Raises:
        UserError: the name would leave the runs folder or is too long for a file system.
    """
    name = flags.name or usual or f"{settings.name}-{settings.preset or 'custom'}-{settings.seed}"
    if not _fits_a_folder(name):
        raise UserError(_bad_name(name))
    folder = Path(flags.runs).expanduser().resolve() / name
    number = 2
    while flags.fresh and folder.exists():
        folder = folder.with_name(f"{name}-{number}")
        number += 1
    return folder


def _fits_a_folder(name: str) -> bool:
    return Path(name).name == name and name != ".." and len(name.encode()) <= 200 and name.isprintable()


def _bad_name(name: str) -> str:
    return f"name: {name[:60]!r} cannot be a folder; use up to 200 bytes without '/' (--runs says where it lies)"


def _evaluate(flags: EvaluateFlags) -> None:
    with open_session() as session:
        from orchestrator.verbs.models import evaluate

        evaluate(flags, session)


def _label(flags: LabelFlags) -> None:
    with open_session() as session:
        from orchestrator.verbs.models import label

        label(flags, session)


def _report(flags: ReportFlags) -> None:
    from orchestrator.report.page import write_report

    if not (Path(flags.run) / "summary.json").exists():
        raise UserError(f"--run {flags.run}: there is no finished run in this folder (no summary.json).")
    print(f"report: {write_report(Path(flags.run))}")


def _convert(flags: ConvertFlags) -> None:
    from models.convert import convert

    try:
        config = convert(Path(flags.weights).expanduser(), Path(flags.out).expanduser(), flags.normalisation)
    except ValueError as error:
        raise UserError(f"--weights: {error}") from error
    order = config["normalisation"]["channel_order"]
    print(f"written: {flags.out} ({config['layout']} layout, {order}, sha256 {config['sha256'][:12]})")


def _prepare(flags: PrepareFlags) -> None:
    with open_session() as session:
        from orchestrator.verbs.prepare import prepare

        prepare(flags, session)


def _guarded(action: Callable[[], None], words: list[str]) -> int:
    from domains.base.errors import DataError

    try:
        action()
    except (UserError, DataError) as error:
        print(error, file=sys.stderr)
        return USER_ERROR
    except StageFailed as error:
        print(f"{error}\nWhat was done is kept; the same command tries again.", file=sys.stderr)
        return FAILED
    except Abandoned as error:
        print(error, file=sys.stderr)
        return error.code
    except (Interrupted, KeyboardInterrupt) as error:
        command = shlex.join(["python", sys.argv[0], *words])
        print(f"Stopped; what was done is kept. Continue with:\n  {command}", file=sys.stderr)
        return _code_of(error)
    except BrokenPipeError:  # the reader of the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _code_of(error: Interrupted | KeyboardInterrupt) -> int:
    """The exit code of a command that a signal ended, as shells give it: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + getattr(error, "number", signal.SIGINT)


def _run_help(method: type[Method], presets: Presets) -> None:
    print(f"Presets (--preset NAME, then any setting below):\n{_preset_list(presets)}\n")
    _help(
        RunFlags, f"{method.name}.py [run]", "Flags of the run folder; the settings of the method follow.", leave=False
    )
    _help(
        method,
        f"{method.name}.py [run|sweep|evaluate|label|report|convert|prepare]",
        sys.modules[method.__module__].__doc__ or "",
    )


def _preset_list(presets: Presets) -> str:
    width = max(map(len, presets))
    return "\n".join(
        f"  {name:<{width}}  {(make.__doc__ or '').strip().splitlines()[0]}" for name, make in presets.items()
    )


def _help(cls: type, program: str, description: str, leave: bool = True) -> None:
    import tyro

    with contextlib.nullcontext() if leave else contextlib.suppress(SystemExit):
        tyro.cli(cls, prog=program, description=description, args=["--help"], config=(tyro.conf.FlagConversionOff,))
