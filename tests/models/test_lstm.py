"""The LSTM against its equations, and its FLOPs against a count of their matrix products."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from genbench.models.lstm import LSTM


def lstm(width=12, layers=2):
    torch.manual_seed(0)
    return LSTM(vocabulary=7, length=9, width=width, layers=layers)


def cell_by_cell(network, inputs):
    """The logits (B, T, 7) by Gers et al.'s equations, one position and one layer after another."""
    net, x = network.lstm, network.embedding(inputs)
    for layer in range(net.num_layers):
        w, u, b, d = (getattr(net, f"{name}_l{layer}") for name in
                      ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))  # fmt: skip
        h = c = torch.zeros(len(x), net.hidden_size)
        outputs = []
        for t in range(x.shape[1]):
            i, f, g, o = (x[:, t] @ w.T + h @ u.T + b + d).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        x = torch.stack(outputs, 1)
    return x @ network.output.weight.T + network.output.bias


@pytest.mark.parametrize("layers", [1, 2])
def test_logits_are_those_of_the_equations(layers):
    network = lstm(layers=layers)
    inputs = torch.randint(8, (5, 9), generator=torch.Generator().manual_seed(0))
    found = network.logits(network.hidden(inputs))
    torch.testing.assert_close(found, cell_by_cell(network, inputs))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("width", [4, 12])
def test_the_formulas_are_what_a_counter_counts_of_the_equations(width, layers):
    network, n = lstm(width, layers), 3
    inputs = torch.randint(8, (n, 9), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        logits = cell_by_cell(network, inputs)
    assert counter.get_total_flops() == n * network.sample_flops()
    with FlopCounterMode(display=False) as counter:
        cell_by_cell(network, inputs).square().sum().backward()
    assert counter.get_total_flops() == n * network.train_flops()
    assert logits.shape == (n, 9, 7)
