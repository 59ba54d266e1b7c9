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

import torch
from pydantic import Field
from torch import Tensor, nn

from genbench.cost import backward_flops, forward_flops
from genbench.data import DatasetInfo
from genbench.models.interface import Model, gradient_norm, to_levels, to_unit
from genbench.models.logistic import DiscretisedLogistic
from genbench.suite import Spec

# Images decoded at a time for importance weights: bounds the memory, whatever their number.
DECODED_AT_ONCE = 1_000


class Params(Spec):
    """width: channels after the first convolution; latent: dimensions of z; Adam's step size."""

    width: int = Field(48, gt=0)
    latent: int = Field(32, gt=0)
    learning_rate: float = Field(1e-3, gt=0)


class Autoencoder(nn.Module):
    """Encoder q(z|x), decoder mean and the likelihood's scale."""

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        channels, height, width = data.shape
        w, latent = params.width, params.latent
        small = (2 * w, height // 4, width // 4)
        flat = math.prod(small)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, w, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(w, 2 * w, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(flat, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, flat),
            nn.Unflatten(1, small),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * w, w, 4, stride=2, padding=1),
            nn.ReLU(),
            # The mean is left linear: below the lowest level it can put all mass on that level's
            # bin, which a tanh can only approach, ever more slowly.
            nn.ConvTranspose2d(w, channels, 4, stride=2, padding=1),
        )
        self.likelihood = DiscretisedLogistic(data.levels)


class ELBO:
    """The one training stage: a step of Adam on the negative bound."""

    name = "elbo"
    share = 1.0
    batches = 1

    def __init__(self, model: VAE):
        self.model = model
        self.network = model.net
        self.optimisers = {
            "vae": torch.optim.Adam(model.net.parameters(), model.params.learning_rate)
        }

    def prepare(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return images

    def prepare_flops(self, n: int) -> int:
        return 0

    def step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        distortion, rate = self.model.elbo_terms(batch, generator)
        loss = (distortion + rate).mean()
        optimiser = self.optimisers["vae"]
        optimiser.zero_grad()
        loss.backward()
        norm = gradient_norm(self.network)
        optimiser.step()
        return {
            "loss": loss.detach(),
            "distortion": distortion.detach().mean(),
            "rate": rate.detach().mean(),
            "scale": self.model.net.likelihood.log_scale.detach().exp(),
            "gradient_norm": norm,
        }

    def step_flops(self, batch_size: int) -> int:
        model = self.model
        encoder = forward_flops(model.net.encoder, torch.zeros(1, *model.data.shape))
        decoder = forward_flops(model.net.decoder, torch.zeros(1, model.params.latent))
        layers = encoder + decoder
        return batch_size * (sum(layers) + backward_flops(layers))


class VAE(Model):
    """The averaged network `net` and what is done with it."""

    likelihood = "bpd_bound"

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        self.params, self.data = params, data
        self.net = Autoencoder(params, data)
        self.stages = [ELBO(self)]

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x): two (B, latent) for images (B, C, H, W) uint8."""
        mean, log_variance = self.net.encoder(to_unit(images, self.data.levels)).chunk(2, dim=1)
        return mean, log_variance

    def elbo_terms(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Distortion -log p(x|z) at one z from q(z|x), and rate KL(q||p): two (B,), in nats."""
        mean, log_variance = self.encode(images)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        z = mean + (log_variance / 2).exp() * noise
        distortion = -self.net.likelihood.log_prob(images, self.net.decoder(z))
        rate = (mean.square() + log_variance.exp() - log_variance - 1).sum(1) / 2
        return distortion, rate

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

    def sample_flops(self) -> int:
        return sum(forward_flops(self.net.decoder, torch.zeros(1, self.params.latent)))
