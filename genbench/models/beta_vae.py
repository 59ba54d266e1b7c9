"""A beta-VAE: a VAE whose rate is weighed.

Objective: E_q(z|x)[log p(x|z)] - beta KL(q(z|x) || p(z)), Higgins et al. 2017, eq. 4, with
beta = 4 unless told otherwise. Beyond 1 it asks q(z|x) to be nearer the prior than the likelihood
warrants: the latent holds less of an image, in coordinates that are pressed to vary independently,
and at beta = 1 it is `vae` step for step.

Likelihood: beta weighs the training loss alone. The bound that is reported, and the importance
weights, are the ELBO's (beta = 1), so they are comparable with a VAE's, and the loss is not.

What beta means depends on the likelihood's scale s. With s fixed, beta and s say one thing: beta
times the rate against errors measured in units of s is the same trade as a wider s at beta = 1.
Here s is learned, and follows the errors: a larger beta leaves larger errors, these widen s, and a
wider s counts errors for less, so that the rate is weighed more heavily still. The same beta
therefore presses harder than with s held at the VAE's, coordinates of z collapse to the prior
sooner, and values of beta cannot be carried over from papers that fix s, nor from one data set to
another.
"""

from __future__ import annotations

from pydantic import Field

from genbench.data import DatasetInfo
from genbench.models import vae
from genbench.models.vae import ELBO, VAE


class Params(vae.Params):
    """The VAE's, and beta: the weight of the rate in the training loss."""

    beta: float = Field(4.0, gt=0)


class BetaVAE(VAE):
    """The VAE, trained on distortion + beta * rate."""

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__(params, data)
        self.stages = [ELBO(self, params.beta)]
