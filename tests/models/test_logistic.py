"""The discretised logistic against its definition by the distribution function."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genbench.models.interface import to_unit
from genbench.models.logistic import DiscretisedLogistic


def masses(levels: int, mean: float, scale: float, dtype: torch.dtype) -> torch.Tensor:
    """The probability of each level."""
    likelihood = DiscretisedLogistic(levels).to(dtype)
    likelihood.log_scale.data.fill_(math.log(scale))
    images = torch.arange(levels).byte().view(levels, 1, 1, 1)
    with torch.no_grad():
        return likelihood.log_prob(images, torch.full(images.shape, mean, dtype=dtype)).exp()


means = st.floats(-1, 1)
scales = st.floats(-6, 2).map(lambda power: 10**power)


@settings(deadline=None)
@given(st.sampled_from([2, 17, 256]), means, scales)
def test_masses_sum_to_one_over_the_levels(levels, mean, scale):
    total = masses(levels, mean, scale, torch.float64).sum().item()
    # to_unit is exact to float32 only: neighbouring bins may miss each other by that much.
    tolerance = 1e-6 + 1e-6 / scale
    assert abs(total - 1) < tolerance


@settings(deadline=None)
@given(st.sampled_from([2, 17, 256]), means, st.floats(-2.5, 1).map(lambda power: 10**power))
def test_masses_are_differences_of_the_distribution_function(levels, mean, scale):
    width = 2 / (levels - 1)
    x = to_unit(torch.arange(levels).byte(), levels).double()
    cdf = torch.special.expit
    upper = cdf((x + width / 2 - mean) / scale)
    lower = cdf((x - width / 2 - mean) / scale)
    expected = upper - lower
    expected[0], expected[-1] = upper[0], 1 - lower[-1]
    found = masses(levels, mean, scale, torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)


@settings(deadline=None)
@given(means, scales)
def test_logs_and_gradients_are_finite_in_single_precision(mean, scale):
    likelihood = DiscretisedLogistic(256)
    likelihood.log_scale.data.fill_(math.log(scale))
    images = torch.arange(256).byte().view(256, 1, 1, 1)
    centre = torch.full(images.shape, mean, requires_grad=True)
    log_p = likelihood.log_prob(images, centre)
    log_p.sum().backward()
    assert torch.isfinite(log_p).all()
    assert torch.isfinite(centre.grad).all()
    assert torch.isfinite(likelihood.log_scale.grad)


def test_pixels_are_independent_and_images_are_rows():
    likelihood = DiscretisedLogistic(17)
    images = torch.randint(17, (3, 1, 4, 4)).byte()
    mean = torch.rand(3, 1, 4, 4) * 2 - 1
    whole = likelihood.log_prob(images, mean)
    single = likelihood.log_prob(images.view(-1, 1, 1, 1), mean.view(-1, 1, 1, 1))
    assert whole.shape == (3,)
    torch.testing.assert_close(whole, single.view(3, 16).sum(1))
