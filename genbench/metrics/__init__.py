"""Metrics: pure functions of arrays, one file for each kind, and the register of what they mean."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricInfo:
    """A metric's declaration.

    version: raised when the same samples would get another value.
    higher_is_better: None where neither end is, such as a z-score that should be near zero.
    unit: of the value. title: how tables and figures call it.
    needs: what it is computed from: "space" (features of samples, in every feature space),
    "classes" (what the data set's classifier says of samples), "pixels", "train" (samples beside
    the training images), or a thing that a model must be able to do: "likelihood",
    "reconstruction", "conditioning".
    interval: the finite set that the interval is about, the others being fixed; empty where there
    is no interval.
    """

    version: int
    higher_is_better: bool | None
    unit: str
    needs: str
    title: str
    interval: str = "samples"


METRICS: dict[str, MetricInfo] = {
    # Distances and supports, in each feature space.
    "fd": MetricInfo(2, False, "squared feature units", "space", "FD"),
    "fd_infinity": MetricInfo(1, False, "squared feature units", "space", "FD∞"),
    "kid": MetricInfo(2, False, "squared kernel units", "space", "KID"),
    "mmd_rbf": MetricInfo(1, False, "squared kernel units", "space", "MMD² (RBF)"),
    "precision": MetricInfo(3, True, "share of samples", "space", "Precision"),
    "recall": MetricInfo(3, True, "share of real images", "space", "Recall", "real images"),
    "density": MetricInfo(1, True, "balls a sample, over k", "space", "Density"),
    "coverage": MetricInfo(1, True, "share of real images", "space", "Coverage", "real images"),
    "realism": MetricInfo(1, True, "radii", "space", "Realism, median"),
    "realism_low": MetricInfo(1, True, "radii", "space", "Realism, lowest tenth"),
    "vendi": MetricInfo(1, True, "effective samples", "space", "Vendi score"),
    # What the data set's classifier says.
    "inception_score": MetricInfo(2, True, "effective classes", "classes", "Inception score"),
    "classes_covered": MetricInfo(2, True, "classes", "classes", "Classes covered"),
    "class_entropy": MetricInfo(2, True, "bits", "classes", "Class entropy"),
    "class_distance": MetricInfo(2, False, "total variation", "classes", "Class distance"),
    # Pixels.
    "sliced_wasserstein": MetricInfo(
        1, False, "share of the grey range", "pixels", "Sliced Wasserstein"
    ),
    "detector_accuracy": MetricInfo(
        1, False, "share of images", "pixels", "Detector's accuracy", "images held out from it"
    ),
    # Beside the training images.
    "distance_ratio": MetricInfo(1, None, "ratio", "train", "Distance ratio, train to held-out"),
    "authenticity": MetricInfo(1, None, "share of samples", "train", "Authenticity"),
    "ct": MetricInfo(
        1, None, "standard deviations of a region's score", "train", "C_T",
        "samples and held-out images",
    ),
    "distinct": MetricInfo(1, True, "images", "train", "Distinct samples"),
    # What only some models can do.
    "bpd": MetricInfo(
        2, False, "bits per pixel", "likelihood", "Bits per dimension, exact", "real images"
    ),
    "bpd_bound": MetricInfo(
        2, False, "bits per pixel", "likelihood", "Bits per dimension, bound", "real images"
    ),
    "bpd_iwae": MetricInfo(
        1, False, "bits per pixel", "likelihood", "Bits per dimension, IWAE bound", "real images"
    ),
    "bpd_gap": MetricInfo(
        1, False, "bits per pixel", "likelihood", "Held-out minus train, bits", "real images"
    ),
    "membership_auc": MetricInfo(
        1, False, "area under the curve", "likelihood", "Membership AUC", "real images"
    ),
    "reconstruction_rmse": MetricInfo(
        2, False, "share of the grey range", "reconstruction", "Reconstruction error (RMS)",
        "real images",
    ),
    "cas": MetricInfo(
        1, True, "share of test images", "conditioning", "Classification accuracy score",
        "test images",
    ),
    "augmentation_gain_100": MetricInfo(
        1, True, "share of test images", "conditioning", "Gain beside 100 real images",
        "test images",
    ),
    "augmentation_gain_1000": MetricInfo(
        1, True, "share of test images", "conditioning", "Gain beside 1,000 real images",
        "test images",
    ),
}  # fmt: skip

SPACE_METRICS = [name for name, info in METRICS.items() if info.needs == "space"]
