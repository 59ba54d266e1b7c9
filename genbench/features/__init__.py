"""Frozen feature extractors, each known by a sha256 over its weights and its preprocessing.

`genbench.features.spaces` names them and loads them, `genbench.features.extraction` runs them over
images, and `genbench.features.store` keeps what they gave. `EXTRACTORS` lists our own classifiers,
which `genbench.features.recipe` trained and `genbench.features.fidelity` lends to torch-fidelity.
Nothing here imports torch, so that the keys of stages cost no seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class ExtractorInfo:
    """A frozen classifier: its name, the data set it was trained on, the sha256 hex digest of its
    weights file, the dimension of its features and its number of classes."""

    name: str
    dataset: str
    sha256: str
    dimension: int
    classes: int


def _read(path: Path) -> ExtractorInfo:
    card = json.loads(path.read_text())
    return ExtractorInfo(**{field: card[field] for field in ExtractorInfo.__dataclass_fields__})


EXTRACTORS: dict[str, ExtractorInfo] = {
    path.stem: _read(path) for path in sorted(WEIGHTS.glob("*.json"))
}
"""Data set name -> its extractor, from the JSON beside each weights file."""


class Features(NamedTuple):
    """Features float32 (N, D) of N images in their order, and logits float32 (N, classes) or None
    where the space has no classes. Both lie on the extractor's device."""

    features: Tensor
    logits: Tensor | None


@dataclass(frozen=True, eq=False)
class Extractor:
    """A frozen network on a device, as `genbench.features.extraction` runs it.

    name: of the space, such as "classifier-mnist". sha256: hex digest over the weights and the
    preprocessing; another digest means other features. dimension: D.
    prepare: rows uint8 (B, *shape) and their number of levels to the network's input.
    network: that input to features float32 (B, D), and to logits or None.
    batch_size: rows given to it at once. shape: of a row, and levels: of the only rows that it
    takes; None where it takes any grey or colour images.
    """

    name: str
    sha256: str
    dimension: int
    prepare: Callable[[Tensor, int], Any]
    network: nn.Module
    device: torch.device
    batch_size: int
    shape: tuple[int, ...] | None = None
    levels: int | None = None


def identity(weights_sha256: str, preprocessing: str) -> str:
    """The sha256 of an extractor: over its weights' and what `preprocessing` says of images."""
    return hashlib.sha256(f"{weights_sha256} {preprocessing}".encode()).hexdigest()
