"""A VQ-VAE whose codes are drawn independently: what a learned prior has to beat.

van den Oord et al. 2017 without the prior of their section 3.3: the autoencoder, its codebook and
its training stage are those of `vq`, and here they have the whole budget. A sample takes the code
of each place of the grid by itself, by how often that place has had it. The frequencies f are
a running average over the batches of training, with the codebook's decay. They are a part of the
averaged network, so that a model from the middle of training can be sampled too. Smoothed, they are
the prior p_t(k) = (1 - SMOOTHING) f_t(k) + SMOOTHING / K, by which no code is impossible anywhere.

Likelihood: -log p(x) <= -log p(z*) - log p(x|z*) where z* are the encoder's codes and
p(z*) = prod_t p_t(z*_t): the bound of `vq` with another prior, the one that is sampled from.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from genbench.data import DatasetInfo
from genbench.models.vq import VQVAE, AutoencoderParams, Autoencoding, Codebook, CodedModel
from genbench.suite import Spec

# The part of a place's probability that all codes share evenly. It costs an image at most
# -log(1 - SMOOTHING) nats a place.
SMOOTHING = 0.01


class Params(Spec):
    """Channels `width`, `codes` codebook vectors of `code_width` dimensions, `downsampling` 2 or 4;
    the weight of the commitment, the decay of the codebook's averages and Adam's step size."""

    width: int = Field(48, gt=0)
    codes: int = Field(256, gt=1)
    code_width: int = Field(32, gt=0)
    downsampling: int = Field(4, ge=2, le=4, multiple_of=2)
    commitment: float = Field(0.25, ge=0)
    codebook_decay: float = Field(0.99, gt=0, lt=1)
    learning_rate: float = Field(1e-3, gt=0)


class CountingCodebook(Codebook):
    """A codebook that also follows how often each place of the grid has each code.

    frequencies: (T, K), a buffer; each row sums to one.
    """

    frequencies: Tensor

    def __init__(self, size: int, width: int, decay: float, places: int):
        super().__init__(size, width, decay)
        self.register_buffer("frequencies", torch.full((places, size), 1 / size))

    @torch.no_grad()
    def follow(self, h: Tensor, index: Tensor, generator: torch.Generator) -> None:
        super().follow(h, index, generator)
        places, size = self.frequencies.shape
        found = one_hot(index.view(-1, places), size).float().mean(0)
        self.frequencies.lerp_(found, 1 - self.decay)

    def marginals(self) -> Tensor:
        """p_t(k), (T, K): the smoothed frequencies."""
        return (1 - SMOOTHING) * self.frequencies + SMOOTHING / self.frequencies.shape[1]


class CountedVQVAE(VQVAE):
    """The autoencoder with that codebook."""

    codebook: CountingCodebook

    def __init__(self, params: AutoencoderParams, data: DatasetInfo):
        super().__init__(params, data)
        self.codebook = CountingCodebook(
            params.codes, params.code_width, params.codebook_decay, math.prod(self.grid)
        )


class VQVAEMarginals(CodedModel):
    """The autoencoder with its places' frequencies of codes."""

    vqvae: CountedVQVAE

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__(AutoencoderParams(**params.model_dump()), data)
        self.stages = [Autoencoding(self, 1.0)]

    def new_vqvae(self) -> CountedVQVAE:
        return CountedVQVAE(self.params, self.data)

    def code_nats(self, codes: Tensor) -> Tensor:
        place = torch.arange(codes.shape[1], device=codes.device)
        return -self.vqvae.codebook.marginals()[place, codes].log().sum(1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        marginals = self.vqvae.codebook.marginals()
        return self.to_images(torch.multinomial(marginals, n, True, generator=generator).T)

    def sample_flops(self) -> int:
        return sum(self.layer_flops()[2])
