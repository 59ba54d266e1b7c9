"""Fresh real images among which a known share are training images: a ruler for memorisation.

A measure of memorisation must say nothing at a share of 0 and rise with it.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from genbench.data import DatasetInfo, load
from genbench.models.controls import KeptImages, pick
from genbench.models.controls import Params as ControlParams


class Params(ControlParams):
    """share: of the samples that are copies of training images."""

    share: float = Field(ge=0, le=1)


class Planted(KeptImages):
    """Distinct images of the validation split, which nobody trained on, and distinct training
    images, in the declared proportion."""

    params: Params
    fresh: Tensor

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__(params, data)
        n = min(params.kept, data.sizes["validation"])
        self.register_buffer("fresh", torch.zeros(n, *data.shape, dtype=torch.uint8))

    def fit(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        super().fit(images, labels, generator)
        fresh = torch.from_numpy(load(self.data.name).validation.rows).to(images.device)
        self.fresh.copy_(pick(fresh, len(self.fresh), generator))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        n = min(n, len(self.fresh), len(self.kept))
        copies = round(self.params.share * n)
        chosen = torch.cat(
            [pick(self.kept, copies, generator), pick(self.fresh, n - copies, generator)]
        )
        return pick(chosen, n, generator)
