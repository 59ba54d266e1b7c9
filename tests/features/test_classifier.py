"""The frozen extractors: what they promise of weights, accuracy, order, batches and bad input."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from genbench import features
from genbench.data import DATASETS, load
from genbench.data.images import IMAGE_DATASETS
from genbench.data.sources import sha256
from genbench.errors import UserError
from genbench.features import EXTRACTORS, WEIGHTS, spaces
from genbench.features import classifier as module
from genbench.features.classifier import load_extractor
from genbench.features.extraction import extract

LEAST_TEST_ACCURACY = {"digits": 0.98, "mnist": 0.993, "fashion-mnist": 0.92}


@pytest.fixture(scope="module")
def digits():
    return load("digits").test.rows


@pytest.fixture(scope="module")
def extractor():
    return load_extractor("digits")


@pytest.mark.parametrize("name", EXTRACTORS)
def test_card_and_weights(name):
    card = json.loads((WEIGHTS / f"{name}.json").read_text())
    content = (WEIGHTS / f"{name}.safetensors").read_bytes()
    assert len(content) < 1_000_000
    assert card["parameters"] <= 250_000
    assert card["sha256"] == sha256(content) == EXTRACTORS[name].sha256
    assert card["name"] == EXTRACTORS[name].name == f"classifier-{name}"
    assert card["data_fingerprint"] == DATASETS[name].fingerprint
    assert card["test_accuracy"] >= LEAST_TEST_ACCURACY[name]


@pytest.mark.parametrize("name", EXTRACTORS)
def test_accuracy_and_shapes_on_the_test_split(name):
    test, e = load(name).test, load_extractor(name)
    f, z = (x.numpy() for x in extract(e, test.rows[:1000], DATASETS[name].levels))
    assert f.shape == (len(f), e.dimension)
    assert z.shape == (len(f), DATASETS[name].classes)
    assert f.dtype == z.dtype == np.float32
    assert (f >= 0).all()
    right = (z.argmax(1) == test.labels[: len(z)]).mean()
    assert right > LEAST_TEST_ACCURACY[name] - 0.02  # of the first thousand


def test_batch_size_does_not_matter(extractor, digits):
    whole = extract(extractor, digits, 17)
    for size in (1, 7, 499):
        part = extract(dataclasses.replace(extractor, batch_size=size), digits, 17)
        np.testing.assert_allclose(part.features, whole.features, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(part.logits, whole.logits, rtol=1e-4, atol=1e-4)


def test_order_does_not_matter(extractor, digits):
    order = np.random.default_rng(0).permutation(len(digits))
    straight, shuffled = extract(extractor, digits, 17), extract(extractor, digits[order], 17)
    np.testing.assert_allclose(shuffled.features, straight.features[order], rtol=1e-4, atol=1e-5)


def test_memory_layout_does_not_matter(extractor, digits):
    strided = np.asfortranarray(digits)[::2]
    np.testing.assert_array_equal(
        extract(extractor, strided, 17).features, extract(extractor, digits[::2], 17).features
    )


def test_frozen(extractor):
    assert not extractor.network.training
    assert not any(p.requires_grad for p in extractor.network.parameters())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((2, 1, 8, 8), np.float32), "expected a NumPy array of uint8, got float32"),
        ([[0]], "got list"),
        (np.zeros((2, 8, 8), np.uint8), r"expected shape \(N >= 1, 1, 8, 8\), got \(2, 8, 8\)"),
        (np.zeros((2, 1, 28, 28), np.uint8), "expected shape"),
        (np.zeros((2, 3, 8, 8), np.uint8), "expected shape"),
        (np.zeros((0, 1, 8, 8), np.uint8), "expected shape"),
        (np.full((2, 1, 8, 8), 17, np.uint8), r"expected values in 0\.\.16, got 17"),
    ],
)
def test_hostile_input(extractor, bad, message):
    with pytest.raises(ValueError, match=f"^samples of x: .*{message}"):
        extract(extractor, bad, 17, name="samples of x")


@pytest.mark.parametrize("levels", [0, 16, 256])
def test_levels_of_another_data_set_are_refused(extractor, digits, levels):
    with pytest.raises(ValueError, match=f"levels: classifier-digits takes 17, got {levels}"):
        extract(extractor, digits, levels)


def test_changed_weights_are_refused(monkeypatch, tmp_path):
    content = bytearray((WEIGHTS / "digits.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "digits.safetensors").write_bytes(content)
    monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    with pytest.raises(UserError, match=r"digits\.safetensors: sha256 should be"):
        load_extractor("digits")
    (tmp_path / "digits.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        load_extractor("digits")


def test_unknown_data_set(monkeypatch):
    with pytest.raises(UserError, match="did you mean 'mnist'"):
        load_extractor("mnits")
    monkeypatch.setattr(spaces, "EXTRACTORS", {})
    with pytest.raises(UserError, match="no extractor for 'mnist'"):
        load_extractor("mnist")


def test_names_and_hashes_are_known_without_torch():
    program = (
        "import sys, genbench.features as f; assert f.EXTRACTORS and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert {*features.EXTRACTORS, *spaces.TRAINED_HERE} == set(IMAGE_DATASETS)
