"""A sentence VAE: a Gaussian latent for a whole row of tokens and an LSTM that writes the row.

Bowman et al. 2016. log p(x) >= E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z)) (Kingma and Welling 2014,
eq. 3) with p(z) = N(0, I), q(z|x) a diagonal Gaussian, one reparameterised sample, and
p(x|z) = prod_t p(x_t | x_<t, z) over the tokens in the order of `token_sequence`.

Both networks are recurrent, as there. The decoder is that of `token_lstm` with a linear map of z
added to every input, so that the latent alone tells the two models apart; by the first state alone,
z would have to be remembered over hundreds of tokens. The encoder reads in both directions and
keeps the maximum of its states over the positions: every token is then as near to z as the last
one, and posteriors are spread further apart, which by itself works against collapse (Long et al.
2019). A Transformer would do as well here, but would differ from the decoder for no reason.

A decoder this strong can do without z, and then the rate KL(q||p) falls to zero: posterior
collapse. Against it stand free bits (Kingma et al. 2016, in its appendix), on by default: the loss
has sum_j max(free_bits, KL_j), with KL_j a latent dimension's mean over the batch, so that the
first nats of each are not paid for. The paper of the sentence VAE raises the KL's weight over the
first steps instead, for which a stage would have to know how many it is going to have. Word
dropout, as there, hides a share of the decoder's inputs in training; a hidden token's embedding is
zero, where the paper has that of an unknown word, and z is left to speak for it. With both at 0 the
loss is the plain bound.

Likelihood: the bound, over tokens as they are; free bits and word dropout are of the training loss
alone. What is left of the latent is told by `rate`, in the curves, and by `active_units`.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from genbench.cost import backward_flops
from genbench.data import DatasetInfo
from genbench.models.autoregressive import draw
from genbench.models.decoding import Choose, greedy
from genbench.models.interface import Model, descend
from genbench.models.lstm import LSTM
from genbench.suite import Spec


class Params(Spec):
    """width: of both LSTMs, even; layers: the decoder's; latent: dimensions of z; word_dropout: the
    share of the decoder's inputs that training hides; free_bits: nats of each latent dimension that
    the loss does not count; AdamW's step size."""

    width: int = Field(256, gt=0)
    layers: int = Field(1, gt=0)
    latent: int = Field(32, gt=0)
    word_dropout: float = Field(0.0, ge=0, lt=1)
    free_bits: float = Field(0.25, ge=0)
    learning_rate: float = Field(1e-3, gt=0)

    @model_validator(mode="after")
    def _two_directions_share_width(self) -> Self:
        if self.width % 2:
            raise ValueError(f"width {self.width} is odd: two directions of reading share it")
        return self


class Encoder(nn.Module):
    """Tokens (B, T) int64 -> mean and log-variance of q(z|x), (B, 2 latent)."""

    def __init__(self, vocabulary: int, width: int, latent: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.output = nn.Linear(width, 2 * latent)

    def forward(self, tokens: Tensor) -> Tensor:
        states: Tensor = self.lstm(self.embedding(tokens))[0]
        output: Tensor = self.output(states.amax(1))
        return output

    def train_flops(self, length: int) -> int:
        """FLOPs of the forward and backward pass on one sequence."""
        half = self.lstm.hidden_size
        inputs, states = (2 * d * 2 * 4 * half for d in (self.lstm.input_size, half))
        each = [length * inputs, length * states, 2 * self.output.weight.numel()]
        # The embedding in front is trained; both directions' first states, zeros, are not.
        return sum(each) + backward_flops(each, input_gradient=True) - states


class Decoder(nn.Module):
    """p(x|z): an LSTM over the tokens, every input of which has `from_latent` z added."""

    def __init__(self, lstm: LSTM, width: int, latent: int):
        super().__init__()
        self.lstm = lstm
        self.from_latent = nn.Linear(latent, width)

    def forward(self, tokens: Tensor, z: Tensor, seen: Tensor | None = None) -> Tensor:
        """Logits (B, T, vocabulary) of p(x_t | x_<t, z) for tokens (B, T) int64, z (B, latent).

        seen: (B, T) bool, the inputs that are not hidden; all of them by default.
        """
        net = self.lstm
        start = net.start(len(tokens), None, tokens.device)
        inputs = net.embedding(torch.cat([start.unsqueeze(1), tokens[:, :-1]], dim=1))
        if seen is not None:
            inputs = inputs * seen.unsqueeze(2)
        return net.logits(net.lstm(inputs + self.from_latent(z).unsqueeze(1))[0])

    @torch.no_grad()
    def sample(self, z: Tensor, generator: torch.Generator, choose: Choose) -> Tensor:
        """A sequence (n, T) int64 for each z (n, latent), each token taken by `choose`."""
        net, given = self.lstm, self.from_latent(z)
        token = net.start(len(z), None, z.device)
        h, c = net.new_state(len(z), z.device)
        tokens = []
        for _ in range(net.length):
            output, (h, c) = net.lstm((net.embedding(token) + given).unsqueeze(1), (h, c))
            token = choose(net.logits(output.squeeze(1)), generator)
            tokens.append(token)
        sequences = torch.stack(tokens, 1)
        if sequences.max() >= net.vocabulary:  # what `draw` answers where there is no distribution
            raise ValueError("the logits are not finite")
        return sequences

    def train_flops(self) -> int:
        """FLOPs of the forward and backward pass on one sequence, down to z."""
        return self.lstm.train_flops() + 3 * 2 * self.from_latent.weight.numel()

    def sample_flops(self) -> int:
        return self.lstm.sample_flops() + 2 * self.from_latent.weight.numel()


def divergences(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean_j, exp log_variance_j) || N(0, 1)) of each latent dimension, nats: (B, latent)."""
    return (mean.square() + log_variance.exp() - log_variance - 1) / 2


class Networks(nn.Module):
    """What is trained together."""

    def __init__(self, encoder: Encoder, decoder: Decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder


class FreeBits:
    """The one training stage: a step of AdamW on distortion + sum_j max(free_bits, KL_j)."""

    name = "elbo"
    share = 1.0
    batches = 1

    def __init__(self, model: TokenVAE):
        self.model = model
        self.network = model.net
        self.optimisers = {
            "vae": torch.optim.AdamW(
                model.net.parameters(), model.params.learning_rate, weight_decay=0.0, fused=True
            )
        }

    def prepare(self, rows: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return rows

    def prepare_flops(self, n: int) -> int:
        return 0

    def step(self, batch: Tensor, labels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        params, batch = self.model.params, batch.flatten(1).long()
        mean, log_variance = self.model.posterior(batch)
        z = self.model.reparameterised(mean, log_variance, generator)
        u = torch.rand(batch.shape, generator=generator, device=batch.device)
        distortion = self.model.distortion(batch, z, seen=u >= params.word_dropout).mean()
        rate = divergences(mean, log_variance).mean(0)
        loss = distortion + rate.clamp(min=params.free_bits).sum()
        norm = descend(loss, self.network, self.optimisers["vae"])
        return {
            "loss": loss.detach(),
            "distortion": distortion.detach(),
            "rate": rate.detach().sum(),
            "gradient_norm": norm,
        }

    def step_flops(self, batch_size: int) -> int:
        return batch_size * self.model.train_flops()


class TokenVAE(Model):
    """The averaged network `net` and what is done with it."""

    likelihood = "bpd_bound"

    def __init__(self, params: Params, data: DatasetInfo):
        super().__init__()
        self.params, self.data = params, data
        width, latent = params.width, params.latent
        lstm = LSTM(
            vocabulary=data.levels,
            length=math.prod(data.shape),
            width=width,
            layers=params.layers,
        )
        self.net = Networks(Encoder(data.levels, width, latent), Decoder(lstm, width, latent))
        self.stages = [FreeBits(self)]

    def posterior(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x): two (B, latent) float32 for tokens (B, T) int64."""
        mean, log_variance = self.net.encoder(tokens).float().chunk(2, dim=1)
        return mean, log_variance

    def encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x): two (N, latent) for rows (N, *shape) uint8."""
        return self.posterior(rows.flatten(1).long())

    def reparameterised(
        self, mean: Tensor, log_variance: Tensor, generator: torch.Generator
    ) -> Tensor:
        """z (B, latent) from q(z|x)."""
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return mean + (log_variance / 2).exp() * noise

    def distortion(self, tokens: Tensor, z: Tensor, seen: Tensor | None = None) -> Tensor:
        """-log p(x|z), nats: (B,) float32 for tokens (B, T) int64; seen as in `Decoder`."""
        logits = self.net.decoder(tokens, z, seen).float()
        return cross_entropy(logits.transpose(1, 2), tokens, reduction="none").sum(1)

    def elbo_terms(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Distortion -log p(x|z) at one z from q(z|x), and rate KL(q||p): two (N,), in nats."""
        mean, log_variance = self.encode(rows)
        z = self.reparameterised(mean, log_variance, generator)
        distortion = self.distortion(rows.flatten(1).long(), z)
        return distortion, divergences(mean, log_variance).sum(1)

    def bits_per_dim(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Negative ELBO with one posterior sample a row, in bits per token: (N,)."""
        distortion, rate = self.elbo_terms(rows, generator)
        return (distortion + rate) / (math.log(2) * math.prod(self.data.shape))

    @torch.no_grad()
    def log_weights(self, rows: Tensor, generator: torch.Generator, k: int) -> Tensor:
        """log p(x|z_j) + log p(z_j) - log q(z_j|x) for z_1..z_k from q(z|x): (N, k), in nats.

        The weights' logarithm in Burda et al. 2016, eq. 8. The rows are decoded k times, so the
        memory is that of one time.
        """
        mean, log_variance = self.encode(rows)
        weights = []
        for _ in range(k):
            z = self.reparameterised(mean, log_variance, generator)
            standard = (z - mean).square() / log_variance.exp()
            # The Gaussians' normalising constants cancel.
            prior_to_posterior = (standard + log_variance - z.square()).sum(1) / 2
            weights.append(prior_to_posterior - self.distortion(rows.flatten(1).long(), z))
        return torch.stack(weights, 1)

    @torch.no_grad()
    def active_units(self, rows: Tensor, threshold: float = 0.01) -> int:
        """Latent dimensions u with A_u = Var_x(E_q(z|x)[z_u]) above the threshold, over rows
        (N, *shape) uint8, N >= 2 (Burda et al. 2016, section 5.2: where the posterior's mean does
        not depend on x, nothing is said through u). ValueError for fewer rows."""
        if len(rows) < 2:
            raise ValueError(f"rows: a variance needs at least 2, got {len(rows)}")
        mean, _ = self.encode(rows)
        return int((mean.var(0) > threshold).sum())

    def decode(self, z: Tensor, generator: torch.Generator, choose: Choose) -> Tensor:
        """A row (n, *shape) uint8 for each z (n, latent), each token taken by `choose`."""
        tokens = self.net.decoder.sample(z, generator, choose)
        return tokens.to(torch.uint8).view(len(z), *self.data.shape)

    def reconstruct(self, rows: Tensor) -> Tensor:
        """The decoder's likeliest tokens, one after the other, at the posterior's mean."""
        mean, _ = self.encode(rows)
        return self.decode(mean, torch.Generator(mean.device), greedy)

    def interpolate(self, a: Tensor, b: Tensor, steps: int) -> Tensor:
        """Rows (N, steps, *shape) uint8 from a's reconstructions to b's, both (N, *shape) uint8,
        decoded at evenly spaced points of the line between the posterior means (Bowman et al. 2016,
        section 4.3). ValueError for fewer than 2 steps."""
        if steps < 2:
            raise ValueError(f"steps: both ends are steps, so at least 2 are needed, got {steps}")
        (start, _), (end, _) = self.encode(a), self.encode(b)
        weights = torch.linspace(0, 1, steps, device=start.device)
        line = torch.lerp(start.unsqueeze(1), end.unsqueeze(1), weights.view(1, -1, 1))
        rows = self.decode(line.flatten(0, 1), torch.Generator(line.device), greedy)
        return rows.view(len(a), steps, *self.data.shape)

    def sample(self, n: int, generator: torch.Generator, choose: Choose = draw) -> Tensor:
        """n rows (n, *shape) uint8 in 0..levels-1: z from the prior, tokens by `choose`."""
        z = torch.randn(n, self.params.latent, generator=generator, device=generator.device)
        return self.decode(z, generator, choose)

    def train_flops(self) -> int:
        length = math.prod(self.data.shape)
        return self.net.encoder.train_flops(length) + self.net.decoder.train_flops()

    def sample_flops(self) -> int:
        return self.net.decoder.sample_flops()
