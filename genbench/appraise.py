"""Score samples that genbench did not make, by the protocol of a profile, and keep the outcome as a
record among others."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genbench.data import info, load
from genbench.errors import UserError
from genbench.evaluation import Row, outcome, rows
from genbench.external import load_samples
from genbench.metrics import METRICS
from genbench.models import MODELS
from genbench.provenance import provenance
from genbench.records import RECORD_VERSION, record_path, write_json
from genbench.scoring import Judge, Score, all_scores, labelled_scores
from genbench.suite import EvaluationSpec, digest

PROFILE = "external"
"""The folder of results, beside those of the profiles, that holds records of others' samples."""


@dataclass(frozen=True)
class Appraisal:
    """What was measured of the first samples of a file or folder.

    sha256: of the samples as scored. notes: how they were converted, and what to beware of.
    status, reason: "collapsed", and why, by the protocol's thresholds, or "ok". rows: as in
    metrics.csv, but for the cell.
    """

    path: str
    dataset: str
    n: int
    sha256: str
    notes: list[str]
    status: str
    reason: str
    rows: list[Row]
    modality: str = "images"

    @property
    def table(self) -> pd.DataFrame:
        """One row a metric and feature space: value, low and high (its interval over samples or
        what `results/README.md` says), flag, and the reason where there is no value."""
        columns = ["metric", "extractor", "value", "low", "high", "flag", "reason"]
        return pd.DataFrame(self.rows)[columns]


def appraise(
    path: str | Path,
    dataset: str,
    *,
    spec: EvaluationSpec | None = None,
    n: int = 10_000,
    device: str = "cpu",
    inception: Path | None = None,
    report: Callable[[str], None] = lambda metric: None,
) -> Appraisal:
    """Every metric of the samples at `path` against the test split of `dataset`.

    path: a folder of PNGs, an .npy, or an .npz with one array or one called `samples`, and
    `labels` if they are of classes. n: samples that the protocol asks for; of more, the first n
    are scored, and fewer are scored with a note. report is called with each metric as it is done.
    Raises UserError, in one line, for samples that cannot be read or are not of the data set's
    form.
    """
    spec = spec or EvaluationSpec()
    known = info(dataset)
    samples = load_samples(Path(path), known, n)
    judge = Judge(load(dataset), spec, device, inception)
    images = samples.images
    seen = np.arange(known.sizes["train"])
    scores: list[Score] = []
    for score in all_scores(judge, images, "test", seen):
        scores.append(score)
        report(score.metric)
    scores += labelled_scores(judge, images, samples.labels, seen, seed=0)
    absent = "the samples come without the model"
    scores += [
        Score(name, "", absent)
        for name, metric in METRICS.items()
        if metric.needs in ("likelihood", "reconstruction")
    ]
    status, reason = outcome(scores, known.classes, spec)
    table = rows(scores, fraction=1.0, split="test", n=len(images))
    return Appraisal(
        str(path), dataset, len(images), samples.sha256, samples.notes, status, reason, table
    )


def appraise_text(
    path: str | Path,
    dataset: str,
    *,
    spec: EvaluationSpec | None = None,
    device: str = "cpu",
) -> Appraisal:
    """Every metric of a UTF-8 text file's samples, its blocks or lines, against the test split of a
    data set of text. Raises UserError, in one line, for a file that cannot be read or scored."""
    from genbench.data.text import load_text
    from genbench.text_scoring import TEXT_METRICS, load_text_samples, score_text

    samples, notes = load_text_samples(Path(path))
    try:
        scores = score_text(samples, load_text(dataset), spec=spec, device=device)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    table = rows(
        scores, fraction=1.0, split="test", n=len(samples), register=METRICS | TEXT_METRICS
    )
    return Appraisal(
        str(path), dataset, len(samples), digest(samples), notes, "ok", "", table, "text"
    )


def default_name(path: Path) -> str:
    """What a generator is called whose samples lie at `path`: the path's name without its ending,
    with a hyphen for whatever a name cannot hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")


def reserve(
    results: Path, modality: str, dataset: str, name: str, seed: int, *, replace: bool
) -> str:
    """The cell under which an appraisal is kept in `results`. Raises UserError for a name that
    would not do as a folder's or is that of a model of genbench, and, unless told to replace it,
    where there is a record of that cell."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"--name '{name}': use letters, digits, dots, hyphens and underscores")
    if name in MODELS:
        raise UserError(f"--name {name}: is a model of genbench; choose another with --name")
    cell = f"{modality}/{dataset}/{name}/s{seed}"
    if record_path(results, cell).exists() and not replace:
        raise UserError(
            f"{cell} is kept in {results} already; choose another --name or --seed, or --force to "
            "replace it"
        )
    return cell


def keep(
    appraisal: Appraisal,
    results: Path,
    *,
    name: str,
    seed: int,
    spec: EvaluationSpec,
    device: str,
    replace: bool = False,
) -> Path:
    """Write the appraisal as a record under `results`, where tables are built from; its path.

    name, seed: what the generator and its training run are called in the tables. Raises UserError
    as `reserve` does.
    """
    cell = reserve(results, appraisal.modality, appraisal.dataset, name, seed, replace=replace)
    record: dict[str, Any] = {
        "record_version": RECORD_VERSION,
        "cell": cell,
        "suites": [PROFILE],
        "profile": PROFILE,
        "modality": appraisal.modality,
        "family": "external",
        "model": name,
        "variant": "",
        "dataset": appraisal.dataset,
        "data_variant": "",
        "seed": seed,
        "budget_flops": None,
        "keys": {
            "train_key": "",
            "sample_key": appraisal.sha256,
            "evaluate_key": digest([appraisal.sha256, spec.model_dump()]),
        },
        "status": appraisal.status,
        "reason": appraisal.reason,
        "steps": None,
        "examples": None,
        "train_flops": None,
        "parameters": None,
        "sampled": False,
        "metrics": appraisal.rows,
        "costs": [],
        "curves": [],
        "provenance": provenance(device, 1),
        "wall_seconds": 0.0,
    }
    path = record_path(results, cell)
    write_json(path, record)
    return path
