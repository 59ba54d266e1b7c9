"""Training while the reader waits, by the loop that made the committed results."""

from __future__ import annotations

import pytest
import torch
from conftest import TRAINED

from genbench.errors import UserError
from genbench.live import train_live

FLOPS = {"dcgan": 2e9, "vae": 1e9, "pixel-gpt": 6e9, "vqvae-gpt": 1e10}


@pytest.mark.parametrize("name", TRAINED)
def test_a_chapter_can_train_and_sample(name):
    flops = FLOPS.get(name, 5e9)
    run = train_live(name, train_flops=flops)
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
    one = train_live("vae", train_flops=1e9)
    again = train_live("vae", train_flops=1e9)
    assert list(one.curves["loss"]) == list(again.curves["loss"])
    other = train_live("vae", train_flops=1e9, learning_rate=0.01)
    assert list(one.curves["loss"]) != list(other.curves["loss"])
    with pytest.raises(UserError, match="unknown key 'latnet'; did you mean 'latent'"):
        train_live("vae", train_flops=1e9, latnet=4)
    with pytest.raises(UserError, match="unknown model 'vea'"):
        train_live("vea", train_flops=1e9)
    with pytest.raises(UserError, match=r"pixel-gpt diverged: .*; try a smaller rate"):
        train_live("pixel-gpt", train_flops=2e10, learning_rate=1e6)
    with pytest.raises(UserError, match=r"at budget\.train_flops: Input should be greater than 0"):
        train_live("vae", train_flops=0)
    with pytest.raises(UserError, match="at seed: "):
        train_live("vae", train_flops=1e9, seed=-1)
    with pytest.raises(UserError, match="needs at least"):
        train_live("vae", train_flops=10)


@pytest.mark.parametrize(("data", "shape"), [("descriptions", (64,)), ("chorales", (64, 4))])
def test_a_chapter_can_train_on_text_and_music(data, shape):
    run = train_live("token-lstm", data=data, train_flops=4e9)
    assert run.sample(3).shape == (3, *shape)
    assert run.sample(3).max() < run.data.info.levels


def test_live_models_and_data_must_fit():
    with pytest.raises(UserError, match="shakespeare is too large to wait for; of text take desc"):
        train_live("token-lstm", data="shakespeare", train_flops=1e9)
    with pytest.raises(UserError, match="vae is for images, and chorales is music"):
        train_live("vae", data="chorales", train_flops=1e9)
