"""A mixture of Gaussians fitted by EM: a density learnt without a network.

A point of reference: it has no gradient steps and no training budget, and shows how far means,
linear correlations and some fifty clusters of images go. What a network is for lies beyond it.

x = m + W y + s * e for pixels x in [-1, 1]. y, the coordinates along the first principal components
W, comes from a mixture of Gaussians with full covariances, by scikit-learn's EM from a start at
k-means; e is standard normal, and s^2 is the variance of each pixel that W leaves, so every pixel
has its own variance whole. Full covariances of all pixels could not be estimated from some hundred
images a cluster. A mixture of probabilistic PCA (Tipping and Bishop 1999) would give each cluster
components of its own, but no well-kept library has its EM. Samples are x, as the nearest grey
levels.

Few images: of n images, at most n - 1 principal components and one Gaussian for every
5 * components of them, so that each covariance has images to be estimated from. What is not used
stays zero in the buffers, the Gaussians' weights too.

Likelihood: none. A grey level's mass is the integral over its bin, and with correlated pixels that
is one integral over a box in as many dimensions as there are pixels: no closed form, and no bound
as simple as the model.
"""

from __future__ import annotations

import sklearn.mixture
import torch
from pydantic import Field
from threadpoolctl import threadpool_limits
from torch import Tensor

from genbench.data import DatasetInfo
from genbench.models.controls import Control, pick
from genbench.models.controls import Params as ControlParams
from genbench.models.interface import to_levels, to_unit

# A covariance of D dimensions is estimated from at least so many times D images, on average.
IMAGES_A_DIMENSION = 5


class Params(ControlParams):
    """kept: distinct training images that it is fitted to. components: principal components;
    gaussians: of the mixture. Fewer of both where there are few images."""

    components: int = Field(40, gt=0)
    gaussians: int = Field(50, gt=0)


class GaussianMixture(Control):
    """The fitted mixture, of K Gaussians in Q principal components of D = C * H * W pixels.

    mean, deviation: (D,), m and s. directions: (Q, D), the rows of W. weights: (K,), adding up to
    1; centres: (K, Q); factors: (K, Q, Q), lower triangular, the covariances' Cholesky factors.
    """

    params: Params
    mean: Tensor
    deviation: Tensor
    directions: Tensor
    weights: Tensor
    centres: Tensor
    factors: Tensor

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__(params, data)
        D = torch.Size(data.shape).numel()
        Q, K = min(params.components, D), params.gaussians
        shapes = {
            "mean": (D,), "deviation": (D,), "directions": (Q, D),
            "weights": (K,), "centres": (K, Q), "factors": (K, Q, Q),
        }  # fmt: skip
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    def fit(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        """Raises ValueError for fewer than two images."""
        if len(images) < 2:
            raise ValueError(f"images: expected at least 2, got {len(images)}")
        chosen = pick(images, min(len(images), self.params.kept), generator)
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        x = to_unit(chosen, self.data.levels).flatten(1).cpu().double()
        Q = min(len(self.directions), len(x) - 1)
        K = min(len(self.weights), max(1, len(x) // (IMAGES_A_DIMENSION * Q)))

        mean = x.mean(0)
        variances, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
        W = vectors.T[-Q:].flip(0)
        explained = (W.square() * variances[-Q:].flip(0)[:, None]).sum(0)
        left = (x.var(0, correction=0) - explained).clamp(min=0)
        # One thread: their number would change the last digits, and EM makes much of little.
        with threadpool_limits(1):
            mixture = sklearn.mixture.GaussianMixture(K, random_state=seed)
            mixture.fit(((x - mean) @ W.T).numpy())

        for buffer in self.buffers():
            buffer.zero_()
        self.mean.copy_(mean)
        self.deviation.copy_(left.sqrt())
        self.directions[:Q] = W.to(self.directions)
        self.weights[:K] = torch.from_numpy(mixture.weights_).to(self.weights)
        self.centres[:K, :Q] = torch.from_numpy(mixture.means_).to(self.centres)
        factors = torch.linalg.cholesky(torch.from_numpy(mixture.covariances_))
        self.factors[:K, :Q, :Q] = factors.to(self.factors)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        index = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        Q, D = self.directions.shape
        noise = torch.randn(n, Q + D, generator=generator, device=self.mean.device)
        y = self.centres[index] + torch.einsum("nij,nj->ni", self.factors[index], noise[:, :Q])
        x = self.mean + y @ self.directions + self.deviation * noise[:, Q:]
        return to_levels(x.view(n, *self.data.shape), self.data.levels)
