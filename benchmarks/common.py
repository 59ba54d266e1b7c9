"""What the benchmarks share: rows that can be printed, and kept for the book."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from genbench import tables
from genbench.provenance import provenance
from genbench.records import atomic

FOLDER = Path(__file__).parents[1] / "results" / "cpu" / "benchmarks"


class Measurement(NamedTuple):
    """A median over `n` rounds with the lowest and highest of them."""

    benchmark: str
    what: str
    value: float
    low: float
    high: float
    n: int
    unit: str


def spread(values: Sequence[float]) -> tuple[float, float, float, int]:
    return statistics.median(values), min(values), max(values), len(values)


def record(rows: Sequence[Measurement], threads: int, *, keep: bool) -> None:
    """Print the rows, and keep them as `results/cpu/benchmarks/<benchmark>.csv` if asked to."""
    for row in rows:
        print(f"{row.benchmark}: {row.what}: median {row.value:.4g} {row.unit}, {row.low:.4g} to "
              f"{row.high:.4g}, {row.n} rounds, {threads} threads")  # fmt: skip
    if not keep:
        return
    origin = provenance("cpu", threads)
    table = pd.DataFrame(rows, columns=Measurement._fields).assign(
        threads=threads, device_name=origin["device_name"], commit=origin["commit"],
        date=origin["date"],
    )[tables.BENCHMARKS]  # fmt: skip
    kept = FOLDER / f"{rows[0].benchmark}.csv"
    if kept.exists():  # of what was not measured this time
        before = pd.read_csv(kept)
        table = pd.concat([before[~before["what"].isin(table["what"])], table])
    with atomic(kept) as path:
        table.to_csv(path, index=False, lineterminator="\n")
    tables.build(FOLDER.parent)  # whose manifest names every file of the folder
    print(f"kept in {FOLDER}")
