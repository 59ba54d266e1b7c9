"""The discretised logistic likelihood of grey levels, with one learned scale for all pixels.

p(k | mu, s) is the mass that a logistic distribution puts on level k's bin (Kingma et al. 2016;
Salimans et al. 2017, eq. 2); the first and last bins reach to infinity, so the masses of the
levels 0..levels-1 sum to one. One shared, learned scale makes it a calibrated decoder in the sense
of Rybkin et al. 2021, without a weight between reconstruction and prior to choose.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from genbench.models.interface import to_unit


class DiscretisedLogistic(nn.Module):
    """Holds log s, s in units where the levels span [-1, 1]."""

    def __init__(self, levels: int, initial_scale: float = 0.1):
        super().__init__()
        self.levels = levels
        self.log_scale = nn.Parameter(torch.tensor(math.log(initial_scale)))

    def log_prob(self, images: Tensor, mean: Tensor) -> Tensor:
        """log p(image | mean), nats, summed over an image's pixels.

        images: (B, C, H, W) uint8 levels; mean: (B, C, H, W) float, any value -> (B,).
        """
        width = 2 / (self.levels - 1)
        scale = self.log_scale.exp()
        centred = to_unit(images, self.levels) - mean
        upper = (centred + width / 2) / scale
        lower = (centred - width / 2) / scale
        under, over = logsigmoid(upper), logsigmoid(-lower)
        # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)): no cancellation.
        mass = under + over + torch.log(-torch.expm1(-width / scale))
        mass = torch.where(images == 0, under, mass)
        mass = torch.where(images == self.levels - 1, over, mass)
        return mass.flatten(1).sum(1)
