"""What the training loop and the evaluation ask of a model."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


class Stage(Protocol):
    """One thing that is trained. Most models have one; VQ-VAE then prior has two.

    share: this stage's part of the model's training budget, in [0, 1].
    batches: batches that one step takes: more than one where a critic is trained several times.
    network: what is averaged (EMA), kept at checkpoints and sampled from.
    optimisers: by name; the loop sets their step sizes and weight decay, limits the gradients that
    they step by, and saves and restores them.
    """

    @property
    def name(self) -> str: ...

    @property
    def share(self) -> float: ...

    @property
    def batches(self) -> int: ...

    @property
    def network(self) -> nn.Module: ...

    @property
    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]: ...

    def prepare(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """What batches are drawn from, one row an image, given all training images (N, C, H, W)
        uint8 with their labels (N,) int64.

        Called when the stage begins, with the stages before it finished and averaged, and again
        on resuming, with a generator in the same state.
        """
        ...

    def prepare_flops(self, n: int) -> int:
        """FLOPs of `prepare` on n images."""
        ...

    def step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """One full cycle of updates on `batches` batches at once, rows of what was prepared with
        the labels of their images; detached scalars to log (losses, norms)."""
        ...

    def step_flops(self, batch_size: int) -> int:
        """FLOPs of `step` with batches of this size, by formula; 0 for a stage without steps."""
        ...


class Model(nn.Module, abc.ABC):
    """A generative model of images: networks, the stages that train them, and sampling."""

    stages: Sequence[Stage]

    @abc.abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n images (n, C, H, W) uint8 with values in 0..levels-1."""

    @abc.abstractmethod
    def sample_flops(self) -> int:
        """FLOPs of drawing one sample, by formula."""


@runtime_checkable
class HasLikelihood(Protocol):
    """A model with an exact or bounded likelihood over the data set's grey levels.

    It is a probability, not a density: every level has a mass, and nothing is dequantised.
    likelihood: the metric's name, "bpd" (exact) or "bpd_bound" (an upper bound of it).
    """

    likelihood: str

    def bits_per_dim(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Negative log2-likelihood, or its bound, per pixel: (N,) for images (N, C, H, W) uint8."""
        ...


@runtime_checkable
class HasLatentPosterior(Protocol):
    """A model with a latent z and an approximate posterior q(z|x) that can be sampled."""

    def log_weights(self, images: Tensor, generator: torch.Generator, k: int) -> Tensor:
        """log p(x, z_j) - log q(z_j|x), nats, with z_1..z_k from q(z|x): (N, k) float32, without
        gradients, for images (N, C, H, W) uint8; p(x|z) as in `HasLikelihood`."""
        ...


@runtime_checkable
class HasMeasuredPosterior(Protocol):
    """A model whose posterior can be asked how much it says."""

    def elbo_terms(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Distortion -log p(x|z) at one z from q(z|x), and rate KL(q(z|x) || p(z)), nats: two (N,)
        for rows (N, *shape) uint8."""
        ...

    def active_units(self, rows: Tensor) -> int:
        """Latent dimensions whose posterior mean depends on the row, for N >= 2 rows."""
        ...


@runtime_checkable
class ClassConditional(Protocol):
    """A model that can be asked for images of a class."""

    def sample_class(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """One image (n, C, H, W) uint8 in 0..levels-1 for each of the labels (n,) int64."""
        ...


@runtime_checkable
class Reconstructs(Protocol):
    """A model that encodes and decodes."""

    def reconstruct(self, images: Tensor) -> Tensor:
        """Reconstructions (N, C, H, W) uint8 of images (N, C, H, W) uint8."""
        ...


def to_unit(images: Tensor, levels: int) -> Tensor:
    """Grey levels 0..levels-1 (uint8) as float32 in [-1, 1]."""
    return images.float().mul_(2 / (levels - 1)).sub_(1)


def to_levels(x: Tensor, levels: int) -> Tensor:
    """Values in [-1, 1], clamped, as the nearest grey level 0..levels-1 (uint8)."""
    return x.add(1).mul((levels - 1) / 2).round().clamp(0, levels - 1).to(torch.uint8)


def gradient_norm(network: nn.Module) -> Tensor:
    """The 2-norm of all gradients of a network, detached."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients).detach()


def descend(loss: Tensor, network: nn.Module, optimiser: torch.optim.Optimizer) -> Tensor:
    """One step of the optimiser down a loss; the 2-norm of the network's gradients, detached."""
    optimiser.zero_grad()
    loss.backward()
    norm = gradient_norm(network)
    optimiser.step()
    return norm
