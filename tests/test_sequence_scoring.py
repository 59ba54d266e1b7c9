"""What rows of tokens are scored for beside distances."""

from __future__ import annotations

import numpy as np
import torch
from conftest import tiny_cell

from genbench.data import DATASETS
from genbench.metrics.measured import Measured
from genbench.models import build
from genbench.scoring import Score
from genbench.sequence_scoring import active_units, distinct_rows, outcome, rate
from genbench.suite import ModelSpec

INFO = DATASETS["descriptions"]


def vae():
    torch.manual_seed(0)
    spec = ModelSpec(name="token-vae", params={"width": 8, "latent": 3})
    return build(spec, INFO).eval()


def rows(n: int = 12) -> np.ndarray:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(INFO.levels, (n, *INFO.shape), generator=generator).byte().numpy()


def test_a_posterior_that_is_the_prior_says_nothing():
    model = vae()
    with torch.no_grad():
        model.net.encoder.output.weight.zero_()
        model.net.encoder.output.bias.zero_()
    found = rate(tiny_cell(), model, rows(), "test", "cpu")
    assert isinstance(found, Measured)
    assert found.value == 0
    assert active_units(model, rows(), "cpu").value == 0


def test_the_rate_is_that_of_the_gaussians():
    model = vae()
    with torch.no_grad():
        model.net.encoder.output.weight.zero_()
        model.net.encoder.output.bias.copy_(torch.tensor([2.0, 0, 0, 0, 0, 0]))
    found = rate(tiny_cell(), model, rows(), "test", "cpu")
    assert found.value == 2.0  # KL(N(2, 1) || N(0, 1)) = 2^2 / 2
    assert active_units(model, rows(), "cpu").value == 0  # the same for every row


def test_what_depends_on_the_row_is_active():
    model = vae()
    with torch.no_grad():
        model.net.encoder.output.weight.zero_()
        model.net.encoder.output.weight[1].normal_(std=50)
    assert active_units(model, rows(), "cpu").value == 1


def test_a_model_without_posterior_has_neither():
    torch.manual_seed(0)
    model = build(ModelSpec(name="token-lstm", params={"width": 8}), INFO).eval()
    assert rate(tiny_cell(), model, rows(), "test", "cpu") == "the model has no posterior"
    assert active_units(model, rows(), "cpu") == "the model has no posterior"


def test_a_model_that_repeats_itself_has_collapsed():
    same = np.zeros((10, 4), np.uint8)
    same[:4] = np.arange(4)[:, None]
    found = distinct_rows(same)
    assert found.value == 0.3  # 1, 2 and 3; 0 is there seven times
    assert outcome(None, [Score("distinct_rows", "", found)])[0] == "collapsed"
    apart = distinct_rows(np.arange(40, dtype=np.uint8).reshape(10, 4))
    assert outcome(None, [Score("distinct_rows", "", apart)]) == ("ok", "")
