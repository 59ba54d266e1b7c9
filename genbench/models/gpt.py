"""A GPT-2 over sequences of fixed length, trained from scratch: the part that the autoregressive
models of pixels and of codes share.

Architecture: Radford et al. 2019, by `transformers`; the loss is the exact negative
log-likelihood, -sum_t log p(x_t | x_<t), of the chain rule (see `autoregressive`). Training runs
the network of `transformers`. Sampling runs the same layers on one position at a time, with the
keys and values of the positions before it in memory that is taken once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from genbench.cost import backward_flops
from genbench.models.autoregressive import Autoregressive

# transformers takes seconds to import, so it is imported where it is used: stage keys need the
# models' parameters alone, and a call that finds nothing to do answers sooner.


def causal_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: None,
    *,
    dropout: float,
    scaling: float,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention to one's own and earlier positions, as `transformers` calls for it:
    (B, heads, T, width / heads) -> (B, T, heads, width / heads)."""
    if query.device.type == "cpu":
        # In bfloat16 the backward pass of the CPU's kernel takes nine times as long.
        query, key, value = query.float(), key.float(), value.float()
    with torch.autocast("cpu", enabled=False):
        output = scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, scale=scaling, is_causal=True
        )
    return output.transpose(1, 2), None


class GPT(Autoregressive):
    """The Transformer, with its token embedding tied to its output layer."""

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        classes: int = 0,
    ):
        from transformers import AttentionInterface, GPT2Config, GPT2Model

        AttentionInterface.register("causal", causal_attention)
        super().__init__(vocabulary, length, classes)
        self.transformer = GPT2Model(
            GPT2Config(
                vocab_size=self.embeddings,
                n_positions=length,
                n_embd=width,
                n_layer=layers,
                n_head=heads,
                # GPT-2's own approximation of the GELU, as one operation instead of eight.
                activation_function="gelu_pytorch_tanh",
                attn_implementation="causal",
                resid_pdrop=dropout,
                embd_pdrop=dropout,
                attn_pdrop=dropout,
                bos_token_id=None,
                eos_token_id=None,
            )
        )

    def hidden(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.transformer(inputs, use_cache=False).last_hidden_state
        return output

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., width) -> logits (..., vocabulary), by the tied token embedding."""
        return hidden @ self.transformer.wte.weight[: self.vocabulary].T

    def new_state(self, n: int, device: torch.device) -> list[Tensor]:
        """Keys and values of each layer, (2, T, n, heads, width / heads), and room to work in.

        Time comes first, so that a position is written, and those up to it are read, in one piece.
        """
        c, weight = self.transformer.config, self.transformer.wte.weight
        shape = (self.length, n, c.n_head, c.n_embd // c.n_head)
        layers = [weight.new_empty(2, *shape, device=device) for _ in range(c.n_layer)]
        return [*layers, weight.new_empty(shape, device=device)]

    def next_hidden(self, token: Tensor, t: int, state: list[Tensor]) -> Tensor:
        net = self.transformer
        n, heads = len(token), net.config.n_head
        width = net.config.n_embd // heads
        *layers, room = state
        products = room[: t + 1]
        h = net.wte.weight[token] + net.wpe.weight[t]
        for block, (keys, values) in zip(net.h, layers, strict=True):
            attention, mlp = block.attn, block.mlp
            new = attention.c_attn(block.ln_1(h)).view(n, 3, heads, width)
            query, keys[t], values[t] = new.unbind(1)
            # One query for each of many short sequences: these products wait for memory, and small
            # matrix products are no faster. `out` spares a fresh piece of memory in every layer.
            scores = torch.mul(keys[: t + 1], query * width**-0.5, out=products).sum(-1)
            weights = scores.softmax(0).unsqueeze(-1)
            context = torch.mul(values[: t + 1], weights, out=products).sum(0).view(n, -1)
            h += attention.c_proj(context)
            h += mlp.c_proj(mlp.act(mlp.c_fc(block.ln_2(h))))
        output: Tensor = net.ln_f(h)
        return output

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
        layers = self._products(self.length, self.length)
        # The embeddings in front are trained, so the first layer's input needs its gradient.
        return sum(layers) + backward_flops(layers, input_gradient=True)

    def sample_flops(self) -> int:
        return sum(sum(self._products(1, t + 1)) for t in range(self.length))
