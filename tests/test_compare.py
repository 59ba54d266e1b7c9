"""Two results folders side by side, by hand and from real cells."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genbench import tables
from genbench.compare import COLUMNS, KEY, compare, format_table, load_folder, to_records
from genbench.errors import UserError
from genbench.statistics import FEWEST, holm
from genbench.tables import CELLS, COSTS, CURVES, Results
from genbench.tables import METRICS as METRIC_COLUMNS

CPU = Path(__file__).parents[1] / "results" / "cpu"
committed = pytest.mark.skipif(
    not (CPU / "manifest.json").is_file(), reason="results/cpu is not in this clone"
)


def results(
    values: Sequence[float | None],
    *,
    seeds: Sequence[int] | None = None,
    model: str = "vae",
    metric: str = "fd",
    extractor: str = "classifier-digits",
    status: str = "ok",
    **of_metric: object,
) -> Results:
    """Tables of one model, a value a seed; a seed without one has failed, and has no row."""
    cells, metrics = [], []
    for seed, value in zip(seeds or range(len(values)), values, strict=True):
        name = f"images/digits/{model}/s{seed}"
        cells.append(
            {"cell": name, "dataset": "digits", "model": model, "seed": seed, "variant": "",
             "data_variant": "", "status": "crashed" if value is None else status}
        )  # fmt: skip
        if value is not None:
            row = {"cell": name, "metric": metric, "split": "test", "fraction": 1.0, "draw": 0,
                   "value": value, "metric_version": 1, "n_samples": 500,
                   "extractor": extractor, "higher_is_better": False}  # fmt: skip
            metrics.append(row | of_metric)
    return Results(
        profile="smoke",
        cells=pd.DataFrame(cells, columns=CELLS),
        metrics=pd.DataFrame(metrics, columns=METRIC_COLUMNS),
        costs=pd.DataFrame(columns=COSTS),
        curves=pd.DataFrame(columns=CURVES),
        manifest={},
        folder=Path("somewhere"),
    )


def joined(*parts: Results) -> Results:
    """Results of several models or metrics; what is there twice is kept once."""
    return replace(
        parts[0],
        cells=pd.concat([part.cells for part in parts]).drop_duplicates("cell"),
        metrics=pd.concat([part.metrics for part in parts]),
    )


def only(table: pd.DataFrame) -> pd.Series:
    assert len(table) == 1
    return table.iloc[0]


# Statistics


def test_a_paired_difference_is_scipys():
    x, y = np.array([3.0, 5.0, 9.0, 4.0]), np.array([2.0, 4.5, 7.0, 3.1])
    row = only(compare(results(x), results(y)))
    test = stats.ttest_rel(y, x)
    low, high = test.confidence_interval(0.95)
    assert (row["test"], row["n_a"], row["n_b"]) == ("paired", 4, 4)
    assert (row["mean_a"], row["mean_b"]) == pytest.approx((x.mean(), y.mean()), rel=1e-14)
    assert row["difference"] == pytest.approx((y - x).mean(), rel=1e-12)
    assert (row["low"], row["high"]) == pytest.approx((low, high), rel=1e-9)
    assert row["p"] == row["p_holm"] == pytest.approx(test.pvalue, rel=1e-9)
    assert row["relative"] == pytest.approx((y.mean() - x.mean()) / x.mean(), rel=1e-12)
    assert row["verdict"] == "better"


def test_cells_of_other_names_are_compared_by_welch():
    x, y = [3.0, 5.0, 9.0, 4.0], [12.0, 14.5, 17.0]
    row = only(compare(results(x), results(y, seeds=[7, 8, 9])))
    # Welch and Satterthwaite, written out.
    u, v = np.var(x, ddof=1) / 4, np.var(y, ddof=1) / 3
    freedom = (u + v) ** 2 / (u**2 / 3 + v**2 / 2)
    d = np.mean(y) - np.mean(x)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(u + v)
    assert row["test"] == "Welch"
    assert (row["low"], row["high"]) == pytest.approx((d - half, d + half), rel=1e-9)
    assert row["p"] == pytest.approx(2 * stats.t.sf(d / math.sqrt(u + v), freedom), rel=1e-9)
    assert row["verdict"] == "worse"


def test_seeds_of_one_side_alone_are_in_its_mean_and_not_in_the_difference():
    a = results([1.0, 2.0, 3.0, 4.0])
    b = results([2.5, 3.0, 4.5, 100.0], seeds=[1, 2, 3, 4])
    row = only(compare(a, b))
    assert row["mean_b"] == pytest.approx(110 / 4)
    assert row["difference"] == pytest.approx(1 / 3)
    assert row["relative"] == pytest.approx(1 / 9)
    assert row["why"] == "over the 3 seeds that both have"


@pytest.mark.parametrize(
    ("values", "seeds", "why"),
    [
        ([2.0, 2.002], [0, 1], "2 seeds are too few to be tested"),
        ([2.0, 2.002], [7, 8], "2 seeds are too few to be tested"),
        # All that one side has is shared: over these alone.
        (
            [2.0, 2.002, 2.003, 2.004],
            [0, 1, 2, 3],
            "over the 2 seeds that both have; 2 seeds are too few to be tested",
        ),
    ],
)
def test_two_seeds_on_a_side_have_an_interval_and_are_not_tested(values, seeds, why):
    # Far apart, so that a test would call it clear.
    a, b = results([1.0, 1.001]), results(values, seeds=seeds)
    row = only(compare(a, b))
    assert row["low"] < row["difference"] < row["high"]
    assert (row["verdict"], row["why"]) == ("cannot be judged", why)
    assert np.isnan(row["p"])
    assert np.isnan(row["p_holm"])


@pytest.mark.parametrize("shared", [0, 1, 2])
def test_few_shared_seeds_of_many_do_not_throw_the_others_away(shared):
    a = results([1.0, 1.01, 1.02, 1.0, 1.01])
    b = results([2.0, 2.01, 2.02, 2.0, 2.01], seeds=list(range(5 - shared, 10 - shared)))
    row = only(compare(a, b))
    assert (row["test"], row["verdict"]) == ("Welch", "worse")
    assert row["difference"] == pytest.approx(1.0)


def test_one_cell_run_again_is_set_beside_itself():
    several = results([3.0, 1.0, 2.0])
    row = only(compare(several, results([3.0])))
    assert row["difference"] == 0
    assert (row["verdict"], row["why"]) == (
        "cannot be judged",
        "over the one seed that both have; equal",
    )
    assert np.isnan(row["p"])
    other = only(compare(several, results([3.5])))
    assert other["difference"] == pytest.approx(0.5)
    assert other["why"] == "over the one seed that both have; one seed gives no interval"


def test_two_equal_seeds_are_equal_and_not_judged():
    row = only(compare(results([1.0, 2.0]), results([1.0, 2.0])))
    assert (row["verdict"], row["why"]) == ("cannot be judged", "equal for every seed")
    assert np.isnan(row["p_holm"])


@pytest.mark.parametrize("seeds", [None, [10, 11, 12, 13]])
def test_intervals_cover_the_difference_as_often_as_they_say(seeds):
    rng = np.random.default_rng(0)
    a, b = [], []
    for index in range(300):
        shared = rng.normal(size=4) if seeds is None else 0
        x, y = shared + rng.normal(size=4), 2 + shared + 1.5 * rng.normal(size=4)
        a.append(results(x, model=f"m{index}"))
        b.append(results(y, model=f"m{index}", seeds=seeds))
    table = compare(joined(*a), joined(*b))
    held = (table["low"] < 2) & (table["high"] > 2)
    # Within 3.5 standard errors of 95%; Welch is a little conservative at so few seeds.
    assert 0.906 <= held.mean() <= 0.99


def test_exchanging_the_sides_turns_the_sign_and_the_verdict():
    a, b = results([1.0, 2.0, 3.1]), results([4.0, 5.2, 6.0])
    there, back = only(compare(a, b)), only(compare(b, a))
    assert there["difference"] == -back["difference"]
    assert (there["low"], there["high"]) == pytest.approx((-back["high"], -back["low"]))
    assert (there["verdict"], back["verdict"]) == ("worse", "better")


@pytest.mark.parametrize(
    ("direction", "verdict"), [(True, "better"), (False, "worse"), (None, "differs")]
)
def test_better_is_what_the_metric_declares(direction, verdict):
    a = results([1.0, 2.0, 3.1], higher_is_better=direction)
    b = results([4.0, 5.2, 6.0], higher_is_better=direction)
    row = only(compare(a, b))
    assert row["verdict"] == verdict
    assert row["higher_is_better"] == direction


def test_a_wide_interval_makes_no_verdict():
    row = only(compare(results([1.0, 2.0, 3.0]), results([2.0, 1.0, 9.0])))
    assert row["low"] < 0 < row["high"]
    assert (row["verdict"], row["why"]) == ("no clear difference", "")


def test_the_same_results_are_equal_for_every_seed():
    a = results([1.0, 2.0, 3.0])
    row = only(compare(a, a))
    assert (row["difference"], row["low"], row["high"], row["p"]) == (0, 0, 0, 1)
    assert (row["verdict"], row["why"]) == ("no clear difference", "equal for every seed")


@pytest.mark.parametrize("seeds", [None, [7, 8, 9]])
def test_without_variation_there_is_no_interval(seeds):
    # 0.3 - 0.2 and 0.2 - 0.1 differ in their last digits.
    a, b = ([0.1, 0.2, 0.3], [0.2, 0.3, 0.4]) if seeds is None else ([9.0] * 3, [10.0] * 3)
    row = only(compare(results(a), results(b, seeds=seeds)))
    assert row["difference"] == pytest.approx(b[0] - a[0])
    assert row[["low", "high", "p", "p_holm"]].isna().all()
    assert row["verdict"] == "cannot be judged"
    assert row["why"] == "nothing varies over seeds, which gives no interval"


def test_one_seed_gives_a_difference_and_no_interval():
    row = only(compare(results([1.0]), results([4.0])))
    assert (row["difference"], row["relative"]) == (3, 3)
    assert np.isnan(row["low"])
    assert (row["verdict"], row["why"]) == ("cannot be judged", "one seed gives no interval")
    assert row["test"] == ""


def test_nothing_is_relative_to_zero():
    row = only(compare(results([-1.0, 0.0, 1.0]), results([4.0, 5.2, 6.0])))
    assert np.isnan(row["relative"])
    row = only(compare(results([-1.0, -2.0, -3.0]), results([1.0, 2.1, 3.0])))
    assert row["relative"] > 0  # as the difference


def test_p_values_are_adjusted_over_the_rows_that_have_one():
    a = joined(*(results([1.0, 2.0, 3.0], model=m) for m in "vwxyz"))
    b = joined(
        results([4.0, 5.2, 6.0], model="v"),
        results([1.1, 2.3, 2.9], model="w"),
        results([1.0, 2.0, 3.1], model="x"),
        results([1.5], model="y"),
    )
    table = compare(a, b)
    tested = table["p"].notna()
    assert tested.tolist() == [True, True, True, False, False]
    np.testing.assert_allclose(table["p_holm"][tested], holm(table["p"][tested].tolist()))
    assert table["p_holm"][~tested].isna().all()


# What cannot be compared


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"metric_version": 2}, "metric_version is 1 and 2"),
        ({"n_samples": 10_000}, "n_samples is 10000 and 500"),
    ],
)
def test_other_protocols_are_not_comparable(other, why):
    row = only(compare(results([1.0, 2.0]), results([1.0, 3.0], **other)))
    assert (row["verdict"], row["why"]) == ("not comparable", why)
    assert (row["mean_a"], row["mean_b"]) == (1.5, 2.0)
    assert row[["difference", "low", "high", "relative", "p"]].isna().all()


def test_other_extractors_are_not_comparable():
    table = compare(results([1.0, 2.0], extractor="x-32"), results([1.0, 2.0], extractor="x-64"))
    assert table["extractor"].tolist() == ["x-32", "x-64"]
    assert set(table["verdict"]) == {"not comparable"}
    assert table["why"].tolist() == ["b has the extractor x-64", "a has the extractor x-32"]


def test_what_is_on_one_side_is_listed_as_such():
    a, b = results([1.0, 2.0]), results([1.0, 2.0], model="dcgan")
    table = compare(a, b).set_index("model")
    assert table["verdict"].to_dict() == {"dcgan": "only in b", "vae": "only in a"}
    assert table["why"].to_dict() == {"dcgan": "a has no such runs", "vae": "b has no such runs"}
    more = joined(a, results([1.0, 2.0], metric="kid"))
    row = compare(more, a).set_index("metric").loc["kid"]
    assert (row["verdict"], row["why"]) == ("only in a", "b's runs lack the metric")


def test_failed_runs_are_counted_and_leave_no_mean_over_survivors():
    a, b = results([1.0, 2.0, 3.0]), results([1.0, None, None])
    row = only(compare(a, b))
    assert (row["failed_a"], row["failed_b"], row["n_b"]) == (0, 2, 1)
    assert np.isnan(row["mean_b"])
    assert row["mean_a"] == 2
    assert row["verdict"] == "not comparable"
    assert row["why"] == "2 failed of 3 runs in b left no value"


def test_failed_runs_with_values_are_compared():
    row = only(compare(results([1.0, 2.0, 3.0]), results([4.0, 5.2, 6.0], status="collapsed")))
    assert (row["failed_b"], row["verdict"]) == (3, "worse")


def test_a_model_that_never_has_a_value_is_not_passed_over():
    nothing = results([None, None], model="dcgan")
    a = joined(results([1.0, 2.0, 3.0]), nothing)
    table = compare(a, a, metrics=["fd"]).set_index("model")
    assert (table.loc["dcgan", "metric"], table.loc["dcgan", "failed_a"]) == ("", 2)
    assert table.loc["dcgan", "verdict"] == "not comparable"
    assert table.loc["vae", "verdict"] == "no clear difference"
    waiting = replace(nothing, cells=nothing.cells.assign(status="ok"))
    assert only(compare(waiting, waiting))["why"] == "no run has a value"


def test_variants_are_kept_apart():
    plain, other = results([1.0, 2.0]), results([5.0, 6.1])
    name = {"cell": other.cells["cell"] + "[fraction=0.1]"}
    varied = replace(
        other,
        cells=other.cells.assign(**name, data_variant="fraction=0.1"),
        metrics=other.metrics.assign(**name),
    )
    both = joined(plain, varied)
    table = compare(both, both)
    assert table["data_variant"].tolist() == ["", "fraction=0.1"]
    assert table["mean_a"].tolist() == [1.5, 5.55]


# Rows


def test_only_final_test_values_of_the_runs_own_samples_count():
    a = results([1.0, 2.0])
    others = [
        a.metrics.assign(value=99.0, **{column: value})
        for column, value in (("draw", 1), ("split", "validation"), ("fraction", 0.5))
    ]
    noisy = replace(a, metrics=pd.concat([a.metrics, *others]))
    pd.testing.assert_frame_equal(compare(noisy, noisy), compare(a, a))


def test_tables_from_before_there_were_draws_are_read():
    a = results([1.0, 2.0])
    for metrics in (
        a.metrics.drop(columns=["draw", "low", "high", "flag"]),
        a.metrics.assign(draw=math.nan),  # as tables are built from older records
    ):
        old = replace(a, metrics=metrics)
        pd.testing.assert_frame_equal(compare(old, old), compare(a, a))


def test_values_that_occur_twice_are_refused():
    a = results([1.0, 2.0])
    twice = replace(a, metrics=pd.concat([a.metrics, a.metrics[:1]]))
    with pytest.raises(UserError, match="somewhere: 1 final values occur twice"):
        compare(a, twice)


def test_metrics_can_be_chosen():
    a = joined(results([1.0, 2.0]), results([1.0, 2.0], metric="kid"))
    assert compare(a, a)["metric"].tolist() == ["fd", "kid"]
    assert compare(a, a, metrics=["kid"])["metric"].tolist() == ["kid"]
    with pytest.raises(UserError, match=r"metric 'fid' has no value on either side; .* fd, kid"):
        compare(a, a, metrics=["kid", "fid"])


def test_nothing_compares_with_nothing():
    empty = results([])
    table = compare(empty, empty)
    assert list(table.columns) == COLUMNS
    assert to_records(table) == []
    assert format_table(table) == "neither side has runs"
    assert only(compare(results([1.0, 2.0]), empty))["verdict"] == "only in a"


def mixed() -> pd.DataFrame:
    a = joined(
        results([1.0, 2.0, 3.0]),
        results([1.0, 2.0], model="dcgan"),
        results([1.0, 2.0], metric="ct", extractor="", higher_is_better=None),
    )
    return compare(a, joined(results([4.0, 5.2, 6.0]), results([None], model="gpt")))


def test_records_are_json_without_nan():
    table = mixed()
    records = json.loads(json.dumps(to_records(table), allow_nan=False))
    assert len(records) == len(table) == 4
    assert all(list(record) == COLUMNS for record in records)
    by_key = {(record["model"], record["metric"]): record for record in records}
    assert by_key["dcgan", "fd"]["mean_b"] is None
    assert by_key["vae", "ct"]["higher_is_better"] is None
    assert by_key["vae", "fd"]["higher_is_better"] is False
    assert by_key["vae", "fd"]["n_a"] == 3


def test_the_table_as_text_has_a_line_a_row_and_counts_them():
    text = format_table(mixed())
    assert "nan" not in text.lower().replace("only in", "")
    lines = text.splitlines()
    assert len(lines) == 2 + 1 + 1  # what one side alone has is counted below
    (line,) = (line for line in lines if " vae " in line and " fd " in line)
    assert "+3.067" in line
    assert line.endswith("worse")
    assert lines[-1] == (
        "4 rows: 2 only in a, 1 only in b, 1 worse; 1 with p < 0.05 by Holm's correction; "
        "--json lists those on one side alone"
    )


def test_two_folders_that_share_nothing_are_told_in_a_line():
    table = compare(results([1.0, 2.0, 3.0]), results([1.0, 2.0, 3.0], model="dcgan"))
    assert format_table(table).startswith("2 rows: 1 only in a, 1 only in b; 0 with")


# Folders


def written(folder: Path, content: Results) -> Path:
    folder.mkdir(parents=True)
    for name in ("cells", "metrics", "costs"):
        getattr(content, name).to_csv(folder / f"{name}.csv", index=False)
    content.curves.to_parquet(folder / "curves.parquet")
    made = {name: sha256((folder / name).read_bytes()).hexdigest() for name in tables.FILES}
    (folder / "manifest.json").write_text(json.dumps({"files": made}))
    return folder


def test_a_folder_comes_back_as_its_tables(tmp_path, monkeypatch):
    a = joined(results([1.0, 2.0, 3.0]), results([1.0, 2.0], metric="ct", higher_is_better=None))
    folder = written(tmp_path / "root" / "cpu", a)
    monkeypatch.chdir(folder)
    for path in (folder, tmp_path / "root", Path(), Path("..")):
        loaded = load_folder(path)
        assert loaded.profile == "cpu"
        pd.testing.assert_frame_equal(compare(loaded, loaded), compare(a, a), check_dtype=False)


def test_a_root_must_hold_one_profile(tmp_path):
    with pytest.raises(UserError, match="results of one profile, and it holds none"):
        load_folder(tmp_path)
    written(tmp_path / "cpu", results([1.0]))
    written(tmp_path / "gpu", results([1.0]))
    with pytest.raises(UserError, match="it holds cpu, gpu; name a folder with a manifest"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.csv", None, "cannot be read"),
        ("curves.parquet", None, "cannot be read"),
        ("metrics.csv", b"", "cannot be read"),
        ("metrics.csv", b"\xff\xfe\x00\x01", "cannot be read"),
        ("metrics.csv", b"cell,value\nx,1,2,3\ny,1\nz,2,3,4,5,6\n", "cannot be read"),
        ("curves.parquet", b"not parquet", "cannot be read"),
        ("manifest.json", b"{", "is not valid JSON"),
        ("cells.csv", b"cell,seed\nx,1\n", r"cells\.csv lacks data_variant, dataset, model"),
        ("metrics.csv", b"cell,value\nx,1\n", r"metrics\.csv lacks .*split"),
    ],
)
def test_damaged_folders_are_refused_in_one_line(tmp_path, name, content, message):
    path = written(tmp_path / "cpu", results([1.0, 2.0])) / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load_folder(tmp_path / "cpu")
    assert "\n" not in str(error.value)


def test_tables_that_were_cut_at_a_line_are_refused(tmp_path):
    for name, advice in (
        ("cpu", f"python -m genbench.run tables --results {tmp_path} --profile cpu"),
        ("of-old", "get the whole folder again"),
    ):
        folder = written(tmp_path / name, results([1.0, 2.0, 3.0]))
        lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
        (folder / "metrics.csv").write_text("".join(lines[:-1]))
        with pytest.raises(UserError, match=r"metrics\.csv: is not what manifest") as error:
            load_folder(folder)
        assert advice in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("manifest", ["{}", "[]", '{"files": []}'])
def test_a_manifest_that_knows_no_tables_vouches_for_none(tmp_path, manifest):
    folder = written(tmp_path / "cpu", results([1.0, 2.0]))
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(UserError, match=r"cells\.csv: is not what manifest"):
        load_folder(folder)


@pytest.mark.parametrize("value", ["inf", "-inf", "much"])
def test_values_that_are_no_numbers_are_refused(tmp_path, value):
    a = results([1.0, 2.0])
    metrics = a.metrics.astype({"value": object})
    metrics.loc[0, "value"] = value
    folder = written(tmp_path / "cpu", replace(a, metrics=metrics))
    with pytest.raises(UserError, match="1 of 'value' are no finite number"):
        load_folder(folder)


def test_paths_that_lead_nowhere(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("")
    for name in ("nowhere", "loop", "file", "x" * 300, "a\0b"):
        with pytest.raises(UserError) as error:
            load_folder(tmp_path / name)
        assert "\n" not in str(error.value)


# Real cells


@committed
def test_committed_results_are_equal_to_themselves():
    a = load_folder(CPU)
    table = compare(a, a)
    assert set(table["verdict"]) <= {"no clear difference", "cannot be judged"}
    alone = table["n_a"] < FEWEST
    assert (alone == (table["verdict"] == "cannot be judged")).all()
    assert table["why"].isin(["equal", "equal for every seed"]).all()
    assert (table["difference"] == 0).all()
    assert not table.duplicated(KEY).any()
    assert len(table.drop_duplicates(["dataset", "model"])) == len(
        a.cells.drop_duplicates(["dataset", "model"])
    )
    json.dumps(to_records(table), allow_nan=False)


@committed
def test_a_rebuilt_folder_of_real_cells_loads_and_differs_where_it_was_changed(tmp_path):
    records = CPU / "records" / "images" / "mnist"
    for model in ("dcgan", "noise"):
        shutil.copytree(records / model, tmp_path / "cpu" / "records" / "images" / "mnist" / model)
    tables.build(tmp_path / "cpu")
    before = load_folder(tmp_path)
    changed = before.metrics.copy()
    rows = changed["cell"].str.contains("dcgan") & (changed["metric"] == "fd")
    rows &= changed["extractor"] == "classifier-mnist"  # other spaces have a single seed
    rng = np.random.default_rng(0)
    changed.loc[rows, "value"] *= 3 + 0.01 * rng.normal(size=rows.sum())
    table = compare(before, replace(before, metrics=changed))
    hit = (table["model"] == "dcgan") & (table["metric"] == "fd")
    hit &= table["extractor"] == "classifier-mnist"
    assert set(table[hit]["verdict"]) <= {"worse"}
    assert hit.any()
    assert set(table[~hit]["verdict"]) <= {"no clear difference", "cannot be judged"}
