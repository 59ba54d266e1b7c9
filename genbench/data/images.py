"""Image data sets: what is known of each without loading it, and the arrays themselves.

Splits are constants of a data set. MNIST and Fashion-MNIST: the first 50,000 official training
images train, the last 10,000 validate, the official test set tests. Digits: one fixed permutation,
50 images of each class for test, 20 for validation, the rest for training. CIFAR-10: of each class,
the last 500 images in the order of the five training batches validate (5,000 in all), the other
45,000 train, the official test batch tests.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

from genbench.data import sources
from genbench.data.dataset import Data, DatasetInfo, Split, by_split

SPLIT_RULE_VERSION = 1
DIGITS_SEED = 20  # of the digits' one permutation: a constant of the data set, not a setting
CIFAR_HELD_OUT = 500  # images of each class that validate: a constant of the data set, too


def _fingerprint(name: str) -> str:
    files = sorted(sources.checksums(name).items())
    return hashlib.sha256(f"{name} {files} splits {SPLIT_RULE_VERSION}".encode()).hexdigest()


def _info(
    name: str,
    shape: tuple[int, int, int],
    levels: int,
    class_names: tuple[str, ...],
    sizes: tuple[int, int, int],
    licence: str,
    source: str,
) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        modality="images",
        shape=shape,
        levels=levels,
        classes=len(class_names),
        class_names=class_names,
        sizes=by_split(*sizes),
        licence=licence,
        source=source,
        fingerprint=_fingerprint(name),
    )


DIGIT_NAMES = tuple("0123456789")
GARMENT_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
OBJECT_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

IMAGE_DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        _info(
            "digits", (1, 8, 8), 17, DIGIT_NAMES, (1097, 200, 500), "CC BY 4.0",
            "UCI Optical Recognition of Handwritten Digits (test part), Alpaydin and Kaynak 1998",
        ),
        _info(
            "mnist", (1, 28, 28), 256, DIGIT_NAMES, (50_000, 10_000, 10_000), "CC BY-SA 3.0",
            "MNIST, LeCun, Cortes and Burges 1998",
        ),
        _info(
            "fashion-mnist", (1, 28, 28), 256, GARMENT_NAMES, (50_000, 10_000, 10_000), "MIT",
            "Fashion-MNIST, Xiao, Rasul and Vollgraf 2017, Zalando SE",
        ),
        _info(
            "cifar10", (3, 32, 32), 256, OBJECT_NAMES, (45_000, 5_000, 10_000),
            "none stated; cite the source",
            "CIFAR-10, Krizhevsky 2009, Learning multiple layers of features from tiny images",
        ),
    )
}  # fmt: skip


def load_images(name: str) -> Data:
    """The arrays of `name`, a key of IMAGE_DATASETS; UserError where no source has it."""
    contents = sources.obtain(name).contents
    read = {"digits": _digits, "cifar10": _cifar10}.get(name, _mnist_like)
    return Data(IMAGE_DATASETS[name], *read(contents))


def obtain_images(name: str) -> tuple[str, Path]:
    """Where the files of `name`, a key of IMAGE_DATASETS, came from this time, and the path that
    they are kept under; raises UserError as `load_images` does."""
    obtained = sources.obtain(name)
    return obtained.source, obtained.path


def _mnist_like(contents: sources.Contents) -> tuple[Split, Split, Split]:
    images = _idx(contents[sources.TRAIN_IMAGES])
    labels = _idx(contents[sources.TRAIN_LABELS])
    return (
        _split(images[:50_000, None], labels[:50_000]),
        _split(images[50_000:, None], labels[50_000:]),
        _split(_idx(contents[sources.TEST_IMAGES])[:, None], _idx(contents[sources.TEST_LABELS])),
    )


def _idx(content: bytes) -> np.ndarray:
    """The uint8 array of an idx file: a header (type, number of axes, big-endian sizes), data."""
    axes = content[3]
    shape = np.frombuffer(content, ">u4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _digits(contents: sources.Contents) -> tuple[Split, Split, Split]:
    table = np.loadtxt(io.BytesIO(contents["digits.csv"]), delimiter=",", dtype=np.int64)
    images, labels = table[:, :64].reshape(-1, 1, 8, 8), table[:, 64]
    train, validation, test = digits_split(labels)
    return (
        _split(images[train], labels[train]),
        _split(images[validation], labels[validation]),
        _split(images[test], labels[test]),
    )


def digits_split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices int64 of train, validation and test: 20 of each class validate, 50 test."""
    # RandomState and not default_rng: NumPy promises never to change its streams.
    order = np.random.RandomState(DIGITS_SEED).permutation(len(labels))
    rank = _rank(labels[order])
    return order[rank >= 70], order[(rank >= 50) & (rank < 70)], order[rank < 50]


def _rank(labels: np.ndarray) -> np.ndarray:
    """How many labels of the same class come before each, int64 (N,)."""
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = labels == label
        rank[members] = np.arange(members.sum())
    return rank


def _cifar10(contents: sources.Contents) -> tuple[Split, Split, Split]:
    batches = {name: sources.batch_from_pickle(content, name) for name, content in contents.items()}
    images, labels = (
        np.concatenate(parts)
        for parts in zip(*(batches[name] for name in sources.TRAIN_BATCHES), strict=True)
    )
    held_out = _rank(labels[::-1])[::-1] < CIFAR_HELD_OUT
    return (
        _split(images[~held_out], labels[~held_out]),
        _split(images[held_out], labels[held_out]),
        _split(*batches[sources.TEST_BATCH]),
    )


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    # np.array copies: the buffers of files are read-only, and torch.from_numpy dislikes that.
    return Split(np.array(images, np.uint8, order="C"), np.array(labels, np.int64))
