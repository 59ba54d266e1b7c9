"""A VQ-VAE and an LSTM prior over its codes: `vqvae_gpt` with another prior and nothing else, so
that the two show what attention adds. The autoencoder, both stages and the bound of the likelihood
are in `vq`, the LSTM (Hochreiter and Schmidhuber 1997; Graves 2013) is in `lstm`.
"""

from __future__ import annotations

from pydantic import Field

from genbench.models.lstm import LSTM
from genbench.models.vq import AutoencoderParams, VQModel


class Params(AutoencoderParams):
    """The autoencoder's, and for the prior: `prior_layers` LSTMs of `prior_width`."""

    prior_width: int = Field(128, gt=0)
    prior_layers: int = Field(2, gt=0)


class VQVAELSTM(VQModel):
    """The prior is an LSTM."""

    params: Params

    def new_prior(self, length: int) -> LSTM:
        return LSTM(
            vocabulary=self.params.codes,
            length=length,
            width=self.params.prior_width,
            layers=self.params.prior_layers,
        )
