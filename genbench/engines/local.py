"""Run cells on this machine, one after another or several at once: train, sample, evaluate,
record."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genbench import cost, tables
from genbench.data import load
from genbench.errors import UserError
from genbench.evaluation import Evaluation, evaluate
from genbench.metrics.frechet import fd
from genbench.models import MODELS
from genbench.models.interface import Model
from genbench.previews import has_preview, preview_paths, save_preview
from genbench.progress import Display, duration
from genbench.provenance import provenance
from genbench.records import RECORD_VERSION, Record, RunDirectory, record_path, write_record
from genbench.sampling import Sampling, draw, sample
from genbench.scoring import Judge
from genbench.suite import Cell, EvaluationSpec
from genbench.trackers import TRACKERS
from genbench.training import Row, Training, Watch, seeded, train


@dataclass(frozen=True)
class Setting:
    """What all cells of a call share. device: "cpu", "cuda" or "mps"; force: whether to forget
    what earlier runs left; inception: the user's weights; trackers: names of those that follow the
    training."""

    profile: str
    results: Path
    runs: Path
    device: str
    force: bool = False
    inception: Path | None = None
    trackers: tuple[str, ...] = ()


Work = tuple[Cell, list[str]]
"""A cell and the names of its suites."""


def run(
    work: Sequence[Work], setting: Setting, display: Display, jobs: int = 1
) -> dict[str, Record]:
    """Run each cell to its record in the results; cell name -> record.

    A cell that crashes is recorded as such, unless an earlier record of it exists, and the next one
    runs. Tables are rebuilt after each cell, so a stop at any moment leaves them whole. jobs: cells
    at once, each in a process of its own.
    """
    judge_of.cache_clear()  # of an earlier call, since when files may have changed
    records = {}
    each = one_by_one(work, setting, display) if jobs == 1 else at_once(work, setting, jobs)
    for name, record in each:
        records[name] = record
        tables.build(setting.results)
        seconds = record["wall_seconds"]
        reason = f": {record['reason']}" if record["reason"] else ""
        display.begin(name)
        display.end(f"{record['status']}{reason} ({duration(seconds)})")
    return records


def one_by_one(
    work: Sequence[Work], setting: Setting, display: Display
) -> Iterator[tuple[str, Record]]:
    """Cell name and record of each cell, in their order, in this process."""
    for cell, suites in work:
        display.begin(cell.name)
        yield cell.name, run_one(cell, suites, setting, display.advance, display.line)


def at_once(work: Sequence[Work], setting: Setting, jobs: int) -> Iterator[tuple[str, Record]]:
    """Cell name and record of each cell, as they are finished. Whatever ends this ends the
    processes too; what they were at goes on from its last checkpoint another time."""
    # A fork would share the state of torch's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_begin_worker) as pool:
        try:
            waiting = {
                pool.submit(run_one, cell, suites, setting): cell.name for cell, suites in work
            }
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BrokenProcessPool:
            raise UserError(
                "a process of --jobs was killed, perhaps for want of memory; the same command goes "
                "on from where it stood, with fewer --jobs if it happens again"
            ) from None
        except BaseException:
            # The others would go on to the ends of their cells, which may take hours. The pool
            # takes their deaths for its own, drops what waits, and joins them.
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@functools.lru_cache(maxsize=1)  # one data set at a time: suites keep its cells together
def judge_of(dataset: str, spec: EvaluationSpec, device: str, inception: Path | None) -> Judge:
    judge = Judge(load(dataset), spec, device, inception)
    judge.check_spaces()
    return judge


def _quietly(stage: str, done: float) -> None:
    pass


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_one(
    cell: Cell,
    suites: list[str],
    setting: Setting,
    advance: Callable[[str, float], None] = _quietly,
    say: Callable[[str], None] = _say,
) -> Record:
    """Run one cell and write its record and preview; advance is told of the part of each stage that
    is done, say of a crash."""
    results, device = setting.results, setting.device
    judge = judge_of(cell.data.name, cell.evaluation, device, setting.inception)
    directory = RunDirectory(setting.runs, cell, device)
    base = identity(cell, suites, setting.profile, directory)
    try:
        with directory.locked():
            if setting.force:
                directory.forget()
            record = base | run_cell(cell, judge, directory, device, advance, setting.trackers)
            for preview in preview_paths(results, cell.name):
                preview.unlink(missing_ok=True)
            if record["sampled"] and has_preview(cell):
                rows = np.load(directory.samples(1.0), mmap_mode="r")
                save_preview(rows, judge.data, results, cell.name)
            # Last, because a cell with a record is done.
            write_record(results, record)
    except (UserError, OSError):
        raise
    except Exception as error:
        say(traceback.format_exc())
        record = base | crashed(error) | {"provenance": provenance(device, cell.train.threads)}
        if not record_path(results, cell.name).exists():
            write_record(results, record)
    return record


def identity(cell: Cell, suites: list[str], profile: str, directory: RunDirectory) -> Record:
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
        "dataset": cell.data.label,
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
    advance: Callable[[str, float], None],
    trackers: Sequence[str] = (),
) -> Record:
    """The three stages of one cell, each done once for its key; the outcome's part of a record."""
    peak = cost.matmul_peak(device, cell.train.threads)
    with contextlib.ExitStack() as stack:
        # A run that is trained already has nothing to follow.
        followed = () if directory.training.exists() else trackers
        logs = [
            stack.enter_context(TRACKERS[name](cell, directory.path / name)) for name in followed
        ]

        def log(row: Row) -> None:
            for each in logs:
                each(row)

        watch = Watch(
            report=lambda done: advance("train", done),
            log=log,
            criterion=lambda model: validation_distance(cell, model, judge, device),
        )
        training = train(cell, judge.data, directory, device, watch)
    sampling = sample(cell, training, directory, device, lambda done: advance("sample", done))
    evaluation = evaluate(
        cell, training, judge, directory, device, lambda done: advance("evaluate", done)
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
    """The criterion for stopping early: FD in the data's own space, against validation, of as
    many samples as are drawn at intermediate fractions, the same noise each time."""
    images = draw(cell, model, cell.sample.n_intermediate, seeded(device, cell.seed, "check"))
    return fd(judge.features(images).features, judge.reference("validation").gaussian).value


def crashed(error: Exception) -> Record:
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
        if checks := sum("criterion" in row for row in training.curves):
            drawn = checks * cell.sample.n_intermediate
            rows.append(("check_flops", sampling.flops * drawn, "FLOPs"))
    return [{"cost": name, "value": value, "unit": unit} for name, value, unit in rows]
