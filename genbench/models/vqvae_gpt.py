"""A VQ-VAE and a Transformer prior over its codes (van den Oord et al. 2017, with the prior of Chen
et al. 2020). The autoencoder, both stages and the bound of the likelihood are in `vq`, the
Transformer is in `gpt`.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from genbench.models.gpt import GPT
from genbench.models.vq import (
    VQVAE,
    AutoencoderParams,
    Autoencoding,
    Codebook,
    NextCode,
    VQModel,
)

__all__ = ["VQVAE", "VQVAEGPT", "Autoencoding", "Codebook", "NextCode", "Params"]


class Params(AutoencoderParams):
    """The autoencoder's, and for the prior: a GPT of `prior_width`, `prior_layers`, `prior_heads`
    and its dropout."""

    prior_width: int = Field(96, gt=0)
    prior_layers: int = Field(4, gt=0)
    prior_heads: int = Field(4, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.prior_width % self.prior_heads:
            raise ValueError(
                f"prior_width {self.prior_width} is not a multiple of prior_heads "
                f"{self.prior_heads}"
            )
        return self


class VQVAEGPT(VQModel):
    """The prior is a GPT."""

    params: Params

    @property
    def gpt(self) -> GPT:
        assert isinstance(self.prior, GPT)
        return self.prior

    def new_prior(self, length: int) -> GPT:
        return self.new_gpt(length)

    def new_gpt(self, length: int, classes: int = 0) -> GPT:
        """A GPT of the declared size over the codes; with classes, one that is told a class."""
        params = self.params
        return GPT(
            vocabulary=params.codes,
            length=length,
            width=params.prior_width,
            layers=params.prior_layers,
            heads=params.prior_heads,
            dropout=params.dropout,
            classes=classes,
        )
