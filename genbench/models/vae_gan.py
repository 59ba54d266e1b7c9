"""A VAE-GAN: a VAE that measures errors by the features of a discriminator.

Larsen et al. 2016. Of the VAE, the expected log-likelihood of pixels gives way to that of the
discriminator's features Dis_l, here the activations of its last convolution:
L_like = -E_q(z|x)[log N(Dis_l(x) | Dis_l(Dec(z)), I)] (their eq. 7), which is half the summed
squared error and a constant. The objective is L_prior + L_like + L_GAN (eq. 8), with L_prior the
divergence of q(z|x) from p(z) = N(0, I), and with both reconstructions Dec(z) and samples Dec(z_p),
z_p from p(z), as the discriminator's fakes. One step is algorithm 1, three gradients at the same
weights:

- encoder: L_prior + L_like, and nothing of L_GAN;
- decoder: gamma L_like + its adversarial loss, and nothing of L_prior;
- discriminator: its own loss alone, for under L_like it would make all features alike.

The adversarial losses are `dcgan`'s: the decoder's in its non-saturating form, where the paper
writes the discriminator's with the other sign. Generator, discriminator and Adam's settings are
`dcgan`'s too, the encoder is `vae`'s. gamma weighs a sum over all features against a mean of
log-odds, and so is small. Of two short runs on MNIST, 0.01 reconstructed better than 0.001, with
samples alike to the eye.

D normalises each kind of images by the statistics of its own batch, as `dcgan`'s does. An image and
its reconstruction are thus seen by slightly different maps, and L_like notices little of a
brightness or contrast that all reconstructions of a batch have wrong. Two remedies were tried, all
kinds in one batch, and the real batch's statistics for the reconstructions' features: on 256
digits, with three settings and three seeds each, and on Fashion-MNIST at a quarter of the cpu
profile's budget, with one. Neither rebuilt better.

Likelihood: none is declared. L_like is a likelihood of features, and of features that move as the
discriminator learns: with it, the bound bounds no probability of pixels.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from genbench.cost import backward_flops, forward_flops
from genbench.data import DatasetInfo
from genbench.models.adversarial import adams, cross_entropy, non_saturating
from genbench.models.dcgan import Discriminator, Generator, initialise
from genbench.models.interface import Model, gradient_norm, to_levels, to_unit
from genbench.models.vae import convolutional_encoder, divergence
from genbench.suite import Spec


class Params(Spec):
    """width: channels after the encoder's and D's first layer; latent: dimensions of z; Adam's
    settings, for all three networks; gamma: the weight of L_like in the decoder's loss."""

    width: int = Field(48, gt=0)
    latent: int = Field(32, gt=0)
    learning_rate: float = Field(2e-4, gt=0)
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    gamma: float = Field(0.01, ge=0)


class Algorithm1:
    """The one training stage: a gradient and a step of Adam for each network."""

    name = "vae-gan"
    share = 1.0
    batches = 1

    def __init__(self, model: VAEGAN):
        self.model = model
        self.network = model.net
        self.players = {"encoder": model.net["encoder"], "G": model.net["decoder"], "D": model.D}
        self.optimisers = adams(self.players, model.params)

    def prepare(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return images

    def prepare_flops(self, n: int) -> int:
        return 0

    def losses(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Each player's loss by its name, and the terms that they are made of: 0-d, nats."""
        G, features, head = self.players["G"], self.model.D["features"], self.model.D["head"]
        mean, log_variance = self.model.encode(batch)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        rebuilt = G(mean + (log_variance / 2).exp() * noise)
        fake = G(self.model.noise(len(batch), generator))

        real_features = features(to_unit(batch, self.model.data.levels))
        rebuilt_features = features(rebuilt)
        real, rebuilt, fake = (
            head(h).float() for h in (real_features, rebuilt_features, features(fake))
        )
        prior = divergence(mean, log_variance).mean()
        errors = rebuilt_features.float() - real_features.detach().float()
        like = errors.square().sum(1).mean() / 2
        return {
            "prior": prior,
            "like": like,
            "encoder": prior + like,
            "G": self.model.params.gamma * like + non_saturating(rebuilt) + non_saturating(fake),
            "D": cross_entropy(real, rebuilt) + softplus(fake).mean(),
        }

    def step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        losses = self.losses(batch, generator)
        values = {f"loss_{name}": loss.detach() for name, loss in losses.items()}
        # All gradients are taken at the same weights, before any of them moves, and each by its
        # own player's weights alone. They share one graph, which is kept for them: compiled
        # networks refuse that, so this model is trained as it is.
        for name, player in self.players.items():
            self.optimisers[name].zero_grad()
            losses[name].backward(inputs=list(player.parameters()), retain_graph=True)
            values[f"gradient_norm_{name}"] = gradient_norm(player)
        for optimiser in self.optimisers.values():
            optimiser.step()
        return values

    def step_flops(self, batch_size: int) -> int:
        model = self.model
        x = torch.zeros(1, *model.data.shape)
        e = forward_flops(self.players["encoder"], x)
        g = forward_flops(self.players["G"], torch.zeros(1, model.params.latent))
        f = forward_flops(model.D["features"], x)
        d = forward_flops(nn.Sequential(model.D["features"], model.D["head"]), x)
        forward = sum(e) + 2 * sum(g) + 3 * sum(d)
        # The gradients by inputs, through D's features and G to the encoder; through D to G for
        # both kinds of fakes; and D's own for these and for real images.
        encoder = sum(f) + sum(g) + backward_flops(e)
        decoder = 2 * (sum(d) + backward_flops(g))
        discriminator = 3 * backward_flops(d)
        return batch_size * (forward + encoder + decoder + discriminator)


class VAEGAN(Model):
    """The averaged `net` of encoder and decoder, and the discriminator D, its features first."""

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        self.params, self.data = params, data
        encoder = convolutional_encoder(data.image_shape, params.width, 2 * params.latent)
        self.net = nn.ModuleDict(
            {"encoder": encoder, "decoder": Generator(params, data.image_shape)}
        )
        *features, head = Discriminator(params, data.image_shape)
        self.D = nn.ModuleDict({"features": nn.Sequential(*features), "head": head})
        for player in (self.net["decoder"], self.D):
            player.apply(initialise)
        self.stages = [Algorithm1(self)]

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        """z (n, latent) from N(0, I)."""
        return torch.randn(n, self.params.latent, generator=generator, device=generator.device)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x): two (B, latent) for images (B, C, H, W) uint8."""
        outputs = self.net["encoder"](to_unit(images, self.data.levels)).float()
        mean, log_variance = outputs.chunk(2, dim=1)
        return mean, log_variance

    def reconstruct(self, images: Tensor) -> Tensor:
        """The decoder's image of the posterior's mean."""
        mean, _ = self.encode(images)
        return to_levels(self.net["decoder"](mean), self.data.levels)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return to_levels(self.net["decoder"](self.noise(n, generator)), self.data.levels)

    def sample_flops(self) -> int:
        return sum(forward_flops(self.net["decoder"], torch.zeros(1, self.params.latent)))
