"""Score samples that genbench did not make, by the protocol of a profile, and keep the outcome as a
record among others."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from genbench.data import DATASETS, info, load
from genbench.errors import UserError
from genbench.evaluation import Row, rows
from genbench.external import load_samples
from genbench.features import inception as inception_space
from genbench.features.spaces import Unavailable
from genbench.image_scoring import GAIN_SIZES, labelled_scores, outcome
from genbench.metrics import IMAGE_METRICS
from genbench.modalities import all_scores
from genbench.models import MODELS
from genbench.provenance import provenance
from genbench.records import RECORD_VERSION, record_path, write_record
from genbench.scoring import Judge, Score
from genbench.suite import EvaluationSpec, digest, load_profiles, unknown
from genbench.tables import EXTERNAL

COLUMNS = ("metric", "extractor", "value", "low", "high", "flag", "reason")
"""What is printed of a row."""


@dataclass(frozen=True)
class Protocol:
    """How samples are measured against a data set: by which profile, in which modality, with which
    constants, and of how many samples at most."""

    profile: str
    modality: str
    spec: EvaluationSpec
    n: int


def choose_protocol(dataset: str, profile: str = "auto") -> Protocol:
    """The protocol for a data set of images or text, for the command line and for Python.

    profile: its name, or "auto" for cpu's where that has the data set, else that of the first that
    has it, so that samples meet the protocol of the committed results. Raises UserError for an
    unknown profile or data set, and for music.
    """
    if dataset not in DATASETS:
        raise UserError(unknown("data set", dataset, DATASETS))
    modality = info(dataset).modality
    if modality == "music":
        raise UserError(f"{dataset} is music; samples of images and of text can be scored")
    profiles = load_profiles()
    if profile == "auto":
        order = ("cpu", *profiles)
        profile = next(n for n in order if dataset in getattr(profiles[n], modality).datasets)
    if profile not in profiles:
        raise UserError(unknown("profile", profile, [*profiles, "auto"]))
    scale = getattr(profiles[profile], modality)
    return Protocol(profile, modality, scale.evaluation, scale.sample.n)


@dataclass(frozen=True)
class Appraisal:
    """What was measured of the first samples of a file or folder; printed, a table.

    profile, spec: whose protocol it was, and the protocol. sha256: of the samples as scored. notes:
    how they were converted, and what to beware of. status, reason: "collapsed", and why, by the
    protocol's thresholds, or "ok". rows: as in metrics.csv, but for the cell.
    """

    path: str
    dataset: str
    modality: str
    profile: str
    spec: EvaluationSpec = field(repr=False)
    n: int
    sha256: str
    notes: list[str]
    status: str
    reason: str
    rows: list[Row] = field(repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """One row a metric and feature space: value, low and high (its interval over samples or
        what `results/README.md` says), flag, and the reason where there is no value."""
        return pd.DataFrame(self.rows)[list(COLUMNS)]

    def __str__(self) -> str:
        return "\n".join([*self.notes, self.printed()])

    def printed(self) -> str:
        """The table as text, and below it one line for each feature space that could not be had
        and one that says what was measured."""
        shown, closing = _without_absent_spaces(self.rows)
        columns = [key for key in COLUMNS if any(row[key] not in ("", None) for row in shown)]
        cells = [[row[key] for key in columns] for row in shown]
        said = f"{self.n} samples against the test split of {self.dataset}; profile {self.profile}"
        if self.status != "ok":
            said += f"; {self.status}: {self.reason}"
        text = tabulate(cells, headers=columns, floatfmt=".4g", missingval="-")
        return "\n".join([text, *closing, said])


def _without_absent_spaces(table: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The rows but for those of spaces in which nothing could be measured, all for one reason, and
    one line on each of these."""
    reasons: dict[str, Counter[str]] = {}
    for row in table:
        reasons.setdefault(row["extractor"], Counter())[row["reason"]] += 1
    absent = {
        space: next(iter(counts.items()))
        for space, counts in reasons.items()
        if space and len(counts) == 1 and "" not in counts
    }
    lines = [f"{space}: {n} metrics left out: {reason}" for space, (reason, n) in absent.items()]
    return [row for row in table if row["extractor"] not in absent], lines


def appraise(
    path: str | os.PathLike[str],
    dataset: str,
    *,
    profile: str = "auto",
    spec: EvaluationSpec | None = None,
    n: int | None = None,
    device: str = "cpu",
    inception: str | os.PathLike[str] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Appraisal:
    """Every metric of the samples at `path` against the test split of `dataset`, by the protocol
    that `python -m genbench.run evaluate` has.

    path: for images a folder of PNGs, an .npy, or an .npz with one array or one called `samples`,
    and `labels` if they are of classes; for text a UTF-8 file, of which the blocks between blank
    lines, or else the lines, are samples. profile: as for `choose_protocol`. spec, n: in place of
    the profile's; of more samples than n the first n are scored, and fewer are scored with a note.
    inception: the file of torch-fidelity's weights, or None for the one that it downloaded before,
    if any. report is called with a line before what takes long and after each metric that is
    measured.

    Raises UserError, in one line, for samples that cannot be read or are not of the data set's
    form, and for what is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(
            f"samples are given as a path, and this is of type {type(path).__name__}; save them "
            "first, such as with numpy.savez('samples.npz', samples=images)"
        )
    protocol = choose_protocol(dataset, profile)
    spec, n = spec or protocol.spec, protocol.n if n is None else n
    if protocol.modality == "text":
        if inception is not None:
            raise UserError(f"Inception's weights are for images, and {dataset} is text")
        return _of_text(Path(path), dataset, protocol.profile, spec, n, device, report)
    weights = _inception_weights(inception)
    sha256 = inception_space.weights_sha256(weights) if weights else ""
    spec = spec.model_copy(update={"inception_sha256": sha256})
    known = info(dataset)
    samples = load_samples(Path(path), known, n)
    judge = Judge(load(dataset), spec, device, weights)
    images = samples.images
    seen = np.arange(known.sizes["train"])
    if judge.is_cold("test"):
        report(f"first the features of {dataset}'s real images, once: minutes but for digits")
    scores: list[Score] = []
    for score in all_scores(judge, images, "test", seen):
        scores.append(score)
        if not isinstance(score.result, str):
            report(f"{score.metric} in {score.extractor}" if score.extractor else score.metric)
    if samples.labels is not None:
        trained = 1 + 2 * sum(size <= len(seen) for size in GAIN_SIZES)
        report(f"labels: {trained} classifiers are trained for cas and the augmentation gains")
    scores += labelled_scores(judge, images, samples.labels, seen, seed=0)
    absent = "the samples come without the model"
    scores += [
        Score(name, "", absent)
        for name, metric in IMAGE_METRICS.items()
        if metric.needs in ("likelihood", "reconstruction")
    ]
    status, reason = outcome(judge, scores)
    table = rows("images", scores, fraction=1.0, split="test", n=len(images))
    return Appraisal(
        str(path), dataset, "images", protocol.profile, spec, len(images), samples.sha256,
        samples.notes, status, reason, table,
    )  # fmt: skip


def _inception_weights(given: str | os.PathLike[str] | None) -> Path | None:
    """The file of Inception's weights; None where none was given and none is there."""
    try:
        return inception_space.find(Path(given) if given is not None else None)
    except Unavailable:
        if given is not None:
            raise
        return None


def _of_text(
    path: Path,
    dataset: str,
    profile: str,
    spec: EvaluationSpec,
    n: int,
    device: str,
    report: Callable[[str], None],
) -> Appraisal:
    """`appraise` for a file of text and a data set of text."""
    from genbench.data.text import load_text
    from genbench.external_text import load_text_samples
    from genbench.text_scoring import TRAIN_PASSAGES, score_text

    samples, notes = load_text_samples(path, n)
    report(
        f"first the features of {len(samples)} samples, as many test passages and up to "
        f"{TRAIN_PASSAGES} training passages: minutes, unless they are kept from an earlier call"
    )
    try:
        scores = score_text(samples, load_text(dataset), spec=spec, device=device)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    notes.append(
        "distances are to as many test passages, cut to the samples' lengths: compare with other "
        "texts that were scored so, not with the tables' own cells"
    )
    table = rows("text", scores, fraction=1.0, split="test", n=len(samples))
    return Appraisal(
        str(path), dataset, "text", profile, spec, len(samples), digest(samples), notes, "ok", "",
        table,
    )  # fmt: skip


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
        "suites": [EXTERNAL],
        "profile": EXTERNAL,
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
            "evaluate_key": digest([appraisal.sha256, appraisal.spec.model_dump()]),
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
    write_record(results, record)
    return record_path(results, cell)
