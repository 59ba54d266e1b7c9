"""torch-fidelity's own way from samples to metrics, in our feature space, against ours."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics

from genbench.data import load
from genbench.features.classifier import load_extractor
from genbench.features.extraction import extract
from genbench.features.fidelity import FidelityClassifier, register
from genbench.metrics.classifier import inception_score
from genbench.metrics.frechet import frechet_distance, gaussian
from genbench.metrics.kernel import kernel_distance
from genbench.metrics.prdc import manifold, prdc


class Images(Dataset):
    def __init__(self, images):
        self.images = torch.from_numpy(images)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


@pytest.fixture(scope="module")
def samples():
    """Real digits with a little noise: near the reference, yet not equal to it."""
    images = load("digits").train.rows[:450].astype(np.int64)
    noise = np.random.default_rng(0).integers(-3, 4, images.shape)
    return (images + noise).clip(0, 16).astype(np.uint8)


@pytest.fixture(scope="module")
def theirs(samples):
    return calculate_metrics(
        input1=Images(samples),
        input2=Images(load("digits").test.rows),
        feature_extractor=register("digits", "float64"),
        fid=True, kid=True, prc=True, isc=True,
        kid_subsets=10, kid_subset_size=200, rng_seed=7,
        cuda=False, cache=False, save_cpu_ram=True, verbose=False, batch_size=500,
    )  # fmt: skip


@pytest.fixture(scope="module")
def ours(samples):
    extractor = load_extractor("digits")
    return extract(extractor, samples, 17), extract(extractor, load("digits").test.rows, 17)


def test_distances_agree(theirs, ours):
    (x, _), (y, _) = ours
    distance = frechet_distance(gaussian(x), gaussian(y))
    assert distance == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
    kid = kernel_distance(x, y, subsets=10, subset_size=200, seed=7).value
    assert kid == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)


def test_supports_agree(theirs, ours):
    (x, _), (y, _) = ours
    found = prdc(x, manifold(y))
    assert found.precision.value == pytest.approx(theirs["precision"], rel=1e-6)
    assert found.recall.value == pytest.approx(theirs["recall"], rel=1e-6)


def test_inception_scores_agree(theirs, ours):
    (_, logits), _ = ours
    score = inception_score(logits, seed=7).value
    assert score == pytest.approx(theirs["inception_score_mean"], rel=1e-6)


def test_nothing_is_printed(samples, capfd):
    calculate_metrics(
        input1=Images(samples[:20]), input2=Images(samples[:20]),
        feature_extractor=register("digits"), fid=True,
        cuda=False, cache=False, save_cpu_ram=True, verbose=False,
    )  # fmt: skip
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_is_that_of_the_name_and_the_numbers_are_the_same(samples, dtype):
    name = register("digits", dtype)
    assert name.endswith(f"-{dtype}")
    (features,) = FidelityClassifier(name, ["features"])(torch.from_numpy(samples[:9]))
    assert features.dtype == getattr(torch, dtype)
    assert torch.equal(
        features.float(), extract(load_extractor("digits"), samples[:9], 17).features
    )


def test_registering_again_is_harmless_and_the_name_holds_the_hash():
    name = register("digits")
    assert register("digits") == name
    assert load_extractor("digits").sha256[:16] in name


def test_layers_come_in_the_order_asked_for():
    images = torch.from_numpy(load("digits").test.rows[:5])
    name = register("digits")
    features, logits = FidelityClassifier(name, ["features", "logits"])(images)
    assert (features.shape, logits.shape) == ((5, 64), (5, 10))
    (alone,) = FidelityClassifier(name, ["logits"])(images)
    torch.testing.assert_close(alone, logits)


def test_settings_that_would_be_ignored_are_refused():
    name = register("digits")
    with pytest.raises(ValueError, match="weights are part of genbench"):
        FidelityClassifier(name, ["logits"], feature_extractor_weights_path="x.pth")
    with pytest.raises(ValueError, match="dtype: expected one of float32, float64, got 'half'"):
        register("digits", "half")
    with pytest.raises(ValueError, match="only float32"):
        FidelityClassifier(name, ["logits"], feature_extractor_internal_dtype="float64")
    with pytest.raises(ValueError, match="expected uint8"):
        FidelityClassifier(name, ["logits"])(torch.zeros(1, 1, 8, 8))
