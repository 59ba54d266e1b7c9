"""Real training images with one fault of a chosen strength: rulers for the metrics.

A metric that claims to see a fault must move as its strength rises; one that is blind to it must
not. Unlike the other controls these come in degrees.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from genbench.data import DatasetInfo
from genbench.errors import UserError
from genbench.models.controls import KeptImages
from genbench.models.controls import Params as ControlParams
from genbench.models.interface import to_levels, to_unit

Kind = Literal["blur", "noise", "salt-and-pepper", "class-drop"]


class Params(ControlParams):
    """kind: the fault. strength: for blur, the Gaussian's deviation in fourteenths of the width;
    for noise, the deviation of what is added to each pixel, as a share of the grey range; for
    salt-and-pepper, the share of pixels set to the lowest or highest level, evenly; for
    class-drop, the share of classes left out, the last ones, rounded to whole classes."""

    kind: Kind
    strength: float = Field(gt=0)


class Distorted(KeptImages):
    """Distinct training images under the fault."""

    params: Params

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__(params, data)
        strength = params.strength
        if params.kind == "class-drop" and self.classes_left() < 1:
            raise UserError(f"distorted: strength {strength:g} leaves no class; lower it")
        if params.kind == "salt-and-pepper" and strength > 1:
            raise UserError(f"distorted: strength {strength:g} is no share of pixels; lower it")

    def classes_left(self) -> int:
        return self.data.classes - round(self.params.strength * self.data.classes)

    def fit(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        if self.params.kind == "class-drop":
            there = labels < self.classes_left()
            images, labels = images[there], labels[there]
        super().fit(images, labels, generator)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        images, levels = super().sample(n, generator), self.data.levels
        kind, strength = self.params.kind, self.params.strength
        if kind == "blur":
            sigma = strength * self.data.shape[-1] / 14
            size = 2 * min(round(3 * sigma) + 1, self.data.shape[-1] - 1) + 1
            return to_levels(
                gaussian_blur(to_unit(images, levels), [size] * 2, [sigma] * 2), levels
            )
        if kind == "noise":
            noise = torch.randn(images.shape, generator=generator, device=images.device)
            return to_levels(to_unit(images, levels) + 2 * strength * noise, levels)
        if kind == "salt-and-pepper":
            u = torch.rand(images.shape, generator=generator, device=images.device)
            images = torch.where(u < strength / 2, torch.zeros_like(images), images)
            salt = torch.full_like(images, levels - 1)
            return torch.where(u > 1 - strength / 2, salt, images)
        return images
