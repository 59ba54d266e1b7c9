"""Rows of tokens by the chain rule: what the Transformer and the LSTM over tokens share.

A row's tokens are read in C order: text (T,) one character after the other, music (T, 4) one step
after the other and within a step soprano, alto, tenor and bass, so that each voice is given the
voices above it. Each conditional is categorical over the alphabet, so
log p(x) = sum_t log p(x_t | x_<t) is exact.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genbench.data import DatasetInfo
from genbench.errors import UserError
from genbench.models.autoregressive import Autoregressive, draw
from genbench.models.decoding import Choose, after
from genbench.models.interface import Model, descend


class NextToken:
    """The one training stage: a step of AdamW on the negative log-likelihood."""

    name = "next-token"
    share = 1.0
    batches = 1

    def __init__(self, network: Autoregressive, learning_rate: float):
        self.network = network
        self.optimisers = {"network": network.optimiser(learning_rate)}

    def prepare(self, rows: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return rows

    def prepare_flops(self, n: int) -> int:
        return 0

    def step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        loss = self.network.negative_log_likelihood(batch.flatten(1).long()).mean()
        norm = descend(loss, self.network, self.optimisers["network"])
        return {"loss": loss.detach(), "gradient_norm": norm}

    def step_flops(self, batch_size: int) -> int:
        return batch_size * self.network.train_flops()


class TokenSequence(Model):
    """A network over a row's tokens, in their order."""

    likelihood = "bpd"

    def __init__(self, data: DatasetInfo, network: Autoregressive, learning_rate: float):
        super().__init__()
        self.data, self.network = data, network
        self.stages = [NextToken(network, learning_rate)]

    def bits_per_dim(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Exact negative log2-likelihood per token: (N,) for rows (N, *shape) uint8."""
        nats = self.network.negative_log_likelihood(rows.flatten(1).long())
        return nats / (math.log(2) * self.network.length)

    def sample(self, n: int, generator: torch.Generator, choose: Choose = draw) -> Tensor:
        """n rows (n, *shape) uint8 in 0..levels-1, each token taken by `choose`."""
        tokens = self.network.sample(n, generator, choose=choose)
        return tokens.to(torch.uint8).view(n, *self.data.shape)

    def complete(self, prompt: Tensor, generator: torch.Generator, choose: Choose = draw) -> Tensor:
        """Rows (n, *shape) uint8 that begin with a prompt each and go on by `choose`.

        prompt: (n, P, ...), integers in 0..levels-1, the first P characters or steps of each row,
        and so of at most its length. Raises UserError for one that is longer or has other tokens.
        """
        tokens = prompt.flatten(1).long().to(generator.device)
        if tokens.shape[1] > self.network.length:
            raise UserError(
                f"prompt: {tokens.shape[1]} tokens, but a row has {self.network.length}; shorten it"
            )
        if tokens.numel() and not 0 <= tokens.min() <= tokens.max() < self.data.levels:
            raise UserError(f"prompt: its tokens must be within 0..{self.data.levels - 1}")
        return self.sample(len(tokens), generator, after(tokens, choose))

    def sample_flops(self) -> int:
        return self.network.sample_flops()
