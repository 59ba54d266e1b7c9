"""A small convolutional classifier of one data set, frozen, as a space of features.

A Frechet distance in a classifier trained on the data set itself sees what matters in small grey
images better than ImageNet's Inception does; it is "FD (classifier-NAME)", never "FID".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from genbench.data import info
from genbench.data.dataset import DatasetInfo
from genbench.data.sources import sha256
from genbench.errors import UserError
from genbench.features import WEIGHTS, Extractor
from genbench.features.spaces import (
    TRAINED_HERE,
    classifier_card,
    make_classifier,
    space_info,
    trained_here,
)


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
    "cifar10": Widths(64, 128, TRAINED_HERE["cifar10"]),
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
    network = Classifier(dataset.image_shape, dataset.levels, dataset.classes, WIDTHS[dataset.name])
    return network.to(memory_format=torch.channels_last)


def weights_folder(dataset: str) -> Path:
    """Where the weights of a data set's classifier and their card are, or will be."""
    return trained_here() if dataset in TRAINED_HERE else WEIGHTS


def load_extractor(dataset: str, device: str | torch.device = "cpu") -> Extractor:
    """The frozen classifier of `dataset` on `device`.

    Raises UserError for a data set without one, for one that is yet to be trained here, and where
    the weights file is not the one its JSON card describes.
    """
    card, data, make = classifier_card(dataset), info(dataset), make_classifier(dataset)
    if card is None:
        raise UserError(
            f"{dataset}: samples are measured in the features of a classifier that does not come "
            f"with genbench for this data set; train it once with: {make}"
        )
    known = space_info("classifier", dataset)
    path = weights_folder(dataset) / f"{dataset}.safetensors"
    remedy = f"train it again with: {make}"
    if dataset not in TRAINED_HERE:
        remedy = f"reinstall genbench, or {remedy}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}); {remedy}") from error
    if (found := sha256(content)) != card.sha256:
        raise UserError(f"{path}: sha256 should be {card.sha256} but is {found}; {remedy}")
    network = build(data)
    try:
        network.load_state_dict(safetensors.torch.load(content))
    except RuntimeError as error:  # of another version of genbench, with other layers
        raise UserError(f"{path}: weights of another network; {remedy}") from error
    network.requires_grad_(False).eval().to(device)
    return Extractor(
        name=known.name,
        sha256=known.sha256,
        dimension=known.dimension,
        prepare=lambda images, levels: images,  # scaling is the network's own first step
        network=network,
        device=torch.device(device),
        batch_size=200,  # the first layer's output stays in memory that is used again
        shape=data.image_shape,
        levels=data.levels,
    )
