"""Evaluate a cell: its samples' features once, then every metric that applies.

Final samples are compared with the test split. At every fraction of the budget, the last included,
a smaller and equal number of samples is compared with the validation split: curves are drawn from
those, so that nothing is chosen by looking at test. A metric that does not apply is a row with the
reason, never a silent NaN or zero.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from genbench.data import DATASETS, ImageData, Split
from genbench.features.classifier import (
    ClassifierExtractor,
    Features,
    extract,
    load_extractor,
)
from genbench.metrics import METRICS
from genbench.metrics.classifier import (
    class_entropy,
    class_histogram,
    classes_covered,
    inception_score,
    total_variation,
)
from genbench.metrics.frechet import Gaussian, frechet_distance, gaussian
from genbench.metrics.kernel import kernel_distance
from genbench.metrics.prdc import precision_recall
from genbench.models.interface import HasLikelihood, Model, Reconstructs
from genbench.records import RunDirectory, read_json, write_json
from genbench.suite import Cell, EvaluationSpec
from genbench.training import Training, seeded, trained_model

SAMPLE_METRICS = [name for name, info in METRICS.items() if info.needs == "samples"]


@dataclass(frozen=True)
class Evaluation:
    """Metric rows (columns of metrics.csv but `cell`), the outcome they imply, and the wall time
    that they took."""

    status: str
    reason: str
    metrics: list[dict[str, Any]]
    seconds: float


@dataclass(frozen=True)
class Reference:
    """One split of real images as features, with what is derived from them once."""

    features: Features
    gaussian: Gaussian
    histogram: np.ndarray


@functools.cache
def _extractor(dataset: str, device: str) -> ClassifierExtractor:
    return load_extractor(dataset, device)


# Keyed by content: the data set's fingerprint, the split, and the extractor's weights.
_references: dict[tuple[str, str, str], Reference] = {}


def reference(data: ImageData, split: str, extractor: ClassifierExtractor) -> Reference:
    """Features of a split, taken once in a process."""
    key = (data.info.fingerprint, split, extractor.sha256)
    if key not in _references:
        images: Split = getattr(data, split)
        features = extract(extractor, images.images, name=f"{data.info.name} {split}")
        histogram = np.bincount(images.labels, minlength=data.info.classes) / len(images.labels)
        _references[key] = Reference(features, gaussian(features.features), histogram)
    return _references[key]


def sample_metrics(
    samples: Features, real: Reference, spec: EvaluationSpec
) -> dict[str, float | str]:
    """Every metric that needs samples only: a value, or the reason why it does not apply.

    samples: features (N, D) and logits (N, classes).
    """
    histogram = class_histogram(samples.logits)
    values: dict[str, float | str] = {
        "fd": frechet_distance(gaussian(samples.features), real.gaussian),
        "kid": kernel_distance(
            samples.features,
            real.features.features,
            subsets=spec.kid_subsets,
            subset_size=spec.kid_subset_size,
        ).mean,
        "inception_score": inception_score(samples.logits).mean,
        "classes_covered": classes_covered(histogram),
        "class_entropy": class_entropy(histogram),
        "class_distance": total_variation(histogram, real.histogram),
    }
    support = precision_recall(samples.features, real.features.features, k=spec.neighbours)
    return values | {"precision": support.precision, "recall": support.recall}


def model_metrics(
    cell: Cell, model: Model, images: np.ndarray, device: str, split: str
) -> dict[str, float | str]:
    """Likelihood and reconstruction on real images (N, C, H, W), where the model has them."""
    values: dict[str, float | str]
    size = cell.sample.batch_size
    batches = torch.from_numpy(images).to(device).split(size)
    if isinstance(model, HasLikelihood):
        generator = seeded(device, cell.seed, "likelihood", split)
        bits = torch.cat([model.bits_per_dim(batch, generator) for batch in batches])
        values = dict.fromkeys(
            ("bpd", "bpd_bound"), f"the model's likelihood is {model.likelihood}"
        )
        values[model.likelihood] = float(bits.cpu().double().mean())
    else:
        values = dict.fromkeys(("bpd", "bpd_bound"), "the model defines no likelihood")
    values["reconstruction_rmse"] = "the model does not encode images"
    if isinstance(model, Reconstructs):
        squares = [_squared_error(model, batch) for batch in batches]
        levels = DATASETS[cell.data.name].levels
        values["reconstruction_rmse"] = math.sqrt(float(torch.cat(squares).mean())) / (levels - 1)
    return values


def _squared_error(model: Reconstructs, images: Tensor) -> Tensor:
    """Mean squared error of each image's reconstruction, in grey levels: (B,) float64."""
    difference = model.reconstruct(images).cpu().double() - images.cpu().double()
    return difference.square().flatten(1).mean(1)


def evaluate(
    cell: Cell,
    training: Training,
    data: ImageData,
    directory: RunDirectory,
    device: str,
    report: Callable[[float], None] = lambda done: None,
) -> Evaluation:
    """Every metric at every fraction; made once for an evaluation key."""
    if directory.evaluation.exists():
        return Evaluation(**read_json(directory.evaluation))
    torch.set_num_threads(cell.train.threads)
    # NumPy's products too: the number of threads changes their last digits.
    with threadpool_limits(cell.train.threads):
        evaluation = measure(cell, training, data, directory, device, report)
    write_json(directory.evaluation, asdict(evaluation))
    return evaluation


def measure(
    cell: Cell,
    training: Training,
    data: ImageData,
    directory: RunDirectory,
    device: str,
    report: Callable[[float], None],
) -> Evaluation:
    """The work of `evaluate`, from the samples and weights in the run's directory."""
    started = time.perf_counter()
    extractor = _extractor(cell.data.name, device)
    rows: list[dict[str, Any]] = []

    def add(fraction: float, split: str, n: int | None, values: dict[str, float | str]) -> None:
        for metric, value in values.items():
            info = METRICS[metric]
            number = value if not isinstance(value, str) else None
            rows.append(
                {
                    "fraction": fraction,
                    "metric": metric,
                    "metric_version": info.version,
                    "extractor": extractor.name if info.needs == "samples" else "",
                    "split": split,
                    "value": number,
                    "n_samples": n,
                    "higher_is_better": info.higher_is_better,
                    "reason": value if isinstance(value, str) else "",
                }
            )

    def missing(fraction: float, split: str, reason: str) -> None:
        add(fraction, split, None, dict.fromkeys(SAMPLE_METRICS, reason))

    fractions = (1.0,) if cell.is_control else cell.budget.fractions
    status, reason = training.status, training.reason
    for index, fraction in enumerate(fractions):
        if fraction not in training.snapshots:
            why = training.unsampled[f"{fraction:g}"]
            missing(fraction, "validation", why)
            if fraction == 1:
                missing(fraction, "test", why)
            continue
        images = np.load(directory.samples(fraction), allow_pickle=False)
        features = extract(extractor, images, name=f"samples of {cell.name}")
        n = min(len(images), cell.sample.n_intermediate)
        early = Features(features.features[:n], features.logits[:n])
        add(
            fraction,
            "validation",
            n,
            sample_metrics(early, reference(data, "validation", extractor), cell.evaluation),
        )
        if fraction == 1:
            final = sample_metrics(features, reference(data, "test", extractor), cell.evaluation)
            add(fraction, "test", len(images), final)
            if not cell.is_control:
                status, reason = outcome(cell, final)
            model = trained_model(cell, directory, fraction, device)
            with torch.inference_mode():
                for split in ("validation", "test"):
                    real = getattr(data, split).images
                    values = model_metrics(cell, model, real, device, split)
                    add(fraction, split, len(real), values)
        report((index + 1) / len(fractions))
    return Evaluation(status, reason, rows, round(time.perf_counter() - started, 3))


def outcome(cell: Cell, final: dict[str, float | str]) -> tuple[str, str]:
    """("collapsed", why) by the declared thresholds, else ("ok", "")."""
    classes = DATASETS[cell.data.name].classes
    covered, entropy = float(final["classes_covered"]), float(final["class_entropy"])
    least_classes = cell.evaluation.min_classes * classes
    least_entropy = cell.evaluation.min_entropy * math.log2(classes)
    if covered < least_classes:
        return "collapsed", f"{covered:g} classes covered, fewer than {least_classes:g}"
    if entropy < least_entropy:
        return "collapsed", f"class entropy {entropy:.2f} bits, under {least_entropy:.2f}"
    return "ok", ""
