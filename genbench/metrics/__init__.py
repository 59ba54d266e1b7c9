"""Metrics: pure functions of arrays, one file for each kind, and the register of what they mean."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricInfo:
    """A metric's declaration.

    version: raised when the same samples would get another value.
    unit: of the value. needs: what a model must be able to do for it, "samples" if it only must
    be sampled. title: how tables and figures call it.
    """

    version: int
    higher_is_better: bool
    unit: str
    needs: str
    title: str


METRICS: dict[str, MetricInfo] = {
    "fd": MetricInfo(1, False, "squared feature units", "samples", "FD"),
    "kid": MetricInfo(1, False, "squared kernel units", "samples", "KID"),
    "precision": MetricInfo(1, True, "share of samples", "samples", "Precision"),
    "recall": MetricInfo(1, True, "share of real images", "samples", "Recall"),
    "inception_score": MetricInfo(1, True, "effective classes", "samples", "Inception score"),
    "classes_covered": MetricInfo(1, True, "classes", "samples", "Classes covered"),
    "class_entropy": MetricInfo(1, True, "bits", "samples", "Class entropy"),
    "class_distance": MetricInfo(1, False, "total variation", "samples", "Class distance"),
    "bpd": MetricInfo(1, False, "bits per pixel", "likelihood", "Bits per dimension, exact"),
    "bpd_bound": MetricInfo(1, False, "bits per pixel", "likelihood", "Bits per dimension, bound"),
    "reconstruction_rmse": MetricInfo(
        1, False, "share of the grey range", "reconstruction", "Reconstruction error (RMS)"
    ),
}
