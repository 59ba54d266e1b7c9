"""Scoring of text: how a file is read, what is refused, and that controls come out in order."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genbench import text_scoring
from genbench.data.sources import Unavailable
from genbench.data.text import passages
from genbench.errors import UserError
from genbench.features import smollm2
from genbench.metrics import TEXT_METRICS
from genbench.metrics.measured import Measured
from genbench.suite import EvaluationSpec
from genbench.text_scoring import (
    character_js,
    distinct,
    load_text_samples,
    longest_copies,
    score_text,
)

COSTLY = {"self_bleu", "bits_per_byte"}


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "samples.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_blocks_are_samples_where_there_are_any_and_lines_elsewhere(write):
    assert load_text_samples(write("a\nb\n\nc\n"))[0] == ["a\nb", "c"]
    samples, notes = load_text_samples(write("a\r\nb\r\nc"))
    assert samples == ["a", "b", "c"]
    assert any("3 lines" in note for note in notes)


def test_what_is_done_to_samples_is_noted(write):
    samples, notes = load_text_samples(write("x" * 300 + "\nb\nb\nc"), n=3)
    assert [len(sample) for sample in samples] == [256, 1, 1]
    assert any("first 3 of 4" in note for note in notes)
    assert any("1 of 3 samples were cut" in note for note in notes)
    assert any("1 of 3 samples repeat" in note for note in notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty or blank"),
        (b" \n\n", "is empty or blank"),
        (b"one line", "holds one sample"),
        (b"a\nb\0c", "is binary .byte 3 is NUL"),
        (b"a\nb\xff", "is not UTF-8 .byte 3 is 0xff"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(write, content, message):
    with pytest.raises(UserError, match=message) as error:
        load_text_samples(write(content))
    assert "\n" not in str(error.value)


def test_a_path_that_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.txt"):
        with pytest.raises(UserError, match=path.name):
            load_text_samples(path)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text("ab c", min_size=1, max_size=12), min_size=1, max_size=4), st.text("ab c"))
def test_the_longest_copy_is_that_of_plain_search(samples, text):
    def plain(sample):
        lengths = range(len(sample), 0, -1)
        starts = ((n, i) for n in lengths for i in range(len(sample) - n + 1))
        return next((n for n, i in starts if sample[i : i + n] in text), 0)

    assert longest_copies(samples, text).tolist() == [plain(sample) for sample in samples]


def test_distinct_n_counts_types_over_tokens():
    assert distinct(["a b a", "A b"], 1).value == pytest.approx(2 / 5)
    assert distinct(["a b a", "a b"], 2).value == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="hold 3 words"):
        distinct(["a b", "c d"], 3)


def test_the_distance_of_characters_is_0_for_the_same_text_and_1_for_another_alphabet():
    assert character_js(["abcdabcd"], "abcdabcd").value == pytest.approx(0, abs=1e-7)
    assert character_js(["aaaaaa", "aaaaa"], "bbbbbbb").value == pytest.approx(1)


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
    assert np.isfinite(text_scoring.N_SAMPLES)
