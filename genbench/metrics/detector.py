"""The classifier two-sample test: can a network learn to tell samples from real images?"""

from __future__ import annotations

import numpy as np
import torch

from genbench.metrics.checks import Array
from genbench.metrics.measured import Measured, proportion
from genbench.metrics.utility import check_images, check_same_shape, predict, train_classifier

FEW = 200


def detector_accuracy(samples: Array, reference: Array, *, levels: int, seed: int) -> Measured:
    """Share of held-out images that a trained network rightly calls sample or real, in [0, 1].

    Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests", section 3, with the network
    and recipe of `utility`: it learns from one half of each set and is asked about the other, n
    images of each set with n the smaller size, picked by `seed`. 0.5 is indistinguishable to this
    network; a stronger one, or one with more images to learn from, might still tell them apart.

    samples: (N, C, H, W) uint8 in 0..levels-1; reference: (M, C, H, W) likewise; N and M at least
    2. The interval is Wilson's over the held-out images, the network being fixed. Flagged where a
    set has fewer than 200 images. Raises ValueError, naming the input, for another dtype, shape or
    range.
    """
    x = check_images(samples, levels, "samples", least=2)
    y = check_images(reference, levels, "reference", least=2)
    check_same_shape(x, y, "reference")
    n, rng = min(len(x), len(y)), np.random.default_rng(seed)
    x, y = (z[torch.from_numpy(rng.permutation(len(z))[:n]).to(z.device)] for z in (x, y))
    half = n // 2
    learn, ask = torch.cat([x[:half], y[:half]]), torch.cat([x[half:], y[half:]])
    real = torch.arange(len(learn), device=learn.device) // half
    network = train_classifier(learn, real, levels=levels, classes=2, seed=seed)
    asked_real = torch.arange(len(ask), device=ask.device) // (n - half)
    right = int((predict(network, ask) == asked_real).sum())
    return proportion(right, len(ask), f"only {n} images of each set" if n < FEW else "")
