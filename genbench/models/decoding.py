"""How the next token is taken from its logits: what `choose` may be in `Autoregressive.sample`.

Ancestral sampling (`autoregressive.draw`) is the only one that draws from the model. The others
trade its variety for likelier sequences, so samples that are compared should all be taken the same
way.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genbench.errors import UserError
from genbench.models.autoregressive import draw

Choose = Callable[[Tensor, torch.Generator], Tensor]
"""Tokens (n,) int64 of logits (n, vocabulary), with the generator to draw them by."""


def greedy(logits: Tensor, generator: torch.Generator) -> Tensor:
    """The likeliest token (n,) int64 of logits (n, vocabulary), the first of several."""
    return logits.argmax(-1)


def truncated(*, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Choose:
    """Draw from the softmax of logits / temperature, cut to its top_k likeliest tokens (Fan et al.
    2018) and what is left, renormalised, to its nucleus: the smallest set of likeliest tokens with
    a mass of at least top_p (Holtzman et al. 2020, eq. 2). Tokens as likely as the last of the
    top_k stay. The defaults are ancestral sampling.

    Raises UserError unless temperature > 0, top_k >= 1 and 0 < top_p <= 1.
    """
    if not (temperature > 0 and (top_k is None or top_k >= 1) and 0 < top_p <= 1):
        raise UserError(
            f"sampling: need temperature > 0, top_k >= 1 and 0 < top_p <= 1, got {temperature=}, "
            f"{top_k=}, {top_p=}"
        )
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    warpers = [TemperatureLogitsWarper(float(temperature))]
    if top_k is not None:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(float(top_p)))

    def choose(logits: Tensor, generator: torch.Generator) -> Tensor:
        for warp in warpers:
            logits = warp(None, logits)
        return draw(logits, generator)

    return choose


def after(prompt: Tensor, choose: Choose = draw) -> Choose:
    """Take the prompt's tokens (n, P) int64 one after the other, then go on by `choose`.

    It counts the tokens that it gave, so it is good for one call of `sample`.
    """
    given = iter(prompt.unbind(1))

    def prompted(logits: Tensor, generator: torch.Generator) -> Tensor:
        token = next(given, None)
        return choose(logits, generator) if token is None else token

    return prompted
