"""Evaluation: which rows there are, what they are compared with, and what they imply."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import CONTROLS, TRAINED, tiny_cell

from genbench import evaluation, training
from genbench.data import DATASETS
from genbench.evaluation import SAMPLE_METRICS, evaluate, outcome, reference, sample_metrics
from genbench.features.classifier import extract, load_extractor
from genbench.metrics import METRICS
from genbench.metrics.frechet import frechet_distance, gaussian
from genbench.models.vae import ELBO, VAE
from genbench.sampling import sample
from genbench.tables import METRICS as COLUMNS
from genbench.training import train, trained_model


def run(cell, data, directory):
    result = train(cell, data, directory, "cpu")
    sample(cell, result, directory, "cpu")
    return evaluate(cell, result, data, directory, "cpu")


def value(rows, metric, split="test", fraction=1.0):
    (row,) = [
        r for r in rows if (r["metric"], r["split"], r["fraction"]) == (metric, split, fraction)
    ]
    return row


@pytest.mark.parametrize("name", [*TRAINED, "noise"])
def test_every_metric_has_its_rows_and_a_value_or_a_reason(make_directory, digits, name):
    cell = tiny_cell(name)
    rows = run(cell, digits, make_directory(cell)).metrics
    fractions = [1.0] if cell.is_control else [0.25, 0.5, 1.0]
    keys = [(row["metric"], row["split"], row["fraction"]) for row in rows]
    assert len(set(keys)) == len(keys)
    expected = {(m, "validation", f) for m in SAMPLE_METRICS for f in fractions}
    expected |= {(m, split, 1.0) for m in METRICS for split in ("validation", "test")}
    assert set(keys) == expected
    for row in rows:
        info = METRICS[row["metric"]]
        assert {"cell", *row} == set(COLUMNS)
        assert row["metric_version"] == info.version
        assert row["higher_is_better"] is info.higher_is_better
        assert row["extractor"] == ("classifier-digits" if info.needs == "samples" else "")
        # A number or a reason, never both, never neither, and never NaN.
        assert (row["value"] is None) == bool(row["reason"])
        assert row["value"] is None or math.isfinite(row["value"])


def test_what_does_not_apply_says_why(make_directory, digits):
    reasons = {}
    for name in (*TRAINED, "copier"):
        cell = tiny_cell(name)
        rows = run(cell, digits, make_directory(cell)).metrics
        reasons[name] = {
            row["metric"]: row["reason"] for row in rows if row["reason"] and row["fraction"] == 1
        }
    none, codes = "the model defines no likelihood", "the model does not encode images"
    blind = {"bpd": none, "bpd_bound": none, "reconstruction_rmse": codes}
    assert reasons["dcgan"] == reasons["copier"] == blind
    assert reasons["vae"] == {"bpd": "the model's likelihood is bpd_bound"}
    assert reasons["vqvae-gpt"] == {"bpd": "the model's likelihood is bpd_bound"}
    assert reasons["pixel-gpt"] == {
        "bpd_bound": "the model's likelihood is bpd", "reconstruction_rmse": codes,
    }  # fmt: skip


def test_a_fraction_before_the_last_stage_says_so(make_directory, digits):
    cell = tiny_cell("vqvae-gpt")
    rows = run(cell, digits, make_directory(cell)).metrics
    early = [row for row in rows if row["fraction"] == 0.25]
    assert {row["metric"] for row in early} == set(SAMPLE_METRICS)
    assert {row["reason"] for row in early} == {"stage prior has not begun"}
    assert {row["n_samples"] for row in early} == {None}


def test_test_is_looked_at_once_at_the_end(make_directory, digits, monkeypatch):
    seen = []
    original = evaluation.reference

    def watched(data, split, extractor):
        seen.append(split)
        return original(data, split, extractor)

    monkeypatch.setattr(evaluation, "reference", watched)
    cell = tiny_cell()
    rows = run(cell, digits, make_directory(cell)).metrics
    assert seen == ["validation", "validation", "validation", "test"]
    assert {row["fraction"] for row in rows if row["split"] == "test"} == {1.0}


def test_values_are_those_of_the_metrics_on_the_kept_samples(make_directory, digits):
    cell = tiny_cell(n=120, n_intermediate=80)
    directory = make_directory(cell)
    rows = run(cell, digits, directory).metrics
    extractor = load_extractor("digits")
    final = extract(extractor, np.load(directory.samples(1.0))).features
    early = extract(extractor, np.load(directory.samples(0.5))).features
    test = gaussian(extract(extractor, digits.test.images).features)
    validation = gaussian(extract(extractor, digits.validation.images).features)
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
    images = torch.from_numpy(digits.test.images)
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


def test_evaluation_repeats_to_the_last_digit(make_directory, digits):
    cell = tiny_cell()
    one = run(cell, digits, make_directory(cell, "one"))
    torch.rand(3)
    np.random.rand(3)  # noqa: NPY002
    evaluation._references.clear()
    two = run(cell, digits, make_directory(cell, "two"))
    assert one.metrics == two.metrics


def test_an_evaluation_is_made_once_for_its_key(make_directory, digits, monkeypatch):
    cell = tiny_cell()
    first = run(cell, digits, make_directory(cell))

    def never(*args, **kwargs):
        raise AssertionError("evaluated again")

    monkeypatch.setattr(evaluation, "sample_metrics", never)
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
    monkeypatch.setattr(VAE, "sample", never)
    monkeypatch.setitem(METRICS, "fd", replace(METRICS["fd"], version=2))
    new = make_directory(cell)
    assert new.evaluation != old.evaluation
    assert new.path == old.path
    again = run(cell, digits, new)
    assert {r["metric_version"] for r in again.metrics if r["metric"] == "fd"} == {2}
    assert [r["value"] for r in again.metrics] == [r["value"] for r in first.metrics]
    assert old.evaluation.exists()


def test_a_cached_reference_belongs_to_its_data_and_its_extractor(digits):
    extractor = load_extractor("digits")
    one = reference(digits, "test", extractor)
    assert reference(digits, "test", extractor) is one
    assert reference(digits, "validation", extractor) is not one
    other = replace(digits, info=replace(digits.info, fingerprint="other"))
    assert reference(other, "test", extractor) is not one
    assert len(one.features.features) == 500
    assert one.histogram == pytest.approx(np.full(10, 0.1))


# Outcomes


def covering(classes: int, share: float = 0.0) -> dict[str, float | str]:
    """The class metrics of samples spread over so many classes, `share` of all on the first."""
    p = np.full(classes, (1 - share) / classes)
    p[0] += share
    entropy = float(-(p * np.log2(p)).sum())
    return {"classes_covered": classes, "class_entropy": entropy}


@pytest.mark.parametrize(
    ("final", "status", "reason"),
    [
        (covering(10), "ok", ""),
        (covering(5), "ok", ""),
        (covering(4), "collapsed", "4 classes covered, fewer than 5"),
        (covering(1), "collapsed", "1 classes covered, fewer than 5"),
        (covering(10, share=0.8), "collapsed", "class entropy 1.25 bits, under 1.66"),
        (covering(10, share=0.5), "ok", ""),
    ],
)
def test_collapse_is_told_by_the_declared_thresholds(final, status, reason):
    assert outcome(tiny_cell(), final) == (status, reason)


def test_samples_of_one_class_are_a_collapse(make_directory, digits, monkeypatch):
    ones = torch.from_numpy(digits.train.images[digits.train.labels == 1])

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

    def broken(self, batch, generator):
        values = original(self, batch, generator)
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
    assert {row["metric"] for row in final} >= set(SAMPLE_METRICS)


@pytest.mark.parametrize("metric", ["fd", "kid", "class_distance"])
def test_real_images_are_nearer_than_any_other_control(digits, metric):
    """The order that controls are there for, on the data at hand."""
    extractor, values = load_extractor("digits"), {}
    real = reference(digits, "test", extractor)
    spec = tiny_cell().evaluation
    for name in CONTROLS:
        model = training.new_model(tiny_cell(name), "cpu")
        images = torch.from_numpy(digits.train.images)
        labels = torch.from_numpy(digits.train.labels)
        generator = torch.Generator().manual_seed(0)
        model.stages[0].prepare(images, labels, generator)
        features = extract(extractor, model.sample(500, generator).numpy())
        values[name] = float(sample_metrics(features, real, spec)[metric])
    assert values["train-split"] == min(values[n] for n in values if n != "copier")
    assert values["noise"] > values["train-split"]
    assert values["pixel-gaussian"] > values["train-split"]
    assert DATASETS["digits"].classes == 10
