"""Distributions over sequences of fixed length by the chain rule: what the Transformer and the LSTM
share, so that the network alone tells them apart.

p(x_1..x_T) = prod_t p(x_t | x_<t), with the exact negative log-likelihood as the loss. A start
token stands before the sequence; the logits are over the alphabet alone, so it is never drawn. With
classes there is one start token for each, and every conditional is given the class by it, as image
GPT's successors do (Esser et al. 2021, section 3.2): p(x_1..x_T | c).
"""

from __future__ import annotations

import abc
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    """A token (n,) int64 for each row of logits (n, K), from their softmax.

    By the inverse of the distribution function, at one uniform number for each row: thirty times as
    fast as `torch.multinomial`, which draws K of them, on a CPU. A token of probability zero is
    never drawn, for the function does not rise there.
    """
    cumulative = logits.float().softmax(-1).cumsum(-1)
    u = torch.rand(len(logits), 1, generator=generator, device=logits.device)
    return torch.searchsorted(cumulative, u * cumulative[:, -1:], right=True).squeeze(1)


class Autoregressive(nn.Module, abc.ABC):
    """p(x_1..x_T), or p(x_1..x_T | c) with `classes` of them, over `vocabulary` tokens.

    classes, where a method takes them: the class (B,) int64 of each sequence, for a network that
    has classes, and None for one that has none; anything else raises a ValueError.
    """

    def __init__(self, vocabulary: int, length: int, classes: int = 0):
        super().__init__()
        self.vocabulary, self.length, self.classes = vocabulary, length, classes
        # The alphabet, and what sequences start with.
        self.embeddings = vocabulary + max(1, classes)

    def start(self, n: int, classes: Tensor | None, device: torch.device) -> Tensor:
        """The start tokens (n,) int64."""
        if (classes is None) != (self.classes == 0):
            raise ValueError(f"a network of {self.classes} classes was given {classes=}")
        if classes is None:
            return torch.full((n,), self.vocabulary, device=device)
        return self.vocabulary + classes.to(device)

    @abc.abstractmethod
    def hidden(self, inputs: Tensor) -> Tensor:
        """Hidden states (B, T, width) that have seen the inputs (B, T) int64 up to their own."""

    @abc.abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., width) -> logits (..., vocabulary)."""

    @abc.abstractmethod
    def new_state(self, n: int, device: torch.device) -> list[Tensor]:
        """What is kept of n sequences while they are drawn, before their first token."""

    @abc.abstractmethod
    def next_hidden(self, token: Tensor, t: int, state: list[Tensor]) -> Tensor:
        """Hidden states (n, width) after input t, token (n,) int64, and those before it that the
        state has seen; the state sees it too from then on. Dropout has no part in it."""

    def forward(self, tokens: Tensor, classes: Tensor | None = None) -> Tensor:
        """Logits (B, T, vocabulary) of p(x_t | x_<t) for tokens (B, T) int64."""
        start = self.start(len(tokens), classes, tokens.device)
        return self.logits(self.hidden(torch.cat([start.unsqueeze(1), tokens[:, :-1]], dim=1)))

    def negative_log_likelihood(self, tokens: Tensor, classes: Tensor | None = None) -> Tensor:
        """-log p(x), in nats, of each sequence: (B,) float32 for tokens (B, T) int64."""
        logits = self(tokens, classes).float()
        nats = cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none")
        return nats.view(tokens.shape).sum(1)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator,
        classes: Tensor | None = None,
        choose: Callable[[Tensor, torch.Generator], Tensor] = draw,
    ) -> Tensor:
        """n sequences (n, T) int64, token by token: ancestral sampling, unless `choose` takes
        another token (n,) of the logits (n, vocabulary) than a random one."""
        token = self.start(n, classes, generator.device)
        state = self.new_state(n, generator.device)
        tokens = token.new_empty(n, self.length)
        for t in range(self.length):
            token = choose(self.logits(self.next_hidden(token, t, state)), generator)
            tokens[:, t] = token
        if tokens.max() >= self.vocabulary:  # what `draw` answers where there is no distribution
            raise ValueError("the logits are not finite")
        return tokens

    def optimiser(self, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.parameters(), learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )

    @abc.abstractmethod
    def train_flops(self) -> int:
        """FLOPs of the forward and backward pass on one sequence."""

    @abc.abstractmethod
    def sample_flops(self) -> int:
        """FLOPs of sampling one sequence."""
