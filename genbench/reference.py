"""Real images as a reference: one split of a data set in one feature space, and what metrics derive
from it, each computed when it is first asked for and then kept on disk for every process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genbench.data import Data, Split
from genbench.data.sources import cache_root
from genbench.features import Extractor, Features, store
from genbench.metrics import METRICS
from genbench.metrics.distinct import RATE, duplicate_radius
from genbench.metrics.frechet import Gaussian, gaussian
from genbench.metrics.kernel import MEDIAN_ROWS, median_bandwidth, within_subsets
from genbench.metrics.neighbours import nearest_other
from genbench.metrics.prdc import K_DENSITY, K_SUPPORT, Manifold, manifold


@dataclass(frozen=True, eq=False)
class Reference:
    """One split of `data` in the space of `extractor`; tensors lie on the extractor's device.

    What is kept on disk goes by the content of the images, the extractor, and the version of the
    metric that wants it.
    """

    data: Data
    split: str
    extractor: Extractor

    @property
    def images(self) -> Split:
        split: Split = getattr(self.data, self.split)
        return split

    @cached_property
    def _both(self) -> Features:
        name = f"{self.data.info.name} {self.split}"
        levels = self.data.info.levels
        return store.features(self.extractor, self.images.rows, levels, name=name)

    @property
    def features(self) -> Tensor:
        """Features float32 (N, D)."""
        return self._both.features

    @property
    def logits(self) -> Tensor | None:
        """Logits float32 (N, classes), or None where the space has no classes."""
        return self._both.logits

    @cached_property
    def histogram(self) -> np.ndarray:
        """Share float64 (C,) of the split's images with each label."""
        labels = self.images.labels
        return np.bincount(labels, minlength=self.data.info.classes) / len(labels)

    @cached_property
    def gaussian(self) -> Gaussian:
        """Mean and covariance of the features."""
        return Gaussian(**self._kept("fd", lambda: gaussian(self.features)._asdict()))

    @cached_property
    def manifold(self) -> Manifold:
        """Balls around the features, for precision, recall, density, coverage and realism."""
        balls = f"{METRICS['density'].version} {K_SUPPORT} {K_DENSITY}"
        return Manifold(**self._kept("precision", lambda: manifold(self.features)._asdict(), balls))

    @cached_property
    def bandwidth(self) -> float:
        """Median distance between features: the bandwidth of `mmd_rbf`."""
        return self._kept(
            "mmd_rbf", lambda: {"value": median_bandwidth(self.features)}, str(MEDIAN_ROWS)
        )["value"]

    def within_subsets(self, samples: int, *, subsets: int, subset_size: int, seed: int) -> Tensor:
        """The reference's own part of `kernel_distance` against so many samples."""
        settings = {"subsets": subsets, "subset_size": subset_size, "seed": seed}
        return self._kept(
            "kid",
            lambda: {"value": within_subsets(self.features, samples, **settings)},
            f"{samples} {settings}",
        )["value"]

    @cached_property
    def nearest_other(self) -> Tensor:
        """Distance (N,) of each row to its nearest other row."""
        return self._kept("authenticity", lambda: {"value": nearest_other(self.features)})["value"]

    @cached_property
    def duplicate_radius(self) -> float:
        """Distance under which two images count as near-duplicates."""
        return self._kept(
            "distinct", lambda: {"value": duplicate_radius(self.features)}, str(RATE)
        )["value"]

    @cached_property
    def _key(self) -> str:
        return store.key(self.extractor, self.images.rows, self.data.info.levels)

    def _kept(
        self, metric: str, compute: Callable[[], dict[str, Any]], settings: str = ""
    ) -> dict[str, Any]:
        """Tensors and numbers, from disk where they are, for this version of a metric and these
        settings."""
        what = f"{self._key} {metric} {METRICS[metric].version} {settings}".rstrip()
        key = hashlib.sha256(what.encode())
        found = store.stored(
            cache_root() / "references",
            key.hexdigest(),
            lambda: {name: _as_tensor(value) for name, value in compute().items()},
        )
        device = self.extractor.device
        return {name: x.to(device) if x.ndim else x.item() for name, x in found.items()}


def _as_tensor(value: Tensor | float) -> Tensor:
    return value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


def reference(data: Data, split: str, extractor: Extractor) -> Reference:
    """A split ("train", "validation" or "test") of `data` as a reference in the extractor's space.

    Nothing is computed yet. Raises ValueError for another split.
    """
    if split not in data.info.sizes:
        raise ValueError(f"split: expected one of {', '.join(data.info.sizes)}, got {split!r}")
    return Reference(data, split, extractor)
