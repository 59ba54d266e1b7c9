"""What differs between images, text and music when samples are scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Protocol, cast

import numpy as np

from genbench.models.interface import Model
from genbench.scoring import Judge, Score, set_scores
from genbench.suite import Cell


class Scoring(Protocol):
    """A modality's module: what it measures beyond distances of features."""

    QUICK_METRICS: tuple[str, ...]
    """What `scoring.quick_scores` gives of such samples in their own space."""

    def own_scores(
        self, judge: Judge, rows: np.ndarray, split: str, *, thorough: bool = True
    ) -> Iterator[Score]:
        """Metrics of samples (N, *shape) uint8 that only this modality has."""
        ...

    def model_scores(
        self, cell: Cell, model: Model, judge: Judge, device: str
    ) -> Iterator[tuple[str, int, Score]]:
        """What needs the model itself: (split, number of rows, score)."""
        ...

    def outcome(self, judge: Judge, scores: Iterable[Score]) -> tuple[str, str]:
        """("collapsed", why) by the modality's declared rule, else ("ok", "")."""
        ...


MODULES = {"images": "image_scoring", "text": "text_scoring", "music": "music_scoring"}


def scoring_of(modality: str) -> Scoring:
    return cast(Scoring, import_module(f"genbench.{MODULES[modality]}"))


def all_scores(
    judge: Judge, rows: np.ndarray, split: str, seen: np.ndarray, *, thorough: bool = True
) -> Iterator[Score]:
    """Every metric of these samples that needs nothing but them."""
    yield from set_scores(judge, rows, split, seen, thorough=thorough)
    scoring = scoring_of(judge.data.info.modality)
    yield from scoring.own_scores(judge, rows, split, thorough=thorough)
