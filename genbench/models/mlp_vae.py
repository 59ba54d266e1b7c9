"""A variational autoencoder of two multilayer perceptrons.

Kingma and Welling 2014 as they ran it: the encoder and the decoder have one hidden layer of tanh
units each (their appendix C), and images are rows of numbers without a neighbourhood. The
objective, the likelihood of grey levels, its bound and the samples are those of `vae`: between the
two only the networks differ.
"""

from __future__ import annotations

import math

from pydantic import Field
from torch import nn

from genbench.data import DatasetInfo
from genbench.models import vae
from genbench.models.vae import VAE, Autoencoder


class Params(vae.Params):
    """width: units of each hidden layer; latent: dimensions of z; Adam's step size."""

    width: int = Field(400, gt=0)


class MLPVAE(VAE):
    """The VAE with a hidden layer in place of convolutions."""

    def networks(self, params: vae.Params, data: DatasetInfo) -> Autoencoder:
        pixels = math.prod(data.shape)
        return Autoencoder(
            nn.Sequential(
                nn.Flatten(),
                nn.Linear(pixels, params.width),
                nn.Tanh(),
                nn.Linear(params.width, 2 * params.latent),
            ),
            nn.Sequential(
                nn.Linear(params.latent, params.width),
                nn.Tanh(),
                nn.Linear(params.width, pixels),
                nn.Unflatten(1, data.shape),
            ),
            data.levels,
        )
