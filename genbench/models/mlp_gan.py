"""The GAN of the first paper, on perceptrons with two hidden layers each.

Goodfellow et al. 2014. D descends -E[log D(x)] - E[log(1 - D(G(z)))] (minus eq. 1). For G there are
three losses, of which the first is the default and the last a mistake:

- non-saturating: -E[log D(G(z))], the paper's advice (section 3);
- minimax: E[log(1 - D(G(z)))], the game's own value (eq. 1), whose gradient vanishes where D is
  sure of its fakes;
- wrong-sign: E[D(G(z))], a mistake that has been in print: G descends D's belief in its own
  images, and so makes what D rejects. It is here to show what such a sign does.

The paper's D has maxout units and its G a mix of rectifiers and sigmoids, both trained by momentum.
Here the hidden units are DCGAN's, ReLU in G and LeakyReLU(0.2) in D, with tanh at G's output, and
both players are trained as there, by Adam at (2e-4, beta1 0.5), from torch's usual initial weights
and without normalisation. The paper's D was trained with dropout; here it is off by default and can
be had in both players' hidden layers.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from genbench.data import DatasetInfo
from genbench.models import adversarial
from genbench.models.adversarial import GAN, cross_entropy, non_saturating


class Params(adversarial.Params):
    """width: units of every hidden layer; loss: G's; dropout: the share of hidden units that
    training leaves out."""

    width: int = Field(128, gt=0)
    loss: Literal["non-saturating", "minimax", "wrong-sign"] = "non-saturating"
    dropout: float = Field(0.0, ge=0, lt=1)


def minimax(fake: Tensor) -> Tensor:
    """E[log(1 - D(G(z)))] of logits, nats."""
    return -softplus(fake).mean()


def wrong_sign(fake: Tensor) -> Tensor:
    """E[D(G(z))] of logits: what D believes of fakes, in [0, 1]."""
    return fake.sigmoid().mean()


LOSSES = {"non-saturating": non_saturating, "minimax": minimax, "wrong-sign": wrong_sign}


def perceptron(
    inputs: int, width: int, outputs: int, activation: nn.Module, dropout: float
) -> list[nn.Module]:
    """The layers (B, inputs) -> (B, outputs), with two hidden ones of `width` units."""
    drop = [nn.Dropout(dropout)] if dropout else []
    return [
        nn.Linear(inputs, width),
        activation,
        *drop,
        nn.Linear(width, width),
        activation,
        *drop,
        nn.Linear(width, outputs),
    ]


class MLPGAN(GAN):
    """Generator G and discriminator D, both perceptrons."""

    params: Params

    def __init__(self, params: Params, data: DatasetInfo):
        latent, width, dropout = params.latent, params.width, params.dropout
        pixels = math.prod(data.shape)
        super().__init__(
            params,
            data,
            G=nn.Sequential(
                *perceptron(latent, width, pixels, nn.ReLU(), dropout),
                nn.Tanh(),
                nn.Unflatten(1, data.shape),
            ),
            D=nn.Sequential(
                nn.Flatten(), *perceptron(pixels, width, 1, nn.LeakyReLU(0.2), dropout)
            ),
        )

    def loss_D(self, real: Tensor, fake: Tensor) -> Tensor:
        return cross_entropy(real, fake)

    def loss_G(self, fake: Tensor) -> Tensor:
        return LOSSES[self.params.loss](fake)
