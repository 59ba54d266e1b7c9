"""A class-conditional GAN with a projection discriminator.

Mirza and Osindero 2014: G makes an image of a class c from (z, c), and D judges (x, c). D is the
projection discriminator of Miyato and Koyama 2018, section 3, D(x, c) = v_c . phi(x) + psi(phi(x)),
with phi(x) the activations of its last convolution and psi linear: v_c . phi(x) can become the
logarithm of how much likelier the class c is for real images like x than for fakes like x. The
loss is the hinge loss and D's weights, the v_c as the rows of one matrix among them, are spectrally
normalised, both as there and in `sngan`, whose networks these are. phi keeps its pixels, where
theirs sums over them: after two convolutions a sum would leave D blind to how strokes are joined.

G gets a learned vector of the class beside z. The paper's conditional batch normalisation tells
every layer of a deep G its class. Ours has three layers, and this way is DCGAN's G but for the
columns of its first matrix, batch normalisation included, so that what conditioning brings can be
told from what another G would. The classes of fakes in training are those of the real images
beside them: D cannot tell the two by how frequent a class is. Samples have classes drawn evenly at
random. The inner product with v_c is element-wise work, and so not counted.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from genbench.cost import backward_flops, forward_flops
from genbench.data import DatasetInfo
from genbench.models import adversarial, dcgan
from genbench.models.adversarial import GAN
from genbench.models.dcgan import initialise
from genbench.models.interface import to_levels
from genbench.models.sngan import hinge_D, hinge_G, normalise, normalised
from genbench.models.wgan_gp import Critic


class Params(adversarial.Params):
    """What all GANs have, and embedding: dimensions of G's vector of a class."""

    embedding: int = Field(8, gt=0)


class Generator(nn.Module):
    """z (B, latent) and classes (B,) int64 -> images (B, C, H, W) in [-1, 1]."""

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        self.embedding = nn.Embedding(data.classes, params.embedding)
        self.layers = dcgan.Generator(params, data.image_shape, beside=params.embedding)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        output: Tensor = self.layers(torch.cat([z, self.embedding(labels)], dim=1))
        return output


class Discriminator(nn.Module):
    """Images (B, C, H, W) in [-1, 1] and classes (B,) int64 -> outputs (B, 1)."""

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        *features, head = Critic(params, data.image_shape)
        assert isinstance(head, nn.Linear)
        self.features, self.head = nn.Sequential(*features), head
        self.embedding = nn.Embedding(data.classes, head.in_features)
        # Of the size of the other initial weights: Adam then turns it no slower than these.
        nn.init.normal_(self.embedding.weight, 0.0, 0.02)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        h = self.features(x)
        output: Tensor = self.head(h) + (self.embedding(labels) * h).sum(1, keepdim=True)
        return output


class CGAN(GAN):
    """Generator G and discriminator D, both of which are told the class."""

    params: Params

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__(params, data, Generator(params, data), Discriminator(params, data))
        self.apply(initialise)
        self.D.apply(normalise)

    def loss_D(self, real: Tensor, fake: Tensor) -> Tensor:
        return hinge_D(real, fake)

    def loss_G(self, fake: Tensor) -> Tensor:
        return hinge_G(fake)

    def generate(self, z: Tensor, labels: Tensor) -> Tensor:
        fake: Tensor = self.G(z, labels).float()
        return fake

    def judge(self, x: Tensor, labels: Tensor) -> Tensor:
        with normalised(self.D):
            output: Tensor = self.D(x, labels).float()
        return output

    def sample_class(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        z = self.noise(len(labels), generator)
        return to_levels(self.generate(z, labels.to(z.device)), self.data.levels)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        shape, device = (n,), generator.device
        labels = torch.randint(self.data.classes, shape, generator=generator, device=device)
        return self.sample_class(labels, generator)

    def layers_G(self) -> list[int]:
        label = torch.zeros(1, dtype=torch.int64)
        return forward_flops(self.G, torch.zeros(1, self.params.latent), label)

    def layers_D(self) -> list[int]:
        label = torch.zeros(1, dtype=torch.int64)
        return forward_flops(self.D, torch.zeros(1, *self.data.shape), label)

    def generate_backward_flops(self) -> int:
        # The class's vector in front is trained, so the first layer's input needs its gradient.
        return backward_flops(self.layers_G(), input_gradient=True)
