"""A non-saturating GAN on DCGAN-like networks.

Objective: Goodfellow et al. 2014, section 3: D ascends E[log D(x)] + E[log(1 - D(G(z)))] and G
ascends E[log D(G(z))], the non-saturating form. Networks after Radford, Metz and Chintala 2016:
strided and transposed convolutions, batch normalisation, ReLU in G and LeakyReLU(0.2) in D, no
batch normalisation in G's output and D's input layer, weights from N(0, 0.02), Adam at
(2e-4, beta1 0.5).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from genbench.cost import backward_flops, forward_flops
from genbench.data import DatasetInfo
from genbench.models.interface import Model, gradient_norm, to_levels, to_unit
from genbench.suite import Spec


class Params(Spec):
    """width: channels after D's first layer; latent: dimensions of z; Adam's settings."""

    width: int = Field(48, gt=0)
    latent: int = Field(64, gt=0)
    learning_rate: float = Field(2e-4, gt=0)
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)


class Generator(nn.Sequential):
    """z (B, latent) -> images (B, C, H, W) in [-1, 1]. H and W are multiples of 4."""

    def __init__(self, params: Params, shape: tuple[int, int, int]):
        channels, height, width = shape
        w = params.width
        super().__init__(
            nn.Linear(params.latent, 2 * w * (height // 4) * (width // 4), bias=False),
            nn.Unflatten(1, (2 * w, height // 4, width // 4)),
            nn.BatchNorm2d(2 * w),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * w, w, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(w),
            nn.ReLU(),
            nn.ConvTranspose2d(w, channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )


class Discriminator(nn.Sequential):
    """Images (B, C, H, W) in [-1, 1] -> logits (B, 1): the log-odds that they are real."""

    def __init__(self, params: Params, shape: tuple[int, int, int]):
        channels, height, width = shape
        w = params.width
        super().__init__(
            nn.Conv2d(channels, w, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(w, 2 * w, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * w),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * w * (height // 4) * (width // 4), 1),
        )


def initialise(module: nn.Module) -> None:
    """Radford et al. 2016, section 4: zero-centred normal weights with deviation 0.02."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class Adversarial:
    """The one training stage: a step of D, then a step of G, on the same batch of fakes."""

    name = "adversarial"
    share = 1.0
    batches = 1

    def __init__(self, model: DCGAN):
        params = model.params
        self.model = model
        self.network = model.G
        betas = (params.beta1, params.beta2)
        self.optimisers = {
            "G": torch.optim.Adam(model.G.parameters(), params.learning_rate, betas),
            "D": torch.optim.Adam(model.D.parameters(), params.learning_rate, betas),
        }

    def prepare(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return images

    def prepare_flops(self, n: int) -> int:
        return 0

    def step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        G, D = self.model.G, self.model.D
        x = to_unit(batch, self.model.data.levels)
        fake = G(self.model.noise(len(batch), generator))

        D.requires_grad_(True)
        real_logits, fake_logits = D(x), D(fake.detach())
        loss_D = softplus(-real_logits).mean() + softplus(fake_logits).mean()
        self.optimisers["D"].zero_grad()
        loss_D.backward()
        norm_D = gradient_norm(D)
        self.optimisers["D"].step()

        # D's weights get no gradient from G's step: that is a third of its backward pass saved.
        D.requires_grad_(False)
        loss_G = softplus(-D(fake)).mean()
        self.optimisers["G"].zero_grad()
        loss_G.backward()
        norm_G = gradient_norm(G)
        self.optimisers["G"].step()

        accuracy = ((real_logits > 0).float().mean() + (fake_logits < 0).float().mean()) / 2
        return {
            "loss_D": loss_D.detach(),
            "loss_G": loss_G.detach(),
            "accuracy_D": accuracy,
            "gradient_norm_D": norm_D,
            "gradient_norm_G": norm_G,
        }

    def step_flops(self, batch_size: int) -> int:
        model = self.model
        z = torch.zeros(1, model.params.latent)
        g = forward_flops(model.G, z)
        d = forward_flops(model.D, torch.zeros(1, *model.data.shape))
        step_D = 2 * (sum(d) + backward_flops(d))
        step_G = (
            sum(g)
            + backward_flops(g)
            + sum(d)
            + backward_flops(d, weight_gradients=False, input_gradient=True)
        )
        return batch_size * (step_D + step_G)


class DCGAN(Model):
    """Generator G and discriminator D."""

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        self.params, self.data = params, data
        self.G = Generator(params, data.shape)
        self.D = Discriminator(params, data.shape)
        self.apply(initialise)
        self.stages = [Adversarial(self)]

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        """z (n, latent) from N(0, I)."""
        return torch.randn(n, self.params.latent, generator=generator, device=generator.device)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return to_levels(self.G(self.noise(n, generator)), self.data.levels)

    def sample_flops(self) -> int:
        return sum(forward_flops(self.G, torch.zeros(1, self.params.latent)))
