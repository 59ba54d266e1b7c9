"""A convolutional variational autoencoder.

Objective: the evidence lower bound (Kingma and Welling 2014, eq. 3),
log p(x) >= E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z)), maximised with one reparameterised sample;
q(z|x) is a diagonal Gaussian, p(z) = N(0, I), the KL is in closed form (their appendix B), and
p(x|z) is a discretised logistic with one learned scale (see `logistic`). A sample is the mean of
p(x|z), not a draw from it: the usual practice, stated because it matters.

Likelihood: the bound is on the probability of the data set's grey levels as they are; nothing is
dequantised. Importance-weighted bounds (Burda et al. 2016) are tighter, by the same p and q.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from genbench.cost import backward_flops, forward_flops
from genbench.data import DatasetInfo
from genbench.models.interface import Model, descend, to_levels, to_unit
from genbench.models.logistic import DiscretisedLogistic
from genbench.suite import Spec

# Images decoded at a time for importance weights: bounds the memory, whatever their number.
DECODED_AT_ONCE = 1_000


class Params(Spec):
    """width: channels after the first convolution; latent: dimensions of z; Adam's step size."""

    width: int = Field(48, gt=0)
    latent: int = Field(32, gt=0)
    learning_rate: float = Field(1e-3, gt=0)


def convolutional_encoder(shape: tuple[int, int, int], width: int, outputs: int) -> nn.Sequential:
    """Images (B, *shape) -> (B, outputs). Their height and width are multiples of 4."""
    channels, rows, columns = shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * (rows // 4) * (columns // 4), outputs),
    )


def convolutional_decoder(inputs: int, width: int, shape: tuple[int, int, int]) -> nn.Sequential:
    """Vectors (B, inputs) -> locations of p(x|z), (B, *shape), any value."""
    channels, rows, columns = shape
    small = (2 * width, rows // 4, columns // 4)
    return nn.Sequential(
        nn.Linear(inputs, math.prod(small)),
        nn.Unflatten(1, small),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
        nn.ReLU(),
        # The mean is left linear: below the lowest level it can put all mass on that level's
        # bin, which a tanh can only approach, ever more slowly.
        nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
    )


class Autoencoder(nn.Module):
    """Encoder q(z|x), decoder mean and the likelihood's scale."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, levels: int):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.likelihood = DiscretisedLogistic(levels)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag exp log_variance) || N(0, I)), nats: (B,) for two (B, latent)."""
    return (mean.square() + log_variance.exp() - log_variance - 1).sum(1) / 2


class Bounded(Protocol):
    """What the training stage asks of a model."""

    net: Autoencoder
    params: Params

    def elbo_terms(
        self, images: Tensor, generator: torch.Generator, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Distortion and rate of images with their labels: two (B,), in nats."""
        ...

    def train_flops(self) -> int:
        """FLOPs of the forward and backward pass on one image."""
        ...


class ELBO:
    """The one training stage: a step of Adam on distortion + beta * rate, at beta = 1 the negative
    bound."""

    name = "elbo"
    share = 1.0
    batches = 1

    def __init__(self, model: Bounded, beta: float = 1.0):
        self.model, self.beta = model, beta
        self.network = model.net
        self.optimisers = {
            "vae": torch.optim.AdamW(
                model.net.parameters(), model.params.learning_rate, weight_decay=0.0, fused=True
            )
        }

    def prepare(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return images

    def prepare_flops(self, n: int) -> int:
        return 0

    def step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        distortion, rate = self.model.elbo_terms(batch, generator, labels)
        loss = (distortion + self.beta * rate).mean()
        norm = descend(loss, self.network, self.optimisers["vae"])
        return {
            "loss": loss.detach(),
            "distortion": distortion.detach().mean(),
            "rate": rate.detach().mean(),
            "scale": self.model.net.likelihood.log_scale.detach().exp(),
            "gradient_norm": norm,
        }

    def step_flops(self, batch_size: int) -> int:
        return batch_size * self.model.train_flops()


class VAE(Model):
    """The averaged network `net` and what is done with it."""

    likelihood = "bpd_bound"

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        self.params, self.data = params, data
        self.net = self.networks(params, data)
        self.stages = [ELBO(self)]

    def networks(self, params: Params, data: DatasetInfo) -> Autoencoder:
        """Freshly initialised networks: all that an MLP VAE has otherwise."""
        return Autoencoder(
            convolutional_encoder(data.image_shape, params.width, 2 * params.latent),
            convolutional_decoder(params.latent, params.width, data.image_shape),
            data.levels,
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x): two (B, latent) for images (B, C, H, W) uint8."""
        outputs = self.net.encoder(to_unit(images, self.data.levels)).float()
        mean, log_variance = outputs.chunk(2, dim=1)
        return mean, log_variance

    def elbo_terms(
        self, images: Tensor, generator: torch.Generator, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Distortion -log p(x|z) at one z from q(z|x), and rate KL(q||p): two (B,), in nats.

        The labels are not looked at: they are for the class-conditional VAE.
        """
        mean, log_variance = self.encode(images)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        z = mean + (log_variance / 2).exp() * noise
        distortion = -self.net.likelihood.log_prob(images, self.net.decoder(z))
        return distortion, divergence(mean, log_variance)

    def bits_per_dim(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Negative ELBO with one posterior sample an image, in bits per pixel: (N,)."""
        distortion, rate = self.elbo_terms(images, generator)
        return (distortion + rate) / (math.log(2) * math.prod(self.data.shape))

    @torch.no_grad()
    def log_weights(self, images: Tensor, generator: torch.Generator, k: int) -> Tensor:
        """log p(x|z_j) + log p(z_j) - log q(z_j|x) for z_1..z_k from q(z|x): (N, k), in nats.

        The weights' logarithm in Burda et al. 2016, eq. 8.
        """
        mean, log_variance = (part.unsqueeze(1) for part in self.encode(images))
        shape = (len(images), k, self.params.latent)
        noise = torch.randn(shape, generator=generator, device=mean.device)
        z = mean + (log_variance / 2).exp() * noise
        # The Gaussians' normalising constants cancel.
        prior_to_posterior = (noise.square() + log_variance - z.square()).sum(2) / 2
        owner = torch.arange(len(images), device=mean.device).repeat_interleave(k)
        log_x = [
            self.net.likelihood.log_prob(images[i], self.net.decoder(part))
            for i, part in zip(
                owner.split(DECODED_AT_ONCE), z.flatten(0, 1).split(DECODED_AT_ONCE), strict=True
            )
        ]
        return torch.cat(log_x).view(-1, k) + prior_to_posterior

    def reconstruct(self, images: Tensor) -> Tensor:
        """The decoder's mean at the posterior's mean."""
        mean, _ = self.encode(images)
        return to_levels(self.net.decoder(mean), self.data.levels)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        z = torch.randn(n, self.params.latent, generator=generator, device=generator.device)
        return to_levels(self.net.decoder(z), self.data.levels)

    def train_flops(self) -> int:
        encoder = forward_flops(self.net.encoder, torch.zeros(1, *self.data.shape))
        decoder = forward_flops(self.net.decoder, torch.zeros(1, self.params.latent))
        layers = encoder + decoder
        return sum(layers) + backward_flops(layers)

    def sample_flops(self) -> int:
        return sum(forward_flops(self.net.decoder, torch.zeros(1, self.params.latent)))
