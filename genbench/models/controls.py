"""Controls: rows of known quality that pass through the same metrics as models.

Each is fitted in closed form to the training images, keeps what it needs as buffers, and samples.
A control's seed picks its training images or its noise. They are drawn in one call, so a draw can
be without replacement.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from genbench.data import DatasetInfo
from genbench.models.interface import Model, to_levels, to_unit
from genbench.suite import Spec


class Params(Spec):
    """kept: distinct training images that a control of real images draws from;
    copied: those that the copier copies."""

    kept: int = Field(10_000, gt=0)
    copied: int = Field(1_000, gt=0)


class ClosedForm:
    """A stage without steps: `prepare` fits the control."""

    name = "fit"
    share = 1.0
    batches = 1

    def __init__(self, control: Control):
        self.network = control
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {}

    def prepare(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        self.network.fit(images, labels, generator)
        return images

    def prepare_flops(self, n: int) -> int:
        return 0

    def step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        raise TypeError("a control has no training step")

    def step_flops(self, batch_size: int) -> int:
        return 0


class Control(Model):
    """What all controls share: a stage that fits, and sampling that costs no FLOPs."""

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        self.params, self.data = params, data
        self.stages = [ClosedForm(self)]

    def fit(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        """Keep what sampling needs of the training images (N, C, H, W) uint8."""

    def sample_flops(self) -> int:
        return 0


def drawn(size: int, n: int, generator: torch.Generator) -> Tensor:
    """n distinct indices below `size`; each comes up again only when there are fewer than n."""
    order = torch.randperm(size, generator=generator, device=generator.device)
    return order[torch.arange(n, device=order.device) % size]


def pick(images: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n distinct images; each comes up again only when there are fewer than n."""
    return images[drawn(len(images), n, generator)]


class KeptImages(Control):
    """Distinct training images: as many as asked for, or all that are kept.

    kept: (K, C, H, W) uint8; labels: (K,) int64, their classes.
    """

    kept: Tensor
    labels: Tensor

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__(params, data)
        n = min(self.images_kept(), data.sizes["train"])
        self.register_buffer("kept", torch.zeros(n, *data.shape, dtype=torch.uint8))
        self.register_buffer("labels", torch.zeros(n, dtype=torch.int64))

    def images_kept(self) -> int:
        return self.params.kept

    def fit(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        index = drawn(len(images), len(self.kept), generator)
        self.kept.copy_(images[index])
        self.labels.copy_(labels[index])

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return pick(self.kept, min(n, len(self.kept)), generator)


class TrainSplit(KeptImages):
    """Kept images, also by class."""

    def sample_class(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """A kept image (n, C, H, W) of each class of `labels` (n,) int64: distinct ones while the
        class has any left, then all of them again. ValueError for a class that has none."""
        images = self.kept.new_empty(len(labels), *self.data.shape)
        for label in labels.unique().tolist():
            own = self.kept[self.labels == label]
            if len(own) == 0:
                raise ValueError(f"labels: no image of class {label} was kept")
            wanted = labels == label
            images[wanted] = pick(own, int(wanted.sum()), generator)
        return images


class Copier(TrainSplit):
    """A few training images, copied over and over: drawn with replacement."""

    def images_kept(self) -> int:
        return self.params.copied

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        index = torch.randint(len(self.kept), (n,), generator=generator, device=self.kept.device)
        return self.kept[index]


class ClassDropped(KeptImages):
    """Distinct training images of all classes but the last."""

    def fit(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        super().fit(images[labels != self.data.classes - 1], labels, generator)


class Blurred(TrainSplit):
    """Distinct training images under a Gaussian blur with a deviation of 1/14 of the width."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.blur(super().sample(n, generator))

    def sample_class(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        return self.blur(super().sample_class(labels, generator))

    def blur(self, images: Tensor) -> Tensor:
        x = to_unit(images, self.data.levels)
        sigma = self.data.shape[-1] / 14
        return to_levels(gaussian_blur(x, [7, 7], [sigma, sigma]), self.data.levels)


class PixelGaussian(Control):
    """Each pixel from a Gaussian of its own mean and deviation, independent of the others."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__(params, data)
        self.register_buffer("mean", torch.zeros(data.shape))
        self.register_buffer("deviation", torch.zeros(data.shape))

    def fit(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        x = to_unit(images, self.data.levels)
        self.mean.copy_(x.mean(0))
        self.deviation.copy_(x.std(0))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        shape = (n, *self.data.shape)
        noise = torch.randn(shape, generator=generator, device=self.mean.device)
        return to_levels(self.mean + self.deviation * noise, self.data.levels)


class Noise(Control):
    """Every pixel from the uniform distribution over grey levels."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        shape = (n, *self.data.shape)
        levels = torch.randint(
            self.data.levels, shape, generator=generator, device=generator.device
        )
        return levels.to(torch.uint8)

    def sample_class(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Noise, whatever the class: a classifier that learns from it is left to chance."""
        return self.sample(len(labels), generator)
