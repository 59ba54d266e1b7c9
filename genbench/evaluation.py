"""Evaluate a cell: score its samples, and ask of the model what else it can do.

Final samples are compared with the test split. At every fraction of the budget, the last included,
a smaller and equal number of samples is compared with the validation split: curves are drawn from
those, so that nothing is chosen by looking at test. Further sets of final samples are drawn from
the same weights, so that the luck of sampling can be told from that of training. A metric that does
not apply is a row with the reason, never a silent NaN or zero.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from genbench.data import info
from genbench.metrics import OF_MODALITY
from genbench.metrics.likelihood import bits, gap, iwae_bound, mean_bits, tightened_bits
from genbench.metrics.measured import Measured
from genbench.metrics.memorisation import membership_auc
from genbench.metrics.music import nats_per_step
from genbench.modalities import all_scores, scoring_of
from genbench.models.interface import HasLatentPosterior, HasLikelihood, Model
from genbench.records import RunDirectory, read_json, write_json
from genbench.sampling import draw
from genbench.scoring import Judge, Score, batches, quick_scores
from genbench.suite import Cell
from genbench.training import Training, members, seeded, trained_model

Row = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """Metric rows (columns of metrics.csv but `cell`), the outcome they imply, and the wall time
    that they took."""

    status: str
    reason: str
    metrics: list[Row]
    seconds: float


def rows(
    modality: str,
    scores: Iterable[Score],
    *,
    fraction: float,
    split: str,
    n: int | None,
    draw: int = 0,
) -> list[Row]:
    """Rows of metrics.csv, but for the cell, of scores of `n` samples or real images."""
    out = []
    for metric, extractor, result in ((s.metric, s.extractor, s.result) for s in scores):
        info = OF_MODALITY[modality][metric]
        row = {
            "fraction": fraction,
            "metric": metric,
            "metric_version": info.version,
            "extractor": extractor,
            "split": split,
            "draw": draw,
            "value": None,
            "low": None,
            "high": None,
            "n_samples": n,
            "higher_is_better": info.higher_is_better,
            "flag": "",
            "reason": result if isinstance(result, str) else "",
        }
        if isinstance(result, Measured):
            value, low, high, flag = result
            if not math.isfinite(value):
                raise ValueError(f"{metric} ({extractor or 'pixels'}): the value is {value}")
            row |= {"value": value, "flag": flag}
            row |= {k: v if math.isfinite(v) else None for k, v in (("low", low), ("high", high))}
        out.append(row)
    return out


def likelihood_rows(cell: Cell, model: Model, judge: Judge, device: str) -> Iterator[Row]:
    """The ledger: bits per dimension of training and of held-out images, over the data set's grey
    levels as they are (nothing is dequantised), the gap between them, and whether the likelihood
    gives away who was trained on."""
    of_modality = OF_MODALITY[cell.modality]
    names = [name for name, info in of_modality.items() if info.needs == "likelihood"]
    if not isinstance(model, HasLikelihood):
        for split in ("train", "validation", "test"):
            reason = "not defined: the model has no likelihood"
            yield from rows(
                cell.modality,
                [Score(m, "", reason) for m in names],
                fraction=1.0,
                split=split,
                n=None,
            )
        return
    seen, held_out = members(cell)
    order = np.random.default_rng(0).permutation(len(seen))[: cell.evaluation.likelihood_images]
    seen, data = seen[np.sort(order)], judge.data
    images = {
        "train": data.train.rows[seen],
        "validation": data.validation.rows,
        "test": data.test.rows,
    }

    def bits_of(split: str, real: np.ndarray) -> np.ndarray:
        generator = seeded(device, cell.seed, "likelihood", split)
        parts = batches(real, cell.sample.batch_size, device)
        each = torch.cat([model.bits_per_dim(batch, generator) for batch in parts])
        return each.cpu().double().numpy()

    ledger = {split: bits_of(split, real) for split, real in images.items()}
    other = "bpd" if model.likelihood == "bpd_bound" else "bpd_bound"
    for split, real in images.items():
        scores = [
            Score(model.likelihood, "", mean_bits(ledger[split])),
            Score(other, "", f"the model's likelihood is {model.likelihood}"),
        ]
        if "nats_per_step" in names:
            scores.append(Score("nats_per_step", "", nats_of_steps(model, scores[0].result)))
        if split == "train":
            scores.append(Score("bpd_gap", "", "the others are compared with this split"))
            auc: Measured | str = "no training images were held out, so none are exchangeable"
            if len(held_out):
                auc = membership_auc(
                    -ledger["train"], -bits_of("held out", data.train.rows[held_out])
                )
            scores.append(Score("membership_auc", "", auc))
        else:
            scores.append(Score("bpd_gap", "", gap(ledger["train"], ledger[split])))
            scores.append(Score("membership_auc", "", "only within the training split"))
        yield from rows(cell.modality, scores, fraction=1.0, split=split, n=len(real))
        weighed = importance_weighted(cell, model, real, ledger[split], split, device)
        yield from rows(
            cell.modality, [Score("bpd_iwae", "", weighed)], fraction=1.0, split=split, n=len(real)
        )


def nats_of_steps(model: HasLikelihood, bits: Measured | str) -> Measured | str:
    """An exact likelihood of music in nats a step of four voices."""
    if isinstance(bits, str) or model.likelihood != "bpd":
        return "only a bound of the likelihood is known"
    value, low, high, flag = bits
    return Measured(nats_per_step(value), nats_per_step(low), nats_per_step(high), flag)


def importance_weighted(
    cell: Cell, model: Model, images: np.ndarray, bound: np.ndarray, split: str, device: str
) -> Measured | str:
    """The importance-weighted bound in bits per dimension of images (N, *shape), where the model
    has a posterior; bound: the model's own bound (N,) of them, in these bits.

    Weights are drawn for some of the images alone. These are spread evenly over the split, whose
    files may have an order: the first half of MNIST's test images is the easier one.
    """
    if not isinstance(model, HasLatentPosterior):
        return "the model has no posterior to weigh samples from"
    generator = seeded(device, cell.seed, "importance", split)
    k = cell.evaluation.importance_samples
    few = np.arange(0, len(images), -(-len(images) // cell.evaluation.importance_images))
    parts = batches(images[few], cell.sample.batch_size, device)
    nats = torch.cat([iwae_bound(model.log_weights(part, generator, k)) for part in parts])
    dimensions = math.prod(info(cell.data.name).shape)
    return tightened_bits(bound, bits(-nats, dimensions).cpu(), few)


def evaluate(
    cell: Cell,
    training: Training,
    judge: Judge,
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
        evaluation = measure(cell, training, judge, directory, device, report)
    write_json(directory.evaluation, asdict(evaluation))
    return evaluation


def measure(
    cell: Cell,
    training: Training,
    judge: Judge,
    directory: RunDirectory,
    device: str,
    report: Callable[[float], None],
) -> Evaluation:
    """The work of `evaluate`, from the samples and weights in the run's directory."""
    started = time.perf_counter()
    scoring = scoring_of(cell.modality)
    out: list[Row] = []
    fractions = (1.0,) if cell.is_control else cell.budget.fractions
    for index, fraction in enumerate(fractions):
        if fraction in training.snapshots:
            samples = np.load(directory.samples(fraction), allow_pickle=False)
            early = samples[: cell.sample.n_intermediate]
            quick = quick_scores(judge, early, "validation")
            out += rows(cell.modality, quick, fraction=fraction, split="validation", n=len(early))
        else:
            name, why = judge.extractor(judge.own).name, training.unsampled[f"{fraction:g}"]
            missing = [Score(metric, name, why) for metric in scoring.QUICK_METRICS]
            out += rows(cell.modality, missing, fraction=fraction, split="validation", n=None)
        report((index + 1) / (len(fractions) + 1))
    if 1.0 not in training.snapshots:
        out += rows(cell.modality, missing, fraction=1.0, split="test", n=None)
        return Evaluation(training.status, training.reason, out, _since(started))
    thorough = cell.seed < cell.evaluation.thorough_seeds
    scores = list(all_scores(judge, samples, "test", members(cell)[0], thorough=thorough))
    out += rows(cell.modality, scores, fraction=1.0, split="test", n=len(samples))
    model = trained_model(cell, directory, 1.0, device)
    out += model_rows(cell, model, judge, device)
    status, reason = "ok", ""
    if not cell.is_control:
        status, reason = scoring.outcome(judge, scores)
    return Evaluation(status, reason, out, _since(started))


def model_rows(cell: Cell, model: Model, judge: Judge, device: str) -> list[Row]:
    """What needs the model itself: redraws, likelihood, reconstruction, utility."""
    out: list[Row] = []
    # A control draws the same images again, or new noise: its luck is not a question.
    for again in range(1, 1 + (0 if cell.is_control else cell.evaluation.redraws)):
        images = draw(cell, model, cell.sample.n, seeded(device, cell.seed, "redraw", again))
        scores = quick_scores(judge, images, "test")
        out += rows(cell.modality, scores, fraction=1.0, split="test", n=len(images), draw=again)
    with torch.inference_mode():
        out += likelihood_rows(cell, model, judge, device)
    # Outside inference mode, since a classifier may be trained.
    for split, n, score in scoring_of(cell.modality).model_scores(cell, model, judge, device):
        out += rows(cell.modality, [score], fraction=1.0, split=split, n=n)
    return out


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
