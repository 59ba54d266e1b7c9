"""torch-fidelity's own way from samples to metrics, in our feature space, against ours."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics

from genbench.data import load
from genbench.features.classifier import extract, load_extractor
from genbench.features.fidelity import FidelityClassifier, register
from genbench.metrics.classifier import inception_score
from genbench.metrics.frechet import frechet_distance, gaussian
from genbench.metrics.kernel import kernel_distance
from genbench.metrics.prdc import precision_recall


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
    images = load("digits").train.images[:450].astype(np.int64)
    noise = np.random.default_rng(0).integers(-3, 4, images.shape)
    return (images + noise).clip(0, 16).astype(np.uint8)


def test_calculate_metrics_agrees(samples, capfd):
    reference = load("digits").test.images
    theirs = calculate_metrics(
        input1=Images(samples),
        input2=Images(reference),
        feature_extractor=register("digits"),
        fid=True, kid=True, prc=True, isc=True,
        kid_subsets=10, kid_subset_size=200, rng_seed=7,
        cuda=False, cache=False, save_cpu_ram=True, verbose=False, batch_size=500,
    )  # fmt: skip
    extractor = load_extractor("digits")
    x, logits = extract(extractor, samples)
    y, _ = extract(extractor, reference)
    a, b = gaussian(x), gaussian(y)
    assert frechet_distance(a, b) == pytest.approx(
        theirs["frechet_inception_distance"], abs=1e-5 * np.trace(a.C + b.C)
    )
    kid = kernel_distance(x, y, subsets=10, subset_size=200, seed=7)
    # theirs sums in float32: the kernel's values are of order one, the distance much smaller
    assert kid.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert kid.std == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-4)
    found = precision_recall(x, y)
    assert found.precision == pytest.approx(theirs["precision"], rel=1e-6)
    assert found.recall == pytest.approx(theirs["recall"], rel=1e-6)
    score = inception_score(logits, seed=7)
    assert score.mean == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert score.std == pytest.approx(theirs["inception_score_std"], rel=1e-6)
    assert capfd.readouterr() == ("", "")


def test_registering_again_is_harmless_and_the_name_holds_the_hash():
    name = register("digits")
    assert register("digits") == name
    assert load_extractor("digits").sha256[:16] in name


def test_layers_come_in_the_order_asked_for():
    images = torch.from_numpy(load("digits").test.images[:5])
    name = register("digits")
    features, logits = FidelityClassifier(name, ["features", "logits"])(images)
    assert (features.shape, logits.shape) == ((5, 64), (5, 10))
    (alone,) = FidelityClassifier(name, ["logits"])(images)
    torch.testing.assert_close(alone, logits)


def test_settings_that_would_be_ignored_are_refused():
    name = register("digits")
    with pytest.raises(ValueError, match="weights are part of genbench"):
        FidelityClassifier(name, ["logits"], feature_extractor_weights_path="x.pth")
    with pytest.raises(ValueError, match="only float32"):
        FidelityClassifier(name, ["logits"], feature_extractor_internal_dtype="float64")
    with pytest.raises(ValueError, match="expected uint8"):
        FidelityClassifier(name, ["logits"])(torch.zeros(1, 1, 8, 8))
