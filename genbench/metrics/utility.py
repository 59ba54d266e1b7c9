"""What samples are worth to a classifier that learns from them.

One small network with one declared recipe serves both metrics here and the detector: four 3x3
convolutions with batch norm, a mean over positions, a linear layer; `STEPS` steps of stochastic
gradient descent on batches of `BATCH` images, whatever the size of the set, with Nesterov momentum
and a one-cycle learning rate (Smith and Topin 2017, "Super-convergence"). Arithmetic is in float32.
On one CPU with one number of threads a seed gives the same value again; nothing touches the global
random state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from genbench.metrics.checks import Array
from genbench.metrics.measured import Measured, mean, proportion

STEPS, BATCH, PEAK_RATE = 250, 128, 0.1

Labelled = tuple[Tensor, Tensor]
"""Images (N, C, H, W) uint8 and their labels (N,) int64."""


class Network(nn.Sequential):
    """Images uint8 (B, C, H, W) in 0..levels-1, H and W at least 4, to logits (B, classes)."""

    def __init__(self, channels: int, levels: int, classes: int):
        super().__init__(
            *_convolution(channels, 16, halve=True),
            *_convolution(16, 32, halve=True),
            *_convolution(32, 32),
            *_convolution(32, 64),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, classes),
        )
        self.levels = levels

    def forward(self, images: Tensor) -> Tensor:
        x = images.float() * (2 / (self.levels - 1)) - 1
        return super().forward(x.contiguous(memory_format=torch.channels_last))


def _convolution(inputs: int, outputs: int, *, halve: bool = False) -> list[nn.Module]:
    pool = [nn.MaxPool2d(2)] if halve else []
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [convolution, *pool, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


@torch.inference_mode(False)  # a caller's would leave nothing to differentiate
@torch.enable_grad()
def train_classifier(
    images: Tensor, labels: Tensor, *, levels: int, classes: int, seed: int
) -> Network:
    """A classifier trained from scratch by the recipe above, in evaluation mode.

    images: (N, C, H, W) uint8 in 0..levels-1; labels: (N,) int64 in 0..classes-1, on the same
    device; N >= 1. An image comes up again only when all others have.
    """
    generator = torch.Generator().manual_seed(seed)
    # manual_seed of torch itself would also seed every GPU, which the fork does not restore.
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        network = Network(images.shape[1], levels, classes)
    network.to(memory_format=torch.channels_last).to(images.device)
    optimiser = torch.optim.SGD(
        network.parameters(), PEAK_RATE, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, PEAK_RATE, total_steps=STEPS, cycle_momentum=False
    )
    epochs = -(-STEPS * BATCH // len(images))
    order = torch.cat([torch.randperm(len(images), generator=generator) for _ in range(epochs)])
    network.train()
    for batch in order[: STEPS * BATCH].to(images.device).split(BATCH):
        loss = cross_entropy(network(images[batch]), labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def predict(network: Network, images: Tensor) -> Tensor:
    """The likeliest class (N,) int64 of each of the images (N, C, H, W) uint8."""
    return torch.cat([network(batch).argmax(1) for batch in images.split(1000)])


def classification_accuracy(
    images: Array,
    labels: Array,
    test_images: Array,
    test_labels: Array,
    *,
    levels: int,
    seed: int,
) -> Measured:
    """Accuracy, in [0, 1], on real test images of a classifier trained on synthetic images.

    Ravuri and Vinyals 2019, "Classification accuracy score for conditional generative models",
    with the small network above in place of theirs. images: (N, C, H, W) uint8 in 0..levels-1,
    drawn for the labels (N,) int64 >= 0; test images (M, C, H, W) and labels (M,) likewise; N and M
    at least 1. The interval is Wilson's over the test images, the classifier being fixed. Raises
    ValueError, naming the input, for another dtype, shape or range.
    """
    train = _check_labelled(images, labels, levels, "images", "labels")
    test = _check_labelled(test_images, test_labels, levels, "test_images", "test_labels")
    check_same_shape(train[0], test[0], "test_images")
    right = _right(train, test, levels, 1 + max(int(y.max()) for _, y in (train, test)), seed)
    return proportion(int(right.sum()), len(right))


def augmentation_gain(
    real_images: Array,
    real_labels: Array,
    images: Array,
    labels: Array,
    test_images: Array,
    test_labels: Array,
    *,
    levels: int,
    sizes: Sequence[int],
    seed: int,
) -> dict[int, Measured]:
    """Test accuracy with n real and all synthetic images, minus that with the n real ones alone,
    for each n of `sizes`; in [-1, 1].

    After the naive augmentation score of Ravuri and Vinyals 2019. Images (., C, H, W) uint8 in
    0..levels-1, labels (.,) int64 >= 0; 1 <= n <= the number of real images. The n are picked by
    `seed`, a larger n holding the smaller one's, and both classifiers take as many steps. The
    interval is that of the mean of paired differences over the test images (McNemar 1947), both
    classifiers being fixed. Raises ValueError, naming the input, for another dtype, shape or range.
    """
    real = _check_labelled(real_images, real_labels, levels, "real_images", "real_labels")
    made = _check_labelled(images, labels, levels, "images", "labels")
    test = _check_labelled(test_images, test_labels, levels, "test_images", "test_labels")
    check_same_shape(real[0], made[0], "images")
    check_same_shape(real[0], test[0], "test_images")
    if not all(1 <= n <= len(real[0]) for n in sizes):
        raise ValueError(f"sizes: expected numbers in 1..{len(real[0])}, got {[*sizes]}")
    classes = 1 + max(int(y.max()) for _, y in (real, made, test))
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(real[0])))
    order = order.to(real[0].device)
    gains = {}
    for n in sizes:
        few = (real[0][order[:n]], real[1][order[:n]])
        both = (torch.cat([few[0], made[0]]), torch.cat([few[1], made[1]]))
        alone, beside = (_right(train, test, levels, classes, seed) for train in (few, both))
        agree = torch.equal(alone, beside)
        difference = beside.double() - alone.double()
        gains[n] = mean(difference.cpu(), "both are right on the same images" if agree else "")
    return gains


def _right(train: Labelled, test: Labelled, levels: int, classes: int, seed: int) -> Tensor:
    """Whether each test image is classified rightly, (M,) bool, after training on `train`."""
    network = train_classifier(*train, levels=levels, classes=classes, seed=seed)
    return predict(network, test[0]) == test[1]


def check_images(images: Array, levels: int, name: str, least: int = 1) -> Tensor:
    """`images` as a tensor on its device; ValueError, calling it `name`, unless it is uint8
    (N, C, H, W) with N >= `least`, C >= 1, H and W >= 4, and values in 0..levels-1."""
    x = _typed(images, "uint8", name)
    if x.ndim != 4 or x.shape[1] < 1 or min(x.shape[2:]) < 4:
        raise ValueError(f"{name}: expected shape (N, C, H >= 4, W >= 4), got {tuple(x.shape)}")
    if len(x) < least:
        raise ValueError(f"{name}: needs at least {least} images, got {len(x)}")
    if (highest := int(x.max())) >= levels:
        raise ValueError(f"{name}: expected values in 0..{levels - 1}, got {highest}")
    return x


def check_same_shape(images: Tensor, others: Tensor, name: str) -> None:
    """ValueError, calling `others` `name`, unless its images have the shape of `images`."""
    if others.shape[1:] != images.shape[1:]:
        expected, got = tuple(images.shape[1:]), tuple(others.shape[1:])
        raise ValueError(f"{name}: expected images of shape {expected}, got {got}")


def _check_labelled(
    images: Array, labels: Array, levels: int, images_name: str, labels_name: str
) -> Labelled:
    x, y = check_images(images, levels, images_name), _typed(labels, "int64", labels_name)
    if y.shape != (len(x),):
        raise ValueError(f"{labels_name}: expected shape ({len(x)},), got {tuple(y.shape)}")
    if (lowest := int(y.min())) < 0:
        raise ValueError(f"{labels_name}: expected values >= 0, got {lowest}")
    return x, y


def _typed(x: Array, dtype: str, name: str) -> Tensor:
    found = str(x.dtype).removeprefix("torch.")
    if found != dtype:
        raise ValueError(f"{name}: expected {dtype}, got {found}")
    return x if isinstance(x, Tensor) else torch.from_numpy(np.array(x, order="C"))
