"""A VQ-VAE and a Transformer prior that is told the class: `vqvae_gpt` with p(z|c) for p(z).

As in Esser et al. 2021, section 3.2, the condition is a token in front of the sequence: each class
has a start token of its own. The autoencoder knows nothing of classes, as in class-conditional
VQ-VAEs (van den Oord et al. 2017, section 4.2).

Sampling: of a given class, or of one drawn evenly at random. Likelihood: the bound of `vq` with
the exact mixture p(z) = mean_c p(z|c), which costs a pass for each class. It is a bound of p(x), as
other models' are: the label of an image is not used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genbench.models.gpt import GPT
from genbench.models.vqvae_gpt import VQVAEGPT, Params

__all__ = ["ClassVQVAEGPT", "Params"]


class ClassVQVAEGPT(VQVAEGPT):
    """The prior is a GPT with a start token for each class."""

    def new_prior(self, length: int) -> GPT:
        return self.new_gpt(length, classes=self.data.classes)

    def prior_loss(self, codes: Tensor, labels: Tensor) -> Tensor:
        """-log p(z|c), nats, of codes (B, T) and their classes (B,): (B,)."""
        return self.prior.negative_log_likelihood(codes, labels)

    def code_nats(self, codes: Tensor) -> Tensor:
        """-log mean_c p(z|c), nats, of codes (B, T) int64: (B,)."""
        log_p = [
            -self.prior.negative_log_likelihood(codes, codes.new_full((len(codes),), c))
            for c in range(self.data.classes)
        ]
        return math.log(self.data.classes) - torch.stack(log_p).logsumexp(0)

    def sample_class(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """One image (n, C, H, W) uint8 for each of the classes labels (n,) int64."""
        return self.to_images(self.prior.sample(len(labels), generator, labels))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n images of classes drawn evenly at random."""
        classes = self.data.classes
        labels = torch.randint(classes, (n,), generator=generator, device=generator.device)
        return self.sample_class(labels, generator)
