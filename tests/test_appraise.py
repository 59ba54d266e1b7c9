"""Samples that genbench did not make: scored as a cell's would be, kept as a record, or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_cell

from genbench import run as cli
from genbench.appraise import Appraisal, appraise, choose_protocol, default_name, keep
from genbench.errors import UserError
from genbench.metrics import IMAGE_METRICS
from genbench.records import read_record
from genbench.scoring import Judge, quick_scores
from genbench.tables import build, load

SPEC = tiny_cell().evaluation


@pytest.fixture
def samples(tmp_path, digits):
    path = tmp_path / "theirs.npz"
    np.savez(path, samples=digits.train.rows[:150, 0])
    return path


@pytest.fixture(scope="module")
def found(tmp_path_factory, digits, session_cache) -> Appraisal:
    """The same samples with their labels, scored once for all tests."""
    path = tmp_path_factory.mktemp("samples") / "labelled.npz"
    np.savez(path, samples=digits.train.rows[:150, 0], labels=digits.train.labels[:150])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENBENCH_CACHE", str(session_cache))
        torch.set_num_threads(1)
        return appraise(path, "digits", spec=SPEC, n=150)


def test_values_are_those_that_a_cells_samples_would_get(found, digits):
    judge = Judge(digits, SPEC, "cpu")
    expected = {s.metric: s.result for s in quick_scores(judge, digits.train.rows[:150], "test")}
    for row in found.rows:
        if row["metric"] in expected and row["extractor"].startswith("classifier"):
            value, low, high, _ = expected[row["metric"]]
            assert (row["value"], row["low"], row["high"]) == (value, low, high)
    assert {row["metric"] for row in found.rows} == set(IMAGE_METRICS)
    assert (found.n, found.status, found.notes) == (150, "ok", [])
    by_metric = {row["metric"]: row for row in found.rows if not row["extractor"]}
    # Labels came with the samples, a model did not.
    assert by_metric["cas"]["value"] > 0.5
    assert by_metric["bpd"]["reason"] == "the samples come without the model"


def test_the_table_is_what_three_lines_of_python_give(found):
    table = found.table
    assert list(table) == ["metric", "extractor", "value", "low", "high", "flag", "reason"]
    assert table["value"].notna().sum() > 20


def test_a_space_without_weights_is_one_line_in_print_and_rows_elsewhere(found):
    text = str(replace(found, notes=["a note"]))
    lines = text.splitlines()
    assert lines[0] == "a note"
    assert lines[1].split()[:3] == ["metric", "extractor", "value"]
    (said,) = (line for line in lines if "inception" in line and "inception_score" not in line)
    assert said == (
        "inception: 11 metrics left out: no Inception weights were given: --inception FILE"
    )
    assert lines[-1] == "150 samples against the test split of digits; profile smoke"
    assert (found.table["extractor"] == "inception").sum() == 11
    assert "rows" not in repr(found)
    failed = replace(found, status="collapsed", reason="too few classes")
    assert str(failed).endswith("; collapsed: too few classes")


def test_by_itself_python_measures_by_the_protocol_of_the_command_line(
    samples, capsys, monkeypatch, quick_classifiers
):
    monkeypatch.setattr("genbench.appraise.inception_space.cached", lambda: Path("nowhere"))
    lines = []
    ours = appraise(str(samples), "digits", report=lines.append)
    status, out, err = call(capsys, "evaluate", samples, "--against", "digits", "--json")
    theirs = json.loads(out)
    assert status == 0
    assert ours.rows == theirs["metrics"]
    assert ours.spec.model_dump(mode="json") == theirs["protocol"]
    assert (ours.profile, theirs["profile"]) == ("smoke", "smoke")
    assert "fd in classifier-digits" in lines
    assert "detector_accuracy" in lines
    assert not any("in inception" in line for line in lines)
    assert "fd in classifier-digits" in err


def test_labels_are_told_of_before_what_they_cost(tmp_path, digits, quick_classifiers):
    path = tmp_path / "labelled.npz"
    np.savez(path, samples=digits.train.rows[:60, 0], labels=digits.train.labels[:60])
    lines = []
    appraise(path, "digits", spec=SPEC, report=lines.append)
    assert lines[-1] == "labels: 5 classifiers are trained for cas and the augmentation gains"


def test_the_first_time_for_a_data_set_says_so(samples, tmp_path, monkeypatch, quick_classifiers):
    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path / "cache"))
    first, second = [], []
    appraise(samples, "digits", spec=SPEC, report=first.append)
    appraise(samples, "digits", spec=SPEC, report=second.append)
    assert first[0].startswith("first the features of digits's real images, once")
    assert second == first[1:]


@pytest.mark.parametrize(
    ("dataset", "profile", "modality"),
    [("digits", "smoke", "images"), ("mnist", "cpu", "images"), ("cifar10", "gpu", "images"),
     ("shakespeare", "cpu", "text")],
)  # fmt: skip
def test_a_data_set_is_measured_by_the_committed_protocol_where_that_has_it(
    dataset, profile, modality
):
    protocol = choose_protocol(dataset)
    assert (protocol.profile, protocol.modality) == (profile, modality)
    assert choose_protocol(dataset, "smoke").profile == "smoke"


def test_more_samples_than_there_are_real_images_are_scored(tmp_path, digits, quick_classifiers):
    path = tmp_path / "many.npz"
    np.savez(path, samples=digits.train.rows[:700, 0])
    spec = SPEC.model_copy(update={"kid_subset_size": 600})
    found = appraise(path, "digits", spec=spec)
    (kid,) = (r for r in found.rows if r["metric"] == "kid" and r["extractor"] != "inception")
    assert kid["flag"] == "subsets of 500, not 600"
    assert kid["low"] <= kid["value"] <= kid["high"]
    measured = {row["metric"] for row in found.rows if row["value"] is not None}
    assert {
        "fd", "fd_infinity", "mmd_rbf", "precision", "recall", "coverage", "vendi",
        "sliced_wasserstein", "detector_accuracy", "distance_ratio", "ct",
    } <= measured  # fmt: skip


@pytest.mark.parametrize(
    ("path", "dataset", "options", "said"),
    [
        (np.zeros((9, 8, 8)), "digits", {}, "is of type ndarray; save them first, such as"),
        (None, "digits", {}, "is of type NoneType; save them first"),
        ("x.npz", "digit", {}, "unknown data set 'digit'; did you mean 'digits'"),
        ("x.npz", "digits", {"profile": "huge"}, "unknown profile 'huge'"),
        ("x.npz", "digits", {"inception": "no.pth"}, r"no\.pth is no file"),
        ("x.txt", "shakespeare", {"inception": "no.pth"}, "shakespeare is text"),
    ],
)
def test_a_mistake_in_python_is_one_line(path, dataset, options, said):
    with pytest.raises(UserError, match=said) as error:
        appraise(path, dataset, **options)
    assert "\n" not in str(error.value)


def test_an_appraisal_joins_the_tables_and_seeds_stand_side_by_side(found, tmp_path):
    folder = tmp_path / "results" / "external"
    for seed in (0, 1):
        keep(found, folder, name="theirs", seed=seed, device="cpu")
    build(folder)
    results = load("external", tmp_path / "results")
    assert results.cells["cell"].tolist() == [f"images/digits/theirs/s{s}" for s in (0, 1)]
    assert results.cells["family"].unique().tolist() == ["external"]
    assert len(results.metrics) == 2 * len(found.rows)


@pytest.mark.parametrize(
    ("name", "said"),
    [("../x", r"--name '\.\./x'"), ("", "--name ''"), ("vae", "model of genbench")],
)
def test_a_name_that_would_not_do_is_refused(found, tmp_path, name, said):
    with pytest.raises(UserError, match=said):
        keep(found, tmp_path, name=name, seed=0, device="cpu")


def test_a_record_is_replaced_only_when_told_to(found, tmp_path):
    path = keep(found, tmp_path, name="theirs", seed=0, device="cpu")
    before = path.read_bytes()
    other = replace(found, reason="another")
    with pytest.raises(UserError, match="already; choose another"):
        keep(other, tmp_path, name="theirs", seed=0, device="cpu")
    assert path.read_bytes() == before
    keep(other, tmp_path, name="theirs", seed=0, device="cpu", replace=True)
    assert read_record(path)["reason"] == "another"


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/my samples (2).npz", "my-samples-2"), ("a/folder", "folder"), ("x.y.npy", "x.y")],
)
def test_a_path_gives_a_name(path, name):
    assert default_name(Path(path)) == name


def test_text_is_scored_against_text(tmp_path, little_shakespeare, monkeypatch):
    by_name = {"shakespeare": little_shakespeare}
    monkeypatch.setattr("genbench.data.text.load_text", by_name.__getitem__)
    monkeypatch.setattr("genbench.text_scoring.TRAIN_PASSAGES", 200)
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(f"The {i} kings are dead, long live the king." for i in range(40)))
    lines = []
    found = appraise(path, "shakespeare", report=lines.append)
    values = {row["metric"]: row["value"] for row in found.rows}
    assert values["fd"] > 0
    assert 0 < values["distinct_1"] < 0.2
    assert (found.n, found.modality, found.profile) == (40, "text", "cpu")
    assert lines == [
        "first the features of 40 samples, as many test passages and up to 200 training passages: "
        "minutes, unless they are kept from an earlier call"
    ]
    assert str(found).splitlines()[-1].startswith("40 samples against the test split")


# The command line


def call(capsys, *args):
    status = cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return status, out, err


def test_evaluate_prints_json_and_keeps_a_record(samples, tmp_path, capsys):
    status, out, err = call(
        capsys, "evaluate", samples, "--against", "digits", "--json", "--results", tmp_path / "r"
    )
    assert status == 0
    content = json.loads(out)
    assert content["n"] == 150
    assert any("150" in note for note in content["notes"])  # fewer than the protocol's: a warning
    assert "theirs.npz" in err
    assert (tmp_path / "r" / "external" / "records/images/digits/theirs/s0.json.gz").is_file()
    fd = next(row for row in content["metrics"] if row["metric"] == "fd")
    assert fd["low"] < fd["value"] < fd["high"]
    # The same again would lose that record, and is refused before anything is scored.
    status, out, err = call(
        capsys, "evaluate", samples, "--against", "digits", "--results", tmp_path / "r"
    )
    assert (status, out) == (2, "")
    assert "kept in" in err
    assert err.count("\n") == 1
    table = tmp_path / "r" / "external" / "metrics.csv"
    before = table.read_bytes()
    table.unlink()
    assert call(capsys, "tables", "--results", tmp_path / "r")[0] == 0
    assert table.read_bytes() == before
    # The folder of the records themselves is not what --results names.
    status, out, err = call(capsys, "tables", "--results", tmp_path / "r" / "external")
    assert (status, out) == (2, "")
    assert f"names the folder above it: --results {tmp_path / 'r'}" in err


def test_an_interrupted_evaluation_says_what_is_true_of_it(samples, capsys, monkeypatch):
    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("genbench.appraise.all_scores", stopped)
    status, out, err = call(capsys, "evaluate", samples, "--against", "digits")
    assert (status, out) == (130, "")
    assert err.splitlines()[-1] == (
        "genbench: interrupted; samples are recorded at the end alone, so the same command "
        "measures them again"
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["evaluate"], "takes one path"),
        (["evaluate", "{samples}"], "takes one path and --against"),
        (["evaluate", "{samples}", "--against", "digit"], "did you mean 'digits'"),
        (["evaluate", "{tmp}/none.npy", "--against", "digits"], "none.npy"),
        (["evaluate", "{samples}", "--against", "mnist"], "28"),
        (["evaluate", "{samples}", "--against", "shakespeare"], "is binary"),
        (
            ["evaluate", "{tmp}", "--against", "shakespeare"],
            "is a folder; a data set of text takes",
        ),
        (["evaluate", "{samples}", "--against", "digits", "--profile", "huge"], "profile 'huge'"),
        (["evaluate", "{samples}", "--against", "digits", "--seed", "-1"], "--seed"),
        (["evaluate", "{samples}", "--against", "digits", "--inception", "{tmp}/no.pth"], "no.pth"),
        (["evaluate", "{samples}", "--against", "digits", "--name", "x"], "--results DIR"),
        (["evaluate", "{samples}", "--against", "digits", "--seed", "0"], "--results DIR"),
        (["all", "--against", "digits"], "no use for --against"),
        (["plan", "--seed", "0"], "no use for --seed"),
        (["compare", "{tmp}", "{tmp}", "--results", "{tmp}"], "no use for --results"),
        (["compare", "{tmp}", "{tmp}", "--device", "cpu"], "no use for --device"),
        (["data", "--dry-run"], "no use for --dry-run"),
        (["data", "--profile", "cpu"], "no use for --profile"),
        (["tables", "--device", "cpu"], "no use for --device"),
        (["data", "shakspeare"], "did you mean 'shakespeare'"),
        (["compare", "one"], "takes two results folders"),
        (["compare", "{tmp}/a", "{tmp}/b"], "a"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(samples, tmp_path, capsys, args, said):
    filled = [arg.format(samples=samples, tmp=tmp_path) for arg in args]
    status, out, err = call(capsys, *filled)
    assert (status, out) == (2, "")
    assert err.startswith("genbench: ")
    assert said in err
    assert err.count("\n") == 1
