"""Training while the reader waits, by the loop that made the committed results."""

from __future__ import annotations

import pytest
import torch
from conftest import TRAINED

from genbench.errors import UserError
from genbench.live import train_on_digits

FLOPS = {"dcgan": 2e9, "vae": 1e9, "pixel-gpt": 6e9, "vqvae-gpt": 1e10}


@pytest.mark.parametrize("name", TRAINED)
def test_a_chapter_can_train_and_sample(name):
    flops = FLOPS.get(name, 5e9)
    run = train_on_digits(name, train_flops=flops)
    assert run.training.status == "ok"
    samples = run.sample(5)
    assert samples.shape == (5, 1, 8, 8)
    assert samples.dtype == torch.uint8
    assert torch.equal(samples, run.sample(5))
    curves = run.curves
    assert {"stage", "step", "train_flops", "examples", "seconds"} <= set(curves.columns)
    assert curves["train_flops"].max() <= flops
    assert not run.model.training


def test_parameters_and_seeds_matter_and_mistakes_are_named():
    one = train_on_digits("vae", train_flops=1e9)
    again = train_on_digits("vae", train_flops=1e9)
    assert list(one.curves["loss"]) == list(again.curves["loss"])
    other = train_on_digits("vae", train_flops=1e9, learning_rate=0.01)
    assert list(one.curves["loss"]) != list(other.curves["loss"])
    with pytest.raises(UserError, match="unknown key 'latnet'; did you mean 'latent'"):
        train_on_digits("vae", train_flops=1e9, latnet=4)
    with pytest.raises(UserError, match="unknown model 'vea'"):
        train_on_digits("vea", train_flops=1e9)
    with pytest.raises(UserError, match=r"pixel-gpt diverged: .*; try a smaller rate"):
        train_on_digits("pixel-gpt", train_flops=2e10, learning_rate=1e6)
    with pytest.raises(UserError, match=r"at budget\.train_flops: Input should be greater than 0"):
        train_on_digits("vae", train_flops=0)
    with pytest.raises(UserError, match="at seed: "):
        train_on_digits("vae", train_flops=1e9, seed=-1)
    with pytest.raises(UserError, match="needs at least"):
        train_on_digits("vae", train_flops=10)
