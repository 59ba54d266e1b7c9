"""Draw each cell's samples once, from the averaged weights kept at each fraction of the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch

from genbench.cost import Meter, Usage
from genbench.models.interface import Model
from genbench.records import RunDirectory, atomic, read_json, write_json
from genbench.suite import Cell
from genbench.training import Training, seeded, trained_model


@dataclass(frozen=True)
class Sampling:
    """Cost of sampling: the `n` final samples took `usage`; `flops` of one, by formula; all
    samples, the intermediate ones included, took `seconds`."""

    n: int
    flops: int
    usage: Usage
    seconds: float


def sample(
    cell: Cell,
    training: Training,
    directory: RunDirectory,
    device: str,
    report: Callable[[float], None] = lambda done: None,
) -> Sampling | None:
    """Samples at every kept fraction, each file made once. None if there are no final ones.

    The final samples are `n` arrays of the declared shape, uint8; intermediate ones are fewer.
    """
    torch.set_num_threads(cell.train.threads)
    final: Sampling | None = None
    seconds = 0.0
    for index, fraction in enumerate(training.snapshots):
        n = cell.sample.n if fraction == 1 else cell.sample.n_intermediate
        path = directory.samples(fraction)
        if path.exists() and (fraction < 1 or directory.sampling.exists()):
            continue
        model = trained_model(cell, directory, fraction, device)
        with Meter(device) as meter:
            images = draw(cell, model, n, seeded(device, cell.seed, "sample"))
            usage = meter.usage()
        seconds += usage.seconds
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.save(file, images)
        if fraction == 1:
            final = Sampling(len(images), model.sample_flops(), usage, seconds)
            write_json(directory.sampling, asdict(final))
        report((index + 1) / len(training.snapshots))
    if final is None and directory.sampling.exists():
        content = read_json(directory.sampling)
        final = Sampling(**content | {"usage": Usage(**content["usage"])})
    return final


@torch.inference_mode()
def draw(cell: Cell, model: Model, n: int, generator: torch.Generator) -> np.ndarray:
    """n samples (n, C, H, W) uint8, in the cell's batches; a control draws all in one call, so that
    it can be without replacement."""
    size = n if cell.is_control else min(n, cell.sample.batch_size)
    batches = [model.sample(min(size, n - start), generator) for start in range(0, n, size)]
    return torch.cat(batches).cpu().numpy()
