"""Training practice that can be switched on: each does what its field says, and nothing else."""

from __future__ import annotations

import math
import re
import time

import pytest
import torch
from conftest import TRAINED, tiny_cell
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from genbench import training
from genbench.engines.local import validation_distance
from genbench.errors import UserError
from genbench.models.vae import ELBO
from genbench.sampling import draw
from genbench.scoring import Judge, quick_scores
from genbench.suite import EvaluationSpec, TrainSpec
from genbench.trackers import TRACKERS
from genbench.training import (
    Watch,
    augment,
    average,
    check_dtype,
    check_steps,
    compile_networks,
    has_bfloat16,
    new_model,
    plan_stages,
    practise,
    seeded,
    step_size_factor,
    train,
)


class OneWeight:
    """A stage of one weight, for what its optimiser does with a gradient."""

    def __init__(self, weight: float = 1.0):
        self.network = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.network.weight, weight)
        self.optimisers = {"o": torch.optim.SGD(self.network.parameters(), lr=0.5)}

    def step(self, gradient: float) -> float:
        (optimiser,) = self.optimisers.values()
        self.network.weight.grad = torch.tensor([[gradient]])
        optimiser.step()
        return float(self.network.weight.detach())


# Step sizes


def test_step_sizes_follow_the_schedule_and_the_warm_up():
    factors = {
        name: [step_size_factor(TrainSpec(schedule=name), step, 8) for step in (0, 4, 6)]
        for name in ("constant", "linear", "cosine")
    }
    assert factors["constant"] == [1, 1, 1]
    assert factors["linear"] == [1, 0.5, 0.25]
    assert factors["cosine"] == pytest.approx([1, 0.5, (1 - math.sqrt(0.5)) / 2])
    rising = [step_size_factor(TrainSpec(warmup=0.5), step, 8) for step in range(6)]
    assert rising == [0.25, 0.5, 0.75, 1, 1, 1]


@given(
    st.sampled_from(["constant", "linear", "cosine"]),
    st.floats(0, 0.99),
    st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))),
)
def test_no_step_has_a_size_of_zero_or_more_than_the_whole(schedule, warmup, where):
    assert 0 < step_size_factor(TrainSpec(schedule=schedule, warmup=warmup), *where) <= 1


@pytest.mark.parametrize("name", ["vae", "vqvae-gpt"])
def test_the_loop_sets_the_step_sizes_of_every_stage(make_directory, digits, monkeypatch, name):
    cell = tiny_cell(name, train={"schedule": "linear"})
    seen: dict[str, list[float]] = {}
    model = new_model(cell, "cpu")
    for stage in model.stages:
        monkeypatch.setattr(type(stage), "step", watched(type(stage).step, seen))
    train(cell, digits, make_directory(cell), "cpu")
    for plan, stage in zip(plan_stages(cell, model), model.stages, strict=True):
        (optimiser,) = stage.optimisers.values()
        start = optimiser.param_groups[0]["lr"]
        expected = [start * (1 - step / plan.steps) for step in range(plan.steps)]
        assert seen[stage.name] == pytest.approx(expected)


def watched(step, seen):
    def inner(self, batch, labels, generator):
        (optimiser,) = self.optimisers.values()
        seen.setdefault(self.name, []).append(optimiser.param_groups[0]["lr"])
        return step(self, batch, labels, generator)

    return inner


# Gradients and weights


def test_a_gradient_is_cut_to_the_largest_norm_and_a_small_one_left():
    stage = OneWeight()
    practise(stage, TrainSpec(clip_norm=0.1))
    assert stage.step(5.0) == pytest.approx(1 - 0.5 * 0.1)
    assert stage.step(0.01) == pytest.approx(0.95 - 0.5 * 0.01)
    free = OneWeight()
    practise(free, TrainSpec())
    assert free.step(5.0) == pytest.approx(1 - 0.5 * 5)


@pytest.mark.parametrize("name", TRAINED)
def test_weight_decay_is_decoupled_and_of_every_optimiser(make_model, name):
    for stage in make_model(name).stages:
        practise(stage, TrainSpec(weight_decay=0.1))
        for optimiser in stage.optimisers.values():
            assert isinstance(optimiser, torch.optim.AdamW)
            for group in optimiser.param_groups:
                for weight in group["params"]:
                    weight.grad = torch.zeros_like(weight)
            before = [w.detach().clone() for g in optimiser.param_groups for w in g["params"]]
            optimiser.step()
            after = [w.detach() for g in optimiser.param_groups for w in g["params"]]
            shrunk = 1 - 0.1 * optimiser.param_groups[0]["lr"]
            for a, b in zip(after, before, strict=True):
                torch.testing.assert_close(a, b * shrunk)


def test_without_a_half_life_the_average_is_the_weights_themselves():
    network = nn.Linear(3, 2)
    averaged = average(network, TrainSpec(ema_half_life=0), 100)
    for _ in range(3):
        with torch.no_grad():
            network.weight.add_(torch.randn(2, 3))
        averaged.update_parameters(network)
        assert torch.equal(averaged.module.weight, network.weight)


# Augmentation


def test_mirrored_images_are_mirrored_half_of_the_time():
    images = torch.randint(256, (400, 3, 4, 6), generator=generator()).byte()
    found = augment(images, "mirror", generator())
    same = (found == images).flatten(1).all(1)
    mirrored = (found == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 160 < same.sum() < 240  # four deviations


def test_shifted_images_are_moved_by_each_of_the_25_steps():
    images = torch.randint(1, 256, (500, 2, 9, 7), generator=generator()).byte()
    found = augment(images, "shift", generator())
    wide = nn.functional.pad(images, (2, 2, 2, 2))
    hits = torch.stack(
        [
            (found == wide[:, :, down : down + 9, right : right + 7]).flatten(1).all(1)
            for down in range(5)
            for right in range(5)
        ]
    )
    assert (hits.sum(0) == 1).all()
    assert (hits.sum(1) > 4).all()  # 20 expected
    assert found.dtype == torch.uint8


def test_augmentation_changes_images_in_training_and_not_codes(make_directory, digits, monkeypatch):
    calls = []
    monkeypatch.setattr(training, "augment", lambda x, *_: (calls.append(x.shape), x)[1])
    cell = tiny_cell("vqvae-gpt", train={"augmentation": "shift"})
    steps = [plan.steps for plan in plan_stages(cell, new_model(cell, "cpu"))]
    train(cell, digits, make_directory(cell), "cpu")
    assert calls == [(16, 1, 8, 8)] * steps[0]


# Early stopping


def stopped(cell, digits, directory, values):
    """A run whose criterion takes these values in turn, and how many were asked for."""
    asked = iter(values)
    taken = []
    result = train(
        cell,
        digits,
        directory,
        "cpu",
        Watch(criterion=lambda model: (taken.append(model), next(asked))[1]),
    )
    return result, taken


def test_a_run_stops_when_the_criterion_no_longer_falls_and_keeps_the_best(make_directory, digits):
    cell = tiny_cell(train={"early_stopping": 2, "checks": 8}, fractions=(0.25, 0.75, 1.0))
    directory = make_directory(cell)
    result, taken = stopped(cell, digits, directory, [5.0, 3.0, 4.0, 3.5, 1.0])
    assert len(taken) == 4
    plan = plan_stages(cell, new_model(cell, "cpu"))[-1]
    assert result.steps == sorted(check_steps(cell, plan))[3]
    assert result.status == "ok"
    kept = load_file(directory.weights(1.0))
    for key, value in taken[1].state_dict().items():
        assert torch.equal(kept[key], value)
    assert any(not torch.equal(kept[k], v) for k, v in taken[3].state_dict().items())
    assert not directory.best.exists()
    # Fractions after the stop say why they have no samples.
    assert result.snapshots == [0.25, 1.0]
    assert "stopped early: no better for 2 checks" in result.unsampled["0.75"]
    assert [row["criterion"] for row in result.curves if "criterion" in row] == [5, 3, 4, 3.5]


def test_a_run_that_goes_on_falling_goes_on_to_its_end(make_directory, digits):
    cell = tiny_cell(train={"early_stopping": 1, "checks": 5}, fractions=(1.0,))
    result, taken = stopped(cell, digits, make_directory(cell), [5.0, 4.0, 3.0, 2.0, 1.0])
    assert len(taken) == 5
    assert result.steps == plan_stages(cell, new_model(cell, "cpu"))[-1].steps


def test_a_run_that_may_stop_early_is_trained_as_one_that_may_not(make_directory, digits):
    """Checks draw from generators of their own, so that the dropout of training draws the same."""
    plain = tiny_cell("pixel-gpt", dropout=0.3)
    checked = tiny_cell("pixel-gpt", dropout=0.3, train={"early_stopping": 9, "checks": 3})
    weights = []
    for cell, work in ((plain, train), (checked, lambda *args: stopped(*args[:3], [3.0, 2, 1]))):
        directory = make_directory(cell)
        work(cell, digits, directory, *(["cpu"] if work is train else []))
        weights.append(load_file(directory.weights(1.0)))
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key])


def test_the_criterion_is_the_fd_of_the_samples_that_the_weights_draw(digits):
    cell = tiny_cell("vae", n=30, n_intermediate=20, train={"early_stopping": 1})
    judge, model = Judge(digits, cell.evaluation, "cpu"), new_model(cell, "cpu").eval()
    drawn = draw(cell, model, 20, seeded("cpu", cell.seed, "check"))
    expected = {s.metric: s.result for s in quick_scores(judge, drawn, "validation")}["fd"].value
    assert validation_distance(cell, model, judge, "cpu") == pytest.approx(expected, rel=1e-9)


def test_time_that_checks_take_is_not_that_of_training(make_directory, digits):
    cell = tiny_cell(train={"early_stopping": 9, "checks": 3})

    def slow(model):
        time.sleep(0.4)
        return 1.0

    result = train(cell, digits, make_directory(cell), "cpu", Watch(criterion=slow))
    assert result.usage.seconds < 0.4 + result.usage.cpu_seconds
    assert result.curves[-1]["seconds"] <= result.usage.seconds + 1e-3


def test_weights_of_a_run_that_may_stop_are_those_of_their_checks():
    """Whatever decides where it stops is in the key of its weights, and in no other's."""
    for stopping, same in ((0, True), (4, False)):
        cell = tiny_cell(train={"early_stopping": stopping})
        sample = cell.sample.model_copy(update={"n_intermediate": 30})
        spaces = EvaluationSpec(spaces=("efficientnet-lite0",))
        for changed in ({"sample": sample}, {"evaluation": spaces}):
            other = cell.model_copy(update=changed)
            assert (cell.train_key("cpu") == other.train_key("cpu")) is same


# Number formats, compiled code


@pytest.mark.parametrize("name", TRAINED)
def test_loss_curves_in_bfloat16_and_float32_agree(make_directory, digits, name):
    """Within a tenth of the loss's size, or of 1 where it is smaller, over a tiny run."""
    if name == "vqvae-lstm" and not has_bfloat16("cpu"):
        pytest.skip("this CPU has no bfloat16 instructions, without which torch has no such LSTM")
    curves = {}
    for dtype in ("float32", "bfloat16"):
        cell = tiny_cell(name, train={"dtype": dtype})
        result = train(cell, digits, make_directory(cell, dtype), "cpu")
        curves[dtype] = result.curves
        assert result.status == "ok"
    losses = [key for key in curves["float32"][-1] if key.startswith("loss")]
    assert losses
    for a, b in zip(curves["float32"], curves["bfloat16"], strict=True):
        for key in losses:
            if key in a:
                assert b[key] == pytest.approx(a[key], rel=0.1, abs=0.1)
    assert curves["float32"][-1] != curves["bfloat16"][-1]


def test_a_format_without_instructions_is_refused_before_anything_runs(monkeypatch):
    cells = [tiny_cell(train={"dtype": dtype}) for dtype in ("float32", "bfloat16")]
    monkeypatch.setattr("genbench.training.has_bfloat16", lambda device: device == "cuda")
    check_dtype(cells, "cuda")
    check_dtype(cells[:1], "cpu")
    with pytest.raises(UserError, match=f"{re.escape(cells[1].name)}: .* cpu has no instructions"):
        check_dtype(cells, "cpu")


def test_weights_are_of_the_newest_step_within_a_cycle(make_directory, digits, monkeypatch):
    """G's step must see the discriminator that D's step just made, not a copy from before it, as
    autocast would keep."""
    assert torch.is_autocast_cache_enabled()  # the default
    seen = []
    step = ELBO.step

    def spied(self, *args):
        seen.append(torch.is_autocast_cache_enabled())
        return step(self, *args)

    monkeypatch.setattr(ELBO, "step", spied)
    cell = tiny_cell("vae")
    train(cell, digits, make_directory(cell), "cpu")
    assert seen
    assert not any(seen)


def test_what_is_compiled_are_the_outermost_networks(make_model):
    model = make_model("vqvae-gpt")
    compile_networks(model)
    compiled = {name for name, m in model.named_modules() if m._compiled_call_impl is not None}
    assert "vqvae.encoder" in compiled
    assert "vqvae.decoder" in compiled
    assert not any(name.startswith("vqvae.encoder.") for name in compiled)
    assert list(model.state_dict()) == list(make_model("vqvae-gpt").state_dict())


# Trackers


def test_tensorboard_has_every_value_of_the_curves(make_directory, digits, tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    cell = tiny_cell("vqvae-gpt")
    with TRACKERS["tensorboard"](cell, tmp_path / "events") as log:
        result = train(cell, digits, make_directory(cell), "cpu", Watch(log=log))
    events = loader.EventAccumulator(str(tmp_path / "events"), {loader.SCALARS: 0}).Reload()
    for stage, name in (("autoencoder", "loss"), ("prior", "loss"), ("prior", "train_flops")):
        rows = [row for row in result.curves if row["stage"] == stage]
        found = events.Scalars(f"{stage}/{name}")
        assert [event.step for event in found] == [row["step"] for row in rows]
        expected = [row[name] for row in rows]
        assert [event.value for event in found] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")]
)
def test_a_tracker_that_is_not_installed_is_one_line(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with (
        pytest.raises(UserError, match=rf"pip install 'genbench\[{name}\]'"),
        TRACKERS[name](tiny_cell(), tmp_path),
    ):
        pass


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
