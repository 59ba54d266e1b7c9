"""A class-conditional variational autoencoder.

Objective: the bound of Sohn et al. 2015, section 4, with the class c as what is given and the image
x as what is modelled: log p(x|c) >= E_q(z|x,c)[log p(x|z,c)] - KL(q(z|x,c) || p(z)). The prior of z
does not depend on c, which they allow, so z need only hold what the class does not say. The encoder
sees the class as one more plane of pixels, learned for each class, and the decoder as a one-hot
vector beside z. The parameters and all else are as in `vae`.

Likelihood: the model of images is the mixture p(x) = mean_c p(x|c), since classes are drawn evenly
at random. An image's bound takes one z for each class, with the weight
w_c = p(x|z_c,c) p(z_c) / q(z_c|x,c), and is -log mean_c w_c. As E[w_c] = p(x|c), Jensen's
inequality makes it a bound in expectation. With the divergence in closed form in place of its
sample it would be none: the exponential of such a bound may exceed p(x|c) in expectation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from genbench.cost import backward_flops, forward_flops
from genbench.data import DatasetInfo
from genbench.models import vae
from genbench.models.interface import Model, to_levels, to_unit
from genbench.models.vae import (
    ELBO,
    Autoencoder,
    Params,
    convolutional_decoder,
    convolutional_encoder,
    divergence,
)


class Encoder(nn.Module):
    """Images (B, C, H, W) in [-1, 1] and classes (B,) int64 -> mean and log-variance of q(z|x,c),
    (B, 2 latent)."""

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        channels, height, width = data.shape
        self.planes = nn.Embedding(data.classes, height * width)
        shape = (channels + 1, height, width)
        self.layers = convolutional_encoder(shape, params.width, 2 * params.latent)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        plane = self.planes(labels).view(-1, 1, *x.shape[2:])
        output: Tensor = self.layers(torch.cat([x, plane], dim=1))
        return output


class Decoder(nn.Module):
    """z (B, latent) and classes (B,) int64 -> locations of p(x|z,c), (B, C, H, W)."""

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        self.classes = data.classes
        self.layers = convolutional_decoder(
            params.latent + data.classes, params.width, data.image_shape
        )

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        output: Tensor = self.layers(torch.cat([z, one_hot(labels, self.classes)], dim=1))
        return output


class CVAE(Model):
    """The averaged network `net` and what is done with it."""

    likelihood = "bpd_bound"

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        self.params, self.data = params, data
        self.net = Autoencoder(Encoder(params, data), Decoder(params, data), data.levels)
        self.stages = [ELBO(self)]

    def encode(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x,c): two (B, latent) for images (B, C, H, W) uint8."""
        outputs = self.net.encoder(to_unit(images, self.data.levels), labels).float()
        mean, log_variance = outputs.chunk(2, dim=1)
        return mean, log_variance

    def elbo_terms(
        self, images: Tensor, generator: torch.Generator, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Distortion -log p(x|z,c) at one z from q(z|x,c), and rate KL(q||p): two (B,), in nats."""
        mean, log_variance = self.encode(images, labels)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        z = mean + (log_variance / 2).exp() * noise
        distortion = -self.net.likelihood.log_prob(images, self.net.decoder(z, labels))
        return distortion, divergence(mean, log_variance)

    def class_weights(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """log p(x|z,c) + log p(z) - log q(z|x,c), nats, with one z from q(z|x,c) for each class c
        of labels (N, k) int64: (N, k)."""
        shape = (labels.numel(), self.params.latent)
        noise = torch.randn(shape, generator=generator, device=images.device)
        owner = torch.arange(len(images), device=images.device).repeat_interleave(labels.shape[1])
        weights = []
        for i, c, e in zip(
            *(part.split(vae.DECODED_AT_ONCE) for part in (owner, labels.flatten(), noise)),
            strict=True,
        ):
            mean, log_variance = self.encode(images[i], c)
            z = mean + (log_variance / 2).exp() * e
            log_x = self.net.likelihood.log_prob(images[i], self.net.decoder(z, c))
            # The Gaussians' normalising constants cancel.
            weights.append(log_x + (e.square() + log_variance - z.square()).sum(1) / 2)
        return torch.cat(weights).view(labels.shape)

    def bits_per_dim(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The mixture's bound with one z for each class, in bits per pixel: (N,)."""
        labels = torch.arange(self.data.classes, device=images.device).expand(len(images), -1)
        weights = self.class_weights(images, labels, generator)
        nats = math.log(self.data.classes) - weights.logsumexp(1)
        return nats / (math.log(2) * math.prod(self.data.shape))

    @torch.no_grad()
    def log_weights(self, images: Tensor, generator: torch.Generator, k: int) -> Tensor:
        """log p(x, z_j, c_j) - log q(z_j, c_j|x) with z_j from q(z|x, c_j): (N, k), in nats.

        The latent is (z, c), and q(c|x) = p(c) is even, so that p(c) cancels. An image's c_1..c_k
        go through all classes in a random order, and again: each is even on its own, so
        E[w_j] = p(x) and log mean_j w_j is a bound for any k, while together they visit every class
        equally often. Only the k/classes weights of the right class carry much, so it takes k of
        several times the number of classes to come near log p(x).
        """
        shape = (len(images), self.data.classes)
        order = torch.rand(shape, generator=generator, device=images.device).argsort(1)
        turn = torch.arange(k, device=images.device) % self.data.classes
        return self.class_weights(images, order[:, turn], generator)

    def reconstruct(self, images: Tensor) -> Tensor:
        """The decoder's mean at the posterior's mean, under the class whose bound is best.

        No label is asked for. The bound is taken with the posterior's mean as z, which needs no
        random draw.
        """
        bounds, means = [], []
        for c in range(self.data.classes):
            labels = torch.full((len(images),), c, device=images.device)
            z, log_variance = self.encode(images, labels)
            means.append(self.net.decoder(z, labels))
            log_x = self.net.likelihood.log_prob(images, means[-1])
            bounds.append(log_x - divergence(z, log_variance))
        best = torch.stack(bounds).argmax(0)
        rebuilt = torch.stack(means)[best, torch.arange(len(images), device=images.device)]
        return to_levels(rebuilt, self.data.levels)

    def sample_class(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        shape = (len(labels), self.params.latent)
        z = torch.randn(shape, generator=generator, device=generator.device)
        return to_levels(self.net.decoder(z, labels.to(z.device)), self.data.levels)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        shape, device = (n,), generator.device
        labels = torch.randint(self.data.classes, shape, generator=generator, device=device)
        return self.sample_class(labels, generator)

    def layer_flops(self) -> tuple[list[int], list[int]]:
        """Forward FLOPs for one image: the encoder's layers and the decoder's."""
        label = torch.zeros(1, dtype=torch.int64)
        return (
            forward_flops(self.net.encoder, torch.zeros(1, *self.data.shape), label),
            forward_flops(self.net.decoder, torch.zeros(1, self.params.latent), label),
        )

    def train_flops(self) -> int:
        encoder, decoder = self.layer_flops()
        layers = encoder + decoder
        # The classes' planes in front are trained, so the first layer's input needs its gradient.
        return sum(layers) + backward_flops(layers, input_gradient=True)

    def sample_flops(self) -> int:
        _, decoder = self.layer_flops()
        return sum(decoder)
