"""EfficientNet-Lite0: known answers of the package that its weights come from, and its parts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from genbench.data import load as load_data
from genbench.data.sources import Unavailable
from genbench.features import spaces
from genbench.features.efficientnet import (
    BATCH_NORM_EPS,
    Convolution,
    EfficientNetLite0,
    fused,
    network,
    prepare,
)
from genbench.features.extraction import extract

# Of efficientnet-lite-pytorch 0.1.0, in float64, at 96 pixels, for the first three digits of test:
# the mean and the Euclidean norm of the features, and the third and fourth feature.
MEAN = [0.2886115, 0.3921093, 0.3613752]
NORM = [30.90566, 37.86263, 35.00801]
THIRD_AND_FOURTH = [[2.02097, 0.13102], [4.60757, 0.13121], [2.83386, 0.0]]


@pytest.fixture(scope="module")
def extractor():
    try:
        return spaces.load("efficientnet-lite0", "digits")
    except Unavailable as reason:
        pytest.skip(f"the weights are neither in the cache nor to be downloaded: {reason}")


@pytest.fixture(scope="module")
def images():
    return load_data("digits").test.rows[:40]


def random_state():
    """A state dict of the package's form: each convolution, then its batch norm."""
    torch.manual_seed(0)
    state = {}
    shapes = [m.weight.shape for m in EfficientNetLite0().modules() if isinstance(m, Convolution)]
    for i, shape in enumerate(shapes):
        n, fan_in = shape[0], shape[1:].numel()
        state[f"c{i}.weight"] = torch.randn(shape) / fan_in**0.5
        state[f"n{i}.weight"] = torch.rand(n) + 0.5
        state[f"n{i}.bias"] = torch.randn(n)
        state[f"n{i}.running_mean"] = torch.randn(n)
        state[f"n{i}.running_var"] = torch.rand(n) + 0.5
        state[f"n{i}.num_batches_tracked"] = torch.tensor(1)
    return state


def test_known_answers(extractor, images):
    features, logits = extract(extractor, images[:3], 17)
    assert logits is None
    assert features.shape == (3, 1280)
    assert extractor.name == "efficientnet-lite0-96"
    np.testing.assert_allclose(features.mean(1), MEAN, rtol=1e-5)
    np.testing.assert_allclose(features.norm(dim=1), NORM, rtol=1e-5)
    np.testing.assert_allclose(features[:, 2:4], THIRD_AND_FOURTH, atol=5e-5)


def test_grey_is_colour_repeated_and_batches_do_not_matter(extractor, images):
    whole = extract(extractor, images, 17).features
    colour = extract(extractor, images[:7].repeat(3, axis=1), 17).features
    torch.testing.assert_close(colour, whole[:7], rtol=1e-4, atol=1e-4)
    assert whole.std(dim=0).max() > 0.1  # images differ


def test_levels_are_scaled_to_one_range(extractor):
    few = np.random.default_rng(0).integers(0, 2, (4, 1, 8, 8), np.uint8)
    torch.testing.assert_close(
        extract(extractor, few, 2).features, extract(extractor, few * 255, 256).features
    )


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_input_spans_the_range_of_training(levels):
    images = torch.tensor([0, levels - 1], dtype=torch.uint8).repeat(2, 1, 2, 1)
    x = prepare(images, levels)
    assert x.shape == (2, 3, 96, 96)
    assert x.min() == -127 / 128
    assert x.max() == 1
    plain = F.interpolate(images.float(), (96, 96), mode="bilinear") * 255 / (levels - 1)
    torch.testing.assert_close(x[:, :1] * 128 + 127, plain, rtol=1e-5, atol=1e-3)


def test_large_images_are_smoothed_not_skipped():
    stripes = torch.zeros(1, 1, 960, 960, dtype=torch.uint8)
    stripes[..., ::2] = 255
    x = prepare(stripes, 256)[..., 2:-2]
    torch.testing.assert_close(x, torch.full_like(x, 0.5 / 128), atol=0.05, rtol=0)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 6, 7])
def test_padding_is_tensorflows(kernel, stride, size):
    """Output i, counted from 0, sees the inputs from i s - floor(p / 2) on, p in all."""
    convolution = Convolution(1, 1, kernel, stride, bias=False)
    nn.init.constant_(convolution.weight, 1)
    outputs = -(-size // stride)
    before = max((outputs - 1) * stride + kernel - size, 0) // 2
    x = torch.arange(1.0, size + 1)
    row = [
        sum(x[j] for j in range(i * stride - before, i * stride - before + kernel) if 0 <= j < size)
        for i in range(outputs)
    ]
    found = convolution((x[:, None] * x)[None, None])[0, 0]
    expected = torch.tensor(row)
    torch.testing.assert_close(found, expected[:, None] * expected)


def test_fusing_keeps_the_function():
    state = random_state()
    tensors = fused(state)
    x = torch.randn(2, 3, 9, 9).double()
    convolved = F.conv2d(x, state["c0.weight"].double())
    mean, variance, gamma, beta = (
        state[f"n0.{part}"].double() for part in ("running_mean", "running_var", "weight", "bias")
    )
    expected = F.batch_norm(convolved, mean, variance, gamma, beta, eps=BATCH_NORM_EPS)
    weight, bias = next(tensors), next(tensors)
    torch.testing.assert_close(F.conv2d(x, weight, bias), expected)


def test_random_weights_give_features_within_relu6():
    made = network(random_state())
    features, _ = made(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, 1280)
    assert ((features >= 0) & (features <= 6)).all()
    assert not made.training
    assert not any(p.requires_grad for p in made.parameters())


@pytest.mark.parametrize("lost", ["c3.weight", "n48.running_mean"])
def test_a_state_that_lacks_a_tensor_is_refused(lost):
    state = random_state()
    del state[lost]
    with pytest.raises((RuntimeError, ValueError)):
        network(state)
