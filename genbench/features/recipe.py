"""How the frozen classifiers are trained: `python -m genbench.features.recipe NAME`.

Trained on the train split alone; choices were made on validation; the test accuracy is looked at
once, after training, and only written down. One run on 2 CPU cores takes a few minutes. That of
CIFAR-10, which does not come with genbench, takes minutes on a GPU and hours on 2 cores; its recipe
is common practice for that data set, and no choice in it was made by us.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from genbench.data import Split, load
from genbench.data.sources import sha256
from genbench.errors import UserError
from genbench.features.classifier import WIDTHS, Classifier, build, weights_folder
from genbench.features.spaces import TRAINED_HERE
from genbench.records import atomic


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent with Nesterov momentum on a one-cycle learning rate.

    Smith and Topin 2017, "Super-convergence". `shift` moves each image by up to that many pixels
    either way, `flip` mirrors every second one on average, `smoothing` is that of the labels.
    """

    epochs: int
    shift: int
    flip: bool
    batch_size: int = 128
    peak_rate: float = 0.15
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warm_up: float = 0.25
    smoothing: float = 0.05
    seed: int = 0
    threads: int = 2


RECIPES = {
    "digits": Recipe(epochs=60, shift=1, flip=False, batch_size=64),
    "mnist": Recipe(epochs=6, shift=2, flip=False),
    "fashion-mnist": Recipe(epochs=14, shift=2, flip=True),
    "cifar10": Recipe(epochs=30, shift=4, flip=True),
}


def augment(images: Tensor, r: Recipe, generator: torch.Generator) -> Tensor:
    """Images uint8 (B, C, H, W), each shifted (edges filled with 0, the background of grey data
    sets and black in colour), and mirrored or not. The generator is the CPU's on any device."""
    b, _, h, w = images.shape
    padded = F.pad(images, (r.shift,) * 4)
    windows = padded.unfold(2, h, 1).unfold(3, w, 1)  # (B, C, 2 shift + 1, 2 shift + 1, H, W)
    dy, dx = torch.randint(2 * r.shift + 1, (2, b), generator=generator).to(images.device)
    images = windows[torch.arange(b, device=images.device), :, dy, dx]
    if r.flip:
        mirrored = (torch.rand(b, generator=generator) < 0.5).to(images.device)
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


def train(network: Classifier, split: Split, r: Recipe) -> None:
    """Train `network` in place, on its device, on the images and labels of `split`."""
    generator = torch.Generator().manual_seed(r.seed)
    device = network.head.weight.device
    images = torch.from_numpy(split.rows).to(device)
    labels = torch.from_numpy(split.labels).to(device)
    steps = len(labels) // r.batch_size
    # Norms and biases are not decayed: it would only shrink what the next layer scales back.
    groups: list[dict[str, Any]] = [
        {"params": [p for p in network.parameters() if p.ndim > 1]},
        {"params": [p for p in network.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.SGD(
        groups,
        lr=r.peak_rate,
        momentum=r.momentum,
        weight_decay=r.weight_decay,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, r.peak_rate, total_steps=r.epochs * steps, pct_start=r.warm_up,
        cycle_momentum=False,
    )  # fmt: skip
    network.train()
    for epoch in range(r.epochs):
        started, total = time.perf_counter(), 0.0
        order = torch.randperm(len(labels), generator=generator).to(device)
        for batch in order[: steps * r.batch_size].split(r.batch_size):
            _, logits = network(augment(images[batch], r, generator))
            loss = F.cross_entropy(logits, labels[batch], label_smoothing=r.smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - started
        print(
            f"epoch {epoch + 1}/{r.epochs}: loss {total / steps:.4f} nats, {seconds:.0f} s",
            file=sys.stderr,
        )
    network.eval()


@torch.inference_mode()
def accuracy(network: Classifier, split: Split) -> float:
    """Fraction of `split` that `network` classifies rightly."""
    device = network.head.weight.device
    batches = zip(
        torch.from_numpy(split.rows).to(device).split(500),
        torch.from_numpy(split.labels).to(device).split(500),
        strict=True,
    )
    right = sum(int((network(images)[1].argmax(1) == labels).sum()) for images, labels in batches)
    return right / len(split)


def run(name: str, device: str = "cpu") -> dict[str, object]:
    """Train the classifier of data set `name` on `device`, write its weights and its JSON card to
    the package, or to the cache for one that does not come with it; the card."""
    if name not in RECIPES:
        raise UserError(f"no recipe for {name!r}: known are {', '.join(RECIPES)}")
    r, data, folder = RECIPES[name], load(name), weights_folder(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error}); set GENBENCH_CACHE") from error
    torch.set_num_threads(r.threads)
    torch.manual_seed(r.seed)
    network = build(data.info).to(device)
    train(network, data.train, r)
    # One metadata entry: safetensors orders several at random, and the file's hash would change.
    described = json.dumps({"dataset": name, "fingerprint": data.info.fingerprint, **asdict(r)})
    state = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    content = safetensors.torch.save(state, metadata={"recipe": described})
    card: dict[str, object] = {
        "name": f"classifier-{name}",
        "dataset": name,
        "sha256": sha256(content),
        "dimension": WIDTHS[name].features,
        "classes": data.info.classes,
        "parameters": sum(p.numel() for p in network.parameters()),
        "validation_accuracy": accuracy(network, data.validation),
        "test_accuracy": accuracy(network, data.test),
        "widths": asdict(WIDTHS[name]),
        "recipe": asdict(r),
        "data_fingerprint": data.info.fingerprint,
        "device": device,
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
        with atomic(folder / f"{name}.{suffix}") as temporary:
            temporary.write_bytes(written)
    return card


def main() -> None:
    """Command line: train one classifier and print its card as JSON."""
    parser = argparse.ArgumentParser(prog="python -m genbench.features.recipe", description=__doc__)
    parser.add_argument("name", choices=list(RECIPES))
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        help="cpu, whose weights repeat; by default cuda, where there is one, for what is trained "
        f"on each machine ({', '.join(TRAINED_HERE)})",
    )
    args = parser.parse_args()
    there = torch.cuda.is_available()
    device = args.device or ("cuda" if args.name in TRAINED_HERE and there else "cpu")
    try:
        if device == "cuda" and not there:
            raise UserError("--device cuda: torch finds none on this machine; use --device cpu")
        print(json.dumps(run(args.name, device), indent=2))
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
