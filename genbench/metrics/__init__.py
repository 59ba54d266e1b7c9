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
    "classes" (what the data set's classifier says of samples), "pixels", "tokens", "text", "music",
    "train" (samples beside the training rows), or a thing that a model must be able to do:
    "likelihood", "reconstruction", "posterior", "conditioning".
    interval: the finite set that the interval is about, the others being fixed; empty where there
    is no interval.
    """

    version: int
    higher_is_better: bool | None
    unit: str
    needs: str
    title: str
    interval: str = "samples"


IMAGE_METRICS: dict[str, MetricInfo] = {
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
    "distinct": MetricInfo(1, True, "samples", "train", "Distinct samples"),
    # What only some models can do.
    "bpd": MetricInfo(
        2, False, "bits per dimension", "likelihood", "Bits per dimension, exact", "real images"
    ),
    "bpd_bound": MetricInfo(
        2, False, "bits per dimension", "likelihood", "Bits per dimension, bound", "real images"
    ),
    "bpd_iwae": MetricInfo(
        3, False, "bits per dimension", "likelihood", "Bits per dimension, IWAE bound",
        "real images",
    ),
    "bpd_gap": MetricInfo(
        1, False, "bits per dimension", "likelihood", "Held-out minus train, bits", "real images"
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

JS = "Jensen-Shannon distance"

TEXT_METRICS: dict[str, MetricInfo] = {
    "distinct_1": MetricInfo(1, None, "share of words", "text", "Distinct-1"),
    "distinct_2": MetricInfo(1, None, "share of pairs of words", "text", "Distinct-2"),
    "distinct_3": MetricInfo(1, None, "share of triples of words", "text", "Distinct-3"),
    "longest_copy": MetricInfo(1, None, "characters", "text", "Longest copy from train", ""),
    "mean_copy": MetricInfo(1, None, "characters", "text", "Longest copy, mean over samples"),
    "character_js": MetricInfo(1, False, JS, "text", "Jensen-Shannon distance of 4-grams"),
    "real_words": MetricInfo(1, True, "share of words", "text", "Real words"),
    "real_types": MetricInfo(1, True, "share of different words", "text", "Real words, each once"),
    "mauve": MetricInfo(2, True, "area under the frontier", "text", "MAUVE"),
    "self_bleu": MetricInfo(1, None, "BLEU, 0 to 1", "text", "Self-BLEU"),
    "bits_per_byte": MetricInfo(1, None, "bits per byte", "text", "Bits per byte, pretrained"),
}

SEQUENCE_METRICS: dict[str, MetricInfo] = {
    "distinct_rows": MetricInfo(1, None, "share of samples", "tokens", "Samples unlike all others"),
    "token_accuracy": MetricInfo(
        2, True, "share of tokens", "reconstruction", "Tokens reconstructed", "real rows"
    ),
    # Whether a posterior says anything: both are 0 where it has collapsed to the prior.
    "rate": MetricInfo(1, None, "nats a row", "posterior", "Rate, KL(q||p)", "real rows"),
    "active_units": MetricInfo(
        1, None, "latent dimensions", "posterior", "Active latent dimensions", ""
    ),
}

MUSIC_METRICS: dict[str, MetricInfo] = {
    # Histograms of sounding time, beside the reference's.
    "pitch_class_js": MetricInfo(1, False, JS, "music", "Pitch classes, distance"),
    "melodic_interval_js": MetricInfo(1, False, JS, "music", "Melodic intervals, distance"),
    "harmonic_interval_js": MetricInfo(1, False, JS, "music", "Harmonic intervals, distance"),
    "note_length_js": MetricInfo(1, False, JS, "music", "Note lengths, distance"),
    "chord_transition_js": MetricInfo(1, False, JS, "music", "Chord transitions, distance"),
    # Chords.
    "chord_share": MetricInfo(1, None, "share of steps", "music", "Triads and seventh chords"),
    "chord_share_gap": MetricInfo(
        1, None, "difference of shares of steps", "music", "Chords, minus the reference's"
    ),
    # Voice leading: faults over chances, and parallels a window.
    "parallel_fifths": MetricInfo(
        1, False, "share of fifths that both voices leave", "music", "Parallel fifths"
    ),
    "parallel_octaves": MetricInfo(
        1, False, "share of octaves that both voices leave", "music", "Parallel octaves"
    ),
    "parallel_fifths_per_window": MetricInfo(
        1, False, "parallels a window", "music", "Parallel fifths a window"
    ),
    "parallel_octaves_per_window": MetricInfo(
        1, False, "parallels a window", "music", "Parallel octaves a window"
    ),
    "voice_crossing": MetricInfo(
        1, False, "share of the time of neighbouring voices", "music", "Voice crossing"
    ),
    "wide_spacing": MetricInfo(
        1, False, "share of the time of neighbouring upper voices", "music", "Wide spacing"
    ),
    "out_of_range": MetricInfo(1, False, "share of sounding time", "music", "Out of range"),
    # Repetition within a window.
    "beats_repeated": MetricInfo(1, None, "share of beats", "music", "Beats repeated"),
    "beats_repeated_transposed": MetricInfo(
        1, None, "share of beats", "music", "Beats repeated, transposed or not"
    ),
    "bars_repeated": MetricInfo(1, None, "share of bars", "music", "Bars repeated"),
    "bars_repeated_transposed": MetricInfo(
        1, None, "share of bars", "music", "Bars repeated, transposed or not"
    ),
    # Copies of training pieces: the longest run of each sample, its mean and its maximum.
    "mean_run": MetricInfo(1, None, "steps", "music", "Longest copied run, mean"),
    "mean_run_transposed": MetricInfo(
        1, None, "steps", "music", "Longest copied run, transposed or not, mean"
    ),
    "mean_soprano_run": MetricInfo(1, None, "steps", "music", "Soprano's longest copy, mean"),
    "mean_soprano_run_transposed": MetricInfo(
        1, None, "steps", "music", "Soprano's longest copy, transposed or not, mean"
    ),
    "longest_run": MetricInfo(1, None, "steps", "music", "Longest copied run", ""),
    "longest_run_transposed": MetricInfo(
        1, None, "steps", "music", "Longest copied run, transposed or not", ""
    ),
    "longest_soprano_run": MetricInfo(1, None, "steps", "music", "Soprano's longest copy", ""),
    "longest_soprano_run_transposed": MetricInfo(
        1, None, "steps", "music", "Soprano's longest copy, transposed or not", ""
    ),
    # What only some models can do.
    "nats_per_step": MetricInfo(
        1, False, "nats a sixteenth", "likelihood", "Negative log-likelihood a step",
        "held-out windows",
    ),
}  # fmt: skip

METRICS: dict[str, MetricInfo] = {
    **IMAGE_METRICS,
    **SEQUENCE_METRICS,
    **TEXT_METRICS,
    **MUSIC_METRICS,
}

SPACE_METRICS = [name for name, info in METRICS.items() if info.needs == "space"]

# Distances of features, memorisation and likelihoods are the same whatever a row shows.
EVERYWHERE = {
    name: info
    for name, info in IMAGE_METRICS.items()
    if info.needs in ("space", "train", "likelihood")
}
OF_MODALITY: dict[str, dict[str, MetricInfo]] = {
    "images": IMAGE_METRICS,
    "text": {**EVERYWHERE, **SEQUENCE_METRICS, **TEXT_METRICS},
    "music": {**EVERYWHERE, **SEQUENCE_METRICS, **MUSIC_METRICS},
}
"""Modality -> the metrics that its samples are measured by."""
