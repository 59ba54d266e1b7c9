"""One run's directory, and the record that a finished cell leaves behind.

Everything is written beside its final name and moved there when complete, so a reader sees a whole
file or none. A run directory is named by its cell and its training key, so a change of
specification never meets another run's files; a lock keeps two processes from one cell.

    RUNS/<cell>-<training key>/
        checkpoint.pt                           to resume from; removed when training is done
        best.safetensors                        of a run that may stop early, until it is done
        training.json                           outcome, curves and cost of training
        weights/<fraction>.safetensors          averaged weights at each fraction of the budget
        samples/<sample key>/<fraction>.npy     uint8 samples, with sampling.json beside them
        evaluation/<evaluation key>.json        metrics
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from genbench.errors import UserError
from genbench.suite import Cell

# Raised when the form of records changes; they are then written again, and nothing is recomputed.
RECORD_VERSION = 3

Record = dict[str, Any]

# Entries of a record that are rows of like keys.
TABLES = ("costs", "curves", "metrics")

# What tables and the command line read of every record.
REQUIRED = {
    "record_version", "cell", "suites", "profile", "modality", "family", "model", "variant",
    "dataset", "data_variant", "seed", "budget_flops", "keys", "status", "reason", "steps",
    "examples", "train_flops", "parameters", "metrics", "costs", "curves", "provenance",
    "wall_seconds",
}  # fmt: skip


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """JSON with a stable order of keys; NaN and infinities are refused."""
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    with atomic(path) as temporary:
        temporary.write_text(text, "utf-8")


def read_json(path: Path) -> Any:
    """The file's content, unpacked where its name ends in `.gz`. Raises UserError where it is not
    JSON."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return json.loads(content.decode("utf-8"))
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path} is not valid JSON ({error}); restore it from git or delete it and run again"
        ) from None


def write_record(results: Path, record: Record) -> None:
    """Write a record to its place: a line for each of its entries, and its tables by columns, a
    line each. It is packed, without the time and so by the same bytes each time, because most of it
    repeats: the committed records take a third of the room."""
    lines = []
    for key, value in sorted(record.items()):
        if key in TABLES:
            columns = [f"  {_json(k)}: {_json(v)}" for k, v in _columns(value).items()]
            lines.append(f" {_json(key)}: {{\n" + ",\n".join(columns) + "\n }")
        else:
            lines.append(f" {_json(key)}: {_json(value)}")
    with atomic(record_path(results, record["cell"])) as temporary:
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))


def read_record(path: Path) -> Record:
    """The record that `write_record` wrote. Raises UserError for a file that holds none."""
    record = read_json(path)
    lacking = REQUIRED - (record.keys() if isinstance(record, dict) else set())
    if lacking:
        raise UserError(
            f"{path} is not a whole record (it lacks {', '.join(sorted(lacking))}); restore it "
            "from git or delete it"
        )
    try:
        tables = {name: _rows(record[name]) for name in TABLES}
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a whole record (a table of it is cut: {error}); restore it from git or "
            "delete it"
        ) from None
    # Each stage of a training has values of its own, and none of another's.
    tables["curves"] = [
        {name: value for name, value in row.items() if value is not None}
        for row in tables["curves"]
    ]
    return record | tables


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows by columns, in which a cell that a row does not have is as one that it has empty."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _rows(columns: Any) -> list[dict[str, Any]]:
    values = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]


def fraction_name(fraction: float) -> str:
    return f"{fraction:.4f}"


class RunDirectory:
    """Paths of one cell's run on one kind of device."""

    def __init__(self, root: Path, cell: Cell, device: str):
        self.cell = cell
        self.sample_key = cell.sample_key(device)
        self.evaluate_key = cell.evaluate_key(device)
        self.train_key = cell.train_key(device)
        slug = cell.name.replace("/", "__")
        self.path = root / f"{slug}-{self.train_key[:12]}"
        self.checkpoint = self.path / "checkpoint.pt"
        self.training = self.path / "training.json"
        self.samples_folder = self.path / "samples" / self.sample_key[:12]
        self.best = self.path / "best.safetensors"
        self.sampling = self.samples_folder / "sampling.json"
        self.evaluation = self.path / "evaluation" / f"{self.evaluate_key[:12]}.json"

    def weights(self, fraction: float) -> Path:
        return self.path / "weights" / f"{fraction_name(fraction)}.safetensors"

    def samples(self, fraction: float) -> Path:
        return self.samples_folder / f"{fraction_name(fraction)}.npy"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this run. Raises UserError when another process does."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.path / "lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise UserError(
                f"{self.cell.name} is being run by another process (lock {self.path / 'lock'}); "
                "wait for it or use another --runs folder"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def forget(self) -> None:
        """Remove what was computed (`--force`)."""
        for child in self.path.glob("*"):
            if child.name != "lock":
                shutil.rmtree(child) if child.is_dir() else child.unlink()


def record_path(results: Path, cell_name: str) -> Path:
    """Where a cell's record lies in a profile's results folder."""
    return results / "records" / f"{cell_name}.json.gz"


def load_records(results: Path) -> list[Record]:
    """All records of a profile's results folder, in the order of their cells' names. Raises
    UserError for a file that holds none, and for one as records were before they were packed."""
    if unpacked := next((results / "records").rglob("*.json"), None):
        raise UserError(
            f"{unpacked} is a record of an earlier form, which is not packed; pack such files with "
            f"`gzip -rn {results / 'records'}`, or delete them and run their cells again"
        )
    records = [read_record(path) for path in (results / "records").rglob("*.json.gz")]
    return sorted(records, key=lambda record: record["cell"])
