"""Scoring of text: what is refused, and that controls come out in order."""

from __future__ import annotations

import random
import sys

import pytest

from genbench import text_scoring
from genbench.data.sources import Unavailable
from genbench.data.text import passages
from genbench.features import smollm2
from genbench.metrics import TEXT_METRICS
from genbench.metrics.measured import Measured
from genbench.suite import EvaluationSpec
from genbench.text_scoring import score_text

COSTLY = {"self_bleu", "bits_per_byte"}


def test_controls_come_out_in_the_order_they_must(little_shakespeare):
    data, length = little_shakespeare, 96
    rng = random.Random(0)
    real = passages(data.validation, length, n=100, seed=0)
    copies = passages(data.train, length, n=100, seed=1)
    shuffled = ["".join(rng.sample(passage, len(passage))) for passage in real]
    spec = EvaluationSpec(kid_subsets=10, kid_subset_size=50)
    values = {
        name: {
            score.metric: score.result
            for score in score_text(samples, data, spec=spec)
            if isinstance(score.result, Measured)
        }
        for name, samples in (("real", real), ("copies", copies), ("shuffled", shuffled))
    }
    assert set(TEXT_METRICS) - COSTLY <= set(values["real"])
    for metric in ("fd", "kid", "mmd_rbf", "character_js"):
        assert values["shuffled"][metric].low > values["real"][metric].high
    for metric in ("kid", "mmd_rbf"):  # those that few samples do not raise
        assert values["shuffled"][metric].value > 5 * abs(values["real"][metric].value)
    assert values["copies"]["longest_copy"].value == length > values["real"]["longest_copy"].value
    assert values["copies"]["mean_copy"].value > 5 * values["real"]["mean_copy"].value
    for metric in ("coverage", "mauve", "real_words", "real_types"):
        assert values["shuffled"][metric].high < values["real"][metric].low
    assert values["copies"]["real_words"].value > values["real"]["real_words"].value
    for metric in ("authenticity", "distance_ratio"):
        assert values["copies"][metric].value < 0.1 < values["real"][metric].low


def test_what_is_costly_is_measured_where_it_is_asked_for(little_shakespeare, monkeypatch):
    asked = []

    def load(name, device):
        asked.append((name, device))
        raise Unavailable(f"{name} is nowhere")

    monkeypatch.setattr(text_scoring, "load", load)
    monkeypatch.setattr(text_scoring, "TRAIN_PASSAGES", 20)
    samples = passages(little_shakespeare.validation, 40, n=20, seed=0)

    def scored(**options):
        found = score_text(samples, little_shakespeare, **options)
        return {s.metric: (s.extractor, s.result) for s in found if s.metric in COSTLY}

    for extractor, result in scored().values():
        assert result == "costly, so only where it is asked for"
        assert extractor in ("", smollm2.NAME)
    assert asked == []
    found = scored(thorough=True, language_model="gpt2")
    assert 0 < found["self_bleu"][1].value < 1
    assert found["bits_per_byte"] == ("gpt2", "gpt2 is nowhere")
    assert asked == [("gpt2", "cpu")]


def test_the_language_model_reads_some_samples_and_says_so(monkeypatch):
    read = []

    def bits_per_byte(texts, model):
        read.extend(texts)
        return Measured(1.0, 0.9, 1.1)

    monkeypatch.setattr(text_scoring, "load", lambda name, device: None)
    monkeypatch.setattr(text_scoring, "bits_per_byte", bits_per_byte)
    samples = [f"sample {i}" for i in range(201)]
    assert text_scoring._bits(samples[:200], "cpu", "").flag == ""
    read.clear()
    assert text_scoring._bits(samples, "cpu", "").flag == "of 200 samples"
    assert len(set(read)) == 200
    assert set(read) < set(samples)


def test_a_missing_package_is_a_reason(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("sacrebleu.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    found = next(text_scoring._slow_scores(["a b"] * 30, "cpu", smollm2.NAME, thorough=True))
    assert found.result == "the package sacrebleu is not installed; pip install sacrebleu"


def test_too_few_blank_or_too_many_samples_are_refused(little_shakespeare):
    data = little_shakespeare
    with pytest.raises(ValueError, match="at least 2"):
        score_text(["a"], data)
    with pytest.raises(ValueError, match="1 of 2 are blank"):
        score_text(["a", " "], data)
    with pytest.raises(ValueError, match="test split holds"):
        score_text(["x" * 256] * 5000, data)
