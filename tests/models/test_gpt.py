"""The Transformer against the library it comes from; what it shares with the LSTM is tested in
test_autoregressive.py."""

from __future__ import annotations

import pytest
import torch

from genbench.models.gpt import GPT


def gpt(dropout=0.0, **sizes):
    torch.manual_seed(1)
    sizes = {"vocabulary": 17, "length": 24, "width": 32, "layers": 3, "heads": 4} | sizes
    network = GPT(**sizes, dropout=dropout)
    with torch.no_grad():  # far from uniform, so that mistakes show
        for p in network.parameters():
            p.add_(0.2 * torch.randn(p.shape))
    return network.eval()


def library(network, activation):
    """transformers' language model with the same weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = network.transformer.config.to_dict() | {"activation_function": activation}
    model = GPT2LMHeadModel(GPT2Config(**config)).eval()
    model.transformer.load_state_dict(network.transformer.state_dict())
    return model


@torch.no_grad()
@pytest.mark.parametrize("activation", ["gelu_new", "gelu_pytorch_tanh"])
def test_greedy_tokens_are_those_of_the_librarys_generate(activation):
    network, n = gpt(), 40
    start = torch.full((n, 1), 17)
    expected = library(network, activation).generate(
        start, attention_mask=torch.ones_like(start), max_new_tokens=24, do_sample=False,
        use_cache=True, suppress_tokens=[17], pad_token_id=17,
    )[:, 1:]  # fmt: skip
    found = network.sample(n, torch.Generator(), choose=lambda logits, _: logits.argmax(-1))
    assert torch.equal(found, expected)
    assert len(expected.unique()) > 4


@torch.no_grad()
def test_logits_are_the_librarys_without_the_start_token():
    network = gpt()
    tokens = torch.randint(17, (5, 24), generator=torch.Generator().manual_seed(0))
    start = torch.full((5, 1), 17)
    inputs = torch.cat([start, tokens[:, :-1]], 1)
    expected = library(network, "gelu_new")(inputs).logits[..., :17]
    torch.testing.assert_close(network(tokens), expected, rtol=1e-4, atol=1e-4)


def test_dropout_is_for_training_only():
    network = gpt(dropout=0.5)
    tokens = torch.zeros(2, 24, dtype=torch.int64)
    assert torch.equal(network(tokens), network(tokens))
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    before = network.sample(6, generators[0])
    network.train()
    assert not torch.equal(network(tokens), network(tokens))
    assert torch.equal(network.sample(6, generators[1]), before)
