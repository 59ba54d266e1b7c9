"""What images alone are scored for: pixels, what a classifier learns from them, whether a model's
samples have collapsed to a few classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from genbench.data import DATASETS
from genbench.metrics import METRICS
from genbench.metrics.detector import detector_accuracy
from genbench.metrics.measured import Measured, normal
from genbench.metrics.sliced import sliced_wasserstein
from genbench.metrics.utility import augmentation_gain, classification_accuracy
from genbench.models.interface import ClassConditional, Model, Reconstructs
from genbench.scoring import CLASSES, SEED, SUPPORTS, Judge, Score, batches, not_thorough
from genbench.suite import Cell
from genbench.training import members, seeded

QUICK_METRICS = ("fd", "kid", *SUPPORTS, *CLASSES)
"""What `scoring.quick_scores` gives of images in the classifier's space."""

# Real images beside which synthetic ones are added, as the metrics' names have them.
GAIN_SIZES = (100, 1_000)

# Images on each side of the detector's question, half of them to learn from.
DETECTOR_IMAGES = 5_000


def own_scores(
    judge: Judge, images: np.ndarray, split: str, *, thorough: bool = True
) -> Iterator[Score]:
    """Metrics that look at pixels, without any extractor; all are cheap enough for every seed."""
    real: np.ndarray = getattr(judge.data, split).rows
    levels = judge.data.info.levels
    flat = [torch.from_numpy(x).to(judge.device).flatten(1) / (levels - 1) for x in (images, real)]
    # Random ones: a data set's files may have an order, such as that of MNIST's writers.
    rng = np.random.default_rng(SEED)
    some = [x[rng.permutation(len(x))[:DETECTOR_IMAGES]] for x in (images, real)]
    yield Score(
        "sliced_wasserstein", "",
        sliced_wasserstein(*flat, projections=judge.spec.projections, seed=SEED),
    )  # fmt: skip
    yield Score("detector_accuracy", "", detector_accuracy(*some, levels=levels, seed=SEED))


def model_scores(
    cell: Cell, model: Model, judge: Judge, device: str
) -> Iterator[tuple[str, int, Score]]:
    """What needs the model itself: (split, number of images, score)."""
    for split in ("validation", "test"):
        real = getattr(judge.data, split).rows
        error = reconstruction(cell, model, real, device)
        yield split, len(real), Score("reconstruction_rmse", "", error)
    for score in utility_scores(cell, model, judge, device):
        yield "test", cell.sample.n, score


@torch.inference_mode()
def reconstruction(cell: Cell, model: Model, images: np.ndarray, device: str) -> Measured | str:
    """Root mean squared error of reconstructions as a share of the grey range; the interval, over
    images, by the delta method."""
    if not isinstance(model, Reconstructs):
        return "the model does not encode images"
    squares = []
    for batch in batches(images, cell.sample.batch_size, device):
        difference = model.reconstruct(batch).cpu().double() - batch.cpu().double()
        squares.append(difference.square().flatten(1).mean(1))
    square = torch.cat(squares) / (DATASETS[cell.data.name].levels - 1) ** 2
    root = math.sqrt(float(square.mean()))
    return normal(root, float(square.std()) / math.sqrt(len(square)) / (2 * root) if root else 0.0)


def utility_scores(cell: Cell, model: Model, judge: Judge, device: str) -> list[Score]:
    """What a classifier learns from the model's images of each class, evenly drawn."""
    if not isinstance(model, ClassConditional):
        return labelled_scores(judge, None, None, np.empty(0), seed=0)
    if cell.seed >= cell.evaluation.thorough_seeds:
        why = not_thorough(cell.evaluation)
        return labelled_scores(judge, None, None, np.empty(0), seed=0, reason=why)
    labels = torch.arange(cell.sample.n, device=device) % judge.data.info.classes
    generator = seeded(device, cell.seed, "classes")
    parts = [labels] if cell.is_control else labels.split(cell.sample.batch_size)
    try:
        with torch.inference_mode():
            drawn = torch.cat([model.sample_class(part, generator) for part in parts])
    except ValueError as error:  # a control that happens to hold no image of some class
        return labelled_scores(judge, None, None, np.empty(0), seed=0, reason=str(error))
    images, (seen, _) = drawn.cpu().numpy(), members(cell)
    return labelled_scores(judge, images, labels.cpu().numpy(), seen, seed=cell.seed)


def labelled_scores(
    judge: Judge,
    images: np.ndarray | None,
    labels: np.ndarray | None,
    seen: np.ndarray,
    *,
    seed: int,
    reason: str = "no images of chosen classes",
) -> list[Score]:
    """How well a classifier does on real test images that learned from `images` (N, C, H, W) uint8
    with `labels` (N,) int64, alone and beside some of the training images with indices `seen`."""
    names = [name for name, info in METRICS.items() if info.needs == "conditioning"]
    if images is None or labels is None:
        return [Score(name, "", reason) for name in names]
    data, levels = judge.data, judge.data.info.levels
    made, test = (images, labels), (data.test.rows, data.test.labels)
    real = (data.train.rows[seen], data.train.labels[seen])
    sizes = [n for n in GAIN_SIZES if n <= len(seen)]
    gains = augmentation_gain(*real, *made, *test, levels=levels, sizes=sizes, seed=seed)
    scores = [Score("cas", "", classification_accuracy(*made, *test, levels=levels, seed=seed))]
    for size in GAIN_SIZES:
        result = gains.get(size, f"there are only {len(seen)} real images")
        scores.append(Score(f"augmentation_gain_{size}", "", result))
    return scores


def outcome(judge: Judge, scores: Iterable[Score]) -> tuple[str, str]:
    """("collapsed", why) by the declared thresholds, else ("ok", "")."""
    classes, spec = judge.data.info.classes, judge.spec
    values = {s.metric: s.result.value for s in scores if isinstance(s.result, Measured)}
    covered, entropy = values["classes_covered"], values["class_entropy"]
    least_classes, least_entropy = spec.min_classes * classes, spec.min_entropy * math.log2(classes)
    if covered < least_classes:
        return "collapsed", f"classes covered: {covered:g}, fewer than {least_classes:g}"
    if entropy < least_entropy:
        return "collapsed", f"class entropy {entropy:.2f} bits, under {least_entropy:.2f}"
    return "ok", ""
