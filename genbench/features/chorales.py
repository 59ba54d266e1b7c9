"""A small network over chorales, frozen, as a space of features: `python -m
genbench.features.chorales` trains it.

It learns to fill in what is hidden: voices are masked for half a bar at a time, and the network
says which notes stood there (Huang et al. 2017, "Counterpoint by convolution", with spans in place
of single cells). Windows need no labels for that, and no kind of fault is shown to it, as telling
real from corrupted windows would, so that it cannot be best at the very faults that a control has.
Whoever fills in a tenor needs all that features must see: its harmony, from the other voices; its
line, from where it comes and goes; its rhythm, from the others' and the step modulo 16. A single
hidden sixteenth would need little of it, since its neighbours mostly have the same note.

Features are taken of a window in which nothing is hidden: the mean over its steps of each channel
of the last layer, and the mean of how much the channel changes from one step to the next, since a
mean alone knows nothing of order. They are whitened on the training windows, so that the key, which
varies most among real windows, does not drown the rest; the unit is then a standard deviation of
real windows. There are 64: the splits to compare with have a little over a hundred windows, which
is few even for that covariance. A distance in them is "FD (chorales-encoder)".

The network learns from the train split alone, in a quarter of an hour on two cores, and its weights
hold no notes.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genbench.data.music import (
    BAR,
    STEPS,
    SYMBOLS,
    MusicData,
    draw_semitones,
    load_music,
    transpose,
)
from genbench.data.score_files import VOICES
from genbench.data.sources import sha256
from genbench.errors import UserError
from genbench.features import Extractor
from genbench.features.spaces import CHORALES, CHORALES_CARD, SpaceInfo
from genbench.records import atomic

NAME = CHORALES
DATASET = "chorales"
# Not beside the classifiers, whose folder is read as one of data sets of images.
FOLDER = CHORALES_CARD.parent
MAKE = "python -m genbench.features.chorales"
REMEDY = f"reinstall genbench, or train it again with: {MAKE}"

MASK = SYMBOLS  # the symbol of what is hidden
DILATIONS = (1, 2, 4, 8, 16)  # each step is given 31 to either side, half of its window
GROUPS = 8  # of channels that are normalised together
# Directions in which real windows vary less than by this share of the largest variance are not
# blown up further: there it would be rounding that is measured.
LEAST_VARIANCE = 1e-6
BATCH_SIZE = 256


@dataclass(frozen=True)
class Widths:
    """Numbers a symbol, channels of the inner layers, and channels of the last layer, each of which
    gives two features."""

    symbol: int = 24
    inner: int = 96
    last: int = 32

    @property
    def features(self) -> int:
        return 2 * self.last


@dataclass(frozen=True)
class Recipe:
    """AdamW on a one-cycle learning rate.

    span: steps that are hidden together. masked: share of a voice's spans that are hidden, so that
    of four voices about one is.
    """

    steps: int = 3_000
    batch_size: int = 64
    peak_rate: float = 2e-3
    weight_decay: float = 0.01
    warm_up: float = 0.1
    span: int = BAR // 2
    masked: float = 0.25
    seed: int = 0
    threads: int = 2


class Encoder(nn.Module):
    """Five residual convolutions over steps, ever wider apart, and one linear layer.

    centre (D,) and whitening (D, D): what takes the two means of each channel to features.
    """

    centre: Tensor
    whitening: Tensor

    def __init__(self, w: Widths) -> None:
        super().__init__()
        self.symbols = nn.Embedding(SYMBOLS + 1, w.symbol)
        self.places = nn.Embedding(BAR, w.inner)
        self.enter = nn.Linear(len(VOICES) * w.symbol, w.inner)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(GROUPS, w.inner),
                nn.GELU(),
                nn.Conv1d(w.inner, w.inner, 3, padding=d, dilation=d),
                nn.GELU(),
                nn.Conv1d(w.inner, w.inner, 1),
            )
            for d in DILATIONS
        )
        self.leave = nn.Sequential(
            nn.GroupNorm(GROUPS, w.inner), nn.GELU(), nn.Conv1d(w.inner, w.last, 1), nn.GELU()
        )
        self.head = nn.Linear(w.last, len(VOICES) * SYMBOLS)
        self.register_buffer("centre", torch.zeros(w.features))
        self.register_buffer("whitening", torch.eye(w.features))

    def channels(self, symbols: Tensor) -> Tensor:
        """The last layer, float32 (B, C, T), of symbols int64 (B, T, 4) in 0..46, or `MASK`."""
        places = torch.arange(symbols.shape[1], device=symbols.device) % BAR
        x = (self.enter(self.symbols(symbols).flatten(2)) + self.places(places)).mT
        for block in self.blocks:
            x = x + block(x)
        return self.leave(x)

    def forward(self, symbols: Tensor) -> Tensor:
        """Logits float32 (B, T, 4, 47) of what stands where, of symbols as `channels` has them."""
        return self.head(self.channels(symbols).mT).unflatten(2, (len(VOICES), SYMBOLS))

    def means(self, symbols: Tensor) -> Tensor:
        """Each channel's mean, and that of its change from step to step: float32 (B, D = 2 C)."""
        x = self.channels(symbols)
        return torch.cat([x.mean(dim=2), x.diff(dim=2).abs().mean(dim=2)], dim=1)

    def features(self, symbols: Tensor) -> Tensor:
        """Features float32 (B, D) of symbols int64 (B, T, 4) in 0..46, T >= 2."""
        return (self.means(symbols) - self.centre) @ self.whitening


# --- using it -------------------------------------------------------------------------------------


def load_encoder(device: str | torch.device = "cpu") -> Encoder:
    """The frozen encoder on `device`. UserError where it is yet to be trained, the card is
    damaged, or the weights are not those that it describes."""
    digest, widths = _card()
    path = FOLDER / f"{DATASET}.safetensors"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}); {REMEDY}") from error
    if (found := sha256(content)) != digest:
        raise UserError(f"{path}: sha256 should be {digest} but is {found}; {REMEDY}")
    network = Encoder(widths)
    try:
        network.load_state_dict(safetensors.torch.load(content))
    except RuntimeError as error:  # of another version of genbench, with other layers
        raise UserError(f"{path}: weights of another network; {REMEDY}") from error
    return network.requires_grad_(False).eval().to(device)


class Windows(nn.Module):
    """The encoder as a space of rows: symbols to features, and no classes."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, symbols: Tensor) -> tuple[Tensor, None]:
        return self.encoder.features(symbols), None


def load_extractor(known: SpaceInfo, device: str | torch.device = "cpu") -> Extractor:
    """The space of windows on `device`; UserError as `load_encoder` raises it."""
    return Extractor(
        name=known.name,
        sha256=known.sha256,
        dimension=known.dimension,
        prepare=lambda rows, levels: rows.long(),
        network=Windows(load_encoder(device)),
        device=torch.device(device),
        batch_size=BATCH_SIZE,
        shape=(STEPS, len(VOICES)),
        levels=SYMBOLS,
    )


def _card() -> tuple[str, Widths]:
    """The sha256 of the weights, and the widths of the network that they are of."""
    path = FOLDER / f"{DATASET}.json"
    try:
        card = json.loads(path.read_text("utf-8"))
        return str(card["sha256"]), Widths(**card["widths"])
    except FileNotFoundError:
        raise UserError(f"{path}: the {NAME} is yet to be trained; run: {MAKE}") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: not the card of an encoder ({type(error).__name__}: {error}); {REMEDY}"
        ) from error


@torch.inference_mode()
def features(windows: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """Features float32 (N, 64) of N >= 1 windows (N, 64, 4) of symbols 0..46, on `device`, in
    standard deviations of the training windows.

    Neither the order nor the number of windows changes any by more than 1e-3. Raises ValueError for
    other shapes and symbols, UserError as `load_encoder` does.
    """
    symbols = check_symbols(windows)
    network = load_encoder(device)
    return torch.cat([network.features(batch.to(device)) for batch in symbols.split(BATCH_SIZE)])


def check_symbols(windows: np.ndarray) -> Tensor:
    """Windows (N, 64, 4), N >= 1, as int64; ValueError for other shapes and symbols."""
    if windows.dtype.kind not in "iu":
        raise ValueError(f"windows: expected symbols, which are integers, got {windows.dtype}")
    if len(windows) == 0 or windows.shape[1:] != (STEPS, len(VOICES)):
        expected = f"(N >= 1, {STEPS}, {len(VOICES)})"
        raise ValueError(f"windows: expected shape {expected}, got {windows.shape}")
    if windows.min() < 0 or windows.max() >= SYMBOLS:
        raise ValueError(
            f"windows: expected symbols 0..{SYMBOLS - 1}, got {windows.min()} to {windows.max()}"
        )
    return torch.from_numpy(windows.astype(np.int64))


# --- training it ----------------------------------------------------------------------------------


def hidden(windows: Tensor, r: Recipe, generator: torch.Generator) -> Tensor:
    """Which notes of windows (B, T, 4) are hidden: bool of their shape, alike within each span of a
    voice, each span hidden with probability `masked`."""
    B, T, V = windows.shape
    spans = torch.rand(B, -(-T // r.span), V, generator=generator) < r.masked
    return spans.repeat_interleave(r.span, dim=1)[:, :T]


def masked_loss(network: Encoder, windows: Tensor, mask: Tensor) -> Tensor:
    """Mean negative log-likelihood of the notes under the mask, in nats, given the others."""
    logits = network(windows.masked_fill(mask, MASK))
    return F.cross_entropy(logits[mask], windows[mask])


def train(network: Encoder, windows: Tensor, r: Recipe) -> None:
    """Train `network` in place on windows int64 (N, T, 4), each moved to another key every time."""
    generator = torch.Generator().manual_seed(r.seed)
    optimiser = torch.optim.AdamW(network.parameters(), r.peak_rate, weight_decay=r.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, r.peak_rate, total_steps=r.steps, pct_start=r.warm_up, cycle_momentum=False
    )
    network.train()
    started, total = time.perf_counter(), 0.0
    for step in range(1, r.steps + 1):
        batch = windows[torch.randint(len(windows), (r.batch_size,), generator=generator)]
        batch = transpose(batch, draw_semitones(batch, generator))
        loss = masked_loss(network, batch, hidden(batch, r, generator))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += loss.item()
        if step % 100 == 0:
            seconds = time.perf_counter() - started
            print(
                f"step {step}/{r.steps}: loss {total / 100:.4f} nats, {seconds:.0f} s",
                file=sys.stderr,
            )
            total = 0.0
    network.eval()


@torch.inference_mode()
def whiten(network: Encoder, windows: Tensor) -> None:
    """Set the network's centre and whitening, in place, by windows int64 (N, T, 4), N > D: their
    features have mean 0 and covariance 1, but for directions that hardly vary."""
    x = torch.cat([network.means(batch) for batch in windows.split(BATCH_SIZE)]).double()
    variances, Q = torch.linalg.eigh(x.T.cov())
    variances = variances.clamp(min=float(variances[-1]) * LEAST_VARIANCE)
    network.centre.copy_(x.mean(dim=0))
    network.whitening.copy_(Q / variances.sqrt())


@torch.inference_mode()
def nats(network: Encoder, windows: Tensor, r: Recipe) -> float:
    """`masked_loss` over all of the windows, with masks that the recipe's seed draws."""
    mask = hidden(windows, r, torch.Generator().manual_seed(r.seed))
    parts = zip(windows.split(BATCH_SIZE), mask.split(BATCH_SIZE), strict=True)
    total = sum(float(masked_loss(network, x, m) * m.sum()) for x, m in parts)
    return total / int(mask.sum())


def run(data: MusicData, r: Recipe = Recipe(), widths: Widths = Widths()) -> dict[str, object]:
    """Train the encoder on the CPU, whose weights repeat, and write them and their JSON card to
    `FOLDER`; the card. Validation is looked at once, after training, and only written down.
    UserError where the folder cannot be made."""
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    except OSError as error:
        raise UserError(f"cannot write to {FOLDER} ({error}); install genbench to edit") from error
    torch.set_num_threads(r.threads)
    torch.manual_seed(r.seed)
    windows = check_symbols(data.train.rows)
    network = Encoder(widths)
    train(network, windows, r)
    whiten(network, windows)
    described = json.dumps({"fingerprint": data.info.fingerprint, **asdict(r)})
    # One metadata entry: safetensors orders several at random, and the file's hash would change.
    content = safetensors.torch.save(network.state_dict(), metadata={"recipe": described})
    card: dict[str, object] = {
        "name": NAME,
        "dataset": DATASET,
        "sha256": sha256(content),
        "parameters": sum(p.numel() for p in network.parameters()),
        "train_nats_per_hidden_note": nats(network, windows, r),
        "validation_nats_per_hidden_note": nats(network, check_symbols(data.validation.rows), r),
        "widths": asdict(widths),
        "recipe": asdict(r),
        "data_fingerprint": data.info.fingerprint,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "safetensors": safetensors.__version__,
        },
    }
    text = json.dumps(card, indent=2) + "\n"
    # The card last, because it vouches for the weights.
    for suffix, written in (("safetensors", content), ("json", text.encode())):
        with atomic(FOLDER / f"{DATASET}.{suffix}") as temporary:
            temporary.write_bytes(written)
    return card


def main() -> None:
    """Command line: train the encoder and print its card as JSON."""
    argparse.ArgumentParser(prog=MAKE, description=__doc__).parse_args()
    try:
        print(json.dumps(run(load_music(DATASET)), indent=2))
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
