"""The arrays: shapes, ranges, and splits that never move."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from genbench import data
from genbench.data.images import digits_split
from genbench.errors import UserError

NAMES = ["digits", "mnist", "fashion-mnist"]

# sha256 over images and labels of train, validation and test: a split that moves changes them.
CONTENT = {
    "digits": "c0dfeb1707bffb18c439617e44a1c4305adfc3a8afed19810f42abce101654b8",
    "mnist": "94d51b72971cee860660d41bd4f9c77de633ce3f9150991a301fa75b82e83237",
    "fashion-mnist": "ece78d355eb95c3e245ed614918afccaec1026f60edda3ad4550ce79153e2d07",
}
FINGERPRINTS = {
    "digits": "823ae1237cac",
    "mnist": "728a47518955",
    "fashion-mnist": "566e2bcebbb8",
    "cifar10": "96cdb7d5ae06",
}


@pytest.fixture(scope="module", params=NAMES)
def loaded(request):
    return data.load(request.param)


def splits(loaded):
    return {name: getattr(loaded, name) for name in ("train", "validation", "test")}


def test_arrays_are_as_their_info_says(loaded):
    info = loaded.info
    assert info is data.DATASETS[info.name]
    for name, split in splits(loaded).items():
        assert split.rows.shape == (info.sizes[name], *info.shape)
        assert split.rows.dtype == np.uint8
        assert split.rows.flags.c_contiguous
        assert split.rows.flags.writeable
        assert (split.rows.min(), split.rows.max()) == (0, info.levels - 1)
        assert split.labels.dtype == np.int64
        assert len(split) == info.sizes[name]
        assert set(split.labels) == set(range(info.classes))
    assert len(info.class_names) == info.classes
    assert info.modality == "images"


def test_splits_are_constants(loaded):
    digest = hashlib.sha256()
    for split in splits(loaded).values():
        digest.update(split.rows.tobytes() + split.labels.tobytes())
    assert digest.hexdigest() == CONTENT[loaded.info.name]


def test_digits_splits_are_disjoint_stratified_and_complete():
    labels = np.repeat(np.arange(10), 180)[:1797]
    parts = digits_split(labels)
    assert [len(part) for part in parts] == [1097, 200, 500]
    assert sorted(np.concatenate(parts)) == list(range(1797))
    assert (np.bincount(labels[parts[1]]) == 20).all()
    assert (np.bincount(labels[parts[2]]) == 50).all()


def test_fingerprints_are_constants():
    images = {name: info for name, info in data.DATASETS.items() if info.modality == "images"}
    assert {name: info.fingerprint[:12] for name, info in images.items()} == FINGERPRINTS


def test_unknown_name_names_the_nearest():
    with pytest.raises(
        UserError, match=r"'fashion_mnist' is unknown: did you mean 'fashion-mnist'"
    ):
        data.load("fashion_mnist")
    with pytest.raises(UserError, match="known are digits, mnist, fashion-mnist"):
        data.load("zzz")


def test_importing_is_light():
    program = (
        "import sys, genbench.data, genbench.features\n"
        "assert not {'torch', 'torchvision', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
