"""How fast is the training loop? `python benchmarks/loop.py [--pairs N] [--threads N] [--record]`

Images per second of a VAE at one batch size, the convolutional one and the MLP: by our loop, with
the data set as one tensor on the device and everything that a cell has (averaged weights, curves,
checkpoints), in the profile's own number format and layout; and by a plain loop over torchvision's
`FashionMNIST` with `ToTensor` in a `DataLoader`, in float32 with Adam as it comes, with 0, 1 and 2
workers, the fastest of which counts. In turn, so that the ratio of each round holds when the
machine's speed drifts. What a loop can gain is bounded by what the arithmetic leaves: much of
the convolutional one's time is arithmetic, little of the MLP's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from common import Measurement, record, spread
from torch.utils.data import DataLoader
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

from genbench.data import Data, load, sources
from genbench.records import RunDirectory
from genbench.suite import Cell, load_profiles, load_suites
from genbench.training import new_model, plan_stages, train

# Of a round, for each of the two loops and each number of workers: some seconds of ours, so that
# the start and the end of a run, which ours is timed with, weigh little, as they do in a cell.
IMAGES = {"vae": 12_800, "mlp-vae": 51_200}


def the_cell(model: str, threads: int) -> Cell:
    (suite,) = load_suites("images")
    cells = suite.cells(load_profiles()["cpu"], seeds=1)
    cell = next(cell for cell in cells if cell.name == f"images/fashion-mnist/{model}/s0")
    plan = plan_stages(cell, new_model(cell, "cpu"))[0]
    steps = IMAGES[model] // cell.train.batch_size
    budget = cell.budget.model_copy(
        update={"train_flops": float(steps * plan.step_flops), "fractions": (1.0,)}
    )
    train = cell.train.model_copy(update={"threads": threads})
    return cell.model_copy(update={"budget": budget, "train": train})


def ours(cell: Cell, data: Data) -> float:
    """Images per second of a whole run, from its start to its weights on disk."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = train(cell, data, RunDirectory(Path(folder), cell, "cpu"), "cpu")
        return done.examples / (time.perf_counter() - started)


def plain(cell: Cell, root: Path, workers: int) -> float:
    """Images per second of the plain loop, its workers having started."""
    torch.set_num_threads(cell.train.threads)
    model = new_model(
        cell.model_copy(update={"train": cell.train.model_copy(update={"channels_last": False})}),
        "cpu",
    )
    size = cell.train.batch_size
    loader = DataLoader(
        FashionMNIST(str(root), train=True, transform=ToTensor()),
        batch_size=size, shuffle=True, num_workers=workers, drop_last=True,
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.net.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    seen, started = 0, 0.0
    for index, (images, _) in enumerate(loader):
        if index == 5:
            started = time.perf_counter()
        levels = images.mul(255).round().to(torch.uint8)
        distortion, rate = model.elbo_terms(levels, generator)
        loss = (distortion + rate).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen += size * (index >= 5)
        if seen >= IMAGES[cell.model.name]:
            break
    return seen / (time.perf_counter() - started)


def idx_files(root: Path) -> None:
    """The data set's decompressed files where torchvision looks for them."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in sources.obtain("fashion-mnist").contents.items():
        (raw / name.removesuffix(".gz")).write_bytes(content)


def measured(cell: Cell, data: Data, root: Path, pairs: int) -> list[Measurement]:
    """Both loops in turn, `pairs` times."""
    name = cell.model.name
    ours(cell, data)  # what is done once in a process is in no round
    ratios, rates = [], []
    for _ in range(pairs):
        mine = ours(cell, data)
        theirs = [plain(cell, root, workers) for workers in (0, 1, 2)]
        ratios.append(mine / max(theirs))
        rates.append((mine, *theirs))
        theirs_said = ", ".join(f"{rate:.0f}" for rate in theirs)
        print(
            f"{name}: ours {mine:.0f} images/s, plain with 0, 1, 2 workers {theirs_said}: ratio "
            f"{ratios[-1]:.2f}",
            flush=True,
        )
    return [
        Measurement("loop", f"{name}, {what}", *spread(values), unit)
        for what, values, unit in (
            ("ratio to the best DataLoader", ratios, "ratio"),
            ("ours", [row[0] for row in rates], "images/s"),
            *(
                (f"plain loop, {workers} workers", [row[1 + workers] for row in rates], "images/s")
                for workers in (0, 1, 2)
            ),
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--record", action="store_true", help="keep it under results/cpu")
    args = parser.parse_args()
    data = load("fashion-mnist")
    with tempfile.TemporaryDirectory() as folder:
        idx_files(Path(folder))
        rows = [
            row
            for model in IMAGES
            for row in measured(the_cell(model, args.threads), data, Path(folder), args.pairs)
        ]
    record(rows, args.threads, keep=args.record)


if __name__ == "__main__":
    main()
