"""An autoregressive Transformer over pixels in raster order, after Chen et al. 2020 (image GPT).

Each grey level is a token, so the likelihood over the data set's levels is exact:
log p(x) = sum_t log p(x_t | x_<t). Each conditional is categorical; nothing is dequantised.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genbench.data import DatasetInfo
from genbench.models.gpt import GPT
from genbench.models.interface import Model, descend
from genbench.suite import Spec


class Params(Spec):
    """The Transformer's width, layers, heads and dropout, and AdamW's step size."""

    width: int = Field(64, gt=0)
    layers: int = Field(2, gt=0)
    heads: int = Field(4, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    learning_rate: float = Field(1e-3, gt=0)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class NextPixel:
    """The one training stage: a step of AdamW on the negative log-likelihood."""

    name = "next-pixel"
    share = 1.0
    batches = 1

    def __init__(self, model: PixelGPT):
        self.network = model.gpt
        self.optimisers = {"gpt": model.gpt.optimiser(model.params.learning_rate)}

    def prepare(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return images

    def prepare_flops(self, n: int) -> int:
        return 0

    def step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        loss = self.network.negative_log_likelihood(batch.flatten(1).long()).mean()
        norm = descend(loss, self.network, self.optimisers["gpt"])
        return {"loss": loss.detach(), "gradient_norm": norm}

    def step_flops(self, batch_size: int) -> int:
        return batch_size * self.network.train_flops()


class PixelGPT(Model):
    """The Transformer `gpt` over an image's pixels, row by row."""

    likelihood = "bpd"

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        self.params, self.data = params, data
        self.gpt = GPT(
            vocabulary=data.levels,
            length=math.prod(data.shape),
            width=params.width,
            layers=params.layers,
            heads=params.heads,
            dropout=params.dropout,
        )
        self.stages = [NextPixel(self)]

    def bits_per_dim(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Exact negative log2-likelihood per pixel: (N,) for images (N, C, H, W) uint8."""
        nats = self.gpt.negative_log_likelihood(images.flatten(1).long())
        return nats / (math.log(2) * self.gpt.length)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.gpt.sample(n, generator).to(torch.uint8).view(n, *self.data.shape)

    def sample_flops(self) -> int:
        return self.gpt.sample_flops()
