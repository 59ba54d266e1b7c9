"""An LSTM over tokens: `token_gpt` with another network and nothing else, so that the two show what
attention adds.

Hochreiter and Schmidhuber 1997; Graves 2013; see `lstm`. It is told no position: which voice comes
next in music it has to count, from the start token on.
"""

from __future__ import annotations

import math

from pydantic import Field

from genbench.data import DatasetInfo
from genbench.models.lstm import LSTM
from genbench.models.token_sequence import TokenSequence
from genbench.suite import Spec


class Params(Spec):
    """The LSTM's width and layers, and AdamW's step size."""

    width: int = Field(256, gt=0)
    layers: int = Field(2, gt=0)
    learning_rate: float = Field(2e-3, gt=0)


class TokenLSTM(TokenSequence):
    """The network is an LSTM."""

    def __init__(self, params: Params, data: DatasetInfo):
        network = LSTM(
            vocabulary=data.levels,
            length=math.prod(data.shape),
            width=params.width,
            layers=params.layers,
        )
        super().__init__(data, network, params.learning_rate)
