"""How fast is evaluation, and does it agree? `python benchmarks/evaluation.py [DATASET]`

Ours against torch-fidelity's `calculate_metrics(isc, fid, kid, prc)`, on the same samples with the
same extractor, in turn, so that the ratio of each pair holds when the machine's speed drifts. Ours
takes the samples' features in the measured time and has the reference's from its store, as every
run does. The library is timed twice: without its cache, whose key leaves out weights and data, so
that one would not rely on it; and with the reference's features in it, as favourable to it as can
be. After that, what every other metric costs, and the peak memory.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch_fidelity
from common import Measurement, record, spread
from torch.utils.data import Dataset
from torch_fidelity.metric_fid import KEY_METRIC_FID
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL

from genbench.data import load
from genbench.features.classifier import load_extractor
from genbench.features.fidelity import register
from genbench.metrics.measured import Measured
from genbench.metrics.prdc import K_SUPPORT
from genbench.modalities import all_scores
from genbench.scoring import Judge, quick_scores
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


def fidelity(
    samples: np.ndarray, real: np.ndarray, name: str, batch_size: int, **cache: Any
) -> dict[str, float]:
    """The library's values. cache: its options for keeping features, none of them by default."""
    return dict(
        torch_fidelity.calculate_metrics(
            input1=Images(samples), input2=Images(real), feature_extractor=name, cuda=False,
            isc=True, fid=True, kid=True, prc=True, prc_neighborhood=K_SUPPORT,
            kid_subsets=SPEC.kid_subsets, kid_subset_size=SPEC.kid_subset_size,
            batch_size=batch_size, verbose=False, **(cache or {"cache": False}),
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
    parser.add_argument("--record", action="store_true", help="keep it under results/cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = load(args.dataset)
    # Training images as samples: every metric has its usual work, and no run is needed.
    n = min(10_000, len(data.train), len(data.test))
    samples, real = data.train.rows[:n], data.test.rows
    judge = Judge(data, SPEC, "cpu")
    name = register(args.dataset)
    batch_size = load_extractor(args.dataset).batch_size  # the same for both
    rng = np.random.default_rng()  # never the same: our store would remember the last run
    with tempfile.TemporaryDirectory() as folder:
        cache = {"cache": True, "cache_root": folder, "cache_input2_name": f"{args.dataset}-test"}
        # Fills our store with the reference, as the first run of a suite does; and before the
        # library has had any memory, our own peak.
        costs(judge, samples)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"peak memory: {peak:.2f} GiB")
        fidelity(samples, real, name, batch_size, **cache)  # and the library's cache
        times: list[tuple[float, float, float]] = []
        for pair in range(args.pairs):
            # Other samples each time, so that no store of features can help.
            these = data.train.rows[rng.permutation(len(data.train))[:n]]
            theirs = seconds(lambda these=these: fidelity(these, real, name, batch_size))
            mine = seconds(lambda these=these: ours(judge, these))
            kept = seconds(lambda these=these: fidelity(these, real, name, batch_size, **cache))
            times.append((mine, theirs, kept))
            print(f"pair {pair + 1}: ours {mine:.2f} s, torch-fidelity {theirs:.2f} s, with its "
                  f"reference cached {kept:.2f} s", flush=True)  # fmt: skip
    library, cached = "torch-fidelity", "torch-fidelity with its reference cached"
    values = {
        (f"time over that of {library}", "ratio"): [row[0] / row[1] for row in times],
        (f"time over that of {cached}", "ratio"): [row[0] / row[2] for row in times],
        ("ours", "s"): [row[0] for row in times],
        (library, "s"): [row[1] for row in times],
        (cached, "s"): [row[2] for row in times],
    }
    rows = [
        Measurement("evaluation", f"{args.dataset}, N = {n}: {what}", *spread(each), unit)
        for (what, unit), each in values.items()
    ]
    record(rows, args.threads, keep=args.record)
    # In float64, as ours are: the library's float32 sums agree to fewer digits.
    expected = fidelity(samples, real, register(args.dataset, "float64"), batch_size)
    found = ours(judge, samples)
    for metric, key in KEYS.items():
        difference = abs(found[metric].value - expected[key]) / abs(expected[key])
        print(f"  {metric}: ours {found[metric].value:.9g}, torch-fidelity {expected[key]:.9g}, "
              f"relative difference {difference:.1e}")  # fmt: skip


def costs(judge: Judge, samples: np.ndarray) -> None:
    """Seconds until each score of all that need samples alone, one after another."""
    seen = np.arange(len(judge.data.train))
    list(all_scores(judge, samples, "test", seen))
    print("seconds of each metric (the first of a group has the group's shared work):")
    # The same images in another order: features are taken again, references are there.
    fresh = samples[np.random.default_rng().permutation(len(samples))]
    started = time.perf_counter()
    for score in all_scores(judge, fresh, "test", seen):
        now = time.perf_counter()
        print(f"  {score.metric:20s} {score.extractor:28s} {now - started:7.2f}")
        started = now


if __name__ == "__main__":
    main()
