"""What a data set is, whatever its modality: rows of small integers in three splits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set without loading it.

    A row is one image, one passage of text, one excerpt of music: integers of `shape` in
    0..levels-1. Images: (C, H, W) grey levels. Text: (T,) characters of an alphabet. Music: (T, 4)
    notes of four voices, step by step. `sizes` maps split to number of rows; rows belong to one of
    `classes` classes. `fingerprint` is a sha256 hex digest over the content of the files and the
    version of the rule that makes rows and splits of them, so it changes when, and only when, the
    arrays can. `separators`: the tokens of text that are in no word, spaces and line breaks.
    `path`: of a user's file or folder; empty for a data set of ours.
    """

    name: str
    modality: str
    shape: tuple[int, ...]
    levels: int
    classes: int
    class_names: tuple[str, ...]
    sizes: Mapping[str, int]
    licence: str
    source: str
    fingerprint: str
    separators: tuple[int, ...] = ()
    path: str = ""

    @property
    def key(self) -> str:
        """What `genbench.data.load` takes for it."""
        return self.path or self.name

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W). Raises ValueError for rows that are no images."""
        channels, height, width = self.shape
        return channels, height, width


@dataclass(frozen=True)
class Split:
    """Rows uint8 (N, *shape), C-contiguous, in 0..levels-1, and labels int64 (N,)."""

    rows: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Data:
    """The three splits of one data set."""

    info: DatasetInfo
    train: Split
    validation: Split
    test: Split

    @property
    def apart(self) -> int:
        """Training rows from one to the next that shares nothing with it."""
        return 1


def named_after(path: Path, fingerprint: str, otherwise: str) -> str:
    """The name of a user's data: the path's last part, or `otherwise`, and the first digits of the
    fingerprint, so that results of other content never meet under one name."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().stem).strip("-._")
    return f"{stem or otherwise}-{fingerprint[:8]}"


def by_split(*sizes: int) -> Mapping[str, int]:
    return MappingProxyType(dict(zip(SPLITS, sizes, strict=True)))
