"""A WGAN-GP over tokens: G's distributions stand for tokens, and D judges both.

Gulrajani et al. 2017, section 5.4: G gives a distribution over the alphabet for every place, D sees
that or a real row's one-hot vectors, and a sample is each place's likeliest token. Nothing is drawn
within G, so its gradient is exact. Straight-through Gumbel-softmax (Jang et al. 2017) would show D
tokens alone, at the price of a gradient that is biased at every temperature, which is one more
thing to choose. Policy gradients (Yu et al. 2017) are unbiased and so noisy that G has to be
trained by likelihood first: what is then measured is that model. D can tell soft vectors from hard
ones, but its slope is held at 1, and that makes the hint one for G to follow.

A row is a piano roll (B, voices * levels, 1, T): T places in time, one vector of `levels` for each
of the voices; MuseGAN (Dong et al. 2018) is a WGAN-GP on such rolls. The data's shape says what
they are: (T,), text, has one voice, (T, 4), music, has four, and convolutions run along time alone,
as an image's of height 1.

Networks: the residual blocks of the paper's language model (kernels of 5, a branch's output times
0.3, no normalisation), with the resampling of its ResNets for images, mean down and nearest up,
between them. Its sentences had 32 characters; a row of text has eight times as many, and each
halving of time lets a block see twice as far for half the price. D's activation and both players'
initial weights are as in `wgan_gp`'s critic, and so are the loss and Adam's settings.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from genbench.cost import forward_flops
from genbench.data import DatasetInfo
from genbench.models import wgan_gp
from genbench.models.adversarial import GAN
from genbench.models.interface import to_levels
from genbench.models.wgan_gp import WGANGP, LeakyReLU, initialise_critic


class Params(wgan_gp.Params):
    """What a WGAN-GP has, width being the channels of every block, and blocks: residual blocks of
    each player, with a halving or doubling of time between one and the next."""

    blocks: int = Field(4, gt=0)


def to_roll(rows: Tensor, levels: int) -> Tensor:
    """One-hot vectors (B, voices * levels, 1, T) float32 of rows (B, T) or (B, T, voices) uint8."""
    steps = rows.flatten(2) if rows.ndim > 2 else rows.unsqueeze(2)
    hot = one_hot(steps.long(), levels).float()
    return hot.flatten(2).transpose(1, 2).unsqueeze(2).contiguous()


def to_tokens(roll: Tensor, levels: int) -> Tensor:
    """The likeliest tokens (B, T, voices) uint8 of a roll (B, voices * levels, 1, T)."""
    return roll.squeeze(2).unflatten(1, (-1, levels)).argmax(2).transpose(1, 2).to(torch.uint8)


class Block(nn.Module):
    """x (B, width, 1, T) plus 0.3 times what two convolutions along time make of it."""

    def __init__(self, width: int):
        super().__init__()
        self.branch = nn.Sequential(
            LeakyReLU(),
            nn.Conv2d(width, width, (1, 5), padding=(0, 2)),
            LeakyReLU(),
            nn.Conv2d(width, width, (1, 5), padding=(0, 2)),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + 0.3 * self.branch(x)
        return y


class Halve(nn.Module):
    """x (B, width, 1, T) -> means of neighbours (B, width, 1, ceil(T / 2)); beyond the end is 0.

    torch's own average pooling, differentiated twice, sends a gradient of zeros back through the
    forward pass, at the price of any other.
    """

    def forward(self, x: Tensor) -> Tensor:
        return pad(x, (0, x.shape[3] % 2)).unflatten(3, (-1, 2)).mean(4)


class Distributions(nn.Module):
    """Logits (B, voices * levels, 1, T'), T' >= T -> each place's distributions, of T places."""

    def __init__(self, levels: int, places: int):
        super().__init__()
        self.levels, self.places = levels, places

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : self.places].unflatten(1, (-1, self.levels)).softmax(2).flatten(1, 2)


class Generator(nn.Sequential):
    """z (B, latent) -> distributions (B, channels, 1, T), over `levels` tokens for each voice."""

    def __init__(self, params: Params, levels: int, channels: int, places: int):
        w, halvings = params.width, params.blocks - 1
        small = math.ceil(places / 2**halvings)
        doubled: list[nn.Module] = []
        for _ in range(halvings):
            doubled += [nn.Upsample(scale_factor=(1, 2)), Block(w)]
        super().__init__(
            nn.Linear(params.latent, w * small),
            nn.Unflatten(1, (w, 1, small)),
            Block(w),
            *doubled,
            LeakyReLU(),
            nn.Conv2d(w, channels, 1),
            Distributions(levels, places),
        )


class Critic(nn.Sequential):
    """Rolls (B, channels, 1, T) -> outputs (B, 1)."""

    def __init__(self, params: Params, channels: int, places: int):
        w, halvings = params.width, params.blocks - 1
        small = math.ceil(places / 2**halvings)
        halved: list[nn.Module] = []
        for _ in range(halvings):
            halved += [Halve(), Block(w)]
        super().__init__(
            nn.Conv2d(channels, w, 1),
            Block(w),
            *halved,
            LeakyReLU(),
            nn.Flatten(),
            nn.Linear(w * small, 1),
        )


class TokenGAN(WGANGP):
    """Generator G and critic D, on piano rolls."""

    params: Params

    def __init__(self, params: Params, data: DatasetInfo):
        places, *voices = data.shape
        channels = math.prod(voices) * data.levels
        self.roll = (channels, 1, places)
        # WGAN-GP's own beginning would make networks of images.
        GAN.__init__(
            self,
            params,
            data,
            G=Generator(params, data.levels, channels, places),
            D=Critic(params, channels, places),
        )
        self.apply(initialise_critic)

    def criticise(
        self, x: Tensor, fake: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """x: the rows (B, *shape) as the stage has them, their levels spread over [-1, 1]."""
        roll = to_roll(to_levels(x, self.data.levels), self.data.levels)
        return super().criticise(roll, fake, labels, generator)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        tokens = to_tokens(self.G(self.noise(n, generator)), self.data.levels)
        return tokens.reshape(n, *self.data.shape)

    def layers_D(self) -> list[int]:
        return forward_flops(self.D, torch.zeros(1, *self.roll))
