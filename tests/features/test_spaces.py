"""Spaces by name: what is known without torch is what is loaded."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from genbench.errors import UserError
from genbench.features import EXTRACTORS, Extractor, spaces
from genbench.features.extraction import extract
from genbench.features.spaces import SPACES, load, space_info


@pytest.mark.parametrize("dataset", EXTRACTORS)
def test_what_is_known_beforehand_is_what_is_loaded(dataset):
    known, extractor = space_info("classifier", dataset), load("classifier", dataset)
    assert known.name == extractor.name == f"classifier-{dataset}"
    assert known.sha256 == extractor.sha256
    assert known.dimension == extractor.dimension


def test_keys_need_no_torch():
    program = (
        "import sys; from genbench.features.spaces import space_info\n"
        "for space in ('classifier', 'efficientnet-lite0'): space_info(space, 'mnist')\n"
        "space_info('classifier', 'cifar10')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_preprocessing_is_part_of_the_hash(monkeypatch):
    before = [space_info(space, "mnist").sha256 for space in SPACES[:2]]
    assert EXTRACTORS["mnist"].sha256 not in before
    monkeypatch.setattr(spaces, "CLASSIFIER_PREPROCESSING", "other")
    monkeypatch.setattr(spaces, "EFFICIENTNET_PREPROCESSING", "other")
    after = [space_info(space, "mnist").sha256 for space in SPACES[:2]]
    assert len({*before, *after}) == 4


def test_only_the_classifier_depends_on_the_data_set():
    mnist, fashion = (
        [space_info(space, dataset) for space in SPACES[:2]]
        for dataset in ("mnist", "fashion-mnist")
    )
    assert mnist[0] != fashion[0]
    assert mnist[1] == fashion[1]


def test_unknown_names():
    for call in (load, space_info):
        with pytest.raises(UserError, match="'vgg' is unknown: known are classifier, effic"):
            call("vgg", "mnist")
        with pytest.raises(UserError, match="did you mean 'mnist'"):
            call("classifier", "mnits")


class Flatten(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1).float(), None


ANY = Extractor(
    name="any", sha256="0", dimension=1, prepare=lambda x, levels: x, network=Flatten(),
    device=torch.device("cpu"), batch_size=2,
)  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
def test_an_extractor_of_any_images_takes_grey_and_colour(channels):
    images = np.arange(5 * channels * 12, dtype=np.uint8).reshape(5, channels, 3, 4)
    features, logits = extract(ANY, images, 256)
    assert logits is None
    assert features.tolist() == images.reshape(5, -1).tolist()


@pytest.mark.parametrize("shape", [(2, 2, 3, 3), (2, 3, 3), (0, 1, 3, 3), (2, 1, 0, 3)])
def test_and_no_others(shape):
    with pytest.raises(ValueError, match=r"^samples: expected shape \(N >= 1, 1 or 3, H, W\), got"):
        extract(ANY, np.zeros(shape, np.uint8), 256, "samples")


@pytest.mark.parametrize("levels", [1, 0, 257])
def test_levels_that_cannot_be(levels):
    with pytest.raises(ValueError, match=f"levels: any takes 2 to 256, got {levels}"):
        extract(ANY, np.zeros((1, 1, 2, 2), np.uint8), levels)
