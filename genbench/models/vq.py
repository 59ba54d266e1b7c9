"""Images as sequences of codes: the VQ-VAE, and models of a VQ-VAE with a prior over its codes.

van den Oord et al. 2017: an encoder's outputs are replaced by their nearest codebook vectors (eq.
1-2), the gradient passes straight through, and a commitment term keeps the encoder near the
codebook (eq. 3, beta = 0.25; summed over an image's codes here, where the paper averages, as the
likelihood is a sum over pixels). The codebook follows its assignments by exponential moving
averages (their appendix A.1); codes that have fallen out of use restart at encoder outputs of the
batch, as in Dhariwal et al. 2020, section 3.1. A second stage trains a prior on the codes of the
training images. Both stages share one budget.

Likelihood: with p(x|z) a discretised logistic around the decoder's output and p(z) the prior,
-log p(x) <= -log p(z*) - log p(x|z*) where z* are the encoder's codes: a bound in bits over the
data set's grey levels, comparable with a VAE's. Nothing is dequantised. The codes alone give no
probability of pixels. With one z* for an image, more samples of the posterior would not tighten it.
"""

from __future__ import annotations

import abc
import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss, one_hot

from genbench.cost import backward_flops, forward_flops
from genbench.data import DatasetInfo
from genbench.models.autoregressive import Autoregressive
from genbench.models.interface import Model, descend, to_levels, to_unit
from genbench.models.logistic import DiscretisedLogistic
from genbench.suite import Spec


class AutoencoderParams(Spec):
    """Autoencoder: channels `width`, `codes` codebook vectors of `code_width` dimensions,
    `downsampling` 2 or 4, the weight of the commitment and the decay of the codebook's averages.
    autoencoder_share: the first stage's part of the training budget. AdamW's step size is that of
    both stages."""

    width: int = Field(32, gt=0)
    codes: int = Field(256, gt=1)
    code_width: int = Field(32, gt=0)
    downsampling: int = Field(4, ge=2, le=4, multiple_of=2)
    commitment: float = Field(0.25, ge=0)
    codebook_decay: float = Field(0.99, gt=0, lt=1)
    autoencoder_share: float = Field(0.3, gt=0, lt=1)
    learning_rate: float = Field(1e-3, gt=0)


class Codebook(nn.Module):
    """Vector quantisation with a codebook that follows its assignments, in float32 throughout.

    codes: (K, D). counts: (K,), the averaged number of vectors assigned in a batch; sums: (K, D),
    their averaged sum. They are buffers: no gradient, and part of the averaged network.
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, size: int, width: int, decay: float):
        super().__init__()
        self.decay = decay
        # Counts of zero: codes restart at encoder outputs of the first batch, but for those that
        # draw many of them at once.
        self.register_buffer("codes", torch.randn(size, width))
        self.register_buffer("counts", torch.zeros(size))
        self.register_buffer("sums", torch.zeros(size, width))

    def forward(self, h: Tensor) -> Tensor:
        """Index of the nearest code of each vector: h (N, D) -> (N,) int64."""
        # Of two near codes, a distance in bfloat16 would often name the wrong one.
        with torch.autocast(h.device.type, enabled=False):
            return (self.codes.square().sum(1) - 2 * h @ self.codes.T).argmin(1)

    def forward_flops(self, h: Tensor, index: Tensor) -> int:
        return 2 * h.numel() * len(self.codes)

    @torch.no_grad()
    def follow(self, h: Tensor, index: Tensor, generator: torch.Generator) -> None:
        """Move the codes to the averaged means of the vectors h (N, D) assigned to them."""
        assigned = one_hot(index, len(self.codes)).to(h.dtype)
        self.counts.lerp_(assigned.sum(0), 1 - self.decay)
        with torch.autocast(h.device.type, enabled=False):
            self.sums.lerp_(assigned.T @ h, 1 - self.decay)
        # A code that draws under a twentieth of an even share has fallen out of use. It restarts
        # with twice that, which leaves it about 70 batches to find vectors of its own.
        least = 0.05 * len(h) / len(self.codes)
        unused = self.counts < least
        pick = torch.randint(len(h), (len(self.codes),), generator=generator, device=h.device)
        self.counts[unused] = 2 * least
        self.sums[unused] = 2 * least * h[pick][unused]
        self.codes.copy_(self.sums / self.counts.unsqueeze(1))


class VQVAE(nn.Module):
    """Encoder, codebook, decoder and the likelihood's scale; codes on an (H/f, W/f) grid."""

    def __init__(self, params: AutoencoderParams, data: DatasetInfo):
        super().__init__()
        channels, height, width = data.shape
        w, d = params.width, params.code_width
        self.grid = (height // params.downsampling, width // params.downsampling)
        # The inner layers halve the grid once more, or keep it.
        kernel, stride = (4, 2) if params.downsampling == 4 else (3, 1)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, w, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(w, 2 * w, kernel, stride=stride, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * w, d, 1),
        )
        self.codebook = Codebook(params.codes, d, params.codebook_decay)
        self.decoder = nn.Sequential(
            nn.Conv2d(d, 2 * w, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * w, w, kernel, stride=stride, padding=1),
            nn.ReLU(),
            # The mean is left linear: a tanh that saturates on a dark background while the codebook
            # is still empty never lets go of it (seen on MNIST: every image stays black).
            nn.ConvTranspose2d(w, channels, 4, stride=2, padding=1),
        )
        self.likelihood = DiscretisedLogistic(data.levels)


def rows(h: Tensor) -> Tensor:
    """(B, D, H, W) -> (B*H*W, D)."""
    return h.permute(0, 2, 3, 1).flatten(0, 2)


class Autoencoding:
    """First stage: a step of AdamW on distortion and commitment; the codebook follows."""

    name = "autoencoder"
    batches = 1

    def __init__(self, model: CodedModel, share: float):
        self.model, self.share = model, share
        self.network = model.vqvae
        self.optimisers = {
            "vqvae": torch.optim.AdamW(
                model.vqvae.parameters(), model.params.learning_rate, weight_decay=0.0, fused=True
            )
        }

    def prepare(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return images

    def prepare_flops(self, n: int) -> int:
        return 0

    def step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        net = self.network
        h = net.encoder(to_unit(batch, self.model.data.levels)).float()
        vectors = rows(h.detach())
        index = net.codebook(vectors)
        code = self.model.lookup(index.view(len(batch), -1))
        mean = net.decoder(h + (code - h).detach()).float()
        distortion = -net.likelihood.log_prob(batch, mean).mean()
        # Summed over an image like the distortion, so that beta weighs like with like.
        commitment = mse_loss(h, code, reduction="sum") / len(batch)
        loss = distortion + self.model.params.commitment * commitment
        norm = descend(loss, net, self.optimisers["vqvae"])
        net.codebook.follow(vectors, index, generator)
        used = torch.bincount(index, minlength=len(net.codebook.codes)).float() / len(index)
        return {
            "loss": loss.detach(),
            "distortion": distortion.detach(),
            "commitment": commitment.detach(),
            "codebook_perplexity": torch.special.entr(used).sum().exp(),
            "gradient_norm": norm,
        }

    def step_flops(self, batch_size: int) -> int:
        encoder, quantise, decoder = self.model.layer_flops()
        layers = encoder + decoder
        # The codebook's update gathers its assignments by one more matrix product.
        return batch_size * (sum(layers) + backward_flops(layers) + 2 * quantise)


class NextCode:
    """Second stage: a step of AdamW on the codes' negative log-likelihood."""

    name = "prior"
    batches = 1

    def __init__(self, model: VQModel):
        self.model = model
        self.share = 1 - model.params.autoencoder_share
        self.network = model.prior
        self.optimisers = {"prior": model.prior.optimiser(model.params.learning_rate)}

    @torch.no_grad()
    def prepare(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The codes (N, T) int64 of all training images, by the finished first stage."""
        return torch.cat([self.model.codes(batch) for batch in images.split(1000)])

    def prepare_flops(self, n: int) -> int:
        encoder, quantise, _ = self.model.layer_flops()
        return n * (sum(encoder) + quantise)

    def step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        loss = self.model.prior_loss(batch, labels).mean()
        norm = descend(loss, self.network, self.optimisers["prior"])
        return {"loss": loss.detach(), "gradient_norm": norm}

    def step_flops(self, batch_size: int) -> int:
        return batch_size * self.network.train_flops()


class CodedModel(Model):
    """The autoencoder `vqvae` and what is done with it, given some p(z) over its codes."""

    likelihood = "bpd_bound"

    def __init__(self, params: AutoencoderParams, data: DatasetInfo):
        super().__init__()
        self.params, self.data = params, data
        self.vqvae = self.new_vqvae()

    def new_vqvae(self) -> VQVAE:
        return VQVAE(self.params, self.data)

    @abc.abstractmethod
    def code_nats(self, codes: Tensor) -> Tensor:
        """-log p(z), nats, of codes (B, T) int64: (B,)."""

    def codes(self, images: Tensor) -> Tensor:
        """The codes (B, T) int64 of images (B, C, H, W) uint8."""
        h = self.vqvae.encoder(to_unit(images, self.data.levels))
        return self.vqvae.codebook(rows(h)).view(len(images), -1)

    def lookup(self, codes: Tensor) -> Tensor:
        """Codebook vectors (B, D, H/f, W/f) of codes (B, T) int64."""
        vectors = self.vqvae.codebook.codes[codes].transpose(1, 2)
        return vectors.unflatten(2, self.vqvae.grid)

    def decode(self, codes: Tensor) -> Tensor:
        """Locations of p(x|z), (B, C, H, W), of codes (B, T) int64; levels span [-1, 1]."""
        return self.vqvae.decoder(self.lookup(codes))

    def to_images(self, codes: Tensor) -> Tensor:
        """What codes (B, T) int64 are decoded to, as images (B, C, H, W) uint8."""
        return to_levels(self.decode(codes), self.data.levels)

    def bits_per_dim(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The bound -log2 p(z*) - log2 p(x|z*) per pixel: (N,)."""
        codes = self.codes(images)
        log_x = self.vqvae.likelihood.log_prob(images, self.decode(codes))
        return (self.code_nats(codes) - log_x) / (math.log(2) * math.prod(self.data.shape))

    def reconstruct(self, images: Tensor) -> Tensor:
        return self.to_images(self.codes(images))

    def layer_flops(self) -> tuple[list[int], int, list[int]]:
        """Forward FLOPs for one image: the encoder's layers, quantisation, the decoder's layers."""
        h = torch.zeros(1, self.params.code_width, *self.vqvae.grid)
        return (
            forward_flops(self.vqvae.encoder, torch.zeros(1, *self.data.shape)),
            self.vqvae.codebook.forward_flops(rows(h), rows(h)),
            forward_flops(self.vqvae.decoder, h),
        )


class VQModel(CodedModel):
    """The autoencoder and an autoregressive `prior` over its codes, in raster order. Which prior
    that is, is all that its subclasses say."""

    prior: Autoregressive

    def __init__(self, params: AutoencoderParams, data: DatasetInfo):
        super().__init__(params, data)
        self.prior = self.new_prior(math.prod(self.vqvae.grid))
        self.stages = [Autoencoding(self, params.autoencoder_share), NextCode(self)]

    @abc.abstractmethod
    def new_prior(self, length: int) -> Autoregressive:
        """The prior over sequences of `length` codes."""

    def prior_loss(self, codes: Tensor, labels: Tensor) -> Tensor:
        """What the second stage minimises, of codes (B, T) of images with these labels (B,): their
        negative log-likelihood (B,), in nats."""
        return self.prior.negative_log_likelihood(codes)

    def code_nats(self, codes: Tensor) -> Tensor:
        """-log p(z), nats, of codes (B, T) int64: (B,)."""
        return self.prior.negative_log_likelihood(codes)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.to_images(self.prior.sample(n, generator))

    def sample_flops(self) -> int:
        return self.prior.sample_flops() + sum(self.layer_flops()[2])
