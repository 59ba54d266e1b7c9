"""Controls of rows of tokens: real training rows whose units come in another order.

What is local stays as it was, every word and every bar among it, and what makes a text or a piece
of them goes. A metric that sees only the local has nothing to say against them.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn.functional import pad

from genbench.data import DatasetInfo
from genbench.data.music import BAR
from genbench.errors import UserError
from genbench.models.controls import KeptImages, Params


def shuffle_words(rows: Tensor, separators: Collection[int], generator: torch.Generator) -> Tensor:
    """Rows (N, T) uint8 with each row's words in an order drawn at random, and what separates them
    where it was among them: the first run of separators stays the first, and so on.

    separators: the tokens that are in no word: spaces and line breaks. Words are the longest runs
    of others, punctuation included. A word that a row's end cuts off moves like the others.
    """
    n, length = rows.shape
    apart = torch.isin(rows, torch.tensor(sorted(separators), device=rows.device).to(rows.dtype))
    changes = apart[:, 1:] != apart[:, :-1]
    # Runs of words and separators take turns: words are the even or the odd ones of a row.
    run = pad(changes.cumsum(1), (1, 0))
    first = apart[:, :1].long()
    word = (run - first) // 2
    words = torch.where(apart, -1, word).amax(1, keepdim=True) + 1

    slots = torch.arange((length + 1) // 2, device=rows.device)
    u = torch.rand(n, len(slots), generator=generator, device=rows.device)
    place = u.masked_fill(slots >= words, 2.0).argsort(1).argsort(1)
    moved = 2 * place.gather(1, word.clamp(min=0)) + first
    order = torch.where(apart, run, moved).argsort(stable=True, dim=1)
    return rows.gather(1, order)


def shuffle_bars(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Rows (N, T, ...) with each row's bars of 16 steps in an order drawn at random. Steps beyond
    the last whole bar stay at the end. A bar is the `BAR` of `data.music`."""
    n, length = rows.shape[:2]
    bars = length // BAR
    u = torch.rand(n, bars, generator=generator, device=rows.device)
    steps = torch.arange(BAR, device=rows.device)
    order = (u.argsort(1)[:, :, None] * BAR + steps).flatten(1)
    owner = torch.arange(n, device=rows.device)[:, None]
    return torch.cat([rows[owner, order], rows[:, bars * BAR :]], dim=1)


class ShuffledBars(KeptImages):
    """Distinct training rows of music, each with its bars shuffled."""

    def __init__(self, params: Params, data: DatasetInfo):
        """Raises UserError where rows have fewer than two bars, and so nothing to shuffle."""
        if data.shape[0] < 2 * BAR:
            raise UserError(
                f"shuffled-bars: rows of {data.name} have {data.shape[0]} steps, and two bars of "
                f"{BAR} are needed; choose another data set"
            )
        super().__init__(params, data)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return shuffle_bars(super().sample(n, generator), generator)


class ShuffledWords(KeptImages):
    """Distinct training rows of text, each with its words shuffled."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return shuffle_words(super().sample(n, generator), self.data.separators, generator)
