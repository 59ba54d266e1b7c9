"""A small denoising diffusion model with a variational bound over the data set's grey levels.

Ho, Jain and Abbeel 2020 ("Denoising diffusion probabilistic models") in the notation of Kingma,
Salimans, Poole and Ho 2021 ("Variational diffusion models"). Data are hidden in noise by degrees,
z_t = alpha_t x + sigma_t eps for t in [0, 1], with alpha_t^2 = sigmoid(-gamma(t)) and sigma_t^2 =
sigmoid(gamma(t)); a network predicts eps from z_t. gamma, minus the logarithm of the signal-to-
noise ratio, is fixed and linear, from where the noise's deviation is a sixth of the distance of
two grey levels (-13.3 for 256 levels, as theirs; -7.7 for 17) to 5, where no signal is left.

Network: eps_hat = sigma z + alpha F(z, gamma), so F predicts "v" (Salimans and Ho 2022,
"Progressive distillation", appendix D); for data of second moment 1 that is the preconditioning of
Karras et al. 2022 ("Elucidating the design space of diffusion-based generative models", EDM).

Training: the unweighted loss |eps - eps_hat|^2 (Ho et al., eq. 14), DDPM's, at EDM's noise levels.
Under a linear gamma and uniform t it would be the bound itself for T -> infinity, up to a factor
and two terms without weights (Kingma et al., eq. 17). But most of the bound is paid at noise that
no eye sees, so only `uniform_share` of t is uniform, and the rest follows EDM's normal
distribution of log sigma (their table 1). On MNIST at a quarter of `cpu`'s budget (one run each)
that cost 4% of the bound and took a third off the samples' Fréchet distance.

Likelihood: the bound of the discrete-time model with T = `timesteps` (Kingma et al., eq. 11-14),
    -log p(x) <= KL(q(z_1|x) || N(0, I)) - E log p(x|z_0)
                 + T/2 E[expm1(gamma_t - gamma_s) |eps - eps_hat(z_t, t)|^2],   s = t - 1/T,
t uniform over 1/T..1, and p(x|z_0) proportional to q(z_0|x) over the grey levels x: nothing is
dequantised. What is reported is an unbiased estimate of it, with one z_0 and `draws` values of t
an image; all t of a batch are stratified together (their appendix I.1).

Sampling: the probability flow by DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), which is DDIM
(Song, Meng and Ermon 2021) with a second-order correction from the step before, at EDM's noise
levels (their eq. 5): `steps` evaluations of the network, deterministic from z_1 on. Of Gaussian
data, 25 evaluations miss the deviation by 1-3%; DDIM loses 7-12% and EDM's Heun gains 5-14% at
that price. Samples come from the network's flow, not from the T-step model that the bound is of.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import silu

from genbench.cost import backward_flops, forward_flops
from genbench.data import DatasetInfo
from genbench.models.interface import Model, descend, to_levels, to_unit
from genbench.suite import Spec

# Deviation of the noise at t = 0, in distances of two grey levels.
LEAST_NOISE = 1 / 6
# gamma(1): the prior's divergence is then about 0.003 nats a pixel.
GAMMA_1 = 5.0
# EDM's log sigma ~ N(-1.2, 1.2^2), for data of deviation 0.5, as gamma = 2 log sigma for 1.
GAMMA_MEAN, GAMMA_DEVIATION = 2 * (-1.2 + math.log(2)), 2 * 1.2
# Exponent of EDM's noise levels: the larger, the more of the sampler's steps are at low noise.
RHO = 7
# Levels on each side of the nearest one that p(x|z_0) looks at; odds of others are below exp(-100).
NEAR = 2


class Params(Spec):
    """width: channels at half resolution, twice that at a quarter; inner: dimensions of the
    innermost vector. uniform_share: of t in training. timesteps: T of the bound; draws: values of
    t an image for its estimate. steps: of the sampler. learning_rate: AdamW's."""

    width: int = Field(16, gt=0, multiple_of=4)
    inner: int = Field(64, gt=0)
    uniform_share: float = Field(0.25, gt=0, lt=1)
    timesteps: int = Field(1000, gt=0)
    draws: int = Field(4, gt=0)
    steps: int = Field(25, gt=1)
    learning_rate: float = Field(3e-3, gt=0)


def alpha_sigma(gamma: Tensor) -> tuple[Tensor, Tensor]:
    """Scales of signal and noise, of gamma's shape; their squares add up to 1."""
    return torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma).sqrt()


class Modulated(nn.Module):
    """x (B, C, H, W) scaled and shifted by channel, as the noise level's code (B, D) says."""

    def __init__(self, channels: int, code: int):
        super().__init__()
        self.linear = nn.Linear(code, 2 * channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        scale, shift = self.linear(code)[:, :, None, None].chunk(2, dim=1)
        return x * (1 + scale) + shift


class Block(nn.Module):
    """A residual block of two 3x3 convolutions, (B, C, H, W) -> the same; at first near x."""

    def __init__(self, channels: int, groups: int, code: int):
        super().__init__()
        self.norm_1, self.norm_2 = (nn.GroupNorm(groups, channels) for _ in range(2))
        self.conv_1, self.conv_2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.modulated = Modulated(channels, code)
        nn.init.normal_(self.conv_2.weight, 0.0, 0.01)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        h = self.conv_1(silu(self.norm_1(x)))
        h = self.modulated(self.norm_2(h), code)
        return x + self.conv_2(silu(h))


class UNet(nn.Module):
    """(z, gamma) -> eps_hat, on images (B, C, H, W) with gamma (B,); H and W multiples of 4.

    It works at a half and a quarter of the resolution and on one vector for the whole image: the
    innermost level holds most of the weights and costs next to nothing.

    Beside z it sees sines and cosines of the grey level, for distances far below its own precision
    (Kingma et al., appendix C), at periods of 1, 4, 16, ... levels. A wave fades where the noise
    covers its period, by the factor exp(-(frequency * noise)^2 / 2) that noise leaves of its mean:
    there it would be noise to the network, too.
    """

    octaves: Tensor
    frequencies: Tensor

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        channels, height, width = data.shape
        w, groups, code = params.width, params.width // 4, 4 * params.width
        quarter = (height // 4, width // 4)
        octaves = math.pi * 2.0 ** torch.arange(-5, 1)
        periods = 4.0 ** torch.arange(math.ceil(math.log(data.levels, 4))) * 2 / (data.levels - 1)
        self.register_buffer("octaves", octaves, persistent=False)
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)
        self.code = nn.Sequential(
            nn.Linear(2 * len(octaves), code), nn.SiLU(), nn.Linear(code, code), nn.SiLU()
        )
        self.enter = nn.Conv2d((1 + 2 * len(periods)) * channels, w, 2, stride=2)
        self.down = nn.Conv2d(w, 2 * w, 2, stride=2)
        self.norm = nn.GroupNorm(groups, 2 * w)
        self.inwards = nn.Conv2d(2 * w, params.inner, quarter)
        self.modulated = Modulated(params.inner, code)
        self.outwards = nn.ConvTranspose2d(params.inner, 2 * w, quarter)
        self.at_quarter = Block(2 * w, groups, code)
        self.up = nn.ConvTranspose2d(2 * w, w, 2, stride=2)
        self.at_half = nn.ModuleList([Block(w, groups, code) for _ in range(2)])
        self.leave = nn.ConvTranspose2d(w, channels, 4, stride=2, padding=1)

    def forward(self, z: Tensor, gamma: Tensor) -> Tensor:
        angles = gamma[:, None] * self.octaves
        code = self.code(torch.cat([angles.sin(), angles.cos()], dim=1))
        alpha, sigma = (scale[:, None, None, None] for scale in alpha_sigma(gamma))
        seen = [z]
        for frequency in self.frequencies:
            phase = frequency * (z / alpha + 1)
            left = torch.exp(-(frequency * sigma / alpha).square() / 2)
            seen += [left * phase.sin(), left * phase.cos()]
        half = self.enter(torch.cat(seen, dim=1))
        h = self.down(half)
        inner = silu(self.modulated(self.inwards(silu(self.norm(h))), code))
        h = self.at_quarter(h + self.outwards(inner), code)
        h = half + self.up(h)
        for block in self.at_half:
            h = block(h, code)
        return sigma * z + alpha * self.leave(silu(h)).float()


class Denoising:
    """The one training stage: a step of AdamW on the unweighted squared error of eps."""

    name = "denoising"
    share = 1.0
    batches = 1

    def __init__(self, model: Diffusion):
        self.model = model
        self.network = model.net
        self.optimisers = {
            "net": torch.optim.AdamW(
                model.net.parameters(), model.params.learning_rate, weight_decay=0.0, fused=True
            )
        }

    def prepare(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return images

    def prepare_flops(self, n: int) -> int:
        return 0

    def step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        model = self.model
        t = model.training_times(len(batch), generator)
        loss = model.squared_error(to_unit(batch, model.data.levels), t, generator).mean()
        norm = descend(loss, self.network, self.optimisers["net"])
        return {"loss": loss.detach() / math.prod(model.data.shape), "gradient_norm": norm}

    def step_flops(self, batch_size: int) -> int:
        # Two chains of layers begin at inputs: the code's, which is worked out first, and z's.
        n = sum(isinstance(layer, nn.Linear) for layer in self.network.code)
        layers = self.model.layer_flops()
        backward = backward_flops(layers[:n]) + backward_flops(layers[n:])
        return batch_size * (sum(layers) + backward)


def stratified(draws: int, n: int, generator: torch.Generator) -> Tensor:
    """(draws, n) values, each uniform on [0, 1), together evenly spread: those of one column lie
    1/draws apart, and all of them 1/(draws n)."""
    steps = torch.arange(draws * n, device=generator.device) / (draws * n)
    offset = torch.rand(1, generator=generator, device=generator.device)
    return (offset + steps).remainder(1).view(draws, n)


class Diffusion(Model):
    """The network `net`, which predicts the noise, and what is done with it."""

    likelihood = "bpd_bound"

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        self.params, self.data = params, data
        self.net = UNet(params, data)
        # sigma_0 / alpha_0 = exp(gamma_0 / 2), and the levels lie 2 / (levels - 1) apart.
        self.gamma_0 = 2 * math.log(LEAST_NOISE * 2 / (data.levels - 1))
        self.stages = [Denoising(self)]

    def gamma(self, t: Tensor) -> Tensor:
        """The linear schedule at times in [0, 1], any shape."""
        return self.gamma_0 + (GAMMA_1 - self.gamma_0) * t

    def training_times(self, n: int, generator: torch.Generator) -> Tensor:
        """(n,) stratified times: of `uniform_share`, uniform; else EDM's, within [0, 1]."""
        share = self.params.uniform_share
        u = stratified(1, n, generator)[0]
        quantile = ((u - share) / (1 - share) * 2 - 1).clamp(-1, 1)
        gamma = GAMMA_MEAN + GAMMA_DEVIATION * math.sqrt(2) * torch.erfinv(quantile)
        t = (gamma - self.gamma_0) / (GAMMA_1 - self.gamma_0)
        return torch.where(u < share, u / share, t.clamp(0, 1))

    def diffuse(self, x: Tensor, t: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """z_t of x (B, C, H, W) at times t (B,), and the noise in it."""
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        alpha, sigma = (scale[:, None, None, None] for scale in alpha_sigma(self.gamma(t)))
        return alpha * x + sigma * noise, noise

    def squared_error(self, x: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
        """|eps - eps_hat(z_t, t)|^2, summed over an image: (B,) for x (B, C, H, W), t (B,)."""
        z, noise = self.diffuse(x, t, generator)
        return (noise - self.net(z, self.gamma(t))).square().flatten(1).sum(1)

    def prior_rate(self, x: Tensor) -> Tensor:
        """KL(q(z_1|x) || N(0, I)), in nats: (B,)."""
        alpha, sigma = alpha_sigma(self.gamma(torch.ones((), device=x.device)))
        each = ((alpha * x).square() + sigma.square() - 1) / 2 - sigma.log()
        return each.flatten(1).sum(1)

    def distortion(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """-log p(x|z_0) at one z_0 from q(z_0|x), in nats: (B,) for images (B, C, H, W) uint8.

        p(level|z_0) is proportional to q(z_0|level), over all grey levels.
        """
        levels = self.data.levels
        # In distances of two levels: z_0 / alpha_0 is the level and noise of deviation LEAST_NOISE.
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        seen = images + LEAST_NOISE * noise
        near = torch.arange(-NEAR, NEAR + 1, device=images.device).view(-1, 1, 1, 1, 1)
        candidates = seen.round() + near
        logits = -((seen - candidates) / LEAST_NOISE).square() / 2
        logits = logits.masked_fill((candidates < 0) | (candidates >= levels), -math.inf)
        return (logits.logsumexp(0) + noise.square() / 2).flatten(1).sum(1)

    def bits_per_dim(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """An unbiased estimate of the bound with T = `timesteps`, in bits per pixel: (N,)."""
        x = to_unit(images, self.data.levels)
        T, draws = self.params.timesteps, self.params.draws
        t = ((stratified(draws, len(x), generator) * T).floor() + 1).clamp(max=T) / T
        error = sum(self.squared_error(x, each, generator) for each in t) / draws
        step = (GAMMA_1 - self.gamma_0) / T
        nats = self.prior_rate(x) + self.distortion(images, generator)
        nats = nats + T / 2 * math.expm1(step) * error
        return nats / (math.log(2) * math.prod(self.data.shape))

    def noise_levels(self) -> list[float]:
        """sigma_t / alpha_t of the sampler's steps, falling, and 0: `steps` + 1 values."""
        steps = self.params.steps
        most, least = (math.exp(gamma / 2 / RHO) for gamma in (GAMMA_1, self.gamma_0))
        return [(most + i / (steps - 1) * (least - most)) ** RHO for i in range(steps)] + [0.0]

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        device, noise_levels = generator.device, self.noise_levels()
        # y = z / alpha, so that y = x + noise_level * eps. At t = 1 there is no signal to speak of.
        y = torch.randn(n, *self.data.shape, generator=generator, device=device)
        y = math.hypot(1, noise_levels[0]) * y
        before, step_before = y, math.inf
        for noise_level, lower in pairwise(noise_levels):
            gamma = torch.full((n,), 2 * math.log(noise_level), device=device)
            x = y - noise_level * self.net(y / math.hypot(1, noise_level), gamma)
            if lower == 0:
                return to_levels(x, self.data.levels)
            step = math.log(noise_level / lower)
            ahead = x + step / (2 * step_before) * (x - before)
            y = ahead + lower / noise_level * (y - ahead)
            before, step_before = x, step
        raise AssertionError("the last noise level is 0")

    def layer_flops(self) -> list[int]:
        """Forward FLOPs of each of the network's layers for one image."""
        return forward_flops(self.net, torch.zeros(1, *self.data.shape), torch.zeros(1))

    def sample_flops(self) -> int:
        return self.params.steps * sum(self.layer_flops())
