"""The command line as a user meets it: mistakes end with code 2, one message and no Ray; help is light."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from domains.base.settings import IsaSettings
from orchestrator import cli
from orchestrator.base.errors import Interrupted, StageFailed, UserError
from orchestrator.contract.config import config_of
from orchestrator.contract.flags import RunFlags
from orchestrator.run.folder import RunFolder
from pipelines.drsl import PRESETS, Drsl

SCRIPT = Path(__file__).parents[2] / "pipelines" / "drsl.py"


@pytest.fixture
def call(tmp_path):
    """Run the script from an empty folder, where importing Ray ends the process with code 77."""
    stub = tmp_path / "stub" / "ray"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("import os\nos._exit(77)\n")
    work = tmp_path / "work"
    work.mkdir()
    env = {**os.environ, "PYTHONPATH": str(stub.parent), "TMPDIR": str(work), "OMP_NUM_THREADS": "1"}

    def run(*words: str, script: Path | str = SCRIPT) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), *words]
        return subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, timeout=120, check=False)

    run.work = work  # type: ignore[attr-defined]
    return run


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The message of a command that is refused, in this process."""
    with pytest.raises(SystemExit) as caught:
        cli.main(Drsl, PRESETS, list(words))
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    return printed.err


def details(message: str) -> list[str]:
    return [line.removeprefix("  - ") for line in message.splitlines() if line.startswith("  - ")]


def test_all_mistakes_of_a_command_are_in_one_message(call):
    done = call(
        "--sead", "1",
        "--source.lr", "-1",
        "--adapt.steps", "many",
        "--panels",
        "--augment.crop_height", "1000",
        "--pair.label_space", "camvid12",
        "--fresh", "perhaps",
        "--name", "a/b",
        "--reuse", "nowhere",
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    found = details(done.stderr)
    for start in (
        "sead: no such setting; did you mean seed?",
        "panels: takes one value",
        "source.lr: ",
        "adapt.steps: ",
    ):
        assert [line for line in found if line.startswith(start)], start
    for start in ("fresh: ", "name: 'a/b' cannot be", "reuse: nowhere"):
        assert [line for line in found if line.startswith(start)], start
    assert [line for line in found if "crop (1000x192" in line and "128x256" in line]
    assert [line for line in found if "camvid12" in line]
    assert len(found) == 9
    assert list(call.work.iterdir()) == []


def test_label_spaces_that_do_not_meet_are_refused_before_the_start(call):
    (call.work / "other.json").write_text('{"name": "other", "classes": ["cow", "sheep"]}')
    done = call("--pair.label_space", "other.json", "--source.lr", "0")
    assert done.returncode == 2
    found = details(done.stderr)
    assert [line for line in found if line.startswith("source.lr: ")]
    assert [line for line in found if line.startswith("source: ") and "other" in line]
    assert [line for line in found if line.startswith("evaluation: ") and "other" in line]
    assert "Traceback" not in done.stderr


def test_missing_data_folder_shows_the_expected_tree(call):
    done = call("--preset", "camvid-day-dusk", "--root", "no/where")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"{call.work}/no/where/train does not exist" in done.stderr
    assert "trainannot/<id>.png" in done.stderr
    assert not (call.work / "runs").exists()


@pytest.mark.parametrize("tree", [(), ("Train", "Trainannot"), ("images/train", "labels/train"), ("train",)])
def test_wrong_tree_is_refused_with_the_expected_one(tree, tmp_path, capsys):
    for folder in tree:
        (tmp_path / folder).mkdir(parents=True)
    message = refused(capsys, "--preset", "camvid-day-dusk", "--root", str(tmp_path))
    assert "expected:" in message
    assert ("no images in" if tree == ("train",) else "does not exist") in message
    if tree and tree[0] == "Train":
        assert "Train" in message.replace(str(tmp_path), "").split("expected:")[0]


def test_empty_split_is_refused(tmp_path, capsys):
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
    (tmp_path / "day.txt").write_text("")
    message = refused(capsys, "--preset", "camvid-day-dusk", "--root", str(tmp_path))
    assert str(tmp_path) in message
    assert {line.split(":")[0] for line in details(message)} == {"source", "target", "evaluation"}


def test_unknown_verb_names_the_verbs(call):
    done = call("frobnicate")
    assert done.returncode == 2
    verbs = "run (the default), sweep, evaluate, label, report, convert, prepare"
    assert done.stderr == f"frobnicate: no such command; there are {verbs}.\n"


def test_unknown_preset_names_the_presets(capsys):
    message = refused(capsys, "--preset", "nope")
    for preset in PRESETS:
        assert preset in message


def test_broken_file_is_named(call):
    (call.work / "broken.yaml").write_text("source: [1\n")
    done = call("--config", "broken.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("--config broken.yaml is not YAML")
    assert len(done.stderr.splitlines()) == 1


def test_file_of_another_method_is_refused(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("method: oracle\n")
    assert "of method oracle, this is drsl" in refused(capsys, "--config", str(tmp_path / "a.yaml"))


@pytest.mark.parametrize("name", ["a/b", "..", ".", "/etc", "x" * 300, "é" * 150, "a\nb", "a\x00b"])
def test_run_name_that_leaves_the_runs_folder_is_refused(name, capsys):
    assert "cannot be a folder" in refused(capsys, "--name", name)


def test_preset_name_in_a_file_cannot_lead_out_of_the_runs_folder(tmp_path):
    settings = Drsl(preset="../../out")
    with pytest.raises(UserError, match="cannot be a folder"):
        cli.run_folder(RunFlags(runs=str(tmp_path)), settings)


@pytest.mark.parametrize("name", ["with spaces", "ünïcødé-名前", "-dash", "...", "a" * 200])
@pytest.mark.parametrize("runs", ["my runs", "läufe/名前", "deep/../flat"])
def test_odd_but_possible_names_and_places_work(name, runs, tmp_path):
    folder = cli.run_folder(RunFlags(runs=str(tmp_path / runs), name=name), PRESETS["toy"]())
    assert folder == (tmp_path / runs).resolve() / name
    home = RunFolder(folder)
    home.record("started")
    home.close()
    assert (folder / "ledger.jsonl").exists()


def test_runs_folder_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert cli.run_folder(RunFlags(runs=str(tmp_path / "link"), name="a"), Drsl()) == tmp_path / "real" / "a"


def test_run_is_named_after_method_preset_and_seed(tmp_path):
    settings = cli._settings(Drsl, PRESETS, RunFlags(), {"seed": "3"}, [])
    assert cli.run_folder(RunFlags(runs=str(tmp_path)), settings) == tmp_path / "drsl-toy-3"


def test_fresh_takes_the_first_free_name(tmp_path):
    flags = RunFlags(runs=str(tmp_path), name="a", fresh=True)
    names = []
    for _ in range(3):
        folder = cli.run_folder(flags, Drsl())
        folder.mkdir()
        names.append(folder.name)
    assert names == ["a", "a-2", "a-3"]


def test_first_preset_is_the_default():
    settings = cli._settings(Drsl, PRESETS, RunFlags(), {}, [])
    assert settings.preset == next(iter(PRESETS)) == "toy"


def test_flags_lie_over_the_file_and_the_file_over_the_preset(tmp_path):
    (tmp_path / "a.yaml").write_text("source: {lr: 0.5, steps: 7}\nseed: 4\n")
    flags = RunFlags(config=str(tmp_path / "a.yaml"), preset="toy")
    settings = cli._settings(Drsl, PRESETS, flags, {"source.lr": "0.25"}, [])
    assert isinstance(settings, Drsl)
    assert (settings.source.lr, settings.source.steps, settings.seed) == (0.25, 7, 4)
    assert settings.source.source_batch == PRESETS["toy"]().source.source_batch


def test_file_alone_lies_over_the_defaults_of_the_method(tmp_path):
    (tmp_path / "a.yaml").write_text("pair: {target: {count: 5}}\naugment: {flip: false}\n")
    settings = cli._settings(Drsl, PRESETS, RunFlags(config=str(tmp_path / "a.yaml")), {}, [])
    assert settings.pair.target.count == 5
    assert settings.pair.target.style == Drsl().pair.target.style == "street"
    assert settings.augment.crop_height == Drsl().augment.crop_height


def test_file_of_a_run_repeats_it(tmp_path):
    first = cli._settings(Drsl, PRESETS, RunFlags(), {"loss.triplet": "0.5", "model.dilations": ["6", "12"]}, [])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config_of(first)))
    again = cli._settings(Drsl, PRESETS, RunFlags(config=str(tmp_path / "config.yaml")), {}, [])
    assert again == first


def test_data_root_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli._settings(Drsl, PRESETS, RunFlags(), {"root": "data"}, []).root == str(tmp_path / "data")


@pytest.mark.parametrize("words", [("evaluate",), ("label", "--size", "a"), ("report", "--rum", "x")])
def test_verbs_tell_all_that_is_missing(words, capsys):
    message = refused(capsys, *words)
    wanted = {"evaluate": ["model", "images", "labels", "label_space"], "label": ["model", "images", "out", "size.0"]}
    for name in wanted.get(words[0], ["rum", "run"]):
        assert [line for line in details(message) if line.startswith(f"{name}: ")], name


def test_run_whose_translations_are_used_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = dataclasses.replace(PRESETS["toy"](), isa=IsaSettings(translator="run", run="runs/translated"))
    assert cli._absolute(made).translation.run == str(tmp_path / "runs" / "translated")


def test_report_of_a_folder_without_run_is_refused(tmp_path, capsys):
    assert "no finished run" in refused(capsys, "report", "--run", str(tmp_path / "none"))


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "--images", "images", "--labels", "labels", "--label_space", "toycity12"),
        ("label", "--images", "images", "--out", "out"),
    ],
)
def test_folder_without_a_model_is_refused_before_ray_is_imported(words, call):
    done = call(*words, "--model", "nowhere")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("--model: nowhere holds no config.json")


def begun(folder: Path, config: str | None = None) -> Path:
    """A run folder in which the default run, or one of other settings, has begun."""
    folder.mkdir(parents=True)
    text = yaml.safe_dump(config_of(cli._settings(Drsl, PRESETS, RunFlags(), {}, []))) if config is None else config
    (folder / "config.yaml").write_text(text)
    return folder


def test_folder_of_a_run_with_other_settings_is_refused_before_ray_is_imported(call):
    begun(call.work / "runs" / "drsl-toy-0")
    done = call("--panels", "2")
    assert done.returncode == 2
    assert details(done.stderr)[0] == "panels: there 6, now 2"
    assert len(details(done.stderr)) == 2


def test_config_of_a_run_that_lacks_settings_is_refused_with_each(call):
    begun(call.work / "runs" / "drsl-toy-0", "method: drsl\n")
    done = call()
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "seed: there None, now 0" in details(done.stderr)


def test_ray_is_wanted_when_all_checks_have_passed(call):
    begun(call.work / "runs" / "drsl-toy-0")
    done = call()
    assert done.returncode == 77
    assert done.stdout.splitlines() == [f"DRSL+: {call.work}/runs/drsl-toy-0", "starting Ray ..."]


def test_reader_of_the_output_may_leave_early(call):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, str(SCRIPT), "--help"]
    done = subprocess.run(command, cwd=call.work, stdout=write, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("mend it"), 2, "mend it"),
        (StageFailed("adapt-0: lost"), 1, "the same command tries again"),
        (Interrupted(), 130, "Continue with:\n  python drsl.py --seed '1 2'"),
        (KeyboardInterrupt(), 130, "Continue with:"),
    ],
)
def test_exit_codes(error, code, words, capsys, monkeypatch):
    def fail() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["drsl.py"])
    assert cli._guarded(fail, ["--seed", "1 2"]) == code
    assert words in capsys.readouterr().err


def test_our_own_mistakes_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        cli._guarded(lambda: print(1 // 0), [])


def test_help_names_every_preset_and_setting_and_imports_nothing_heavy(call):
    spy = call.work / "spy.py"
    spy.write_text(
        "import runpy, sys\n"
        f"sys.argv = [{str(SCRIPT)!r}, '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "finally:\n"
        "    heavy = {'torch', 'ray', 'transformers', 'numpy', 'pyarrow', 'datasets', 'kornia', 'accelerate'}\n"
        "    print('imported:', *sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = call(script=spy)
    assert done.returncode == 0
    assert done.stderr == "imported:\n"
    for word in (*PRESETS, "--source.head-multiplier", "--pseudo.rounds", "--config", "--fresh", "--root"):
        assert word in done.stdout, word


@pytest.mark.parametrize("verb", ["evaluate", "label", "report", "prepare"])
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(Drsl, PRESETS, [verb, "--help"])
    assert not caught.value.code
    assert verb in capsys.readouterr().out


def test_name_that_may_change_must_be_one_of_a_setting_or_group(capsys):
    (problem,) = details(refused(capsys, "--allow-change", "adapt", "source.lr", "adopt"))
    assert problem.startswith("allow_change: adopt is no setting")
