"""A GPT-2 over sequences of fixed length, trained from scratch: the part that the autoregressive
models of pixels and of codes share.

Architecture: Radford et al. 2019, by `transformers`; the loss is the exact negative
log-likelihood, -sum_t log p(x_t | x_<t), of the chain rule. A start token stands before the
sequence; its logit is cut off, so each conditional is a distribution over the alphabet alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from genbench.cost import backward_flops

# transformers takes seconds to import, so it is imported where it is used: stage keys need the
# models' parameters alone, and a call that finds nothing to do answers sooner.


class GPT(nn.Module):
    """p(x_1..x_T) over an alphabet of `vocabulary` tokens, sequences of `length` tokens."""

    def __init__(
        self, *, vocabulary: int, length: int, width: int, layers: int, heads: int, dropout: float
    ):
        from transformers import GPT2Config, GPT2Model

        super().__init__()
        self.vocabulary, self.length, self.start = vocabulary, length, vocabulary
        self.transformer = GPT2Model(
            GPT2Config(
                vocab_size=vocabulary + 1,
                n_positions=length,
                n_embd=width,
                n_layer=layers,
                n_head=heads,
                resid_pdrop=dropout,
                embd_pdrop=dropout,
                attn_pdrop=dropout,
                bos_token_id=self.start,
                eos_token_id=None,
            )
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., width) -> logits (..., vocabulary), by the tied token embedding."""
        return hidden @ self.transformer.wte.weight[: self.vocabulary].T

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, T, vocabulary) of p(x_t | x_<t) for tokens (B, T) int64."""
        start = tokens.new_full((len(tokens), 1), self.start)
        inputs = torch.cat([start, tokens[:, :-1]], dim=1)
        return self.logits(self.transformer(inputs, use_cache=False).last_hidden_state)

    def negative_log_likelihood(self, tokens: Tensor) -> Tensor:
        """-log p(x), in nats, of each sequence: (B,) for tokens (B, T) int64."""
        logits = self(tokens)
        return cross_entropy(logits.transpose(1, 2), tokens, reduction="none").sum(1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n sequences (n, T) int64, by ancestral sampling with cached keys and values."""
        from transformers.cache_utils import DynamicCache

        cache = DynamicCache(config=self.transformer.config)
        token = torch.full((n, 1), self.start, device=generator.device)
        tokens = []
        for _ in range(self.length):
            output = self.transformer(token, past_key_values=cache, use_cache=True)
            probabilities = self.logits(output.last_hidden_state[:, -1]).softmax(-1)
            token = torch.multinomial(probabilities, 1, generator=generator)
            tokens.append(token)
        return torch.cat(tokens, dim=1)

    def optimiser(self, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.parameters(), learning_rate, betas=(0.9, 0.95), weight_decay=0.0
        )

    def _products(self, queries: int, keys: int) -> list[int]:
        """FLOPs of one sequence's layers: `queries` new positions that see `keys` positions each.

        Attention is counted in full, not halved for the causal mask.
        """
        from transformers.models.gpt2.modeling_gpt2 import GPT2Attention
        from transformers.pytorch_utils import Conv1D

        d = self.transformer.config.n_embd
        counts = []
        for block in self.transformer.h:
            for layer in block.modules():
                if isinstance(layer, Conv1D):
                    counts.append(2 * queries * layer.weight.numel())
                elif isinstance(layer, GPT2Attention):
                    counts.append(2 * 2 * queries * keys * d)
        counts.append(2 * queries * d * self.vocabulary)
        return counts

    def train_flops(self) -> int:
        """FLOPs of the forward and backward pass on one sequence."""
        layers = self._products(self.length, self.length)
        # The embeddings in front are trained, so the first layer's input needs its gradient.
        return sum(layers) + backward_flops(layers, input_gradient=True)

    def sample_flops(self) -> int:
        """FLOPs of sampling one sequence with a cache."""
        return sum(sum(self._products(1, t + 1)) for t in range(self.length))
