"""Reference: what metrics derive from real images, once, lazily, and never out of date."""

import dataclasses

import numpy as np
import pytest
import torch

from genbench import reference as module
from genbench.data import load
from genbench.features import store
from genbench.features.classifier import load_extractor
from genbench.features.extraction import extract
from genbench.metrics import METRICS
from genbench.metrics.distinct import duplicate_radius
from genbench.metrics.frechet import gaussian
from genbench.metrics.kernel import median_bandwidth
from genbench.metrics.neighbours import nearest_other
from genbench.metrics.prdc import manifold
from genbench.reference import reference

DERIVED = {
    "gaussian": gaussian,
    "manifold": manifold,
    "bandwidth": median_bandwidth,
    "nearest_other": nearest_other,
    "duplicate_radius": duplicate_radius,
}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def data():
    return load("digits")


@pytest.fixture
def extractor():
    return load_extractor("digits")


def never(*_, **__):
    raise AssertionError("computed again")


def forbid(monkeypatch, *names):
    for name in names:
        monkeypatch.setattr(module, name, never)


def same(a, b):
    """Equality to the last bit of tensors, numbers, or named tuples of them."""
    if isinstance(a, tuple):
        assert type(a) is type(b)
        return all(same(x, y) for x, y in zip(a, b, strict=True))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else (a == b and type(a) is type(b))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_features_are_the_extractors_and_labels_are_counted(data, extractor, split):
    real, images = reference(data, split, extractor), getattr(data, split)
    features, logits = extract(extractor, images.rows, 17)
    assert torch.equal(real.features, features)
    assert torch.equal(real.logits, logits)
    assert real.histogram.tolist() == [(images.labels == c).mean() for c in range(10)]
    assert real.histogram.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", DERIVED)
def test_derived_once_and_kept_for_every_process(data, extractor, name, monkeypatch):
    expected = DERIVED[name](extract(extractor, data.validation.rows, 17).features)
    first = getattr(reference(data, "validation", extractor), name)
    forbid(monkeypatch, "gaussian", "manifold", "median_bandwidth", "nearest_other")
    forbid(monkeypatch, "duplicate_radius")
    monkeypatch.setattr(store, "extract", never)
    second = getattr(reference(data, "validation", extractor), name)
    assert same(first, expected)
    assert same(second, expected)


def test_cheap_things_force_no_others(data, extractor, monkeypatch):
    names = ("manifold", "median_bandwidth", "nearest_other", "duplicate_radius")
    forbid(monkeypatch, *names, "gaussian")
    monkeypatch.setattr(store, "extract", never)
    real = reference(data, "test", extractor)
    assert real.histogram.shape == (10,)
    monkeypatch.undo()
    forbid(monkeypatch, *names)
    assert real.gaussian.m.shape == (64,)


def test_other_images_weights_or_versions_give_other_numbers(data, extractor, monkeypatch):
    before = reference(data, "test", extractor).gaussian
    # The same fingerprint, other pixels: the content decides.
    dark = dataclasses.replace(data.test, rows=data.test.rows // 2)
    halved = dataclasses.replace(data, test=dark)
    assert not torch.equal(reference(halved, "test", extractor).gaussian.m, before.m)

    network = load_extractor("digits").network
    with torch.no_grad():
        network.body[0][0].weight.mul_(1.1)
    other = dataclasses.replace(extractor, network=network, sha256="other weights")
    assert not torch.equal(reference(data, "test", other).gaussian.m, before.m)

    newer = dataclasses.replace(METRICS["fd"], version=METRICS["fd"].version + 1)
    monkeypatch.setitem(METRICS, "fd", newer)
    zero = before._replace(m=torch.zeros(64))
    monkeypatch.setattr(module, "gaussian", lambda x: zero)
    assert torch.equal(reference(data, "test", extractor).gaussian.m, zero.m)


def test_damage_on_disk_is_mended(data, extractor, cache):
    before = reference(data, "test", extractor).gaussian
    for path in cache.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    assert same(reference(data, "test", extractor).gaussian, before)


def test_in_one_process_it_is_one_object(data, extractor):
    real = reference(data, "test", extractor)
    assert real.gaussian is real.gaussian
    assert real.features is real.features


def test_a_space_without_classes_has_no_logits(data, extractor):
    class Pixels(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1).float(), None

    pixels = dataclasses.replace(extractor, name="pixels", network=Pixels(), dimension=64)
    real = reference(data, "test", pixels)
    assert real.logits is None
    np.testing.assert_array_equal(real.features, data.test.rows.reshape(-1, 64))


def test_unknown_split(data, extractor):
    with pytest.raises(ValueError, match="split: expected one of train, validation, test, got 'x'"):
        reference(data, "x", extractor)
