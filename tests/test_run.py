"""The command line: what it does, what it says on which stream, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from conftest import SIZES

from genbench import run, suite
from genbench.data import sources
from genbench.engines import local
from genbench.models.vae import ELBO
from genbench.suite import COMMANDS, RESERVED, load_profiles

pytestmark = pytest.mark.usefixtures("quick_classifiers")

SUITE = """
name: mine
title: For tests
modality: images
grids:
  - datasets: [digits]
    models: [vae, noise]
"""
CELLS = [f"images/digits/{model}/s{seed}" for model in ("vae", "noise") for seed in (0, 1)]


@pytest.fixture(autouse=True)
def _signals():
    """`main` takes SIGTERM for itself; the test runner gets it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE)
    return str(path)


@pytest.fixture
def cli(monkeypatch, tmp_path, capsys, tiny_profile):
    """Call the command line in this process, at the scale of the tiny profile as `smoke`."""
    profiles = {**load_profiles(), "smoke": tiny_profile}
    monkeypatch.setattr(suite, "load_profiles", lambda: profiles)
    monkeypatch.setattr(local.cost, "matmul_peak", lambda device, threads: 1e10)
    capsys.readouterr()

    def call(*arguments, profile="smoke"):
        options = ["--profile", profile] if profile else []
        code = run.main([*map(str, arguments), *options])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    call.results = tmp_path / "results" / "smoke"
    call.runs = tmp_path / "runs"
    return call


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "lock")
    }


def never(*args, **kwargs):
    raise AssertionError("something was computed")


# A run from its beginning to its end


def test_a_suite_is_run_recorded_and_summed_up(cli, mine):
    result = cli(mine)
    assert result.code == 0
    rows = result.out.splitlines()
    assert rows[0].split()[:2] == ["cell", "status"]
    for name in CELLS:
        assert any(row.startswith(name) for row in rows)
        assert (cli.results / "records" / f"{name}.json.gz").is_file()
        shown = (cli.results / "samples" / f"{name.replace('/', '__')}.png").is_file()
        assert shown == name.endswith("/s0")
    assert "4 cells computed, 0 were up to date" in result.out
    # Progress is on the other stream, in plain lines.
    assert "[1/4] images/digits/vae/s0: train" in result.err
    assert "\r" not in result.err
    cells = pd.read_csv(cli.results / "cells.csv")
    assert sorted(cells["cell"]) == sorted(CELLS)
    assert set(cells["suite"]) == {"mine"}
    assert set(cells["profile"]) == {"smoke"}


def test_a_second_call_computes_nothing_and_changes_nothing(cli, mine, monkeypatch):
    cli(mine)
    before = files(cli.results)
    monkeypatch.setattr(ELBO, "step", never)
    monkeypatch.setattr(local, "run", never)
    result = cli(mine)
    assert result.code == 0
    assert "0 cells computed, 4 were up to date" in result.out
    assert files(cli.results) == before


def test_a_second_call_needs_no_runs_folder(cli, mine, monkeypatch, tmp_path):
    """What is committed are records alone: a fresh clone has nothing to do."""
    cli(mine)
    monkeypatch.setattr(local, "run", never)
    assert cli(mine, "--runs", tmp_path / "elsewhere").code == 0


def test_tables_that_were_lost_are_built_by_the_next_call(cli, mine):
    cli(mine)
    before = files(cli.results)
    for name in ("cells.csv", "curves.parquet", "manifest.json"):
        (cli.results / name).unlink()
    cli(mine)
    assert files(cli.results) == before


def test_force_computes_the_chosen_cells_again(cli, mine):
    first = cli(mine, "--only", "*/s0", "--json")
    again = cli(mine, "--only", "*/vae/s0", "--force", "--json")
    assert json.loads(again.out)["computed"] == 1
    cell = json.loads(again.out)["cells"][0]
    assert (cell["cell"], cell["computed"]) == (CELLS[0], True)
    assert cell["fd"] == json.loads(first.out)["cells"][0]["fd"]


def test_json_is_all_there_is_on_stdout(cli, mine):
    result = cli(mine, "--only", "*/s0", "--json")
    summary = json.loads(result.out)
    assert summary["profile"] == "smoke"
    assert summary["results"] == str(cli.results)
    assert summary["computed"] == 2
    assert [cell["cell"] for cell in summary["cells"]] == ["images/digits/vae/s0",
                                                           "images/digits/noise/s0"]  # fmt: skip
    assert all(cell["fd"] > 0 for cell in summary["cells"])
    assert "train" in result.err
    for command in ("plan", "status"):
        assert len(json.loads(cli(command, mine, "--json").out)["cells"]) == 4
    assert json.loads(cli("tables", "--json").out)["cells"][0]["records"] == 2
    assert json.loads(cli("data", "digits", "--json", profile=None).out)["cells"]


def test_seeds_and_only_choose_cells(cli, mine):
    cli(mine, "--seeds", 3, "--only", "*/noise/*")
    assert len(pd.read_csv(cli.results / "cells.csv")) == 3
    result = cli(mine, "--only", "images/digits/vae/s0", "--only", "*/noise/s1")
    assert "1 cells computed, 1 were up to date" in result.out


def test_a_partial_run_adds_to_the_tables_and_drops_nothing(cli, mine):
    cli(mine, "--only", "*/noise/*")
    before = (cli.results / "metrics.csv").read_text().splitlines()
    cli(mine, "--only", "*/vae/s0")
    after = (cli.results / "metrics.csv").read_text().splitlines()
    assert set(before) < set(after)


def test_every_model_of_the_packaged_suite_runs(cli):
    tiny = suite.load_profiles()["smoke"]
    cells_of = {
        each.name: {cell.name for cell in each.cells(tiny, 1)} for each in suite.load_suites("all")
    }
    result = cli("all", "--seeds", 1)
    assert result.code == 0
    cells = pd.read_csv(cli.results / "cells.csv")
    assert set(cells["cell"]) == set().union(*cells_of.values())
    assert set(cells["status"]) <= {"ok", "collapsed"}
    models = cells[cells["family"] != "control"]
    assert set(models["model"]) == set(SIZES)
    assert (models["train_flops"] <= models["budget_flops"]).all()
    named = cli("images", "--seeds", 1)
    assert f"0 cells computed, {len(cells_of['images'])} were up to date" in named.out


def test_a_cell_of_two_suites_is_run_once_and_belongs_to_both(cli, mine, monkeypatch):
    cli("images", "--seeds", 1, "--only", "*/noise/*")
    monkeypatch.setattr(local, "run", never)
    cli(mine, "--seeds", 1, "--only", "*/noise/*")
    (cell,) = pd.read_csv(cli.results / "cells.csv")["suite"]
    assert cell == "images+mine"
    cli("images", "--seeds", 1, "--only", "*/noise/*")
    assert list(pd.read_csv(cli.results / "cells.csv")["suite"]) == ["images+mine"]


def test_what_was_made_otherwise_is_told_of(cli, mine):
    """A partial run leaves rows of an older specification in the tables, and says so."""
    cli(mine)
    profile = suite.load_profiles()["smoke"]
    sample = profile.images.sample.model_copy(update={"n": 121})
    images = profile.images.model_copy(update={"sample": sample})
    suite.load_profiles()["smoke"] = profile.model_copy(update={"images": images})
    result = cli(mine, "--only", "*/noise/*", "--json")
    assert json.loads(result.out)["stale"] == ["images/digits/vae/s0", "images/digits/vae/s1"]
    said = cli(mine, "--only", "*/noise/*").out
    assert "2 other cells in the tables, such as images/digits/vae/s0, were made with" in said
    assert json.loads(cli(mine, "--json").out)["stale"] == []


def test_options_may_stand_between_words(cli, mine):
    assert "4 cells, 4 to do" in cli("plan", "--seeds", 2, mine).out


# plan, status, tables, data


def test_a_plan_runs_and_writes_nothing(cli, mine, monkeypatch, tmp_path):
    monkeypatch.setattr(local, "run", never)
    before = files(tmp_path)
    plan = cli("plan", mine)
    assert plan.code == 0
    assert all(name in plan.out for name in CELLS)
    assert "4 cells, 4 to do" in plan.out
    assert plan.err == ""
    assert cli(mine, "--dry-run").out == plan.out
    assert files(tmp_path) == before
    assert not cli.results.exists()


def test_plan_and_status_know_what_is_done(cli, mine):
    assert "smoke: 4 to do" in cli("status", mine).out
    cli(mine, "--only", "*/noise/*")
    plan = json.loads(cli("plan", mine, "--json").out)
    assert [cell["state"] for cell in plan["cells"]] == ["to do", "to do", "done", "done"]
    assert [cell["source"] for cell in plan["cells"]] == ["guessed"] * 2 + ["measured"] * 2
    status = json.loads(cli("status", mine, "--json").out)
    assert [cell["state"] for cell in status["cells"]] == ["to do", "to do", "ok", "ok"]
    # With another number of samples, what was done is to do again.
    profile = suite.load_profiles()["smoke"]
    sample = profile.images.sample.model_copy(update={"n": 121})
    images = profile.images.model_copy(update={"sample": sample})
    suite.load_profiles()["smoke"] = profile.model_copy(update={"images": images})
    status = json.loads(cli("status", mine, "--json").out)
    assert [cell["state"] for cell in status["cells"]] == ["to do"] * 2 + ["to do again"] * 2


def test_tables_are_rebuilt_from_records_alone(cli, mine):
    cli(mine, "--only", "*/noise/*")
    before = files(cli.results)
    for name in ("cells.csv", "metrics.csv", "manifest.json"):
        (cli.results / name).write_text("spoilt")
    assert cli("tables").code == 0
    assert files(cli.results) == before
    assert cli("tables", profile=None).code == 0


def test_data_is_fetched_and_checked(cli):
    result = cli("data", "digits", profile=None)
    assert result.code == 0
    assert "1 data sets checked" in result.out
    (row,) = (line for line in result.out.splitlines() if line.startswith("digits"))
    assert row.split()[-1] == "ok"
    assert {"1097", "200", "500", "images"} <= set(row.split())


def test_text_is_fetched_and_checked_too(cli, little_shakespeare):
    result = cli("data", "shakespeare", profile=None)
    assert result.code == 0
    (row,) = (line for line in result.out.splitlines() if line.startswith("shakespeare"))
    assert {"58772", "passages", "ok"} <= set(row.split())


# Mistakes: one line, exit 2, nothing written


def mistake(result, tmp_path, before) -> str:
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("genbench: ")
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err
    assert files(tmp_path) == before
    return result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["imagse"], "unknown command or suite 'imagse'; did you mean 'images'?"),
        (["plan", "imagse"], "did you mean 'images'?"),
        (["sttaus"], "did you mean 'status'?"),
        (["no-such.yaml"], "cannot read the suite file no-such.yaml: No such file"),
        (["all", "--profile", "smok"], "--profile: unknown profile 'smok'; did you mean 'smoke'?"),
        (["tables", "--profile", "smok"], "unknown profile 'smok'"),
        (["all", "--device", "gpu"], "--device: unknown device 'gpu'"),
        (["all", "--only", "imags/*"], "--only 'imags/*' matches none of the "),
        (["all", "--only", "images/digits/vae/s7"], "the nearest is 'images/digits/vae/s"),
        (["all", "--seeds", "0"], "--seeds 0: at least 1 seed is needed"),
        (["all", "--seeds", "-1"], "at least 1 seed is needed"),
        (["all", "--seeds", "many"], "invalid int value: 'many'"),
        (["data", "minst"], "did you mean 'mnist'?"),
        (["all", "extra"], "'all' takes no further name, and 'extra' was given"),
        (["plan", "images", "more"], "'plan' takes one suite, and 2 were given"),
        (["all", "--frce"], "unrecognized arguments: --frce"),
        (["all", "--profil", "smoke"], "unrecognized arguments"),
        ([], "required: command; see"),
        (["status", "sttaus"], "known: all, images, membership, metrics, music"),
        (["status", "--dry-run"], "'status' has no use for --dry-run"),
        (["plan", "--force"], "'plan' has no use for --force"),
        (["plan", "--jobs", "0"], "--jobs 0: at least 1 cell is run at a time"),
        (["all", "--jobs", "-1"], "--jobs -1: at least 1 cell is run at a time"),
        (["status", "--jobs", "2"], "'status' has no use for --jobs"),
        (["tables"], "no records under"),
        (["tables", "--dry-run"], "'tables' has no use for --dry-run"),
        (["data", "digits", "--force"], "'data' has no use for --force"),
        (["plan", "--results", "/dev/null"], "--results: /dev/null is a file; name a folder"),
        (["status", "--results", "/dev/null"], "--results: /dev/null is a file; name a folder"),
        (["all", "--results", "/dev/null"], "--results: cannot write to /dev/null"),
        (["all", "--runs", "/dev/null/runs"], "--runs: cannot write to /dev/null/runs"),
    ],
)  # fmt: skip
def test_mistakes_in_the_call(cli, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    alone = "--profile" in arguments or arguments in (["tables"], []) or "data" in arguments
    smoke = None if alone else "smoke"
    assert said in mistake(cli(*arguments, profile=smoke), tmp_path, before)


@pytest.mark.parametrize("word", RESERVED)
def test_names_kept_for_later_say_so(cli, tmp_path, word):
    assert "kept for a later version" in mistake(cli(word), tmp_path, files(tmp_path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_or_profile_that_this_machine_cannot_carry(cli, tmp_path):
    before = files(tmp_path)
    said = mistake(cli("all", "--device", "cuda"), tmp_path, before)
    assert "torch finds none on this machine; use --device cpu" in said
    said = mistake(cli("all", profile="gpu"), tmp_path, before)
    assert "profile gpu is meant for CUDA" in said
    # Whoever names the device means it.
    assert cli("plan", "--device", "cpu", "--only", "*/noise/s0", profile="gpu").code == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_auto_is_the_cpu_profile_where_there_is_no_cuda(cli):
    assert run.choose_device("auto") == "cpu"
    assert run.choose_profile("auto", "auto", "cpu")[0] == "cpu"
    assert run.choose_profile("auto", "auto", "cuda")[0] == "gpu"


@pytest.mark.cuda
def test_auto_is_the_gpu_profile_on_cuda():
    assert run.choose_device("auto") == "cuda"
    assert run.choose_profile("auto", "auto", "cuda")[0] == "gpu"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("models:", "modles:", "mine.yaml: at grids.0.modles: unknown key 'modles'; did you mean"),
        ("[vae, noise]", "[vae, noise", "mine.yaml, line 8: not valid YAML"),
        ("[vae,", "[vea,", "unknown model 'vea'; did you mean 'vae'?"),
        ("[digits]", "[digit]", "unknown data set 'digit'; did you mean 'digits'?"),
        ("name: mine", "name: all", "'all' is a command's name"),
        ("title: For tests\n", "", "mine.yaml: at title: is missing"),
        ("[digits]", "[mnist]", "has no cell at this profile"),
    ],
)
def test_mistakes_in_a_suite_file(cli, mine, tmp_path, old, new, said):
    Path(mine).write_text(SUITE.replace(old, new))
    assert said in mistake(cli(mine), tmp_path, files(tmp_path))


def test_a_budget_of_nothing_is_refused_before_training(cli, mine, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "run", never)
    profile = suite.load_profiles()["smoke"]
    budget = profile.images.budget.model_copy(update={"train_flops": 1000.0})
    images = profile.images.model_copy(update={"budget": budget})
    suite.load_profiles()["smoke"] = profile.model_copy(update={"images": images})
    said = mistake(cli(mine), tmp_path, files(tmp_path))
    assert "has no step of stage 'elbo'; it needs at least" in said


def test_a_results_folder_that_is_a_file(cli, mine, tmp_path):
    (tmp_path / "taken").write_text("mine")
    before = files(tmp_path)
    said = mistake(cli(mine, "--results", tmp_path / "taken"), tmp_path, before)
    assert "--results: cannot write to" in said
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "smoke").write_text("mine")
    before = files(tmp_path)
    assert "cannot write to" in mistake(cli(mine, "--results", tmp_path / "half"), tmp_path, before)


@pytest.mark.parametrize("option", ["--results", "--runs"])
def test_a_folder_that_is_read_only(cli, mine, tmp_path, monkeypatch, option):
    folder = tmp_path / "locked"
    folder.mkdir()
    touch, mkdir = Path.touch, Path.mkdir

    def refuse(path, original, *args, **kwargs):
        if folder in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(Path, "touch", lambda self, *a, **k: refuse(self, touch, *a, **k))
    monkeypatch.setattr(Path, "mkdir", lambda self, *a, **k: refuse(self, mkdir, *a, **k))
    monkeypatch.setattr(local, "run", never)
    said = mistake(cli(mine, option, folder), tmp_path, files(tmp_path))
    assert f"{option}: cannot write to {folder}" in said
    assert "Permission denied" in said
    assert "name a writable folder" in said


@pytest.fixture
def unplugged(monkeypatch, tmp_path):
    """No network, no cache, no installed package of data."""

    def refuse(command, what, cwd=None):
        raise sources.Unavailable(f"{what}: unplugged")

    monkeypatch.setattr(sources, "_run", refuse)
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", tmp_path / "no-debian")
    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GENBENCH_DATA", raising=False)


def without_locks(result, tmp_path):
    locks = {name: b"" for name in files(tmp_path) if name.endswith(".lock")}
    return mistake(result, tmp_path, files(tmp_path) | locks)


@pytest.mark.parametrize("content", [b"", b"cut", None])
def test_a_damaged_data_file_is_refused_before_training(
    cli, tmp_path, monkeypatch, unplugged, content
):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in sources.SHA256["fashion-mnist"]:
        (folder / name).write_bytes(b"other bytes" if content is None else content)
    monkeypatch.setenv("GENBENCH_DATA", str(folder))
    monkeypatch.setattr(local, "run", never)
    before = files(tmp_path)
    result = cli("all", "--only", "images/fashion-mnist/noise/s0", profile="cpu")
    said = mistake(result, tmp_path, before)
    assert str(folder) in said
    assert "sha256" in said
    result = cli("data", "fashion-mnist", profile=None)
    assert str(folder) in mistake(result, tmp_path, before)


def test_no_network_and_no_cache(cli, tmp_path, monkeypatch, unplugged):
    monkeypatch.setattr(local, "run", never)
    result = cli("all", "--only", "images/mnist/noise/s0", profile="cpu")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "mnist: no source has it" in result.err
    assert "connect to a network once, or set GENBENCH_DATA" in result.err
    written = [name for name in files(tmp_path) if not name.endswith(".lock")]
    assert written == []


def test_a_broken_record_is_named(cli, mine, tmp_path):
    cli(mine, "--only", "*/noise/s0")
    record = cli.results / "records" / "images" / "digits" / "noise" / "s0.json.gz"
    record.write_bytes(record.read_bytes()[:100])
    for command in ([mine], ["status", mine], ["plan", mine], ["tables"]):
        said = mistake(cli(*command), tmp_path, files(tmp_path))
        assert str(record) in said


# How a run ends when something goes wrong


def raises(monkeypatch, error):
    def broken(self, batch, labels, generator):
        raise error

    monkeypatch.setattr(ELBO, "step", broken)


def test_a_crashed_cell_is_exit_1_and_the_next_call_tries_it_again(cli, mine):
    with pytest.MonkeyPatch.context() as patch:
        raises(patch, ValueError("a bug"))
        result = cli(mine, "--json")
    assert result.code == 1
    status = {cell["cell"]: cell["status"] for cell in json.loads(result.out)["cells"]}
    assert status == dict(zip(CELLS, ["crashed", "crashed", "ok", "ok"], strict=True))
    assert "ValueError: a bug" in result.err
    status = json.loads(cli("status", mine, "--json").out)["cells"]
    assert [cell["state"] for cell in status] == ["to do again"] * 2 + ["ok"] * 2
    assert status[0]["reason"] == "ValueError: a bug"
    again = cli(mine, "--json")
    assert again.code == 0
    assert [c["computed"] for c in json.loads(again.out)["cells"]] == [True, True, False, False]


def test_divergence_is_exit_0(cli, mine):
    Path(mine).write_text(SUITE.replace("[vae,", "[{name: pixel-gpt, learning_rate: 1.0e+6},"))
    result = cli(mine, "--seeds", 1, "--json")
    assert result.code == 0
    assert json.loads(result.out)["cells"][0]["status"] == "diverged"
    cells = pd.read_csv(cli.results / "cells.csv").set_index("model")
    assert cells.loc["pixel-gpt", "status"] == "diverged"
    assert "stage next-pixel" in cells.loc["pixel-gpt", "reason"]
    assert "0 cells computed" in cli(mine, "--seeds", 1).out


@pytest.mark.parametrize("how", ["ctrl-c", "terminate"])
def test_an_interrupted_run_is_exit_130_and_goes_on_later(cli, mine, how):
    step, steps = ELBO.step, []

    def stopped(self, batch, labels, generator):
        steps.append(1)
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGINT if how == "ctrl-c" else signal.SIGTERM)
        return step(self, batch, labels, generator)

    only = ("--only", "*/noise/s0", "--only", "*/vae/s0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ELBO, "step", stopped)
        result = cli(mine, *only)
    assert result.code == 130
    assert "Traceback" not in result.err
    assert result.err.splitlines()[-1].startswith("genbench: interrupted; finished cells are")
    assert cli(mine, *only).code == 0


def test_a_full_disk_is_said_in_one_line_and_the_next_call_goes_on(cli, mine):
    with pytest.MonkeyPatch.context() as patch:
        raises(patch, OSError(28, "No space left on device", "a-file"))
        result = cli(mine)
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("genbench: No space left on device a-file;")
    assert "Traceback" not in result.err
    assert cli(mine).code == 0


def test_a_damaged_checkpoint_is_the_users_to_delete(cli, mine, monkeypatch):
    from genbench import training

    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    step, steps = ELBO.step, []

    def stopped(self, batch, labels, generator):
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return step(self, batch, labels, generator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ELBO, "step", stopped)
        assert cli(mine, "--only", "*/vae/s0").code == 130
    (checkpoint,) = cli.runs.rglob("checkpoint.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    result = cli(mine, "--only", "*/vae/s0")
    assert result.code == 2
    assert str(checkpoint) in result.err.splitlines()[-1]
    assert cli(mine, "--only", "*/vae/s0", "--force").code == 0


# As a process of its own


def python(*arguments, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True, text=True, timeout=240, env=environment, **options,
    )  # fmt: skip


def test_help_answers_without_anything_heavy():
    script = (
        "import sys; from genbench import run\n"
        "try: run.main(['--help'])\n"
        "except SystemExit as end: print('exit', end.code)\n"
        "print('modules', *sys.modules)"
    )
    result = python("-c", script)
    assert result.returncode == 0
    *text, code, modules = result.stdout.splitlines()
    assert code == "exit 0"
    heavy = {"torch", "pydantic", "pandas", "numpy", "yaml", "transformers", "matplotlib"}
    assert not heavy & set(modules.split())
    said = "\n".join(text)
    for word in (*COMMANDS, "--profile", "--only", "--seeds", "--device", "--runs", "--results",
                 "--force", "--dry-run", "--json"):  # fmt: skip
        assert word in said


def test_a_mistake_is_one_line_and_exit_2(tmp_path):
    result = python("-m", "genbench.run", "imagse", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "did you mean 'images'?" in result.stderr


DRIVER = """
import os, sys
from genbench import run, suite, training
from genbench.metrics import utility
utility.STEPS = 8
training.CHECKPOINT_SECONDS = -1.0
profile = suite.Profile.model_validate_json(os.environ["TINY_PROFILE"])
suite.load_profiles = lambda: {"smoke": profile}
sys.exit(run.main(sys.argv[1:]))
"""
ARGUMENTS = ("all", "--profile", "smoke", "--only", "*/noise/s0", "--only", "*/vqvae-gpt/s0",
             "--only", "images/digits/vae/s0")  # fmt: skip


@pytest.fixture
def process(tmp_path, tiny_profile):
    """Start runs as processes of their own, with results and runs under a name."""
    budget = tiny_profile.images.budget.model_copy(update={"train_flops": 3e8})
    images = tiny_profile.images.model_copy(update={"budget": budget})
    profile = tiny_profile.model_copy(update={"images": images}).model_dump_json()
    environment = {**os.environ, "TINY_PROFILE": profile, "OMP_NUM_THREADS": "1"}
    started = []

    def start(name):
        folders = ("--results", tmp_path / name, "--runs", tmp_path / f"{name}-runs")
        command = [sys.executable, "-c", DRIVER, *ARGUMENTS, *map(str, folders)]
        started.append(
            subprocess.Popen(
                command, env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate()


def wait_for(process, condition, seconds=120):
    """Until the condition holds; fails if the process ends before it."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_in_the_same_metrics(process, tmp_path):
    undisturbed = process("undisturbed")
    _, err = undisturbed.communicate(timeout=240)
    assert undisturbed.returncode == 0, err

    def there(pattern):
        return lambda: list((tmp_path / "killed-runs").glob(pattern))

    for pattern in (
        "*vqvae-gpt*/checkpoint.pt",
        "*vqvae-gpt*/weights/0.5000.safetensors",
        "*vqvae-gpt*/samples/*/0.5000.npy",
        "*vae*/evaluation/*.json",
    ):
        killed = process("killed")
        wait_for(killed, there(pattern))
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
    last = process("killed")
    _, err = last.communicate(timeout=240)
    assert last.returncode == 0, err
    one, two = (tmp_path / name / "smoke" for name in ("undisturbed", "killed"))
    assert (one / "metrics.csv").read_bytes() == (two / "metrics.csv").read_bytes()
    pictures = sorted(path.name for path in (one / "samples").iterdir())
    assert len(pictures) == 3
    for name in pictures:
        assert (one / "samples" / name).read_bytes() == (two / "samples" / name).read_bytes()
    cells = [pd.read_csv(folder / "cells.csv").drop(columns=["date"]) for folder in (one, two)]
    pd.testing.assert_frame_equal(*cells)


@pytest.mark.slow
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_process_with_130(process, tmp_path, which):
    running = process("stopped")
    wait_for(running, lambda: list((tmp_path / "stopped-runs").glob("*/checkpoint.pt")))
    running.send_signal(which)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == ""
    assert err.splitlines()[-1].startswith("genbench: interrupted")
    assert "Traceback" not in err


@pytest.mark.slow
def test_two_processes_do_not_run_one_cell(process, tmp_path):
    first = process("shared")
    wait_for(first, lambda: list((tmp_path / "shared-runs").glob("*/checkpoint.pt")))
    second = process("shared")
    _, err = second.communicate(timeout=120)
    if first.poll() is None or second.returncode:
        assert second.returncode == 2
        assert "is being run by another process" in err.splitlines()[-1]
    _, err = first.communicate(timeout=240)
    assert first.returncode == 0, err
