"""Samples are drawn once, from the averaged weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import TRAINED, tiny_cell

from genbench import sampling
from genbench.models.vae import VAE
from genbench.sampling import sample
from genbench.training import Watch, seeded, train, trained_model


def run(cell, data, directory):
    training = train(cell, data, directory, "cpu")
    return training, sample(cell, training, directory, "cpu")


@pytest.mark.parametrize("name", TRAINED)
def test_as_many_as_declared_at_every_kept_fraction(make_directory, digits, name):
    cell = tiny_cell(name, n=130, n_intermediate=70)
    directory = make_directory(cell)
    training, result = run(cell, digits, directory)
    for fraction in training.snapshots:
        images = np.load(directory.samples(fraction))
        assert images.shape == (130 if fraction == 1 else 70, 1, 8, 8)
        assert images.dtype == np.uint8
        assert images.max() <= 16
    assert result.n == 130
    assert result.flops == trained_model(cell, directory, 1.0, "cpu").sample_flops()
    assert result.seconds >= result.usage.seconds > 0


def test_samples_come_from_the_models_own_sampler_in_batches(make_directory, digits):
    cell = tiny_cell(n=120)
    directory = make_directory(cell)
    run(cell, digits, directory)
    model = trained_model(cell, directory, 1.0, "cpu")
    generator = seeded("cpu", 0, "sample")
    with torch.inference_mode():
        expected = torch.cat([model.sample(size, generator) for size in (50, 50, 20)])
    np.testing.assert_array_equal(np.load(directory.samples(1.0)), expected.numpy())


def test_samples_are_made_once(make_directory, digits, monkeypatch):
    cell = tiny_cell()
    directory = make_directory(cell)
    _, first = run(cell, digits, directory)

    def never(*args):
        raise AssertionError("sampled again")

    monkeypatch.setattr(VAE, "sample", never)
    assert run(cell, digits, directory)[1] == first


@pytest.mark.parametrize("lost", ["sampling", "final", "early"])
def test_what_an_interruption_left_out_is_made_up_for(make_directory, digits, lost):
    cell = tiny_cell()
    directory = make_directory(cell)
    training, first = run(cell, digits, directory)
    paths = [directory.samples(f) for f in training.snapshots]
    before = [path.read_bytes() for path in paths]
    gone = {"sampling": directory.sampling, "final": paths[-1], "early": paths[0]}[lost]
    gone.unlink()
    again = sample(cell, training, directory, "cpu")
    assert [path.read_bytes() for path in paths] == before
    assert directory.sampling.exists()
    assert (again.n, again.flops) == (first.n, first.flops)


def test_other_samples_of_the_same_training_lie_beside(make_directory, digits):
    few, many = tiny_cell(n=60), tiny_cell(n=90)
    directory, other = make_directory(few), make_directory(many)
    assert directory.path == other.path
    run(few, digits, directory)

    def never(done):
        raise AssertionError("trained again")

    training = train(many, digits, other, "cpu", Watch(report=never))
    sample(many, training, other, "cpu")
    assert len(np.load(directory.samples(1.0))) == 60
    assert len(np.load(other.samples(1.0))) == 90


def test_a_control_draws_in_one_call(make_directory, digits, monkeypatch):
    cell = tiny_cell("train-split", n=600)
    directory = make_directory(cell)
    run(cell, digits, directory)
    images = np.load(directory.samples(1.0))
    distinct = len({image.tobytes() for image in images})
    duplicates = len(digits.train) - len({image.tobytes() for image in digits.train.rows})
    assert len(images) == 600
    assert distinct >= 600 - duplicates


def test_progress_reaches_the_end(make_directory, digits):
    cell = tiny_cell()
    directory, reports = make_directory(cell), []
    sample(cell, train(cell, digits, directory, "cpu"), directory, "cpu", reports.append)
    assert reports == sorted(reports)
    assert reports[-1] == 1


def test_an_interrupted_write_of_samples_leaves_none(make_directory, digits, monkeypatch):
    cell = tiny_cell()
    directory = make_directory(cell)
    training = train(cell, digits, directory, "cpu")

    def full(file, array):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sampling.np, "save", full)
        with pytest.raises(OSError, match="No space left"):
            sample(cell, training, directory, "cpu")
    assert list(directory.path.rglob("*.npy*")) == []
    assert sample(cell, training, directory, "cpu") is not None
