"""An LSTM over sequences of fixed length, with the Transformer's interface (see `autoregressive`).

Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000, as a generator of
sequences (Graves 2013, section 2): layers on top of each other read the tokens in order, and the
last one's state gives the logits of the next token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genbench.cost import backward_flops
from genbench.models.autoregressive import Autoregressive


class LSTM(Autoregressive):
    """Token embedding, `layers` of an LSTM of the same width, and an output layer."""

    def __init__(self, *, vocabulary: int, length: int, width: int, layers: int, classes: int = 0):
        super().__init__(vocabulary, length, classes)
        self.embedding = nn.Embedding(self.embeddings, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.output = nn.Linear(width, vocabulary)

    def hidden(self, inputs: Tensor) -> Tensor:
        states: Tensor = self.lstm(self.embedding(inputs))[0]
        return states

    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.output(hidden)
        return logits

    def new_state(self, n: int, device: torch.device) -> list[Tensor]:
        """Each layer's h and c, (layers, n, width)."""
        shape = (self.lstm.num_layers, n, self.lstm.hidden_size)
        return [self.output.weight.new_zeros(shape, device=device) for _ in range(2)]

    def next_hidden(self, token: Tensor, t: int, state: list[Tensor]) -> Tensor:
        h, c = state
        output, state[:] = self.lstm(self.embedding(token).unsqueeze(1), (h, c))
        last: Tensor = output.squeeze(1)
        return last

    def _products(self) -> tuple[list[int], list[int]]:
        """FLOPs of one position, of each layer's product with its input and the logits' (first)
        and of each layer's product with its own state (second): four gates in one product."""
        d, layers = self.lstm.hidden_size, self.lstm.num_layers
        gates = [2 * d * 4 * d] * layers
        return [*gates, 2 * d * self.vocabulary], gates

    def train_flops(self) -> int:
        inputs, states = self._products()
        each = [*inputs, *states]
        # The embedding in front is trained, so the first layer's input needs its gradient. The
        # state before the first position, zeros, needs none.
        backward = backward_flops(each, input_gradient=True)
        return self.length * (sum(each) + backward) - sum(states)

    def sample_flops(self) -> int:
        return self.length * sum(map(sum, self._products()))
