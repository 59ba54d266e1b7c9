"""Score a set of samples, whoever made them, against a data set: every metric that needs samples
alone.

Features are taken once in each space and shared by all metrics of it; what is derived from the
real images is computed once for a data set and an extractor (see `reference`).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from genbench.data import Data
from genbench.features import Features
from genbench.features.spaces import Extractor, Unavailable, load
from genbench.features.store import features as stored_features
from genbench.features.store import holds
from genbench.metrics import SPACE_METRICS
from genbench.metrics.classifier import (
    class_entropy,
    class_histogram,
    classes_covered,
    inception_score,
    total_variation,
)
from genbench.metrics.distinct import distinct_samples
from genbench.metrics.frechet import fd, fd_infinity
from genbench.metrics.kernel import kernel_distance, mmd_rbf
from genbench.metrics.measured import Measured, or_reason
from genbench.metrics.memorisation import authenticity, ct_test, distance_ratio, regions
from genbench.metrics.neighbours import nearest, nearest_other
from genbench.metrics.prdc import prdc
from genbench.metrics.vendi import vendi_score
from genbench.reference import Reference, reference
from genbench.suite import EvaluationSpec

# Of every seeded metric: a constant of the protocol, so that equal samples get equal values.
SEED = 2020

SUPPORTS = ("precision", "recall", "density", "coverage", "realism", "realism_low")
CLASSES = ("inception_score", "classes_covered", "class_entropy", "class_distance")


@dataclass(frozen=True)
class Score:
    """One metric of one set of samples: a value with its interval, or the reason why it does not
    apply. extractor: the feature space's name, or "" where there is none."""

    metric: str
    extractor: str
    result: Measured | str


@dataclass(frozen=True)
class Known:
    """Training images as the measures of memorisation see them: features (T, D), the distance (T,)
    of each to its nearest other, and a partition into regions."""

    features: Tensor
    radii: Tensor
    partition: KMeans


class Judge:
    """A data set's extractors and references, each loaded when it is first asked for.

    own: the space that every metric uses which is not asked for in all of them.
    """

    def __init__(
        self, data: Data, spec: EvaluationSpec, device: str, inception: Path | None = None
    ):
        self.data, self.spec, self.device, self.inception = data, spec, device, inception
        self.own = spec.spaces[0]
        self._derived: dict[tuple[str, str], Any] = {}

    @functools.cache  # noqa: B019 - a judge lives as long as the process
    def extractor(self, space: str) -> Extractor:
        """Raises Unavailable, with the reason, where the user has not given its weights."""
        if space == "inception" and not self.spec.inception_sha256:
            raise Unavailable("no Inception weights were given: --inception FILE")
        return load(space, self.data.info.key, self.device, self.inception)

    def is_cold(self, split: str) -> bool:
        """Whether features of real images are yet to be computed, which takes minutes for tens of
        thousands of them: those of `split` in any space, or of the training images."""
        wanted = [(self.own, "train"), *((space, split) for space in self.spec.spaces)]
        for space, each in wanted:
            try:
                extractor = self.extractor(space)
            except Unavailable:  # its metrics will say why
                continue
            rows = getattr(self.data, each).rows
            if not holds(extractor, rows, self.data.info.levels):
                return True
        return False

    def check_spaces(self) -> None:
        """Raises UserError where the protocol's weights cannot be had: those of Inception are the
        user's to give, but a run without the others would be recorded as if it were whole."""
        for space in self.spec.spaces:
            if space != "inception" or self.spec.inception_sha256:
                self.extractor(space)

    @functools.cache  # noqa: B019
    def reference(self, split: str, space: str | None = None) -> Reference:
        return reference(self.data, split, self.extractor(space or self.own))

    def training_images(self, seen: np.ndarray) -> Known:
        """The training images with indices `seen` in the classifier's space."""
        return self._of("known", seen, lambda: self._known(seen))

    def _known(self, seen: np.ndarray) -> Known:
        if self.data.apart > 1:
            # Rows that overlap would be each other's nearest, and be looked at several times.
            features = self.features(self.data.train.rows[seen[:: self.data.apart]]).features
            return Known(features, nearest_other(features), regions(features, seed=SEED))
        train = self.reference("train")
        if len(seen) == len(train.features):
            features, radii = train.features, train.nearest_other
        else:
            features = train.features[torch.from_numpy(seen).to(train.features.device)]
            radii = nearest_other(features)
        return Known(features, radii, regions(features, seed=SEED))

    def fresh_to_train(self, split: str, seen: np.ndarray) -> Tensor:
        """Distances of a split's images to their nearest ones among those seen."""
        fresh, known = self.reference(split), self.training_images(seen)
        return self._of(split, seen, lambda: nearest(fresh.features, known.features)[0])

    def _of(self, what: str, seen: np.ndarray, compute: Callable[[], Any]) -> Any:
        """Computed once for each set of images seen."""
        key = (what, hashlib.sha256(np.ascontiguousarray(seen).data).hexdigest())
        if key not in self._derived:
            self._derived[key] = compute()
        return self._derived[key]

    def features(self, rows: np.ndarray, space: str | None = None) -> Features:
        extractor = self.extractor(space or self.own)
        return stored_features(extractor, rows, self.data.info.levels, name="samples")


def quick_scores(
    judge: Judge, rows: np.ndarray, split: str, space: str | None = None
) -> Iterator[Score]:
    """What is cheap enough for every fraction of the budget and every redraw: distances, supports
    and, in the classifier's space, classes. rows: samples (N, *shape) uint8."""
    space = space or judge.own
    samples, real, spec = judge.features(rows, space), judge.reference(split, space), judge.spec
    name, x, n = judge.extractor(space).name, samples.features, len(samples.features)
    yield Score("fd", name, fd(x, real.gaussian))
    size = min(spec.kid_subset_size, n, len(real.features))
    settings = {"subsets": spec.kid_subsets, "subset_size": size, "seed": SEED}
    within = real.within_subsets(n, **settings)
    kid = kernel_distance(x, real.features, **settings, within=within)
    if size < spec.kid_subset_size:
        kid = kid._replace(flag=f"subsets of {size}, not {spec.kid_subset_size}")
    yield Score("kid", name, kid)
    support = or_reason(lambda: prdc(x, real.manifold))
    for metric in SUPPORTS:
        result = support if isinstance(support, str) else getattr(support, metric)
        yield Score(metric, name, result)
    logits = samples.logits
    if logits is not None:
        yield attempt("inception_score", name, lambda: inception_score(logits, seed=SEED))
    if space == "classifier":
        assert samples.logits is not None
        histogram = class_histogram(samples.logits)
        yield Score("classes_covered", name, classes_covered(histogram, n))
        yield Score("class_entropy", name, class_entropy(histogram, n))
        yield Score("class_distance", name, total_variation(histogram, real.histogram, n))


def slow_scores(judge: Judge, rows: np.ndarray, split: str, space: str) -> Iterator[Score]:
    """The metrics of a space that `quick_scores` leaves out."""
    samples, real = judge.features(rows, space).features, judge.reference(split, space)
    name = judge.extractor(space).name
    yield attempt("fd_infinity", name, lambda: fd_infinity(samples, real.gaussian, seed=SEED))
    yield Score("mmd_rbf", name, mmd_rbf(samples, real.features, bandwidth=real.bandwidth))
    yield attempt("vendi", name, lambda: vendi_score(samples))


def batches(rows: np.ndarray, size: int, device: str) -> tuple[Tensor, ...]:
    """Rows (N, *shape) on the device, some at a time."""
    return torch.from_numpy(rows).to(device).split(size)


def attempt(metric: str, extractor: str, measure: Callable[[], Measured]) -> Score:
    """The score, or why the metric is not defined for these samples."""
    return Score(metric, extractor, or_reason(measure))


def memorisation_scores(
    judge: Judge, rows: np.ndarray, split: str, seen: np.ndarray
) -> Iterator[Score]:
    """Samples beside the training rows with indices `seen`, from which the model learned, with
    `split` as the fresh real ones."""
    name, x = judge.extractor(judge.own).name, judge.features(rows).features
    known, fresh = judge.training_images(seen), judge.reference(split)
    fresh_to_train = judge.fresh_to_train(split, seen)
    to_train, index = nearest(x, known.features)
    to_held_out, _ = nearest(x, fresh.features)
    yield attempt(
        "distance_ratio", name,
        lambda: distance_ratio(to_train, to_held_out, fresh_to_train, fresh.nearest_other),
    )  # fmt: skip
    yield Score("authenticity", name, authenticity(to_train, index, known.radii))
    yield attempt(
        "ct", name,
        lambda: ct_test(x, fresh.features, to_train, fresh_to_train, known.partition),
    )  # fmt: skip
    yield Score("distinct", name, distinct_samples(x, fresh.duplicate_radius))


def set_scores(
    judge: Judge, rows: np.ndarray, split: str, seen: np.ndarray, *, thorough: bool = True
) -> Iterator[Score]:
    """Every metric of sets of features: distances, supports and memorisation, in every space of the
    protocol; a space without weights gives its reason for each metric. thorough: whether these are
    of a seed for which the protocol wants the spaces beyond the first."""
    for space in judge.spec.spaces:
        try:
            name = judge.extractor(space).name
        except Unavailable as reason:
            yield from (Score(metric, space, str(reason)) for metric in SPACE_METRICS)
            continue
        if space != judge.own and not thorough:
            limit = not_thorough(judge.spec)
            yield from (Score(metric, name, limit) for metric in SPACE_METRICS)
            continue
        yield from quick_scores(judge, rows, split, space)
        yield from slow_scores(judge, rows, split, space)
    yield from memorisation_scores(judge, rows, split, seen)


def not_thorough(spec: EvaluationSpec) -> str:
    return f"costly, so only seeds under {spec.thorough_seeds} have it"
