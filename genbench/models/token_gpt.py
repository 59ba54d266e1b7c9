"""A GPT-2 over tokens, trained from scratch: characters of text or notes of music.

Radford et al. 2019, see `gpt`; the order of the tokens and the likelihood are in `token_sequence`,
the parameters are the pixel GPT's. Beside the plain position embedding music needs nothing: voices
take turns, so a position tells its voice and its step in the window, and the embedding can learn
both.
"""

from __future__ import annotations

import math

from genbench.data import DatasetInfo
from genbench.models.gpt import GPT
from genbench.models.pixel_gpt import Params
from genbench.models.token_sequence import TokenSequence


class TokenGPT(TokenSequence):
    """The network is a GPT."""

    def __init__(self, params: Params, data: DatasetInfo):
        network = GPT(
            vocabulary=data.levels,
            length=math.prod(data.shape),
            width=params.width,
            layers=params.layers,
            heads=params.heads,
            dropout=params.dropout,
        )
        super().__init__(data, network, params.learning_rate)

    @property
    def gpt(self) -> GPT:
        assert isinstance(self.network, GPT)
        return self.network
