"""How fast is evaluation, and does it agree? `python benchmarks/evaluation.py [DATASET]`

Ours against torch-fidelity's `calculate_metrics(isc, fid, kid, prc)`, on the same samples with the
same extractor, in turn, so that the ratio of each pair holds when the machine's speed drifts. Ours
takes the samples' features in the measured time and has the reference's from its store, as every
run does; the library is timed without its cache, whose key leaves out weights and data, and with
the reference's features already known to it (the fairest comparison). After that, what every other
metric costs, and the peak memory.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch_fidelity
from torch.utils.data import Dataset
from torch_fidelity.metric_fid import KEY_METRIC_FID
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL

from genbench.data import load
from genbench.features.fidelity import register
from genbench.metrics.measured import Measured
from genbench.metrics.prdc import K_SUPPORT
from genbench.scoring import (
    Judge,
    Score,
    all_scores,
    quick_scores,
)
from genbench.suite import EvaluationSpec

SPEC = EvaluationSpec(spaces=("classifier",))
KEYS = {
    "inception_score": KEY_METRIC_ISC_MEAN,
    "fd": KEY_METRIC_FID,
    "kid": KEY_METRIC_KID_MEAN,
    "precision": KEY_METRIC_PRECISION,
    "recall": KEY_METRIC_RECALL,
}


class Images(Dataset[torch.Tensor]):
    """uint8 images (N, C, H, W), one by one, as torch-fidelity reads them."""

    def __init__(self, images: np.ndarray):
        self.images = torch.from_numpy(images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def fidelity(samples: np.ndarray, real: np.ndarray, name: str) -> dict[str, float]:
    """The library's values."""
    return dict(
        torch_fidelity.calculate_metrics(
            input1=Images(samples), input2=Images(real), feature_extractor=name, cuda=False,
            isc=True, fid=True, kid=True, prc=True, prc_neighborhood=K_SUPPORT,
            kid_subsets=SPEC.kid_subsets, kid_subset_size=SPEC.kid_subset_size,
            batch_size=500, cache=False, verbose=False,
        )
    )  # fmt: skip


def ours(judge: Judge, samples: np.ndarray) -> dict[str, Measured]:
    """Our values of the same metrics, and of those that come with them."""
    scores = quick_scores(judge, samples, "test")
    return {s.metric: s.result for s in scores if isinstance(s.result, Measured)}


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", nargs="?", default="fashion-mnist")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = load(args.dataset)
    # Training images as samples: every metric has its usual work, and no run is needed.
    n = min(10_000, len(data.train), len(data.test))
    samples, real = data.train.images[:n], data.test.images
    judge = Judge(data, SPEC, "cpu")
    name = register(args.dataset)
    ours(judge, samples)  # fills the store with the reference, as the first run of a suite does
    times: list[tuple[float, float]] = []
    for pair in range(args.pairs):
        # Other samples each time, so that no store of features can help.
        these = np.ascontiguousarray(np.roll(data.train.images, -n * pair, axis=0)[:n])
        theirs = seconds(lambda these=these: fidelity(these, real, name))
        mine = seconds(lambda these=these: ours(judge, these))
        times.append((mine, theirs))
        print(f"pair {pair + 1}: ours {mine:.2f} s, torch-fidelity {theirs:.2f} s, "
              f"ratio {mine / theirs:.3f}", flush=True)  # fmt: skip
    ratios = [mine / theirs for mine, theirs in times]
    print(
        f"ratio: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f} "
        f"({args.dataset}, N = {n}, {args.threads} threads; at most 0.333 is asked for)"
    )
    expected, found = fidelity(samples, real, name), ours(judge, samples)
    for metric, key in KEYS.items():
        difference = abs(found[metric].value - expected[key]) / abs(expected[key])
        print(f"  {metric}: ours {found[metric].value:.9g}, torch-fidelity {expected[key]:.9g}, "
              f"relative difference {difference:.1e}")  # fmt: skip
    costs(data, judge, samples)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of this process: {peak:.2f} GiB")


def costs(data: object, judge: Judge, samples: np.ndarray) -> None:
    """Seconds until each score of all that need samples alone, one after another."""
    print("seconds of each metric (the first of a group has the group's shared work):")
    fresh = np.ascontiguousarray(samples[::-1])
    started = time.perf_counter()
    score: Score
    for score in all_scores(judge, fresh, "test", np.arange(len(judge.data.train))):
        now = time.perf_counter()
        print(f"  {score.metric:20s} {score.extractor:28s} {now - started:7.2f}")
        started = now


if __name__ == "__main__":
    main()
