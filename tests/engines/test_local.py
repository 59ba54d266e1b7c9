"""The engine: every cell to its record, whatever becomes of its neighbours."""

from __future__ import annotations

import io
import math
import multiprocessing

import numpy as np
import pytest
from conftest import tiny_cell

from genbench import tables
from genbench.engines import local
from genbench.errors import UserError
from genbench.models.vae import ELBO
from genbench.previews import preview_paths
from genbench.progress import Display
from genbench.records import RunDirectory, read_record, record_path

pytestmark = pytest.mark.usefixtures("quick_classifiers")

TRAINED_TO_ITS_END = ("ok", "collapsed")


@pytest.fixture
def engine(tmp_path):
    """Run cells; the records by name. `.results` and `.log` are what it leaves."""

    def run(*cells, force=False, runs="runs", jobs=1):
        run.log = io.StringIO()
        return local.run(
            [(cell, ["mine", "other"]) for cell in cells],
            local.Setting(
                profile="smoke",
                results=run.results,
                runs=tmp_path / runs,
                device="cpu",
                force=force,
            ),
            Display([1.0] * len(cells), run.log),
            jobs,
        )

    run.results = tmp_path / "results" / "smoke"
    return run


OUR_OWN = RuntimeError("of our own\nin two lines")


def breaks(monkeypatch, error=OUR_OWN):
    def broken(self, batch, labels, generator):
        raise error

    monkeypatch.setattr(ELBO, "step", broken)


def test_a_record_says_everything_about_its_cell(engine):
    cell = tiny_cell("vae", latent=3, fraction=0.5, seed=1)
    (record,) = engine(cell).values()
    assert read_record(record_path(engine.results, cell.name)) == record
    assert record["cell"] == "images/digits[fraction=0.5]/vae[latent=3]/s1"
    assert record["suites"] == ["mine", "other"]
    identity = ("profile", "modality", "family", "model", "variant", "dataset", "data_variant")
    assert [record[key] for key in identity] == [
        "smoke", "images", "vae", "vae", "latent=3", "digits", "fraction=0.5",
    ]  # fmt: skip
    assert record["keys"]["evaluate_key"] == cell.evaluate_key("cpu")
    assert type(cell).model_validate(record["specification"]) == cell
    # A network this small may well draw one class over and over.
    assert record["status"] in TRAINED_TO_ITS_END
    assert record["provenance"]["device"] == "cpu"
    assert record["provenance"]["threads"] == 1
    assert {"torch", "numpy"} <= set(record["provenance"]["versions"])


def test_seed_0_of_a_plain_model_is_shown(engine):
    plain, variant, other = (
        tiny_cell("noise"),
        tiny_cell("blurred", kept=50),
        tiny_cell("noise", seed=1),
    )
    engine(plain, variant, other)
    shown = [path.name for path in (engine.results / "samples").iterdir()]
    assert shown == ["images__digits__noise__s0.png"]


def test_costs_are_positive_and_consistent(engine):
    cell = tiny_cell("vqvae-gpt")
    (record,) = engine(cell).values()
    cost = {row["cost"]: row["value"] for row in record["costs"]}
    units = {row["cost"]: row["unit"] for row in record["costs"]}
    assert all(value >= 0 and math.isfinite(value) for value in cost.values())
    assert cost["parameters"] == record["parameters"] > 0
    assert cost["train_flops"] == record["train_flops"] <= cell.budget.train_flops
    assert cost["train_flops_per_second"] == pytest.approx(
        cost["train_flops"] / cost["train_seconds"]
    )
    assert cost["examples_per_second"] == pytest.approx(record["examples"] / cost["train_seconds"])
    assert cost["utilisation"] == pytest.approx(
        cost["train_flops_per_second"] / cost["matmul_peak"]
    )
    assert 0 < cost["utilisation"] < 1
    assert cost["peak_memory"] > 1e7
    assert cost["sample_flops_per_1000"] > 0
    assert cost["sample_seconds_per_1000"] > 0
    assert 0 <= cost["train_other_cpu"] <= 1.05
    assert units["train_seconds"] == "s"
    assert units["peak_memory"] == "bytes"
    assert record["wall_seconds"] > 0


def test_controls_have_metrics_and_no_costs(engine):
    (record,) = engine(tiny_cell("noise")).values()
    assert record["family"] == "control"
    assert record["costs"] == record["curves"] == []
    assert record["budget_flops"] is None
    assert record["parameters"] == record["train_flops"] == record["steps"] == 0
    assert any(row["value"] is not None for row in record["metrics"])


def test_a_crash_is_recorded_and_the_next_cell_runs(engine, monkeypatch):
    crash, well = tiny_cell("vae"), tiny_cell("noise")
    with monkeypatch.context() as patch:
        breaks(patch)
        records = engine(crash, well)
    assert [record["status"] for record in records.values()] == ["crashed", "ok"]
    record = read_record(record_path(engine.results, crash.name))
    assert record["reason"] == "RuntimeError: of our own"  # one line
    assert "Traceback" in engine.log.getvalue()
    cells = tables.load("smoke", engine.results.parent).cells.set_index("model")
    assert cells.loc["vae", "status"] == "crashed"
    # And it is mended by the next run.
    assert engine(crash)[crash.name]["status"] in TRAINED_TO_ITS_END
    assert read_record(record_path(engine.results, crash.name))["status"] in TRAINED_TO_ITS_END


def test_a_crash_does_not_take_the_place_of_a_good_record(engine, monkeypatch):
    cell = tiny_cell()
    engine(cell)
    good = record_path(engine.results, cell.name).read_bytes()
    breaks(monkeypatch)
    assert engine(cell, force=True)[cell.name]["status"] == "crashed"
    assert record_path(engine.results, cell.name).read_bytes() == good


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_is_not_the_cells_fault_stops_the_run_and_leaves_no_record(engine, monkeypatch, error):
    done, cell = tiny_cell("noise"), tiny_cell()
    breaks(monkeypatch, error)
    with pytest.raises(type(error)):
        engine(done, cell)
    assert not record_path(engine.results, cell.name).exists()
    assert list(tables.load("smoke", engine.results.parent).cells["cell"]) == [done.name]


def test_divergence_is_an_outcome_and_not_a_crash(engine, monkeypatch):
    cell = tiny_cell("pixel-gpt", learning_rate=1e6)
    (record,) = engine(cell).values()
    assert record["status"] == "diverged"
    assert "next-pixel" in record["reason"]
    assert record["sampled"] is False
    assert not (engine.results / "samples").exists()
    cost = {row["cost"] for row in record["costs"]}
    assert "train_seconds" in cost
    assert "sample_seconds_per_1000" not in cost
    final = [row for row in record["metrics"] if row["metric"] == "fd" and row["split"] == "test"]
    assert final[0]["value"] is None
    assert record["reason"] in final[0]["reason"]


def test_a_second_run_computes_nothing_and_force_computes_everything(engine, monkeypatch):
    cell = tiny_cell()
    first = engine(cell)[cell.name]
    with monkeypatch.context() as patch:
        breaks(patch, AssertionError("trained again"))
        again = engine(cell)[cell.name]
        assert again == first
        breaks(patch, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            engine(cell, force=True)
    forced = engine(cell, force=True)[cell.name]
    assert forced["metrics"] == first["metrics"]
    assert forced["provenance"] is not first["provenance"]


def test_another_folder_of_runs_gives_the_same_numbers(engine):
    cell = tiny_cell("dcgan")
    one = engine(cell, runs="one")[cell.name]
    two = engine(cell, runs="two")[cell.name]
    timed = ("seconds",)
    assert one["metrics"] == two["metrics"]
    for a, b in zip(one["curves"], two["curves"], strict=True):
        assert {k: v for k, v in a.items() if k not in timed} == {
            k: v for k, v in b.items() if k not in timed
        }


def test_a_cell_that_another_process_runs_is_refused(engine, tmp_path):
    cell = tiny_cell()
    held = RunDirectory(tmp_path / "runs", cell, "cpu").locked()
    with held, pytest.raises(UserError, match="another process"):
        engine(cell)
    assert not record_path(engine.results, cell.name).exists()


def test_samples_of_the_picture_are_the_kept_ones(engine, tmp_path):
    from PIL import Image

    cell = tiny_cell("train-split", n=64)
    engine(cell)
    images = np.load(RunDirectory(tmp_path / "runs", cell, "cpu").samples(1.0))
    picture = np.asarray(Image.open(*preview_paths(engine.results, cell.name)))
    first = picture[1:9, 1:9]
    np.testing.assert_array_equal(first, np.round(images[0, 0] * (255 / 16)))


def values(record):
    """All but what learns from samples: `quick_classifiers` shortens that in this process alone."""
    return [
        row for row in record["metrics"]
        if row["metric"] not in ("detector_accuracy", "cas") and "gain" not in row["metric"]
    ]  # fmt: skip


def test_cells_at_once_are_those_one_after_another(engine, tmp_path):
    cells = [tiny_cell("noise"), tiny_cell("blurred")]
    alone = engine(*cells)
    engine.results = tmp_path / "again" / "smoke"
    together = engine(*cells, runs="others", jobs=2)
    assert set(together) == set(alone)
    for name, record in together.items():
        assert read_record(record_path(engine.results, name)) == record
        assert values(record) == values(alone[name])
    assert set(tables.load("smoke", engine.results.parent).cells["cell"]) == set(alone)


def test_a_mistake_in_one_of_several_at_once_ends_them_all(engine, tmp_path):
    quick, slow = tiny_cell("noise"), tiny_cell(flops=1e12)  # a minute or more
    locked = RunDirectory(tmp_path / "runs", quick, "cpu").locked()
    with locked, pytest.raises(UserError, match="run by another process"):
        engine(slow, quick, jobs=2)
    assert not multiprocessing.active_children()
    # It was ended, and not waited for.
    assert RunDirectory(tmp_path / "runs", slow, "cpu").path.exists()
    assert not record_path(engine.results, slow.name).exists()
