"""Rows of tokens by a Transformer and by an LSTM: what they share, for text and for music."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from pydantic import ValidationError
from token_rows import BOTH, MUSIC, TEXT, generator, info, rows
from torch.utils.flop_counter import FlopCounterMode

from genbench.errors import UserError
from genbench.models import token_gpt, token_lstm
from genbench.models.decoding import greedy
from genbench.models.interface import HasLikelihood
from genbench.models.token_gpt import TokenGPT
from genbench.models.token_lstm import TokenLSTM

LABELS = torch.zeros(16, dtype=torch.int64)


def build(kind, data, **params):
    torch.manual_seed(0)
    if kind == "gpt":
        sizes = {"width": 8, "layers": 1, "heads": 2} | params
        return TokenGPT(token_gpt.Params(**sizes), data).eval()
    return TokenLSTM(token_lstm.Params(**{"width": 8, "layers": 1} | params), data).eval()


@pytest.fixture(params=["gpt", "lstm"])
def kind(request):
    return request.param


@pytest.fixture(params=BOTH)
def data(request):
    return BOTH[request.param]


@torch.no_grad()
@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_the_probabilities_of_all_rows_sum_to_one(kind, shape):
    model = build(kind, info(shape, levels=3))
    for p in model.parameters():
        p.add_(0.3 * torch.randn(p.shape))
    every = torch.tensor(list(itertools.product(range(3), repeat=4))).byte().view(81, *shape)
    bits = model.bits_per_dim(every, generator())
    assert bits.shape == (81,)
    assert (2 ** (-4 * bits.double())).sum().item() == pytest.approx(1, abs=1e-5)
    assert bits.max() > bits.min() + 0.1


@torch.no_grad()
def test_a_row_is_read_in_its_order_step_by_step_and_voice_by_voice(kind):
    """A note changes no conditional of the notes above it in its step, nor of steps before."""
    model = build(kind, MUSIC)
    batch = rows(MUSIC, 1)
    other = batch.clone()
    other[0, 3, 2] = (other[0, 3, 2] + 1) % 5  # the tenor in the fourth step
    tokens = [x.flatten(1).long() for x in (batch, other)]
    difference = (model.network(tokens[0]) - model.network(tokens[1])).abs().amax(2)[0]
    assert difference[: 3 * 4 + 3].max() < 1e-6
    assert difference[3 * 4 + 3] > 1e-6  # the bass hears it


@torch.no_grad()
def test_bits_are_the_networks_nats_over_the_tokens(kind, data):
    model, batch = build(kind, data), rows(data, 6)
    assert isinstance(model, HasLikelihood)
    assert model.likelihood == "bpd"
    log_p = model.network(batch.flatten(1).long()).log_softmax(2)
    nats = -log_p.gather(2, batch.flatten(1).long().unsqueeze(2)).sum((1, 2))
    length = math.prod(data.shape)
    found = model.bits_per_dim(batch, generator(1))
    torch.testing.assert_close(found, nats / math.log(2) / length)
    assert found.mean().item() == pytest.approx(math.log2(5), rel=0.1)


@torch.inference_mode()
def test_samples_are_rows_and_a_function_of_the_generator(kind, data):
    model = build(kind, data)
    samples = model.sample(50, generator(3))
    assert samples.shape == (50, *data.shape)
    assert samples.dtype == torch.uint8
    assert samples.unique().tolist() == [0, 1, 2, 3, 4]
    torch.rand(5)
    assert torch.equal(model.sample(50, generator(3)), samples)
    assert not torch.equal(model.sample(50, generator(4)), samples)
    assert torch.equal(samples.flatten(1).long(), model.network.sample(50, generator(3)))


@torch.inference_mode()
def test_completed_rows_begin_with_their_prompts(kind):
    for data, places in ((TEXT, 5), (MUSIC, 2)):
        model, whole = build(kind, data), rows(data, 8)
        completed = model.complete(whole[:, :places], generator())
        assert completed.shape == whole.shape
        assert torch.equal(completed[:, :places], whole[:, :places])
        assert not torch.equal(completed, whole)
        assert torch.equal(model.complete(whole, generator()), whole)
        assert torch.equal(model.complete(whole[:, :0], generator()), model.sample(8, generator()))
        likeliest = model.complete(whole[:, :places], generator(), greedy)
        assert torch.equal(likeliest, model.complete(whole[:, :places], generator(9), greedy))


def test_prompts_that_cannot_be_continued_are_refused(kind):
    model = build(kind, TEXT)
    with pytest.raises(UserError, match="prompt: 13 tokens, but a row has 12"):
        model.complete(torch.zeros(1, 13).byte(), generator())
    for token in (5, -1):
        with pytest.raises(UserError, match=r"prompt: its tokens must be within 0\.\.4"):
            model.complete(torch.full((1, 2), token), generator())


def test_rows_that_repeat_a_pattern_are_soon_predicted(kind, data):
    """Down to a tenth of the alphabet's bits, and what is drawn is the pattern."""
    model = build(kind, data, width=16, learning_rate=0.02).train()
    pattern = torch.arange(math.prod(data.shape)) % 5
    batch = model.stages[0].prepare(pattern.expand(16, -1).byte(), LABELS, generator())
    losses = [model.stages[0].step(batch, LABELS, generator())["loss"].item() for _ in range(60)]
    assert losses[0] / len(pattern) == pytest.approx(math.log(5), rel=0.15)
    assert losses[-1] < 0.1 * losses[0]
    found = model.eval().sample(4, generator(), greedy)
    assert torch.equal(found.flatten(1).long(), pattern.expand(4, -1))


def test_gradients_reach_every_parameter(kind, data):
    model = build(kind, data).train()
    stage = model.stages[0]
    values = stage.step(stage.prepare(rows(data, 16), LABELS, generator()), LABELS, generator())
    assert set(values) == {"loss", "gradient_norm"}
    assert all(p.grad.abs().max() > 0 for p in model.parameters())
    trained = {id(p) for group in stage.optimisers["network"].param_groups for p in group["params"]}
    assert trained == {id(p) for p in model.parameters()}


def test_dropout_is_for_training_only():
    model, batch = build("gpt", TEXT, dropout=0.5), rows(TEXT, 4)
    bits = [model.bits_per_dim(batch, generator()) for _ in range(2)]
    assert torch.equal(*bits)
    samples = model.sample(9, generator())
    model.train()
    assert not torch.equal(model.bits_per_dim(batch, generator()), bits[0])
    assert torch.equal(model.sample(9, generator()), samples)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # by switching oneDNN off
def test_a_steps_formula_is_what_the_counter_counts(kind, data):
    """Attention in its eager form and the LSTM as separate products: what the CPU's fused kernels
    do the counter does not see."""
    model = build(kind, data).train()
    if kind == "gpt":
        model.gpt.transformer.set_attn_implementation("eager")
    stage = model.stages[0]
    batch = stage.prepare(rows(data, 3), LABELS, generator())
    with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
        stage.step(batch, LABELS, generator())
    assert stage.step_flops(3) == counter.get_total_flops() > 0
    assert stage.step_flops(64) == 64 * stage.step_flops(1)
    assert model.sample_flops() == model.network.sample_flops()


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValidationError, match="width 10 is not a multiple of heads 4"):
        token_gpt.Params(width=10)
