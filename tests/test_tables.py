"""Tables are a function of the records, and come back from disk as they were."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genbench import tables
from genbench.errors import UserError
from genbench.records import write_record
from genbench.tables import CELLS, COSTS, CURVES, METRICS, build, final_rows, load, relative_scale

REPOSITORY = Path(__file__).parents[1]
BUILT = ("cells.csv", "metrics.csv", "costs.csv", "curves.parquet", "manifest.json")


def record(model="vae", seed=0, dataset="digits", **other):
    """A record of the form that runs leave behind."""
    name = f"images/{dataset}/{model}/s{seed}"
    control = model in ("train-split", "pixel-gaussian")
    content = {
        "record_version": 1,
        "cell": name,
        "suites": ["images"],
        "profile": "smoke",
        "modality": "images",
        "family": "control" if control else "vae",
        "model": model,
        "variant": "",
        "dataset": dataset,
        "data_variant": "",
        "seed": seed,
        "specification": {},
        "budget_flops": None if control else 1e9,
        "keys": {"train_key": "a" * 64, "sample_key": "b" * 64, "evaluate_key": f"{seed}{model}"},
        "status": "ok",
        "reason": "",
        "steps": 0 if control else 10,
        "examples": 160,
        "train_flops": 999_999_999,
        "parameters": 1594,
        "sampled": True,
        "metrics": [metric("fd", 3.25 + seed), metric("bpd", None, reason="no likelihood, that is"),
                    metric("fd", 4.5, split="validation", fraction=0.5)],
        "costs": [{"cost": "train_seconds", "value": 0.1 + seed, "unit": "s"}],
        "curves": [
            {"stage": "elbo", "step": step, "train_flops": 100 * step, "examples": 16 * step,
             "seconds": 0.5 * step, "loss": 1 / 3 + step, "rate": 2.0}
            for step in (1, 2)
        ],
        "wall_seconds": 1.5,
        "provenance": {
            "genbench": "0.1.0", "commit": "", "date": f"2026-01-0{seed + 1}T00:00:00+00:00",
            "device": "cpu", "device_name": "A processor", "threads": 1, "python": "3.11",
            "system": "Linux", "versions": {"torch": "2.9.0"},
        },
    }  # fmt: skip
    return content | other


def metric(name, value, *, split="test", fraction=1.0, reason=""):
    return {
        "fraction": fraction, "metric": name, "metric_version": 1,
        "extractor": "classifier-digits" if name == "fd" else "", "split": split, "draw": 0,
        "value": value, "low": None, "high": None, "flag": "",
        "n_samples": None if value is None else 500, "higher_is_better": False, "reason": reason,
    }  # fmt: skip


CRASHED = {
    "status": "crashed", "reason": "RuntimeError: oh, no", "steps": None, "examples": None,
    "train_flops": None, "parameters": None, "metrics": [], "costs": [], "curves": [],
    "sampled": False,
}  # fmt: skip


def fill(folder: Path, *records) -> Path:
    for each in records:
        write_record(folder, each)
    build(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in BUILT}


def test_columns_hold_the_names_that_scripts_rely_on(tmp_path):
    folder = fill(tmp_path / "smoke", record())
    header = {name: (folder / f"{name}.csv").read_text().splitlines()[0].split(",")
              for name in ("cells", "metrics", "costs")}  # fmt: skip
    assert header == {"cells": CELLS, "metrics": METRICS, "costs": COSTS}
    assert set(CELLS) >= {
        "cell", "suite", "family", "model", "variant", "dataset", "data_variant", "seed",
        "profile", "status", "reason", "steps", "examples", "train_flops", "parameters",
    }  # fmt: skip
    assert set(METRICS) >= {
        "cell", "fraction", "metric", "metric_version", "extractor", "split", "value",
        "n_samples", "higher_is_better",
    }  # fmt: skip
    assert list(pd.read_parquet(folder / "curves.parquet").columns) == CURVES


def test_building_again_gives_the_same_bytes(tmp_path):
    folder = fill(tmp_path / "smoke", record(), record(seed=1), record("pixel-gpt", **CRASHED))
    before = contents(folder)
    build(folder)
    assert contents(folder) == before
    for name in BUILT:
        (folder / name).unlink()
    build(folder)
    assert contents(folder) == before


def test_the_order_in_which_records_came_does_not_matter(tmp_path):
    records = [record(seed=seed, model=model) for seed in (0, 1) for model in ("vae", "dcgan")]
    one = fill(tmp_path / "one" / "smoke", *records)
    two = fill(tmp_path / "two" / "smoke", *reversed(records))
    assert contents(one) == contents(two)


def test_a_partial_run_adds_rows_and_drops_none(tmp_path):
    folder = fill(tmp_path / "smoke", record(), record(seed=1))
    before = {name: (folder / name).read_text().splitlines() for name in BUILT[:3]}
    fill(folder, record("dcgan"))
    for name, lines in before.items():
        after = (folder / name).read_text().splitlines()
        assert len(after) > len(lines)
        assert set(lines) <= set(after)


def test_tables_come_back_as_they_were(tmp_path):
    folder = fill(
        tmp_path / "smoke", record(), record("train-split"), record("dcgan", **CRASHED)
    )  # fmt: skip
    results = load("smoke", tmp_path)
    assert (results.profile, results.folder) == ("smoke", folder)
    assert results.manifest["cells"] == 3

    cells = results.cells.set_index("model")
    assert cells.loc["dcgan", "reason"] == "RuntimeError: oh, no"
    assert cells.loc["vae", "train_flops"] == 999_999_999
    assert np.isnan(cells.loc["dcgan", "steps"])
    for column in ("variant", "data_variant", "reason", "commit"):
        assert cells.loc["vae", column] == ""
    assert np.isnan(cells.loc["train-split", "budget_flops"])
    assert cells["seed"].dtype == np.int64

    metrics = results.metrics
    assert metrics["value"].dtype == np.float64
    assert metrics["fraction"].dtype == np.float64
    assert metrics["higher_is_better"].dtype == bool
    blank = metrics[metrics["metric"] == "bpd"].iloc[0]
    assert np.isnan(blank["value"])
    assert blank["reason"] == "no likelihood, that is"
    assert blank["extractor"] == ""
    # Values are written so that they are read as the same float.
    curve = results.curves[
        (results.curves["name"] == "loss") & (results.curves["cell"].str.endswith("vae/s0"))
    ]
    assert list(curve["value"]) == [1 / 3 + 1, 1 / 3 + 2]
    assert set(results.curves["name"]) == {"loss", "rate"}
    assert results.costs["value"].dtype == np.float64


def test_text_is_text_even_where_all_of_it_is_empty(tmp_path):
    """A column of nothing but empty cells is read as numbers, unless one takes care."""
    healthy = [record(seed=seed) for seed in (0, 1)]
    for each in healthy:
        each["metrics"] = [row for row in each["metrics"] if not row["reason"]]
    fill(tmp_path / "smoke", *healthy)
    results = load("smoke", tmp_path)
    for frame, column in (
        (results.cells, "variant"),
        (results.cells, "data_variant"),
        (results.cells, "reason"),
        (results.cells, "commit"),
        (results.metrics, "reason"),
    ):
        assert list(frame[column]) == [""] * len(frame)
        assert (frame[column] == "").all()
        assert (frame[column] + "x" == "x").all()


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-300, 123456789.123456789, -0.0, 5e-324])
def test_values_survive_to_the_last_digit(tmp_path, value):
    each = record()
    each["metrics"] = [metric("fd", value)]
    fill(tmp_path / "smoke", each)
    (found,) = load("smoke", tmp_path).metrics["value"]
    assert found == value


def test_a_folder_without_results_says_how_to_make_them(tmp_path):
    for name in ("mine", "cpuu"):  # no command makes these
        with pytest.raises(UserError, match=rf"'{name}' is no profile: known are smoke, cpu, gpu"):
            load(name)
    with pytest.raises(UserError, match=r"make them with: .* evaluate PATH --against NAME"):
        load("external")
    with pytest.raises(UserError, match=r"holds no results; make them with: .* --profile gpu"):
        load("gpu", tmp_path)


def test_an_empty_folder_has_empty_tables(tmp_path):
    build(tmp_path / "smoke")
    results = load("smoke", tmp_path)
    assert len(results.cells) == len(results.metrics) == len(results.curves) == 0
    assert results.manifest["dates"] == []


def check_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    there = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    assert set(manifest["files"]) == there - {"manifest.json"}


def test_what_benchmarks_kept_is_read_by_benchmark(tmp_path):
    assert list(tables.benchmarks("cpu", tmp_path).columns) == tables.BENCHMARKS
    folder = tmp_path / "cpu" / "benchmarks"
    folder.mkdir(parents=True)
    row = dict.fromkeys(tables.BENCHMARKS, "x") | {"value": 2.5, "n": 3}
    for name in ("sampling", "loop"):
        pd.DataFrame([row | {"benchmark": name}]).to_csv(folder / f"{name}.csv", index=False)
    found = tables.benchmarks("cpu", tmp_path)
    assert list(found["benchmark"]) == ["loop", "sampling"]
    assert list(found["value"]) == [2.5, 2.5]


def test_the_manifest_names_every_file_with_its_hash(tmp_path):
    folder = tmp_path / "smoke"
    (folder / "samples").mkdir(parents=True)
    (folder / "samples" / "images__digits__vae__s0.png").write_bytes(b"a picture")
    fill(folder, record(), record(seed=1))
    check_manifest(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert "samples/images__digits__vae__s0.png" in manifest["files"]
    assert manifest["cells"] == 2
    assert manifest["dates"] == ["2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"]
    assert manifest["versions"] == {"torch": ["2.9.0"]}
    assert manifest["threads"] == [1]


def test_the_manifest_passes_over_what_others_are_writing(tmp_path):
    folder = tmp_path / "smoke"
    fill(folder, record())
    before = (folder / "manifest.json").read_bytes()
    (folder / ".cells.csv.123.tmp").write_text("half")
    (folder / ".probe-123").write_text("")
    (folder / "samples").mkdir()
    (folder / "samples" / ".x.png.123.tmp").write_text("half")
    build(folder)
    assert (folder / "manifest.json").read_bytes() == before


def test_the_manifests_hash_of_specifications_changes_with_them(tmp_path):
    one = fill(tmp_path / "one", record())
    two = fill(tmp_path / "two", record(keys={"train_key": "", "sample_key": "",
                                              "evaluate_key": "other"}))  # fmt: skip
    three = fill(tmp_path / "three", record(wall_seconds=99.0))
    specifications = [
        json.loads((f / "manifest.json").read_text())["specifications"] for f in (one, two, three)
    ]
    assert specifications[0] != specifications[1]
    assert specifications[0] == specifications[2]


def test_results_are_found_by_the_environment_else_in_the_clone(monkeypatch, tmp_path):
    monkeypatch.setenv("GENBENCH_RESULTS", str(tmp_path))
    assert tables.results_root() == tmp_path
    monkeypatch.delenv("GENBENCH_RESULTS")
    monkeypatch.setattr(tables, "clone_root", lambda: tmp_path / "clone")
    assert tables.results_root() == tmp_path / "clone" / "results"
    monkeypatch.setattr(tables, "clone_root", lambda: None)
    with pytest.raises(UserError, match="name the results folder with --results"):
        tables.results_root()


# The relative scale


def anchored(*others):
    fd = {"train-split": (1.0, 3.0), "pixel-gaussian": (10.0, 14.0)}
    return [
        *(record(model, seed, metrics=[metric("fd", value)])
          for model, values in fd.items() for seed, value in enumerate(values)),
        *others,
    ]  # fmt: skip


def test_the_relative_scale_is_zero_and_one_at_its_anchors(tmp_path):
    middle = record("vae", metrics=[metric("fd", 7.0), metric("fd", 99.0, split="validation")])
    fill(tmp_path / "smoke", *anchored(middle, record("dcgan", **CRASHED)))
    results = load("smoke", tmp_path)
    scaled = relative_scale(results.metrics, results.cells, "fd")
    relative = scaled.groupby("model")["relative"].mean()
    assert relative["train-split"] == 0
    assert relative["pixel-gaussian"] == 1
    assert relative["vae"] == pytest.approx((7 - 2) / (12 - 2))
    assert np.isnan(relative["dcgan"])  # no row is lost
    assert len(scaled) == len(results.cells)


def test_each_data_set_has_its_own_anchors(tmp_path):
    others = [
        record("train-split", dataset="mnist", metrics=[metric("fd", 0.0)]),
        record("pixel-gaussian", dataset="mnist", metrics=[metric("fd", 100.0)]),
        record("vae", dataset="mnist", metrics=[metric("fd", 25.0)]),
        record("vae", dataset="fashion-mnist", metrics=[metric("fd", 25.0)]),
    ]
    fill(tmp_path / "smoke", *anchored(*others))
    results = load("smoke", tmp_path)
    scaled = relative_scale(results.metrics, results.cells, "fd").set_index("cell")["relative"]
    assert scaled["images/mnist/vae/s0"] == 0.25
    assert np.isnan(scaled["images/fashion-mnist/vae/s0"])


# What is committed


CPU = REPOSITORY / "results" / "cpu"
committed = pytest.mark.skipif(
    not (CPU / "manifest.json").is_file(), reason="results/cpu is not in this clone"
)


@committed
def test_committed_files_are_those_of_the_manifest():
    check_manifest(CPU)


@committed
def test_committed_tables_are_built_from_the_committed_records(tmp_path):
    copy = tmp_path / "cpu"
    for part in ("records", "samples", "benchmarks"):
        shutil.copytree(CPU / part, copy / part)
    build(copy)
    assert contents(copy) == contents(CPU)


@committed
def test_committed_results_are_small():
    files = (path for path in CPU.parent.rglob("*") if path.is_file())
    assert sum(path.stat().st_size for path in files) < 20e6


def test_a_space_is_chosen_for_metrics_that_are_taken_in_several_alone():
    rows = [
        {"metric": metric, "extractor": extractor, "split": "test", "fraction": 1.0, "draw": 0}
        for metric, extractor in (
            ("fd", "minilm-l6-v2"), ("fd", "characters-hashed-128"), ("bpd", ""),
            ("bits_per_byte", "smollm2-135m"),
        )
    ]  # fmt: skip
    found = final_rows(pd.DataFrame(rows), space="minilm")
    assert list(zip(found["metric"], found["extractor"], strict=True)) == [
        ("fd", "minilm-l6-v2"), ("bpd", ""), ("bits_per_byte", "smollm2-135m"),
    ]  # fmt: skip
