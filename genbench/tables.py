"""The results tables: built from records, loaded by chapters.

Built tables are a function of the records alone, so building twice gives the same bytes, and a
partial run adds rows and drops none.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import pandas as pd

from genbench.errors import UserError
from genbench.metrics import METRICS as METRIC_INFO
from genbench.provenance import clone_root
from genbench.records import atomic, load_records, read_json, write_json
from genbench.suite import digest, load_profiles

CELLS = [
    "cell", "suite", "modality", "family", "model", "variant", "dataset", "data_variant", "seed",
    "profile", "status", "reason", "steps", "examples", "train_flops", "budget_flops",
    "parameters", "train_key", "sample_key", "evaluate_key", "commit", "date", "device",
    "device_name", "threads",
]  # fmt: skip
METRICS = [
    "cell", "fraction", "metric", "metric_version", "extractor", "split", "draw", "value", "low",
    "high", "n_samples", "higher_is_better", "flag", "reason",
]  # fmt: skip
COSTS = ["cell", "cost", "value", "unit"]
BENCHMARKS = ["benchmark", "what", "value", "low", "high", "n", "unit", "threads", "device_name",
              "commit", "date"]  # fmt: skip
CURVES = ["cell", "stage", "step", "train_flops", "examples", "seconds", "name", "value"]

# What metrics need that may be taken in several feature spaces.
NEEDS_SPACE = ("space", "classes", "train")

# Modality -> the space by which its runs are judged where a metric is taken in several.
OWN_SPACE = {"images": "classifier", "text": "minilm", "music": "chorales"}

FILES = ("cells.csv", "metrics.csv", "costs.csv", "curves.parquet")

EXTERNAL = "external"
"""The folder of results, beside those of the profiles, that holds records of others' samples."""
SUPERSEDED = "superseded"
"""The folder that holds records of runs in settings that were given up, since no run is dropped."""

# Columns of the CSVs that hold numbers or truth values; the others hold text, even where it looks
# like a number.
_NOT_TEXT = {
    "seed", "steps", "examples", "train_flops", "budget_flops", "parameters", "threads",
    "fraction", "metric_version", "draw", "value", "low", "high", "n_samples", "higher_is_better",
}  # fmt: skip

WHOLE = {
    "cells": ["steps", "examples", "train_flops", "parameters"],
    "metrics": ["n_samples"],
}

# Columns of a curve's row that say where it stands; the others are values.
_POSITION = ("stage", "step", "train_flops", "examples", "seconds")


@dataclass(frozen=True)
class Results:
    """A profile's tables: one observation a row. results/README.md documents every column."""

    profile: str
    cells: pd.DataFrame
    metrics: pd.DataFrame
    costs: pd.DataFrame
    curves: pd.DataFrame
    manifest: dict[str, Any]
    folder: Path


def _frames(records: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    cells, metrics, costs, curves = [], [], [], []
    for record in records:
        name = record["cell"]
        provenance = record["provenance"]
        cells.append(
            {
                **{key: record.get(key) for key in CELLS},
                "suite": "+".join(record["suites"]),
                **{k: record["keys"][k] for k in ("train_key", "sample_key", "evaluate_key")},
                **{k: provenance[k] for k in
                   ("commit", "date", "device", "device_name", "threads")},
            }
        )  # fmt: skip
        metrics += [{"cell": name, **row} for row in record["metrics"]]
        costs += [{"cell": name, **row} for row in record["costs"]]
        for row in record["curves"]:
            position = {key: row[key] for key in _POSITION}
            curves += [
                {"cell": name, **position, "name": key, "value": value}
                for key, value in row.items()
                if key not in _POSITION
            ]
    frames = {
        "cells": pd.DataFrame(cells, columns=CELLS),
        "metrics": pd.DataFrame(metrics, columns=METRICS),
        "costs": pd.DataFrame(costs, columns=COSTS),
        "curves": pd.DataFrame(curves, columns=CURVES),
    }
    # Whole numbers stay whole where a row has none.
    for table, columns in WHOLE.items():
        frames[table][columns] = frames[table][columns].astype("Int64")
    order = ["cell", "fraction", "split", "draw", "metric", "extractor"]
    frames["metrics"] = frames["metrics"].sort_values(order, kind="stable", ignore_index=True)
    return frames


def build(folder: Path) -> None:
    """Write a profile's tables and manifest from all records in its results folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock"):
        records = load_records(folder)
        frames = _frames(records)
        for name in ("cells", "metrics", "costs"):
            with atomic(folder / f"{name}.csv") as path:
                frames[name].to_csv(path, index=False, lineterminator="\n")
        with atomic(folder / "curves.parquet") as path:
            frames["curves"].to_parquet(path, index=False)
        write_json(folder / "manifest.json", _manifest(folder, records))


def _manifest(folder: Path, records: list[dict[str, Any]]) -> dict[str, Any]:
    """sha256 of each file, and what the records say of their origin."""
    files = sorted(
        path
        for path in folder.rglob("*")
        # A hidden file is a lock, or one that another process is writing.
        if path.is_file() and path.name != "manifest.json" and not path.name.startswith(".")
    )
    origins = [record["provenance"] for record in records]
    dates = sorted(origin["date"] for origin in origins)
    return {
        "profile": folder.name,
        "cells": len(records),
        "specifications": digest([record["keys"]["evaluate_key"] for record in records]),
        "commits": sorted({origin["commit"] for origin in origins}),
        "devices": sorted({origin["device_name"] for origin in origins}),
        "threads": sorted({origin["threads"] for origin in origins}),
        "versions": {
            name: sorted({origin["versions"][name] for origin in origins})
            for name in (origins[0]["versions"] if origins else {})
        },
        "dates": [dates[0], dates[-1]] if dates else [],
        "files": {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        },
    }


def results_root() -> Path:
    """The folder of all profiles' results: GENBENCH_RESULTS, else `results/` of this clone.
    Raises UserError where the package is installed elsewhere."""
    if named := os.environ.get("GENBENCH_RESULTS"):
        return Path(named)
    root = clone_root()
    if root is None:
        raise UserError("genbench is not run from a clone: name the results folder with --results")
    return root / "results"


def load(profile: str, root: Path | None = None) -> Results:
    """A profile's tables. Raises UserError, saying how to make them, where there are none."""
    folder = (root or results_root()) / profile
    if not (folder / "manifest.json").is_file():
        raise UserError(f"{folder} holds no results; {_making(folder)}")
    frames = {
        name: _read(folder / f"{name}.csv", columns)
        for name, columns in (("cells", CELLS), ("metrics", METRICS), ("costs", COSTS))
    }
    return Results(
        profile=profile,
        curves=pd.read_parquet(folder / "curves.parquet"),
        manifest=read_json(folder / "manifest.json"),
        folder=folder,
        **frames,
    )


def benchmarks(profile: str, root: Path | None = None) -> pd.DataFrame:
    """What the scripts in `benchmarks/` measured and kept, with the columns of `BENCHMARKS`, by
    benchmark; no rows where nothing was kept."""
    folder = (root or results_root()) / profile / "benchmarks"
    kept = [pd.read_csv(path, keep_default_na=False) for path in sorted(folder.glob("*.csv"))]
    if not kept:
        return pd.DataFrame(columns=BENCHMARKS)
    return pd.concat(kept, ignore_index=True)[BENCHMARKS]


def _making(folder: Path) -> str:
    """How tables come to be in a folder, and, where no command makes one of its name, what the name
    should have been."""
    profiles = load_profiles()
    if folder.name in profiles:
        return f"make them with: python -m genbench.run all --profile {folder.name}"
    if folder.name == EXTERNAL:
        return "make them with: python -m genbench.run evaluate PATH --against NAME --results DIR"
    known = ", ".join((*profiles, EXTERNAL, SUPERSEDED))
    return (
        f"'{folder.name}' is no profile: known are {known}; of a folder of your own, name the "
        "profile in it and the folder, such as load('cpu', Path('mine'))"
    )


def altered(results: Results) -> list[str]:
    """Names of the files of tables whose content is not what the manifest says was built."""
    manifest: Any = results.manifest  # of somebody else's folder, it may be anything
    built = manifest.get("files") if isinstance(manifest, dict) else None
    built = built if isinstance(built, dict) else {}
    return [
        name
        for name in FILES
        if built.get(name) != hashlib.sha256((results.folder / name).read_bytes()).hexdigest()
    ]


def rebuilding(folder: Path) -> str:
    """How the tables of a folder are built again from its records."""
    again = f"python -m genbench.run tables --results {folder.parent} --profile {folder.name}"
    if folder.name in (*load_profiles(), EXTERNAL, SUPERSEDED):
        return f"rebuild the tables with: {again}"
    return "get the whole folder again, or rebuild the tables from its records"


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    """A table whose text columns are empty, not missing, where there is nothing to say."""
    text = [column for column in columns if column not in _NOT_TEXT]
    frame = pd.read_csv(
        path,
        dtype=dict.fromkeys(text, "str"),
        keep_default_na=False,
        na_values=[""],
    )
    return frame.fillna(dict.fromkeys(text, ""))


def final_rows(
    metrics: pd.DataFrame,
    metric: str | None = None,
    split: str = "test",
    space: str = "classifier",
) -> pd.DataFrame:
    """The rows of a metric, or of all, at the end of training and of each run's own samples: one a
    cell and metric. space: the feature space, for metrics that are taken in several."""
    return metrics[
        (metric is None or metrics["metric"] == metric)
        & (metrics["split"] == split)
        & (metrics["fraction"] == 1)
        & (metrics["draw"] == 0)
        & of_space(metrics, space)
    ]


def of_space(metrics: pd.DataFrame, space: str) -> pd.Series[bool]:
    """Which rows of a table of metrics are of a feature space or of none."""
    extractor = metrics["extractor"]
    in_several = [name for name, info in METRIC_INFO.items() if info.needs in NEEDS_SPACE]
    return (
        (extractor == "")
        | extractor.str.startswith(space)
        # Such as the bits of a pretrained model: what it names is no choice among spaces.
        | ~metrics["metric"].isin(in_several)
    )


def relative_scale(
    metrics: pd.DataFrame,
    cells: pd.DataFrame,
    metric: str,
    split: str = "test",
    *,
    space: str = "classifier",
    one: str = "pixel-gaussian",
) -> pd.DataFrame:
    """The final value of a metric on a split, on the scale where the real train split is 0 and the
    control `one` is 1 (each the mean over its seeds), beside the value itself.

    Columns: those of `cells`, `value` and `relative`. Cells without a value keep NaN.
    """
    final = final_rows(metrics, metric, split, space)
    merged = cells.merge(final[["cell", "value"]], on="cell", how="left", validate="one_to_one")

    def anchor(model: str) -> pd.Series[float]:
        plain = (merged["variant"] == "") & (merged["data_variant"] == "")
        rows = merged[plain & (merged["model"] == model)]
        return merged["dataset"].map(rows.groupby("dataset")["value"].mean()).astype(float)

    low, high = anchor("train-split"), anchor(one)
    return merged.assign(relative=(merged["value"] - low) / (high - low))
