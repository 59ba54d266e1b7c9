"""Run cells one after another in this process: train, sample, evaluate, record."""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genbench import cost, tables
from genbench.data import DATASETS, load
from genbench.errors import UserError
from genbench.evaluation import Evaluation, evaluate
from genbench.metrics.measured import Measured
from genbench.models import MODELS
from genbench.models.interface import Model
from genbench.progress import Display, duration
from genbench.provenance import provenance
from genbench.records import RECORD_VERSION, RunDirectory, record_path, write_json
from genbench.sampling import Sampling, draw, sample, save_grid
from genbench.scoring import Judge, quick_scores
from genbench.suite import Cell
from genbench.trackers import TRACKERS
from genbench.training import Row, Training, Watch, seeded, train


def run(
    work: Sequence[tuple[Cell, list[str]]],
    *,
    profile: str,
    results: Path,
    runs: Path,
    device: str,
    force: bool,
    inception: Path | None = None,
    trackers: Sequence[str] = (),
    display: Display,
) -> dict[str, dict[str, Any]]:
    """Run each cell to its record in `results`; cell name -> record.

    work: cells with the names of their suites. A cell that crashes is recorded as such, unless an
    earlier record of it exists, and the next one runs. Tables are rebuilt after each cell, so a
    stop at any moment leaves them whole. trackers: names of those that follow the training.
    """
    judge: Judge | None = None
    records = {}
    for cell, suites in work:
        # One data set at a time: suites keep its cells together.
        if judge is None or (judge.data.info.name, judge.spec) != (cell.data.name, cell.evaluation):
            judge = Judge(load(cell.data.name), cell.evaluation, device, inception)
            judge.check_spaces()
        display.begin(cell.name)
        directory = RunDirectory(runs, cell, device)
        base = identity(cell, suites, profile, directory)
        path = record_path(results, cell.name)
        try:
            with directory.locked():
                if force:
                    directory.forget()
                record = base | run_cell(cell, judge, directory, device, display, trackers)
                grid_path(results, cell.name).unlink(missing_ok=True)
                if record["sampled"]:
                    images = np.load(directory.samples(1.0), mmap_mode="r")
                    levels = DATASETS[cell.data.name].levels
                    save_grid(images, levels, grid_path(results, cell.name))
                # Last, because a cell with a record is done.
                write_json(path, record)
        except (UserError, OSError):
            raise
        except Exception as error:
            display.line(traceback.format_exc())
            record = base | crashed(error) | {"provenance": provenance(device, cell.train.threads)}
            if not path.exists():
                write_json(path, record)
        records[cell.name] = record
        tables.build(results)
        seconds = record["wall_seconds"]
        reason = f": {record['reason']}" if record["reason"] else ""
        display.end(f"{record['status']}{reason} ({duration(seconds)})")
    return records


def grid_path(results: Path, cell_name: str) -> Path:
    return results / "samples" / f"{cell_name.replace('/', '__')}.png"


def identity(
    cell: Cell, suites: list[str], profile: str, directory: RunDirectory
) -> dict[str, Any]:
    """The parts of a record that say which cell it is of."""
    return {
        "record_version": RECORD_VERSION,
        "cell": cell.name,
        "suites": suites,
        "profile": profile,
        "modality": cell.modality,
        "family": MODELS[cell.model.name].family,
        "model": cell.model.name,
        "variant": cell.variant,
        "dataset": cell.data.name,
        "data_variant": cell.data.variant,
        "seed": cell.seed,
        "specification": cell.model_dump(mode="json"),
        "budget_flops": None if cell.is_control else cell.budget.train_flops,
        "keys": {
            "train_key": directory.train_key,
            "sample_key": directory.sample_key,
            "evaluate_key": directory.evaluate_key,
        },
    }


def run_cell(
    cell: Cell,
    judge: Judge,
    directory: RunDirectory,
    device: str,
    display: Display,
    trackers: Sequence[str] = (),
) -> dict[str, Any]:
    """The three stages of one cell, each done once for its key; the outcome's part of a record."""
    peak = cost.matmul_peak(device, cell.train.threads)
    with contextlib.ExitStack() as stack:
        logs = [
            stack.enter_context(TRACKERS[name](cell, directory.path / name)) for name in trackers
        ]

        def log(row: Row) -> None:
            for each in logs:
                each(row)

        watch = Watch(
            report=lambda done: display.advance("train", done),
            log=log,
            criterion=lambda model: validation_distance(cell, model, judge, device),
        )
        training = train(cell, judge.data, directory, device, watch)
    sampling = sample(
        cell, training, directory, device, lambda done: display.advance("sample", done)
    )
    evaluation = evaluate(
        cell, training, judge, directory, device, lambda done: display.advance("evaluate", done)
    )
    # Of the work itself, whenever it was done; what a kill made it do again is not in it.
    seconds = training.usage.seconds + evaluation.seconds + (sampling.seconds if sampling else 0)
    return {
        "status": evaluation.status,
        "reason": evaluation.reason,
        "steps": training.steps,
        "examples": training.examples,
        "train_flops": training.train_flops,
        "parameters": training.parameters,
        "sampled": sampling is not None,
        "metrics": evaluation.metrics,
        "costs": []
        if cell.is_control
        else costs(cell, training, sampling, evaluation, device, peak),
        "curves": training.curves,
        "provenance": training.provenance,
        "wall_seconds": round(seconds, 3),
    }


def validation_distance(cell: Cell, model: Model, judge: Judge, device: str) -> float:
    """The criterion for stopping early: FD in the classifier's space, against validation, of as
    many samples as are drawn at intermediate fractions, the same noise each time."""
    images = draw(cell, model, cell.sample.n_intermediate, seeded(device, cell.seed, "check"))
    scores = {score.metric: score.result for score in quick_scores(judge, images, "validation")}
    distance = scores["fd"]
    return distance.value if isinstance(distance, Measured) else math.inf


def crashed(error: Exception) -> dict[str, Any]:
    """The outcome's part of a record for a cell that raised an error of the program's own."""
    message = str(error).splitlines()[0] if str(error) else ""
    return {
        "status": "crashed",
        "reason": f"{type(error).__name__}: {message}".rstrip(": "),
        "steps": None,
        "examples": None,
        "train_flops": None,
        "parameters": None,
        "sampled": False,
        "metrics": [],
        "costs": [],
        "curves": [],
        "wall_seconds": 0.0,
    }


def costs(
    cell: Cell,
    training: Training,
    sampling: Sampling | None,
    evaluation: Evaluation,
    device: str,
    peak: float,
) -> list[dict[str, Any]]:
    """The rows of costs.csv but `cell`; results/README.md says what each is.

    Rates are per second of work: on a CPU this process's CPU time over its threads, which other
    processes stretch less than wall time (they still take cache and memory bandwidth from it);
    wall time elsewhere.
    """

    def work_seconds(usage: cost.Usage) -> float:
        return usage.cpu_seconds / cell.train.threads if device == "cpu" else usage.seconds

    used = training.usage
    seconds = work_seconds(used)
    rate = training.train_flops / seconds
    rows: list[tuple[str, float, str]] = [
        ("parameters", training.parameters, "parameters"),
        ("train_flops", training.train_flops, "FLOPs"),
        ("train_seconds", seconds, "s"),
        ("train_wall_seconds", used.seconds, "s"),
        ("train_other_cpu", used.other_cpu, "share"),
        ("examples_per_second", training.examples / seconds, "examples/s"),
        ("train_flops_per_second", rate, "FLOP/s"),
        ("matmul_peak", peak, "FLOP/s"),
        ("utilisation", rate / peak, "share"),
        ("peak_memory", used.peak_memory, "bytes"),
        ("evaluate_wall_seconds", evaluation.seconds, "s"),
    ]
    if sampling is not None:
        rows += [
            ("sample_seconds_per_1000", work_seconds(sampling.usage) * 1000 / sampling.n, "s"),
            ("sample_flops_per_1000", sampling.flops * 1000, "FLOPs"),
            ("sample_other_cpu", sampling.usage.other_cpu, "share"),
        ]
    return [{"cost": name, "value": value, "unit": unit} for name, value, unit in rows]
