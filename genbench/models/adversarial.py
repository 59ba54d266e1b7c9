"""Two players and the training stage that moves them in turn: what all GANs here share.

Goodfellow et al. 2014, algorithm 1, with `n_critic` steps of the discriminator D (k there) for one
of the generator G. A model's own file says what the players are and what each minimises. As there,
each step of D sees new images and new fakes; G's step is on the last of these fakes, under the new
D, where the paper draws new ones: that saves a pass through G.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from genbench.cost import backward_flops, forward_flops
from genbench.data import DatasetInfo
from genbench.models.interface import Model, gradient_norm, to_levels, to_unit
from genbench.suite import Spec


class Params(Spec):
    """width: channels after D's first layer; latent: dimensions of z; learning_rate, beta1, beta2:
    Adam's, for both players; n_critic: steps of D, each on a batch of its own, for one of G."""

    width: int = Field(48, gt=0)
    latent: int = Field(64, gt=0)
    learning_rate: float = Field(2e-4, gt=0)
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    n_critic: int = Field(1, gt=0)


class AdamParams(Protocol):
    """Adam's settings."""

    @property
    def learning_rate(self) -> float: ...

    @property
    def beta1(self) -> float: ...

    @property
    def beta2(self) -> float: ...


def adams(players: Mapping[str, nn.Module], params: AdamParams) -> dict[str, torch.optim.Optimizer]:
    """An optimiser of its own for each player, all with the same settings."""
    return {
        name: torch.optim.AdamW(
            player.parameters(),
            params.learning_rate,
            (params.beta1, params.beta2),
            weight_decay=0.0,
            fused=True,
        )
        for name, player in players.items()
    }


def cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))] of logits: minus the game's value V(D, G), nats.

    Goodfellow et al. 2014, eq. 1, with D = sigmoid(logit).
    """
    return softplus(-real).mean() + softplus(fake).mean()


def non_saturating(fake: Tensor) -> Tensor:
    """-E[log D(G(z))] of logits, nats (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake).mean()


def gradient_by_input(outputs: Tensor, x: Tensor) -> Tensor:
    """The gradient of the outputs' sum by x, of x's shape, float32, that can itself be
    differentiated by D's weights: each image's own gradient, where D judges each by itself."""
    (gradient,) = torch.autograd.grad(outputs.sum(), x, create_graph=True)
    return gradient.float()


class GAN(Model):
    """Generator G and discriminator D: what they minimise, and what that costs.

    boundary: the output of D above which it takes an image for real.
    """

    boundary = 0.0

    def __init__(self, params: Params, data: DatasetInfo, G: nn.Module, D: nn.Module):
        super().__init__()
        self.params, self.data = params, data
        self.G, self.D = G, D
        self.stages = [Adversarial(self)]

    @abc.abstractmethod
    def loss_D(self, real: Tensor, fake: Tensor) -> Tensor:
        """What D minimises, given its outputs (B, 1) float32 for real images and for fakes."""

    @abc.abstractmethod
    def loss_G(self, fake: Tensor) -> Tensor:
        """What G minimises, given D's outputs (B, 1) float32 for fakes."""

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        """z (n, latent) from N(0, I)."""
        return torch.randn(n, self.params.latent, generator=generator, device=generator.device)

    def generate(self, z: Tensor, labels: Tensor) -> Tensor:
        """Images (B, C, H, W) float32 in [-1, 1] for z (B, latent); a conditional GAN looks at
        their classes (B,) int64 too."""
        fake: Tensor = self.G(z).float()
        return fake

    def judge(self, x: Tensor, labels: Tensor) -> Tensor:
        """D's outputs (B, 1) float32 for images (B, C, H, W) in [-1, 1]; a conditional GAN looks at
        their classes (B,) int64 too."""
        output: Tensor = self.D(x).float()
        return output

    def criticise(
        self, x: Tensor, fake: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of D's step on real images and as many fakes, penalties included, and what to
        log of it."""
        real_outputs, fake_outputs = self.judge(x, labels), self.judge(fake, labels)
        return self.loss_D(real_outputs, fake_outputs), self.verdict(real_outputs, fake_outputs)

    @torch.no_grad()
    def verdict(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The share of images that D judges rightly, real and fake ones weighing the same."""
        right = (real > self.boundary).float().mean() + (fake < self.boundary).float().mean()
        return {"accuracy_D": right / 2}

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return to_levels(self.G(self.noise(n, generator)), self.data.levels)

    def layers_G(self) -> list[int]:
        """Forward FLOPs of G's layers for one image."""
        return forward_flops(self.G, torch.zeros(1, self.params.latent))

    def layers_D(self) -> list[int]:
        """Forward FLOPs of D's layers for one image."""
        return forward_flops(self.D, torch.zeros(1, *self.data.shape))

    def penalty_flops(self) -> int:
        """FLOPs of a penalty in D's loss, for one real image and one fake."""
        return 0

    def generate_backward_flops(self) -> int:
        """FLOPs of G's backward pass for one image."""
        return backward_flops(self.layers_G())

    def sample_flops(self) -> int:
        return sum(self.layers_G())


class Adversarial:
    """The one training stage: `n_critic` steps of D, then a step of G."""

    name = "adversarial"
    share = 1.0

    def __init__(self, model: GAN):
        params = model.params
        self.model = model
        self.network = model.G
        self.batches = params.n_critic
        self.optimisers = adams({"G": model.G, "D": model.D}, params)

    def prepare(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return images

    def prepare_flops(self, n: int) -> int:
        return 0

    def step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        model, G, D = self.model, self.model.G, self.model.D
        images = to_unit(batch, model.data.levels).tensor_split(self.batches)
        classes = labels.tensor_split(self.batches)

        D.requires_grad_(True)
        for i, (x, c) in enumerate(zip(images, classes, strict=True), 1):
            # Only the last fakes are G's to learn from.
            with torch.set_grad_enabled(i == self.batches):
                fake = model.generate(model.noise(len(x), generator), c)
            loss_D, values = model.criticise(x, fake.detach(), c, generator)
            self.optimisers["D"].zero_grad()
            # By D's weights alone: a penalty would want the gradient by its images too.
            loss_D.backward(inputs=list(D.parameters()))
            norm_D = gradient_norm(D)
            self.optimisers["D"].step()

        # D's weights get no gradient from G's step: that is a third of its backward pass saved.
        D.requires_grad_(False)
        loss_G = model.loss_G(model.judge(fake, c))
        self.optimisers["G"].zero_grad()
        loss_G.backward()
        norm_G = gradient_norm(G)
        self.optimisers["G"].step()
        return {
            "loss_D": loss_D.detach(),
            "loss_G": loss_G.detach(),
            **values,
            "gradient_norm_D": norm_D,
            "gradient_norm_G": norm_G,
        }

    def step_flops(self, batch_size: int) -> int:
        model = self.model
        g, d = model.layers_G(), model.layers_D()
        step_D = sum(g) + 2 * (sum(d) + backward_flops(d)) + model.penalty_flops()
        through_D = sum(d) + backward_flops(d, weight_gradients=False, input_gradient=True)
        step_G = through_D + model.generate_backward_flops()
        return batch_size * (self.batches * step_D + step_G)
