"""Our frozen classifiers as feature extractors of torch-fidelity.

`calculate_metrics(feature_extractor=register("mnist"), cache=False, ...)` then runs the library's
own path from samples to metrics in our space: a second opinion on `genbench.metrics`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

from genbench.data import DATASETS
from genbench.features.classifier import load_extractor

PREFIX = "genbench-"
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def register(dataset: str, dtype: str = "float32") -> str:
    """Register the extractor of `dataset`, once however often it is called; its registered name.

    dtype: of what it hands over. The library computes in whatever precision its features have, so
    the same float32 numbers as "float64" make it sum as `genbench.metrics` does. The name holds the
    extractor's sha256 and the dtype, because the library's cache goes by name alone. Raises
    UserError for a data set without an extractor, ValueError for another dtype.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    extractor = load_extractor(dataset)
    name = f"{PREFIX}{dataset}-{extractor.sha256[:16]}-{dtype}"
    if name not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(name, FidelityClassifier)
    return name


class FidelityClassifier(FeatureExtractorBase):
    """Layers "features" (B, D) and "logits" (B, classes), computed in float32 and handed over in
    the dtype that the name ends in, of images uint8 (B, C, H, W)."""

    def __init__(
        self,
        name: str,
        features_list: list[str],
        feature_extractor_weights_path: str | None = None,
        feature_extractor_internal_dtype: str | None = None,
        **_: Any,  # the library hands over every setting of the call
    ) -> None:
        super().__init__(name, features_list)
        if feature_extractor_weights_path is not None:
            raise ValueError("feature_extractor_weights_path: these weights are part of genbench")
        if feature_extractor_internal_dtype not in (None, "float32"):
            raise ValueError("feature_extractor_internal_dtype: only float32 is supported")
        dataset = next(d for d in DATASETS if name.startswith(f"{PREFIX}{d}-"))
        self.network = load_extractor(dataset).network
        self.dtype = DTYPES[name.rpartition("-")[2]]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The layers asked for, in the order asked for."""
        if images.dtype != torch.uint8:
            raise ValueError(f"images: expected uint8, got {images.dtype}")
        layers = dict(zip(self.get_provided_features_list(), self.network(images), strict=True))
        return tuple(layers[name].to(self.dtype) for name in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, str]:
        """The names of the layers."""
        return ("features", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """Logits for the inception score, features for every other metric."""
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        """Not offered: compiling moves the last digits, and the network is small."""
        return False
