"""FLOPs by formula against torch's counter, and the meters of time and memory.

The counter sees what it is shown: attention is run in its eager form here, since it counts nothing
for the scaled-dot-product kernel of the CPU. It cannot count batch normalisation, softmax or the
moving averages of a codebook, and neither do the formulas, by declaration; a codebook's distances
and the sums of its assignments are matrix products in our code and are counted by both.
"""

from __future__ import annotations

import math
import time

import pytest
import torch
from conftest import TRAINED
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from genbench.cost import Meter, Usage, backward_flops, forward_flops, matmul_peak
from genbench.data import DATASETS

SHAPES = [
    ("mlp-gan", "digits"), ("mlp-gan", "mnist"),
    ("dcgan", "digits"), ("dcgan", "mnist"),
    ("lsgan", "digits"), ("lsgan", "mnist"),
    ("wgan-gp", "digits"), ("wgan-gp", "mnist"),
    ("sngan", "digits"), ("sngan", "mnist"),
    ("cgan", "digits"), ("cgan", "mnist"),
    ("vae", "digits"), ("vae", "mnist"),
    ("mlp-vae", "digits"), ("mlp-vae", "mnist"),
    ("beta-vae", "digits"), ("beta-vae", "mnist"),
    ("cvae", "digits"), ("cvae", "mnist"),
    ("vqvae", "digits"), ("vqvae", "mnist"),
    ("vae-gan", "digits"), ("vae-gan", "mnist"),
    ("diffusion", "digits"), ("diffusion", "mnist"),
    ("vqvae-gpt", "digits"), ("vqvae-gpt", "mnist"),
    ("class-vqvae-gpt", "digits"), ("class-vqvae-gpt", "mnist"),
    ("pixel-gpt", "digits"),
]  # fmt: skip


def eager(model):
    if hasattr(model, "gpt"):
        model.gpt.transformer.set_attn_implementation("eager")
    return model


def real_batch(data, n):
    info = DATASETS[data]
    shape = (n, *info.shape)
    return torch.randint(info.levels, shape, generator=torch.Generator().manual_seed(0)).byte()


def counted(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def step_counts(model, data, size):
    """Of each stage: (by the counter, by formula), for a step on batches of `size` images."""
    n = size * max(stage.batches for stage in model.stages)
    images, generator = real_batch(data, n), torch.Generator().manual_seed(0)
    labels = torch.zeros(n, dtype=torch.int64)
    model.train()
    for stage in model.stages:
        batch = stage.prepare(images, labels, generator)
        yield (
            counted(lambda s=stage, b=batch: s.step(b, torch.zeros(len(b)).long(), generator)),
            stage.step_flops(size),
        )


@pytest.mark.parametrize(("name", "data"), SHAPES)
def test_a_steps_formula_is_what_the_counter_counts(make_model, name, data):
    for by_counter, by_formula in step_counts(eager(make_model(name, data)), data, 3):
        assert by_formula == by_counter > 0


@pytest.mark.parametrize("downsampling", [2, 4])
def test_both_grids_of_the_vqvae_are_counted(make_model, downsampling):
    model = eager(make_model("vqvae-gpt", downsampling=downsampling))
    for by_counter, by_formula in step_counts(model, "digits", 2):
        assert by_formula == by_counter


def test_the_second_stage_pays_for_coding_the_images(make_model):
    model = make_model("vqvae-gpt")
    images, labels = real_batch("digits", 7), torch.zeros(7, dtype=torch.int64)
    second = model.stages[1]
    assert second.prepare_flops(7) == counted(lambda: second.prepare(images, labels, None))


@pytest.mark.parametrize("name", ["pixel-gpt", "vqvae-gpt"])
def test_the_formula_counts_attention_where_the_counter_is_blind(make_model, name):
    """By default the CPU's fused attention runs, and the counter sees none of it."""
    *_, (by_counter, by_formula) = step_counts(make_model(name), "digits", 2)
    gpt = make_model(name).gpt
    attention = 2 * 2 * gpt.length**2 * gpt.transformer.config.n_embd
    assert by_counter in (by_formula, by_formula - 2 * 3 * attention)


@pytest.mark.parametrize(("name", "data"), SHAPES)
def test_samplings_formula_is_what_the_counter_counts(make_model, name, data):
    model = eager(make_model(name, data))
    n = 3
    with torch.no_grad():
        by_counter = counted(lambda: model.sample(n, torch.Generator().manual_seed(0)))
    if hasattr(model, "gpt"):
        # Its attention to one position at a time is element-wise, which no counter sees.
        config, length = model.gpt.transformer.config, model.gpt.length
        by_counter += n * 2 * 2 * config.n_layer * config.n_embd * length * (length + 1) // 2
    assert n * model.sample_flops() == by_counter


def test_controls_cost_nothing(make_model):
    for name in ("train-split", "noise"):
        model = make_model(name)
        assert model.sample_flops() == 0
        assert model.stages[0].step_flops(64) == 0


@pytest.mark.parametrize("name", TRAINED)
def test_counts_do_not_depend_on_attention_dropout_or_mode_and_are_linear(make_model, name):
    model = make_model(name)
    counts = [stage.step_flops(1) for stage in model.stages]
    assert [stage.step_flops(64) for stage in model.stages] == [64 * c for c in counts]
    assert [stage.step_flops(1) for stage in eager(model).train().stages] == counts
    if hasattr(model, "gpt"):
        with_dropout = make_model(name, dropout=0.5)
        assert [stage.step_flops(1) for stage in with_dropout.stages] == counts
        assert with_dropout.sample_flops() == model.sample_flops()


@pytest.mark.parametrize("name", TRAINED)
def test_counting_changes_no_state_and_no_generator(make_model, name):
    model = make_model(name).train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    generator = torch.get_rng_state()
    for stage in model.stages:
        stage.step_flops(8)
        stage.prepare_flops(8)
    model.sample_flops()
    assert torch.equal(torch.get_rng_state(), generator)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_layers_are_counted_in_the_order_of_execution():
    network = nn.Sequential(nn.Linear(3, 5), nn.Conv2d(2, 4, (1, 3), groups=2))
    network[1], network[0] = nn.Linear(4, 6), nn.Linear(2, 4)
    assert forward_flops(network, torch.zeros(7, 2)) == [2 * 7 * 2 * 4, 2 * 7 * 4 * 6]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(5, 7),
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.Conv2d(4, 6, (1, 3), groups=2, bias=False),
        nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1),
        nn.ConvTranspose2d(4, 6, 3, groups=2),
    ],
)
def test_a_layers_formula(layer):
    x = torch.zeros(3, 5) if isinstance(layer, nn.Linear) else torch.zeros(3, 4, 9, 9)
    x.requires_grad_(True)
    (forward,) = forward_flops(layer, x)
    assert forward == counted(lambda: layer(x))
    if getattr(layer, "groups", 1) == 1:  # the counter takes a grouped weight gradient for dense
        both = counted(lambda: layer(x).sum().backward())
        assert forward + backward_flops([forward], input_gradient=True) == both


def test_backward_of_the_first_layer_and_of_frozen_weights():
    layers = [10, 20, 30]
    assert backward_flops(layers) == 60 + 50
    assert backward_flops(layers, input_gradient=True) == 60 + 60
    assert backward_flops(layers, weight_gradients=False) == 50
    assert backward_flops(layers, weight_gradients=False, input_gradient=True) == 60
    assert backward_flops([]) == 0


def test_a_module_that_states_its_own_products_hides_its_children():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x):
            return self.inner(x)

        def forward_flops(self, x, y):
            return 42

    assert forward_flops(nn.Sequential(Own(), nn.Linear(3, 1)), torch.zeros(2, 3)) == [42, 12]


def test_a_failing_network_is_left_as_it_was():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 6)).train()
    with pytest.raises(RuntimeError):
        forward_flops(network, torch.zeros(1, 3))
    assert network.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@pytest.mark.cuda
@pytest.mark.parametrize("name", TRAINED)
def test_counts_are_the_same_on_cuda(make_model, name):
    model = make_model(name)
    counts = [stage.step_flops(4) for stage in model.stages]
    assert [stage.step_flops(4) for stage in model.cuda().stages] == counts


# Meters


def test_matmul_peak_is_a_plausible_rate():
    rate = matmul_peak("cpu", 1, size=256, seconds=0.02)
    assert 1e8 < rate < 1e14
    a = torch.randn(256, 256)
    start = time.perf_counter()
    for _ in range(20):
        a @ a
    mean = 20 * 2 * 256**3 / (time.perf_counter() - start)
    # It is the best that was seen, so hardly below the mean of a later try.
    assert rate > 0.3 * mean


def test_usage_adds_up_and_keeps_the_highest_peak():
    total = Usage(1, 2, 3, 100) + Usage(10, 20, 30, 50)
    assert total == Usage(11, 22, 33, 100)
    assert Usage() + total == total
    assert Usage().other_cpu == 0


def test_a_meter_measures_its_own_work(monkeypatch):
    with Meter("cpu", interval=0.005) as meter:
        end = time.process_time() + 0.2
        block = bytearray(60_000_000)
        while time.process_time() < end:
            math.factorial(500)
        used = meter.usage()
        del block
        later = meter.usage()
    assert used.seconds >= 0.19
    assert 0.15 <= used.cpu_seconds <= later.cpu_seconds
    assert used.seconds <= later.seconds
    assert used.peak_memory > 60_000_000
    assert later.peak_memory >= used.peak_memory
    assert 0 <= used.other_cpu <= 1.05
    assert meter._watcher is not None
    assert not meter._watcher.is_alive()
