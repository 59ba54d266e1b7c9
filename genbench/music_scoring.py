"""What music alone is scored for: harmony, voice leading, repetition, copies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from genbench.data.music import MusicData, to_pitches
from genbench.metrics import music
from genbench.scoring import Judge, Score
from genbench.sequence_scoring import QUICK_METRICS, distinct_rows, model_scores, outcome

__all__ = ["QUICK_METRICS", "model_scores", "outcome", "own_scores"]


def own_scores(
    judge: Judge, rows: np.ndarray, split: str, *, thorough: bool = True
) -> Iterator[Score]:
    """Metrics of notes, of windows (N, 64, 4) of symbols; all are cheap enough for every seed."""
    data = cast(MusicData, judge.data)
    real = to_pitches(getattr(data, split).rows)
    pieces = list(data.train.pieces.values())
    for metric, result in music.measure(to_pitches(rows), real, pieces).items():
        yield Score(metric, "", result)
    yield Score("distinct_rows", "", distinct_rows(rows))
