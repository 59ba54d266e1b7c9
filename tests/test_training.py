"""The training loop: budgets, snapshots, averages, divergence, and resuming to the last bit."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from conftest import TRAINED, tiny_cell
from safetensors.torch import load_file
from torch import nn

from genbench import training
from genbench.errors import UserError
from genbench.models.vae import ELBO
from genbench.records import RunDirectory
from genbench.sampling import sample
from genbench.suite import TrainSpec
from genbench.training import (
    Watch,
    average,
    check_budget,
    derive_seed,
    load_training,
    new_model,
    parameters,
    plan_stages,
    seeded,
    snapshot_steps,
    train,
    train_images,
    trained_model,
)


def plans_of(cell):
    return plan_stages(cell, new_model(cell, "cpu"))


# The budget


@pytest.mark.parametrize("name", TRAINED)
def test_the_budget_is_spent_to_within_a_step_and_never_exceeded(name):
    for factor in (1, 1.7, 10):
        cell = tiny_cell(name, flops=4e7 * factor)
        if name == "pixel-gpt":
            cell = tiny_cell(name, flops=4e8 * factor)
        plans = plans_of(cell)
        spent = plans[-1].end_flops
        assert spent <= cell.budget.train_flops
        # Each stage rounds down.
        assert cell.budget.train_flops - spent < sum(plan.step_flops for plan in plans)


def test_two_stages_share_the_budget_as_declared():
    cell = tiny_cell("vqvae-gpt", flops=1e9, autoencoder_share=0.25)
    first, second = plans_of(cell)
    assert first.end_flops == pytest.approx(0.25e9, rel=0.01)
    assert second.start_flops == first.end_flops
    assert second.end_flops == pytest.approx(1e9, rel=0.01)
    # Coding the training images is paid for by the second stage.
    assert second.prepare_flops > 0
    assert second.flops(0) == first.end_flops + second.prepare_flops


@pytest.mark.parametrize("name", TRAINED)
def test_a_budget_without_a_step_is_refused_with_what_it_needs(name):
    with pytest.raises(UserError, match="needs at least") as caught:
        check_budget([tiny_cell(name, flops=1000.0)])
    needed = float(str(caught.value).rsplit(" ", 1)[1])
    if "vqvae-" in name:  # the next stage speaks up
        with pytest.raises(UserError, match="stage 'prior'"):
            check_budget([tiny_cell(name, flops=1.01 * needed)])
    else:
        check_budget([tiny_cell(name, flops=1.01 * needed)])


def test_a_control_needs_no_budget():
    check_budget([tiny_cell("noise", flops=1.0)])


def test_snapshots_are_taken_at_the_last_step_within_each_fraction():
    cell = tiny_cell(fractions=(0.1, 0.25, 0.5, 1.0))
    (plan,) = plans_of(cell)
    steps = snapshot_steps(cell, plan)
    assert set(steps.values()) == {0.1, 0.25, 0.5, 1.0}
    for step, fraction in steps.items():
        target = fraction * cell.budget.train_flops
        assert plan.flops(step) <= target < plan.flops(step + 1)


def test_fractions_before_the_last_stage_have_no_snapshot():
    cell = tiny_cell("vqvae-gpt", fractions=(0.1, 0.25, 0.8, 1.0))
    assert set(snapshot_steps(cell, plans_of(cell)[-1]).values()) == {0.8, 1.0}


# Averages and seeds


def test_the_average_is_the_declared_recursion_over_weights_and_buffers():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    spec, steps = TrainSpec(ema_half_life=0.05, ema_rampup=0.1), 100
    averaged = average(network, spec, steps)
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    expected: dict[str, torch.Tensor] = {}
    for step in range(40):
        optimiser.zero_grad()
        x = torch.randn(8, 3)
        (network(x)[:, 0] * x[:, 0]).sum().backward()
        optimiser.step()
        averaged.update_parameters(network)
        for key, value in network.state_dict().items():
            if step == 0 or not value.is_floating_point():
                expected[key] = value.clone()
            else:
                half_life = min(0.05 * steps, 0.1 * step)
                decay = 0.5 ** (1 / half_life)
                expected[key] = decay * expected[key] + (1 - decay) * value
    found = averaged.module.state_dict()
    assert found["1.num_batches_tracked"] == 40
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)
    assert not torch.allclose(found["0.weight"], network.state_dict()["0.weight"])


def test_the_averages_half_life_is_what_it_says():
    network = nn.Linear(1, 1, bias=False)
    averaged = average(network, TrainSpec(ema_half_life=0.1, ema_rampup=1.0), steps=100)
    nn.init.zeros_(network.weight)
    for _ in range(50):
        averaged.update_parameters(network)
    nn.init.ones_(network.weight)
    for _ in range(10):
        averaged.update_parameters(network)
    assert averaged.module.weight.item() == pytest.approx(0.5)


def test_seeds_differ_by_purpose_and_never_change():
    seeds = {derive_seed(0, "train"), derive_seed(1, "train"), derive_seed(0, "sample")}
    assert len(seeds) == 3
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(0, "train") == 2225127660497744019
    draw = torch.rand(3, generator=seeded("cpu", 0, "train"))
    assert torch.equal(draw, torch.rand(3, generator=seeded("cpu", 0, "train")))


# A whole run


def outcome(result):
    """What must repeat: everything but timings and dates."""
    curves = [{k: v for k, v in row.items() if k != "seconds"} for row in result.curves]
    return {**vars(result), "usage": None, "provenance": None, "curves": curves}


def files_of(directory: RunDirectory) -> dict[str, bytes]:
    """Every weight and sample that a run left, as bytes."""
    folder = directory.path
    found = [*(folder / "weights").iterdir(), *(folder / "samples").rglob("*.npy")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def whole_run(cell, data, directory):
    result = train(cell, data, directory, "cpu", Watch(criterion=criterion))
    sample(cell, result, directory, "cpu")
    return outcome(result), files_of(directory)


@pytest.mark.parametrize("name", TRAINED)
def test_what_a_run_leaves_behind(make_directory, digits, name):
    cell = tiny_cell(name)
    directory, reports = make_directory(cell), []
    result = train(cell, digits, directory, "cpu", Watch(report=reports.append))
    plans = plans_of(cell)
    assert (result.status, result.reason) == ("ok", "")
    assert result.steps == sum(plan.steps for plan in plans)
    assert result.examples == sum(plan.steps * plan.step_images for plan in plans)
    assert result.train_flops == plans[-1].end_flops <= cell.budget.train_flops
    assert result.parameters == parameters(new_model(cell, "cpu"))
    assert [directory.weights(f).exists() for f in result.snapshots] == [True] * len(
        result.snapshots
    )
    assert not directory.checkpoint.exists()
    assert result.usage.seconds > 0
    assert outcome(load_training(directory)) == outcome(result)
    # Progress rises to the part of the budget that was spent.
    assert reports == sorted(reports)
    assert 0.5 < reports[-1] <= 1
    if "vqvae-" in name:
        assert 0.25 not in result.snapshots
        assert result.unsampled == {"0.25": "stage prior has not begun"}
    else:
        assert result.snapshots == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("name", TRAINED)
def test_curves_hold_every_point_once_with_rising_counts(make_directory, digits, name):
    cell = tiny_cell(name)
    curves = train(cell, digits, make_directory(cell), "cpu").curves
    plans = {plan.name: plan for plan in plans_of(cell)}
    for key in ("train_flops", "examples", "seconds"):
        values = [row[key] for row in curves]
        assert values == sorted(values)
    for row in curves:
        assert row["train_flops"] == plans[row["stage"]].flops(row["step"])
        assert all(math.isfinite(v) for k, v in row.items() if k != "stage")
    points = [(row["stage"], row["step"]) for row in curves]
    assert points == [(p.name, s + 1) for p in plans.values() for s in range(p.steps)]


def test_a_curves_value_is_the_mean_since_the_point_before(make_directory, digits, monkeypatch):
    cell = tiny_cell()
    every = train(cell, digits, make_directory(cell, "fine"), "cpu").curves
    monkeypatch.setattr(training, "CURVE_POINTS", 4)
    coarse = train(cell, digits, make_directory(cell, "coarse"), "cpu").curves
    assert len(coarse) < len(every)
    previous = 0
    for row in coarse:
        between = [r["loss"] for r in every if previous < r["step"] <= row["step"]]
        assert row["loss"] == pytest.approx(np.mean(between))
        previous = row["step"]
    assert previous == every[-1]["step"]


@pytest.mark.parametrize("name", TRAINED)
def test_a_run_repeats_to_the_last_bit_and_a_finished_one_is_not_done_again(
    make_directory, digits, name
):
    cell = tiny_cell(name)
    one = whole_run(cell, digits, make_directory(cell, "one"))
    torch.rand(5)
    two = whole_run(cell, digits, make_directory(cell, "two"))
    assert one == two

    def never(done):
        raise AssertionError("trained again")

    train(cell, digits, make_directory(cell, "two"), "cpu", Watch(report=never))
    other = tiny_cell(name, seed=1)
    assert whole_run(other, digits, make_directory(other))[1] != one[1]


def test_the_model_is_the_averaged_one(make_directory, digits):
    cell = tiny_cell(train={"ema_half_life": 1e-9})
    directory = make_directory(cell)
    train(cell, digits, directory, "cpu")
    slow = tiny_cell(train={"ema_half_life": 0.5, "ema_rampup": 1.0})
    train(slow, digits, make_directory(slow), "cpu")
    # The same steps were taken, so only averaging tells the two apart.
    last, averaged = (load_file(make_directory(c).weights(1.0)) for c in (cell, slow))
    assert any(not torch.equal(last[key], averaged[key]) for key in last)
    model = trained_model(slow, make_directory(slow), 1.0, "cpu")
    assert not model.training
    assert all(torch.equal(v, averaged[k]) for k, v in model.state_dict().items())


def test_the_second_stage_builds_on_the_averaged_first(make_directory, digits, monkeypatch):
    seen = []
    from genbench.models.vqvae_gpt import NextCode

    prepare = NextCode.prepare

    def watched(self, images, labels, generator):
        seen.append({k: v.clone() for k, v in self.model.vqvae.state_dict().items()})
        return prepare(self, images, labels, generator)

    monkeypatch.setattr(NextCode, "prepare", watched)
    cell = tiny_cell("vqvae-gpt")
    directory = make_directory(cell)
    train(cell, digits, directory, "cpu")
    kept = load_file(directory.weights(1.0))
    assert all(torch.equal(kept[f"vqvae.{key}"], value) for key, value in seen[0].items())


# Interruption


def criterion(model):
    """Any number that the weights alone decide, and that does not fall for ever."""
    return abs(sum(float(w.sum()) for w in model.parameters()))


def interrupted(cell, data, directory, call):
    """Train until the report of that number, and stop there; whether it came to that."""
    calls = 0

    def report(done):
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt

    try:
        train(cell, data, directory, "cpu", Watch(report=report, criterion=criterion))
    except KeyboardInterrupt:
        torch.manual_seed(call)  # a new process would stand elsewhere
        return True
    return False


@pytest.fixture
def checkpoint_always(monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)


EVERY_PRACTICE = {
    "weight_decay": 0.1, "clip_norm": 1.0, "schedule": "cosine", "warmup": 0.3,
    "augmentation": "shift",
}  # fmt: skip

CASES = [
    ("dcgan", {}),
    ("vae", {}),
    ("pixel-gpt", {"dropout": 0.1}),
    ("vqvae-gpt", {"dropout": 0.1}),
    ("vae", {"train": {"early_stopping": 5, "checks": 6}}),
    ("sngan", {}),  # whose normalisation iterates from buffers
    ("vae-gan", {}),  # three optimisers
    ("vqvae", {}),  # a codebook that is counted, not descended
    ("dcgan", {"r1": 1.0, "flops": 4e7, "train": EVERY_PRACTICE}),
]


@pytest.mark.parametrize(("name", "params"), CASES)
def test_a_run_stopped_anywhere_ends_as_if_it_had_not_been(
    make_directory, digits, checkpoint_always, name, params
):
    """Stopped at each of its points in turn, both stages and their border included."""
    cell = tiny_cell(name, n=30, n_intermediate=20, **params)
    undisturbed = whole_run(cell, digits, make_directory(cell, "undisturbed"))
    points = len(undisturbed[0]["curves"])
    stages = [row["stage"] for row in undisturbed[0]["curves"]]
    assert points >= 10
    border = stages.index(stages[-1])
    for call in sorted({1, 2, border, border + 1, border + 2, points} - {0}):
        directory = make_directory(cell, f"stopped-{call}")
        assert interrupted(cell, digits, directory, call)
        assert directory.checkpoint.exists() == (call > 1)
        assert whole_run(cell, digits, directory) == undisturbed


def test_a_run_stopped_again_and_again_ends_the_same(
    make_directory, digits, checkpoint_always, monkeypatch
):
    monkeypatch.setattr(training, "CURVE_POINTS", 12)  # a point every few steps
    cell = tiny_cell("vqvae-gpt", flops=5e7)
    undisturbed = whole_run(cell, digits, make_directory(cell, "undisturbed"))
    directory = make_directory(cell, "stopped")
    stops = 0
    while interrupted(cell, digits, directory, 2):
        stops += 1
    assert stops >= len(undisturbed[0]["curves"]) - 1
    sample(cell, load_training(directory), directory, "cpu")
    assert outcome(load_training(directory)) == undisturbed[0]
    assert files_of(directory) == undisturbed[1]


def test_a_run_killed_between_checkpoints_ends_the_same(make_directory, digits, monkeypatch):
    """What was written after the last checkpoint, a snapshot among it, is written again."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    cell = tiny_cell()
    undisturbed = whole_run(cell, digits, make_directory(cell, "undisturbed"))
    directory = make_directory(cell, "stopped")
    assert interrupted(cell, digits, directory, 4)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 1e9)
    assert interrupted(cell, digits, directory, 8)
    assert directory.weights(0.5).exists()
    assert whole_run(cell, digits, directory) == undisturbed


def test_the_time_of_an_interrupted_run_adds_up(make_directory, digits, checkpoint_always):
    cell = tiny_cell()
    directory = make_directory(cell)
    assert interrupted(cell, digits, directory, 6)
    state = torch.load(directory.checkpoint, weights_only=True)
    before = state["progress"]["usage"]["seconds"]
    result = train(cell, digits, directory, "cpu")
    assert result.usage.seconds > before > 0
    seconds = [row["seconds"] for row in result.curves]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_refused_by_name(make_directory, digits, checkpoint_always, damage):
    cell = tiny_cell()
    directory = make_directory(cell)
    assert interrupted(cell, digits, directory, 4)
    content = directory.checkpoint.read_bytes()
    directory.checkpoint.write_bytes(content[: len(content) // 2] if damage is None else damage)
    with pytest.raises(UserError) as caught:
        train(cell, digits, directory, "cpu")
    assert str(directory.checkpoint) in str(caught.value)
    assert "delete it, or use --force" in str(caught.value)
    assert "\n" not in str(caught.value)
    directory.checkpoint.unlink()
    assert train(cell, digits, directory, "cpu").status == "ok"


# Divergence


def breaks_at(monkeypatch, stage_class, step, value=math.nan, weights=True):
    """From its `step`-th call on, the stage's loss is `value` and its weights hold it, too."""
    original, calls = stage_class.step, []

    def broken(self, batch, labels, generator):
        values = original(self, batch, labels, generator)
        calls.append(1)
        if len(calls) >= step:
            values["loss"] = torch.tensor(value)
            if weights:
                with torch.no_grad():
                    for p in self.network.parameters():
                        p.fill_(value)
        return values

    monkeypatch.setattr(stage_class, "step", broken)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2e9])
def test_a_broken_loss_is_divergence_with_its_reason(make_directory, digits, monkeypatch, value):
    breaks_at(monkeypatch, ELBO, 5, value, weights=False)
    cell = tiny_cell()
    directory = make_directory(cell)
    result = train(cell, digits, directory, "cpu")
    assert result.status == "diverged"
    assert result.reason.startswith("loss is ")
    assert result.reason.endswith("at step 5 of stage elbo")
    assert result.steps == 5
    assert result.train_flops == plans_of(cell)[0].flops(5)
    assert len(result.curves) == 4
    assert result.snapshots == [0.25]
    assert result.unsampled == {
        "0.5": f"diverged: {result.reason}",
        "1": f"diverged: {result.reason}",
    }
    assert not directory.weights(1.0).exists()
    json.dumps(vars(result) | {"usage": 0}, allow_nan=False)


@pytest.mark.parametrize("points", [128, 2])
def test_weights_that_broke_before_it_was_noticed_are_not_kept(
    make_directory, digits, monkeypatch, points
):
    """A snapshot may fall between the break and the next look at the losses."""
    monkeypatch.setattr(training, "CURVE_POINTS", points)
    cell = tiny_cell()
    (plan,) = plans_of(cell)
    half = next(s for s, f in snapshot_steps(cell, plan).items() if f == 0.5)
    breaks_at(monkeypatch, ELBO, half)
    directory = make_directory(cell)
    result = train(cell, digits, directory, "cpu")
    assert result.status == "diverged"
    for fraction in result.snapshots:
        assert all(v.isfinite().all() for v in load_file(directory.weights(fraction)).values())
    assert 0.5 not in result.snapshots
    assert not directory.weights(0.5).exists()
    assert "diverged" in result.unsampled["0.5"]


def test_divergence_of_the_first_stage_ends_the_run(make_directory, digits, monkeypatch):
    from genbench.models.vqvae_gpt import Autoencoding

    breaks_at(monkeypatch, Autoencoding, 3)
    cell = tiny_cell("vqvae-gpt")
    result = train(cell, digits, make_directory(cell), "cpu")
    assert result.status == "diverged"
    assert result.snapshots == []
    assert result.steps == 3
    assert set(result.unsampled) == {"0.25", "0.5", "1"}
    assert result.unsampled["0.25"] == "stage prior has not begun"
    assert {row["stage"] for row in result.curves} == {"autoencoder"}


@pytest.mark.parametrize("name", TRAINED)
def test_an_absurd_step_size_is_recorded_and_raises_nothing(make_directory, digits, name):
    cell = tiny_cell(name, learning_rate=1e12)
    directory = make_directory(cell)
    result = train(cell, digits, directory, "cpu")
    assert result.status == "diverged"
    assert sample(cell, result, directory, "cpu") is None


def test_a_diverged_run_that_was_interrupted_diverges_the_same(
    make_directory, digits, checkpoint_always, monkeypatch
):
    original = ELBO.step

    def broken(self, batch, labels, generator):
        values = original(self, batch, labels, generator)
        steps = max(int(state["step"]) for state in self.optimisers["vae"].state.values())
        return values | {"loss": values["loss"] * (math.nan if steps == 8 else 1)}

    monkeypatch.setattr(ELBO, "step", broken)
    cell = tiny_cell()
    undisturbed = train(cell, digits, make_directory(cell, "one"), "cpu")
    assert undisturbed.steps == 8
    directory = make_directory(cell, "two")
    assert interrupted(cell, digits, directory, 6)
    assert outcome(train(cell, digits, directory, "cpu")) == outcome(undisturbed)


# Data


def test_a_fraction_keeps_the_first_part_of_the_training_split(make_directory, digits, monkeypatch):
    seen = []
    original = ELBO.prepare

    def watched(self, images, labels, generator):
        seen.append((images, labels))
        return original(self, images, labels, generator)

    monkeypatch.setattr(ELBO, "prepare", watched)
    cell = tiny_cell(fraction=0.1)
    train(cell, digits, make_directory(cell), "cpu")
    assert train_images(cell) == 109
    images, labels = seen[0]
    np.testing.assert_array_equal(images.numpy(), digits.train.rows[:109])
    np.testing.assert_array_equal(labels.numpy(), digits.train.labels[:109])


@pytest.mark.parametrize("name", TRAINED)
def test_a_batch_bigger_than_the_data_is_all_of_it(make_directory, digits, name):
    cell = tiny_cell(name, fraction=0.01, train={"batch_size": 64})
    assert train_images(cell) == training.batch_size(cell) == 10
    result = train(cell, digits, make_directory(cell), "cpu")
    assert result.status == "ok"
    assert result.examples == 10 * result.steps * new_model(cell, "cpu").stages[0].batches


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own(
    make_directory, digits, monkeypatch
):
    batches = []
    original = ELBO.step

    def watched(self, batch, labels, generator):
        batches.append(batch.clone())
        return original(self, batch, labels, generator)

    monkeypatch.setattr(ELBO, "step", watched)
    cell = tiny_cell(fraction=0.03, flops=2e7)  # 32 images, two batches an epoch
    train(cell, digits, make_directory(cell), "cpu")
    everything = sorted(image.tobytes() for image in digits.train.rows[:32])
    epochs = [torch.cat(batches[i : i + 2]).numpy() for i in range(0, len(batches) - 1, 2)]
    assert len(epochs) > 5
    for epoch in epochs:
        assert sorted(image.tobytes() for image in epoch) == everything
    assert len({epoch.tobytes() for epoch in epochs}) == len(epochs)


@pytest.mark.cuda
@pytest.mark.parametrize("name", TRAINED)
def test_a_run_on_cuda_resumes_to_the_same_metrics(make_directory, digits, monkeypatch, name):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    cell = tiny_cell(name)
    one = train(cell, digits, make_directory(cell, "one"), "cuda")
    directory, calls = make_directory(cell, "two"), []

    def stop(done):
        calls.append(done)
        if len(calls) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(cell, digits, directory, "cuda", Watch(report=stop))
    two = train(cell, digits, directory, "cuda")
    assert one.status == two.status == "ok"
    for key, value in one.curves[-1].items():
        if key not in ("stage", "seconds"):
            assert two.curves[-1][key] == pytest.approx(value, rel=1e-2)
