"""A small convolutional classifier of one data set, frozen, as a space of features.

A Frechet distance in a classifier trained on the data set itself sees what matters in small grey
images better than ImageNet's Inception does; it is "FD (classifier-NAME)", never "FID".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from genbench.data import info
from genbench.data.images import DatasetInfo
from genbench.data.sources import sha256
from genbench.errors import UserError
from genbench.features import EXTRACTORS, WEIGHTS


@dataclass(frozen=True)
class Widths:
    """Channels of the first layer, of the inner layers, and of the last layer (the features)."""

    first: int
    inner: int
    features: int


WIDTHS = {
    "digits": Widths(32, 48, 64),
    "mnist": Widths(32, 64, 128),
    "fashion-mnist": Widths(32, 64, 128),
}


def _convolution(inputs: int, outputs: int, *, halve: bool = False) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU; `halve` pools before the norm, where it is cheapest."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.MaxPool2d(2) if halve else nn.Identity(),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Classifier(nn.Module):
    """Five convolutions, a mean over positions, one linear layer."""

    def __init__(self, shape: tuple[int, int, int], levels: int, classes: int, w: Widths) -> None:
        super().__init__()
        self.levels = levels
        self.body = nn.Sequential(
            _convolution(shape[0], w.first, halve=True),
            _convolution(w.first, w.inner),
            _convolution(w.inner, w.inner, halve=True),
            _convolution(w.inner, w.inner),
            _convolution(w.inner, w.features),
        )
        self.head = nn.Linear(w.features, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images uint8 (B, C, H, W) in 0..levels-1 to features float32 (B, D), which are
        non-negative, and logits float32 (B, classes)."""
        x = images.float() * (2 / (self.levels - 1)) - 1
        features = self.body(x.contiguous(memory_format=torch.channels_last)).mean(dim=(2, 3))
        return features, self.head(features)


def build(dataset: DatasetInfo) -> Classifier:
    """The untrained classifier of a data set."""
    network = Classifier(dataset.shape, dataset.levels, dataset.classes, WIDTHS[dataset.name])
    return network.to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class ClassifierExtractor:
    """A frozen classifier on a device; `sha256` is that of its weights file."""

    name: str
    dataset: str
    sha256: str
    dimension: int
    shape: tuple[int, int, int]
    levels: int
    network: Classifier
    device: torch.device


class Features(NamedTuple):
    """Features float32 (N, D) and logits float32 (N, classes) of N images, in their order."""

    features: np.ndarray
    logits: np.ndarray


def load_extractor(dataset: str, device: str | torch.device = "cpu") -> ClassifierExtractor:
    """The frozen classifier of `dataset` on `device`.

    Raises UserError for a data set without one, and where the weights file is not the one its
    JSON card describes.
    """
    if dataset not in EXTRACTORS:
        raise UserError(f"no extractor for {info(dataset).name!r}: known are {[*EXTRACTORS]}")
    known, data = EXTRACTORS[dataset], info(dataset)
    path = WEIGHTS / f"{dataset}.safetensors"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}); reinstall genbench") from error
    if (found := sha256(content)) != known.sha256:
        raise UserError(
            f"{path}: sha256 should be {known.sha256} but is {found}; reinstall genbench, "
            f"or train it again with python -m genbench.features.recipe {dataset}"
        )
    network = build(data)
    network.load_state_dict(safetensors.torch.load(content))
    network.requires_grad_(False).eval().to(device)
    return ClassifierExtractor(
        name=known.name,
        dataset=dataset,
        sha256=known.sha256,
        dimension=known.dimension,
        shape=data.shape,
        levels=data.levels,
        network=network,
        device=torch.device(device),
    )


@torch.inference_mode()
def extract(
    extractor: ClassifierExtractor,
    images: np.ndarray,
    batch_size: int = 500,
    name: str = "images",
) -> Features:
    """Features and logits of `images`, uint8 (N, C, H, W) in 0..levels-1, N >= 1.

    Each row depends on its own image only, up to float rounding. Raises ValueError, calling the
    input `name`, for another dtype, shape or range, or no images.
    """
    check_images(images, extractor.shape, extractor.levels, name)
    features, logits = [], []
    # TF32 would make features, hence distances, depend on the kind of GPU.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size]))
            f, z = extractor.network(batch.to(extractor.device))
            features.append(f.cpu())
            logits.append(z.cpu())
    return Features(torch.cat(features).numpy(), torch.cat(logits).numpy())


def check_images(
    images: np.ndarray, shape: tuple[int, int, int], levels: int, name: str = "images"
) -> None:
    """ValueError, calling the input `name`, unless `images` is uint8 (N, *shape), N >= 1, with
    values in 0..levels-1."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        kind = getattr(images, "dtype", type(images).__name__)
        raise ValueError(f"{name}: expected a NumPy array of uint8, got {kind}")
    if images.ndim != 4 or images.shape[1:] != shape or len(images) == 0:
        expected = ", ".join(map(str, shape))
        raise ValueError(f"{name}: expected shape (N >= 1, {expected}), got {images.shape}")
    if (highest := int(images.max())) >= levels:
        raise ValueError(f"{name}: expected values in 0..{levels - 1}, got {highest}")
