"""Data sets of tokens as models see them: no files, a few tokens, text and music in shape."""

from __future__ import annotations

from dataclasses import replace

import torch

from genbench.data import DATASETS


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def info(shape, levels=5, train=40):
    """What is known of rows of this shape."""
    sizes = {"train": train, "validation": 10, "test": 10}
    return replace(
        DATASETS["digits"],
        name="tokens",
        modality="tokens",
        shape=shape,
        levels=levels,
        sizes=sizes,
    )


def rows(data, n, seed=0):
    """Rows (n, *shape) uint8 at random."""
    return torch.randint(data.levels, (n, *data.shape), generator=generator(seed)).byte()


TEXT, MUSIC = info((12,)), info((6, 4))
BOTH = {"text": TEXT, "music": MUSIC}
