"""Evaluation: which rows there are, what they are compared with, and what they imply."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import CONTROLS, TRAINED, tiny_cell

from genbench import evaluation, metrics, sampling, training
from genbench.evaluation import evaluate, importance_weighted
from genbench.features.classifier import load_extractor
from genbench.features.extraction import extract
from genbench.image_scoring import QUICK_METRICS, outcome
from genbench.metrics import IMAGE_METRICS as METRICS
from genbench.metrics import SPACE_METRICS
from genbench.metrics.frechet import frechet_distance, gaussian
from genbench.metrics.measured import Measured
from genbench.models.vae import ELBO, VAE
from genbench.sampling import sample
from genbench.scoring import Judge, Score, quick_scores
from genbench.tables import METRICS as COLUMNS
from genbench.training import train, trained_model

pytestmark = pytest.mark.usefixtures("quick_classifiers")


def run(cell, data, directory):
    result = train(cell, data, directory, "cpu")
    sample(cell, result, directory, "cpu")
    return evaluate(cell, result, Judge(data, cell.evaluation, "cpu"), directory, "cpu")


def value(rows, metric, split="test", fraction=1.0, draw=0):
    wanted = (metric, split, fraction, draw)
    (row,) = [
        r
        for r in rows
        if (r["metric"], r["split"], r["fraction"], r["draw"]) == wanted
        and r["extractor"] in ("", "classifier-digits")
    ]
    return row


SAMPLE_METRICS = [
    name for name, info in METRICS.items() if info.needs in ("space", "classes", "pixels", "train")
]
MODEL_METRICS = {name for name in METRICS if name not in SAMPLE_METRICS}
LEDGER = {name for name, info in METRICS.items() if info.needs == "likelihood"}


@pytest.mark.parametrize("name", [*TRAINED, "noise"])
def test_every_metric_has_its_rows_and_a_value_or_a_reason(make_directory, digits, name):
    cell = tiny_cell(name)
    rows = run(cell, digits, make_directory(cell)).metrics
    fractions = [1.0] if cell.is_control else [0.25, 0.5, 1.0]
    keys = [(r["metric"], r["extractor"], r["split"], r["fraction"], r["draw"]) for r in rows]
    assert len(set(keys)) == len(keys)
    ours, absent = "classifier-digits", "inception"

    def space(metric):
        return ours if METRICS[metric].needs in ("space", "classes", "train") else ""

    expected = {(m, ours, "validation", f, 0) for m in QUICK_METRICS for f in fractions}
    expected |= {(m, space(m), "test", 1.0, 0) for m in SAMPLE_METRICS}
    expected |= {(m, absent, "test", 1.0, 0) for m in SPACE_METRICS}
    expected |= {
        (m, "", split, 1.0, 0) for m in LEDGER for split in ("train", "validation", "test")
    }
    expected |= {("reconstruction_rmse", "", split, 1.0, 0) for split in ("validation", "test")}
    expected |= {(m, "", "test", 1.0, 0) for m in METRICS if METRICS[m].needs == "conditioning"}
    draws = [] if cell.is_control else [1]
    expected |= {(m, ours, "test", 1.0, draw) for m in QUICK_METRICS for draw in draws}
    assert set(keys) == expected
    for row in rows:
        info = METRICS[row["metric"]]
        assert {"cell", *row} == set(COLUMNS)
        assert row["metric_version"] == info.version
        assert row["higher_is_better"] is info.higher_is_better
        # A number or a reason, never both, never neither, and never NaN.
        assert (row["value"] is None) == bool(row["reason"])
        for key in ("value", "low", "high"):
            assert row[key] is None or math.isfinite(row[key])
        assert row["low"] is None or row["low"] <= row["value"]
        assert row["high"] is None or row["value"] <= row["high"]


def test_what_does_not_apply_says_why(make_directory, digits):
    reasons = {}
    for name in (*TRAINED, "copier"):
        cell = tiny_cell(name)
        rows = run(cell, digits, make_directory(cell)).metrics
        reasons[name] = {
            (row["metric"], row["split"]): row["reason"]
            for row in rows
            if row["fraction"] == 1 and row["extractor"] != "inception"
        }
    none = "not defined: the model has no likelihood"
    for name in ("dcgan", "copier"):
        assert {reasons[name][m, "test"] for m in LEDGER} == {none}
        assert reasons[name]["reconstruction_rmse", "test"] == "the model does not encode images"
    assert reasons["vae"]["bpd", "test"] == "the model's likelihood is bpd_bound"
    assert reasons["vae"]["bpd_iwae", "test"] == ""
    assert reasons["vqvae-gpt"]["bpd_iwae", "test"].startswith("the model has no posterior")
    assert reasons["pixel-gpt"]["bpd_bound", "test"] == "the model's likelihood is bpd"
    assert reasons["pixel-gpt"]["bpd", "test"] == ""
    assert reasons["vae"]["bpd_gap", "test"] == ""
    assert reasons["vae"]["membership_auc", "train"].startswith("no training images were held out")
    assert reasons["vae"]["membership_auc", "test"] == "only within the training split"
    assert reasons["vae"]["bpd_gap", "train"] != ""
    assert reasons["vae"]["cas", "test"] == "no images of chosen classes"
    assert reasons["copier"]["cas", "test"] == ""


def test_a_space_without_weights_is_reported_as_such(make_directory, digits):
    cell = tiny_cell("noise")
    rows = run(cell, digits, make_directory(cell)).metrics
    absent = [row for row in rows if row["extractor"] == "inception"]
    assert {row["metric"] for row in absent} == set(SPACE_METRICS)
    assert all("Inception" in row["reason"] for row in absent)


def test_a_fraction_before_the_last_stage_says_so(make_directory, digits):
    cell = tiny_cell("vqvae-gpt")
    rows = run(cell, digits, make_directory(cell)).metrics
    early = [row for row in rows if row["fraction"] == 0.25]
    assert {row["metric"] for row in early} == set(QUICK_METRICS)
    assert {row["reason"] for row in early} == {"stage prior has not begun"}
    assert {row["n_samples"] for row in early} == {None}


def test_nothing_before_the_end_is_compared_with_test(make_directory, digits):
    cell = tiny_cell()
    rows = run(cell, digits, make_directory(cell)).metrics
    assert {row["split"] for row in rows if row["fraction"] < 1} == {"validation"}


def test_redraws_are_other_samples_of_the_same_weights(make_directory, digits):
    cell = tiny_cell("pixel-gpt")
    rows = run(cell, digits, make_directory(cell)).metrics
    values = {draw: value(rows, "fd", draw=draw)["value"] for draw in (0, 1)}
    assert values[0] != values[1]
    assert values[0] == pytest.approx(values[1], rel=0.3)
    assert {row["n_samples"] for row in rows if row["draw"]} == {120}


def test_values_are_those_of_the_metrics_on_the_kept_samples(make_directory, digits):
    cell = tiny_cell(n=120, n_intermediate=80)
    directory = make_directory(cell)
    rows = run(cell, digits, directory).metrics
    extractor = load_extractor("digits")
    final = extract(extractor, np.load(directory.samples(1.0)), 17).features
    early = extract(extractor, np.load(directory.samples(0.5)), 17).features
    test = gaussian(extract(extractor, digits.test.rows, 17).features)
    validation = gaussian(extract(extractor, digits.validation.rows, 17).features)
    expected = {
        ("test", 1.0): frechet_distance(gaussian(final), test),
        # On validation, every fraction is judged by equally many samples.
        ("validation", 1.0): frechet_distance(gaussian(final[:80]), validation),
        ("validation", 0.5): frechet_distance(gaussian(early), validation),
    }
    for (split, fraction), distance in expected.items():
        row = value(rows, "fd", split, fraction)
        assert row["value"] == pytest.approx(distance, rel=1e-6)
        assert row["n_samples"] == (120 if split == "test" else 80)


def test_likelihood_and_reconstruction_are_those_of_the_real_images(make_directory, digits):
    cell = tiny_cell()
    directory = make_directory(cell)
    rows = run(cell, digits, directory).metrics
    model = trained_model(cell, directory, 1.0, "cpu")
    images = torch.from_numpy(digits.test.rows)
    with torch.inference_mode():
        error = (model.reconstruct(images).double() - images).square().mean().sqrt() / 16
        many = [
            model.bits_per_dim(images, torch.Generator().manual_seed(seed)).mean().item()
            for seed in range(5)
        ]
    assert value(rows, "reconstruction_rmse")["value"] == pytest.approx(error.item())
    found = value(rows, "bpd_bound")
    assert found["value"] == pytest.approx(np.mean(many), abs=max(5 * np.std(many), 1e-3))
    assert found["n_samples"] == 500
    assert value(rows, "bpd_bound", "validation")["n_samples"] == 200
    # The ledger shows training images beside held-out ones.
    train = value(rows, "bpd_bound", "train")
    assert train["n_samples"] == 300
    gap = value(rows, "bpd_gap")["value"]
    assert gap == pytest.approx(found["value"] - train["value"])
    weighed = value(rows, "bpd_iwae")
    assert weighed["value"] < found["value"]
    assert weighed["n_samples"] == 500


class Gains:
    """A posterior that gains, in nats, each image's first grey level, and keeps what it saw."""

    def __init__(self):
        self.seen = []

    def log_weights(self, images, generator, k):
        self.seen.append(images)
        return images.flatten(1)[:, :1].double().expand(-1, k)


def test_images_that_weights_are_drawn_for_are_spread_over_the_split():
    """A split in the order of what is gained, as MNIST's writers come in two halves."""
    cell = tiny_cell()
    protocol = cell.evaluation.model_copy(update={"importance_images": 20})
    cell = cell.model_copy(update={"evaluation": protocol})
    images = np.repeat(np.arange(200, dtype=np.uint8), 64).reshape(200, 1, 8, 8)
    model, bound = Gains(), np.full(200, 5.0)
    found = importance_weighted(cell, model, images, bound, "test", "cpu")
    np.testing.assert_array_equal(torch.cat(model.seen).numpy(), images[::10])
    # The weights' own bound is -x nats for a first level of x, whose mean is 95 over the few.
    assert found.value == pytest.approx(-95 / (64 * math.log(2)))
    assert found.low < found.value < found.high


def test_membership_is_asked_of_images_held_out_at_random_from_the_training_split(
    make_directory, digits
):
    cell = tiny_cell()
    cell = cell.model_copy(update={"data": cell.data.model_copy(update={"held_out": 0.2})})
    assert cell.name == "images/digits[held_out=0.2]/vae/s0"
    seen, held_out = training.members(cell)
    assert len(held_out) == round(0.2 * 1097)
    assert sorted([*seen, *held_out]) == list(range(1097))
    assert not np.array_equal(held_out, np.arange(held_out[0], held_out[0] + len(held_out)))
    row = value(run(cell, digits, make_directory(cell)).metrics, "membership_auc", "train")
    # A model that has seen each image a few times can hardly tell.
    assert row["low"] < 0.5 < row["high"]


def test_evaluation_repeats_to_the_last_digit(make_directory, digits):
    cell = tiny_cell()
    one = run(cell, digits, make_directory(cell, "one"))
    torch.rand(3)
    np.random.rand(3)  # noqa: NPY002
    two = run(cell, digits, make_directory(cell, "two"))
    assert one.metrics == two.metrics


def test_an_evaluation_is_made_once_for_its_key(make_directory, digits, monkeypatch):
    cell = tiny_cell()
    first = run(cell, digits, make_directory(cell))

    def never(*args, **kwargs):
        raise AssertionError("evaluated again")

    monkeypatch.setattr(evaluation, "measure", never)
    assert run(cell, digits, make_directory(cell)) == first


def test_a_new_metric_version_evaluates_again_and_neither_trains_nor_samples(
    make_directory, digits, monkeypatch
):
    cell = tiny_cell()
    old = make_directory(cell)
    first = run(cell, digits, old)

    def never(*args, **kwargs):
        raise AssertionError("trained or sampled again")

    monkeypatch.setattr(ELBO, "step", never)
    monkeypatch.setattr(sampling, "draw", never)
    for register in (metrics.METRICS, METRICS):
        monkeypatch.setitem(register, "fd", replace(METRICS["fd"], version=99))
    new = make_directory(cell)
    assert new.evaluation != old.evaluation
    assert new.path == old.path
    again = run(cell, digits, new)
    assert {r["metric_version"] for r in again.metrics if r["metric"] == "fd"} == {99}
    assert [r["value"] for r in again.metrics] == [r["value"] for r in first.metrics]
    assert old.evaluation.exists()


# Outcomes


def covering(classes: int, share: float = 0.0) -> list[Score]:
    """The class metrics of samples spread over so many classes, `share` of all on the first."""
    p = np.full(classes, (1 - share) / classes)
    p[0] += share
    entropy = float(-(p * np.log2(p)).sum())
    values = {"classes_covered": classes, "class_entropy": entropy}
    return [Score(name, "", Measured(v, v, v)) for name, v in values.items()]


@pytest.mark.parametrize(
    ("final", "status", "reason"),
    [
        (covering(10), "ok", ""),
        (covering(5), "ok", ""),
        (covering(4), "collapsed", "classes covered: 4, fewer than 5"),
        (covering(1), "collapsed", "classes covered: 1, fewer than 5"),
        (covering(10, share=0.8), "collapsed", "class entropy 1.25 bits, under 1.66"),
        (covering(10, share=0.5), "ok", ""),
    ],
)
def test_collapse_is_told_by_the_declared_thresholds(final, status, reason, digits):
    assert outcome(Judge(digits, tiny_cell().evaluation, "cpu"), final) == (status, reason)


def test_samples_of_one_class_are_a_collapse(make_directory, digits, monkeypatch):
    ones = torch.from_numpy(digits.train.rows[digits.train.labels == 1])

    def same(self, n, generator):
        return ones[torch.randint(len(ones), (n,), generator=generator)]

    monkeypatch.setattr(VAE, "sample", same)
    cell = tiny_cell()
    result = run(cell, digits, make_directory(cell))
    assert result.status == "collapsed"
    assert "covered" in result.reason
    assert value(result.metrics, "fd")["value"] > 0
    assert value(result.metrics, "class_entropy")["value"] < 1


def test_a_control_is_never_called_collapsed(make_directory, digits, monkeypatch):
    cell = tiny_cell("copier", copied=1)
    result = run(cell, digits, make_directory(cell))
    assert value(result.metrics, "classes_covered")["value"] == 1
    assert (result.status, result.reason) == ("ok", "")


def test_a_diverged_run_has_rows_with_its_reason_and_the_values_from_before(
    make_directory, digits, monkeypatch
):
    original, calls = ELBO.step, []

    def broken(self, batch, labels, generator):
        values = original(self, batch, labels, generator)
        calls.append(1)
        return values | {"loss": values["loss"] * (math.nan if len(calls) == 6 else 1)}

    monkeypatch.setattr(ELBO, "step", broken)
    cell = tiny_cell()
    result = run(cell, digits, make_directory(cell))
    assert result.status == "diverged"
    assert result.reason == "loss is nan at step 6 of stage elbo"
    assert value(result.metrics, "fd", "validation", 0.25)["value"] > 0
    for row in result.metrics:
        if row["fraction"] > 0.25:
            assert row["value"] is None
            assert row["reason"] == f"diverged: {result.reason}"
    final = [row for row in result.metrics if row["split"] == "test"]
    assert {row["metric"] for row in final} == set(QUICK_METRICS)


def test_real_images_are_nearer_than_any_other_control(digits):
    """The order that controls are there for, on the data at hand."""
    judge = Judge(digits, tiny_cell().evaluation, "cpu")
    values = {}
    for name in CONTROLS:
        model = training.new_model(tiny_cell(name), "cpu")
        images = torch.from_numpy(digits.train.rows)
        labels = torch.from_numpy(digits.train.labels)
        generator = torch.Generator().manual_seed(0)
        model.stages[0].prepare(images, labels, generator)
        scores = quick_scores(judge, model.sample(500, generator).numpy(), "test")
        values[name] = {score.metric: score.result.value for score in scores}
    for metric in ("fd", "kid", "class_distance"):
        of = {name: values[name][metric] for name in CONTROLS}
        assert of["train-split"] == min(of[n] for n in of if n != "copier")
        assert of["noise"] > of["train-split"]
        assert of["pixel-gaussian"] > of["train-split"]
