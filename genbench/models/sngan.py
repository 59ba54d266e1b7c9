"""A GAN with spectral normalisation and the hinge loss.

Miyato et al. 2018: each weight W of D, as a matrix with one row an output channel, is divided by
its largest singular value sigma(W) (eq. 8), so that a layer's slope is at most 1 as a matrix. sigma
is u^T W v with singular vectors that follow W by one power iteration a pass (their appendix A);
u and v are buffers of D. Hinge loss (Lim and Ye 2017; Miyato et al., eq. 16-17): D descends
E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] and G descends -E[D(G(z))].

Networks: G is DCGAN's, with batch normalisation. D has none beside that of its weights: it is
WGAN-GP's critic. Initial weights and Adam's settings are DCGAN's (their setting C). D's slope does
not depend on the size of its weights; how far a step of Adam turns them does.

The power iteration's and sigma's matrix-vector products, six FLOPs for a weight and a pass, do not
grow with the batch and are not counted, as normalisation is not: at 64 images of 28x28 they are
less than a thousandth of a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import cached, is_parametrized

from genbench.data import DatasetInfo
from genbench.models.adversarial import GAN, Params
from genbench.models.dcgan import Generator, initialise
from genbench.models.wgan_gp import Critic


def hinge_D(real: Tensor, fake: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] of outputs."""
    return relu(1 - real).mean() + relu(1 + fake).mean()


def hinge_G(fake: Tensor) -> Tensor:
    """-E[D(G(z))] of outputs."""
    return -fake.mean()


def normalise(module: nn.Module) -> None:
    """Spectral normalisation of a layer's weight; other modules are left alone."""
    if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
        spectral_norm(module)


@contextmanager
def normalised(network: nn.Module) -> Iterator[None]:
    """Within it, all normalised weights are computed once, and in float32 whatever autocast
    says."""
    device = next(network.parameters()).device.type
    with cached():
        with torch.autocast(device, enabled=False):
            for layer in network.modules():
                if is_parametrized(layer, "weight"):
                    layer.weight  # noqa: B018 - reading it computes it
        yield


class SNGAN(GAN):
    """Generator G and discriminator D."""

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__(
            params, data, Generator(params, data.image_shape), Critic(params, data.image_shape)
        )
        self.apply(initialise)
        self.D.apply(normalise)

    def loss_D(self, real: Tensor, fake: Tensor) -> Tensor:
        return hinge_D(real, fake)

    def loss_G(self, fake: Tensor) -> Tensor:
        return hinge_G(fake)

    def judge(self, x: Tensor, labels: Tensor) -> Tensor:
        with normalised(self.D):
            return super().judge(x, labels)
