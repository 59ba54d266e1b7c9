from __future__ import annotations

import itertools
import math
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from genbench import prose
from genbench.models import MODELS
from genbench.prose import count, join, metric_title, say, tell
from genbench.statistics import Estimate
from genbench.suite import load_profiles, load_suites
from genbench.tables import Results

NBSP = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (8.314, "", "8.31"),
        (10, "", "10"),
        (50_000.0, "", "50,000"),
        (0, "", "0"),
        (-0.5, "", "−0.500"),
        (1e13, "FLOPs", "1.00×10¹³ FLOPs"),
        (0.00001234, "", "1.23×10⁻⁵"),
        (0.1234, "%", "12.3%"),
        (2**30, "bytes", "1,024 MiB"),
        (0.038, "time", "38 ms"),
        (97.6, "time", "1 min 37 s"),
        (4567, "time", "1 h 16 min"),
        (math.nan, "s", "–"),
    ],
)
def test_numbers(value, unit, text):
    assert say(value, unit) == text


@pytest.mark.parametrize(
    ("estimate", "unit", "text", "compact"),
    [
        (Estimate(8.314, 7.9, 8.728, 3), "", "8.31 (7.90 to 8.73)", "8.31 ± 0.41"),
        (Estimate(-0.003, -0.0062, 0.0002, 3), "", "−0.0030 (−0.0062 to 0.0002)",
         "−0.0030 ± 0.0032"),
        (Estimate(10.0, 10.0, 10.0, 3), "", "10 (10 to 10)", "10 ± 0"),
        (Estimate(0.5, 0.4, 0.6, 3), "%", "50% (40% to 60%)", "50 ± 10%"),
        (Estimate(5.0, math.nan, math.nan, 1), "bits", "5 bits", "5 bits"),
        (Estimate(math.nan, math.nan, math.nan, 0), "", "–", "–"),
        (Estimate(2e13, 1.9e13, 2.1e13, 3), "", "2.00×10¹³ (1.90×10¹³ to 2.10×10¹³)",
         "2.00×10¹³ ± 1.00×10¹²"),
    ],
)  # fmt: skip
def test_intervals(estimate, unit, text, compact):
    assert say(estimate, unit) == text
    assert say(estimate, unit, compact=True).replace(NBSP, " ") == compact


def test_names_of_metrics_in_sentences_have_no_comma():
    assert prose.metric_words("realism_low") == "Realism (lowest tenth)"
    assert prose.metric_words("fd") == "FD"


def test_templates_format_by_unit_and_leave_text_alone():
    markdown = tell("{who} took {t:time}, $x^{{2}}$", who="A {b}", t=97.6)
    assert markdown.data == "A {b} took 1 min 37 s, $x^{2}$"
    with pytest.raises(KeyError):
        tell("{missing}")


def test_words():
    assert [join("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert [count(n, "run") for n in range(3)] == ["no runs", "one run", "2 runs"]


def summary(**models: tuple[float, int]) -> pd.DataFrame:
    """Rows of `over_seeds`: model -> (mean, failed runs of 3)."""
    return pd.DataFrame(
        [
            {"model": name, "title": name.upper(), "runs": 3, "failed": failed,
             "estimate": Estimate(x, x - 1, x + 1, 3 - failed)}
            for name, (x, failed) in models.items()
        ]
    )  # fmt: skip


def pairs(*rows: tuple[str, str, float], n: int = 3) -> pd.DataFrame:
    """Rows of `differences` over n seeds: models and the corrected p-value."""
    table = pd.DataFrame(rows, columns=["a", "b", "corrected"])
    return table.assign(difference=[Estimate(-2.0, -3.0, -1.0, n)] * len(table))


CLEAR, OPEN = 0.01, 0.2


def test_best_separates_clear_leads_from_open_ones():
    table = summary(b=(2.0, 0), a=(1.0, 0), c=(3.0, 0))
    text = prose.best(table, pairs(("b", "a", OPEN), ("a", "c", CLEAR)), "FD", False)
    assert text.startswith("A has the lowest mean FD")
    assert "lead over C is clear" in text
    assert "Against B these seeds do not decide" in text
    text = prose.best(table, pairs(), "P", True)
    assert text.startswith("C has the highest mean P")
    assert "With B and A it shares too few seeds" in text
    text = prose.best(table, pairs(("a", "b", CLEAR), ("a", "c", CLEAR), n=2), "FD", False)
    assert "With B and C it shares too few seeds" in text


def test_best_of_one_run_is_no_mean():
    table = summary(a=(1.0, 2), b=(2.0, 2))
    text = prose.best(table, pairs(), "FD", False)
    assert text.startswith("Every model lost a run")
    once = table.assign(failed=0, runs=1)
    assert prose.best(once, pairs(), "FD", False).startswith("A has the lowest FD in its one run")


def test_best_does_not_list_all_of_many():
    names = "abcdefgh"
    table = summary(**{name: (float(i), 0) for i, name in enumerate(names)})
    text = prose.best(table, pairs(*(("a", name, CLEAR) for name in names[1:])), "FD", False)
    assert "Its lead over all 7 others is clear" in text
    open_ = [("a", name, CLEAR if name < "h" else OPEN) for name in names[1:]]
    text = prose.best(table, pairs(*open_), "FD", False)
    assert "Its lead over B, C, D, E, F and G is clear" in text
    assert "Against H these seeds do not decide" in text


def test_best_ranks_failures_behind_whatever_they_reached():
    text = prose.best(summary(a=(1.0, 1), b=(2.0, 0)), pairs(("a", "b", CLEAR)), "FD", False)
    assert text.startswith("B has the lowest mean FD")
    assert "A lost one run of 3" in text
    text = prose.best(summary(a=(1.0, 1), b=(2.0, 1)), pairs(("a", "b", CLEAR)), "FD", False)
    assert text.startswith("Every model lost a run")
    assert prose.best(summary(), pairs(), "FD", False) == "No model has a value of FD yet."


def test_pictures_are_the_same_bytes_each_time_and_carry_their_texts():
    from genbench import figures

    figures.style()

    def picture():
        fig, ax = plt.subplots()
        ax.plot([1, 2], [3, 4])
        return prose.Picture(fig, name="n", caption="A\ncaption", alt='an "alt"', source="here")

    one, two = picture(), picture()
    assert one.svg == two.svg
    assert b"<dc:date>" not in one.svg
    bundle = one._repr_mimebundle_()
    assert ':name: n\n:alt: an "alt"\n\nA caption\n\nhere' in bundle["text/markdown"]
    assert "an &quot;alt&quot;" in bundle["text/html"]
    assert not plt.get_fignums()  # closed, so that a notebook does not show it twice


def test_tables_align_numbers_and_escape_bars():
    table = prose.Table(
        pd.DataFrame({"model": ["a|b", "c"], "x": [1.5, math.nan], "y": ["2 ± 1", "–"]}),
        name="t", caption="C", source="S",
    )  # fmt: skip
    bundle = table._repr_mimebundle_()
    assert "| :-- | --: | --: |\n| a\\|b | 1.50 | 2 ± 1 |\n| c | – | – |" in bundle[
        "text/markdown"
    ].replace(NBSP, " ")
    assert f"2{NBSP}±{NBSP}1" in bundle["text/markdown"]
    assert "<th>model</th>" in bundle["text/html"]


def test_a_metrics_arrow_points_to_where_it_is_better_if_anywhere():
    assert metric_title("fd") == "FD ↓"
    assert metric_title("recall") == "Recall ↑"
    assert metric_title("ct") == "C_T"


def test_scores_say_how_many_runs_they_are_of(monkeypatch):
    values = {"fd": {"dcgan": [1.0, 2.0, 3.0], "vae": [5.0]},
              "bpd": {"dcgan": [None] * 3, "vae": [None]},
              "recall": {"dcgan": [0.5, None, None], "vae": [0.25]}}  # fmt: skip

    def frame(results, metric, split, space):
        return pd.DataFrame(
            [
                {"dataset": "mnist", "family": "gan", "model": model, "title": model, "seed": seed,
                 "status": "collapsed" if seed == 2 else "ok", "value": value}
                for model, each in values[metric].items() for seed, value in enumerate(each)
            ]
        )  # fmt: skip

    monkeypatch.setattr(prose, "final", frame)
    table = prose.scores(None, list(values)).set_index("model")
    assert list(table) == ["runs", "FD ↓", "Recall ↑"]  # one data set; no bits of either
    assert table["runs"].to_dict() == {"dcgan": "3 (1 failed)", "vae": "1"}
    assert table.loc["dcgan", "FD ↓"].replace(NBSP, " ") == "2.0 ± 2.5"
    assert table.loc["vae", "FD ↓"] == "5"
    assert list(prose.scores(None, ["fd"], models=["vae"])["model"]) == ["vae"]


def test_who_is_first_by_what(monkeypatch):
    values = {"fd": {"a": [1.0, 2.0], "b": [3.0]}, "kid": {"a": [0.1], "b": [0.3]},
              "recall": {"a": [0.1], "b": [0.5]}, "ct": {"a": [0.1], "b": [0.5]},
              "bpd": {"a": [None], "b": [None]}}  # fmt: skip

    def frame(results, metric, split="test", space=""):
        return pd.DataFrame(
            [
                {"dataset": "mnist", "family": family, "model": model, "title": model.upper(),
                 "seed": seed, "status": "ok", "value": value}
                for model, each in [*values[metric].items(), ("real", [0.0, 1.0])]
                for family in ["control" if model == "real" else "gan"]
                for seed, value in enumerate(each)
            ]
        )  # fmt: skip

    monkeypatch.setattr(prose, "final", frame)
    said = prose.firsts(None, list(values))
    assert said == "The best means are those of A in FD and KID; B in Recall."
    assert prose.firsts(None, ["bpd", "ct"]) == ""
    values["kid"]["b"] = [0.1]  # the same
    assert prose.firsts(None, ["kid"]) == ""


def verdicts(*models: str, **found: str) -> pd.DataFrame:
    """Rows of `verdicts`: models from the best to the worst; `ab` -> the verdict on a and b."""
    return pd.DataFrame(
        [
            {"title_a": a.upper(), "title_b": b.upper(), "verdict": found.get(a + b, "decided")}
            for a, b in itertools.combinations(models, 2)
        ]
    )


def test_an_order_says_how_sure_each_step_is():
    assert prose.order(verdicts("a", "b", "c")) == (
        "The order is A, B and C. Clear of seed-to-seed variation: A over B and B over C."
    )
    said = prose.order(verdicts("a", "b", "c", "d", ab="open", bc="few", cd="failed"))
    assert said == (
        "The order is A, B, C and D. Not decided by these seeds: A over B. With too few shared "
        "seeds to be tested: B over C. By more failed runs, which rank last by the declared "
        "rule: C over D."
    )


def test_what_orders_have_in_common_is_said_with_how_sure_it_is():
    sure = {"x": verdicts("a", "b", "c"), "y": verdicts("a", "c", "b")}
    said = prose.across(sure)
    assert said == "A lead on each. Who comes last changes with the data."
    open_ = {"x": verdicts("a", "b", "c", ac="open"), "y": verdicts("a", "c", "b")}
    # The step to the second is decided, the lead over the third is not.
    said = prose.across(open_)
    assert said.startswith("A lead on each, which is not decided on x. In these means")
    assert said.endswith("but these runs do not decide it.")
    assert (
        prose.across({"x": verdicts("a", "b", ab="failed")})
        == "A lead on each. B come last on each."
    )


def test_runs_that_are_planned_and_not_recorded_are_told_of():
    (suite,) = load_suites("images")
    planned = suite.cells(load_profiles()["cpu"])
    names = {cell.name for cell in planned if cell.data.name == "mnist"}
    names |= {"images/fashion-mnist/lsgan/s0", "images/fashion-mnist/lsgan/s3"}
    names -= {"images/mnist/sngan/s1"}
    empty = pd.DataFrame()

    def said(recorded, models=None):
        cells = pd.DataFrame({"cell": sorted(recorded)})
        results = Results("cpu", cells, empty, empty, empty, {}, Path())
        return prose.to_come(results, planned, models)

    told = said(names, ["lsgan", "sngan", "diffusion"]).data
    assert told == (
        "**Not all is recorded yet: 10 of 24 planned runs.** Fashion-MNIST: LSGAN 2 of 5; "
        "SNGAN (hinge) and Diffusion none of 5. MNIST: LSGAN and Diffusion 3 of 3; "
        "SNGAN (hinge) 2 of 3."
    )
    told = said(names).data  # 16 models, no controls
    assert "128 planned runs" in told
    assert told.endswith(
        "LSGAN 2 of 5; 15 models none of 5. MNIST: 15 models 3 of 3; SNGAN (hinge) 2 of 3."
    )
    with pytest.raises(ValueError, match="planned"):
        said(names, [])
    everything = {cell.name for cell in planned}
    assert said(everything) is None
    assert said(everything, ["vae"]) is None


def test_a_table_of_benchmarks_says_what_measured_it_where_and_when():
    rows = pd.DataFrame(
        {"benchmark": ["loop", "loop", "sampling"], "commit": ["abcdef0123456+changes"] * 3,
         "device_name": ["A CPU"] * 3, "threads": [2] * 3, "date": ["2026-11-27T10:00:00Z"] * 3}
    )  # fmt: skip
    said = prose.benchmark_provenance(rows)
    assert said == (
        "`benchmarks/loop.py` and `benchmarks/sampling.py`; commit abcdef0123 with changes; "
        "A CPU, 2 threads; 2026-11-27."
    )
    assert prose.benchmark_provenance(rows[:0]) == "Nothing was measured."


def test_expectations_that_fail_are_named():
    rows = [
        {"metric": "fd", "control": "noise", "expected": "worse", "train_split": 1.0,
         "control_value": 5.0, "agrees": True},
        {"metric": "distinct_1", "control": "copier", "expected": "lower", "train_split": 0.5,
         "control_value": 0.75, "agrees": False},
    ]  # fmt: skip
    checked = pd.DataFrame(rows)
    assert prose.expectations(checked[:1]).data.endswith("**All of them hold.**")
    told = prose.expectations(checked).data
    assert "**1 of them fails:** Distinct-1 of" in told
    assert "should be lower than 0.500 of real training rows, and is 0.750." in told
    assert "nothing was checked" in prose.expectations(checked[:0]).data


def test_places_between_two_things_are_claimed_only_where_intervals_allow():
    places = {
        "token-gpt": Estimate(0.5, 0.4, 0.6, 5),
        "token-vae": Estimate(0.9, 0.7, 1.1, 5),
        "token-gan": Estimate(3.0, 2.0, 4.0, 5),
        "token-lstm": Estimate(math.nan, math.nan, math.nan, 0),
    }
    told = prose.between(places, "real passages", "n-grams").data
    assert "GPT is at 0.50 (0.40 to 0.60)" in told
    assert "Closer to real passages than n-grams are, by its interval: GPT. " in told
    assert "Further away, by its interval: WGAN-GP on tokens. " in told
    assert told.endswith("Seeds do not decide on which side of n-grams are: Sequence VAE.")
    assert "LSTM" not in told
    for n in (1, 2):  # no interval, or one that is all but infinite
        few = prose.between({"token-gpt": Estimate(0.5, 0.4, 0.6, n)}, "a", "b").data
        assert few.endswith("Too few runs to say on which side of b: GPT.")
    assert "No model" in prose.between({}, "a", "b").data


def test_quoted_texts_keep_their_lines():
    assert prose.quoted({"GPT": "To be,\n  or"}).data == "**GPT**\n\n~~~text\nTo be,\n  or\n~~~"


def test_variants_are_ratios_to_a_base_with_what_seeds_decide(monkeypatch):
    values = {"dcgan": [2.0, 2.1, 1.9, 2.0, 9.0], "lsgan": [1.0, 1.2, 0.9, 1.1],
              "sngan": [1.0, 3.4, 2.2, 1.8], "wgan-gp": [4.0, 4.3, 3.9, 4.1], "cgan": [0.5],
              "mlp-vae": [3.0, 3.0], "mlp-gan": [9.0, None, 9.0, 9.0]}  # fmt: skip

    def frame(status):
        return pd.DataFrame(
            [
                {"dataset": "mnist", "family": "gan", "model": model, "title": model,
                 "seed": seed, "status": status.get(model, "ok") if x else "diverged", "value": x}
                for model, each in values.items() for seed, x in enumerate(each)
            ]
        )  # fmt: skip

    def said(status=None, names=tuple(values)):
        monkeypatch.setattr(prose, "final", lambda results, metric: frame(status or {}))
        return prose.variants(None, list(names), "dcgan")

    # Of the seeds that both have: the base's fifth run is not in its mean.
    assert said().set_index("model")["MNIST"].to_dict() == {
        "lsgan": "0.525 (better)", "sngan": "1.05 (not decided)", "wgan-gp": "2.04 (worse)",
        "cgan": "0.250 (one run)", "mlp-vae": "1.46 (2 runs)", "mlp-gan": "lost 1 of 4 runs",
    }  # fmt: skip
    # Runs that collapsed rank behind, whatever their values.
    lost = said({"lsgan": "collapsed"}).set_index("model")["MNIST"]
    assert lost["lsgan"] == "lost 4 of 4 runs"
    assert said(names=["dcgan"]).empty


def moved(steps, fractions=(0.25, 0.75, 1.0)):
    """Progress and cells of: model -> a run's values at the fractions, None for none."""
    cells = pd.DataFrame(
        [
            {"cell": f"{model}/s{seed}", "model": model, "family": MODELS[model].family,
             "dataset": "mnist", "seed": seed}
            for model, runs in steps.items()
            for seed in range(len(runs))
        ]
    )  # fmt: skip
    rows = [
        {"cell": f"{model}/s{seed}", "fraction": fraction, "value": value}
        for model, runs in steps.items()
        for seed, values in enumerate(runs)
        for fraction, value in zip(fractions, values, strict=True)
        if value is not None
    ]
    return pd.DataFrame(rows, columns=["cell", "fraction", "value"]), cells


def test_the_last_step_of_a_budget_says_who_was_still_moving():
    frame, step = prose.last_step(
        *moved(
            {
                "dcgan": [(9, 4, 2), (9, 4, 2.1), (9, 4, 1.9)],  # halved in every run
                "vae": [(9, 4, 3), (9, 4, 5), (9, 4, 4.1)],
                "vqvae-gpt": [(9, 4, 3), (9, 4, 2)],
                "vqvae-lstm": [(9, 4, 6), (9, 4, 6.1), (9, 4, 5.9)],
                "diffusion": [(9, 4, 3)],
                # Of the runs that are left nothing is said: a model that loses runs would gain.
                "sngan": [(9, 4, 3), (9, 4, 3.1), (9, 4, 2.9), (9, 4, None)],
                "lsgan": [(None, None, None)] * 2,
            }
        )
    )
    assert step == "75% to 100% of the budget"
    said = frame.set_index("model")["MNIST"].str.replace("\N{NO-BREAK SPACE}", " ")
    # 2.1, 2 and 1.9 of 4: deviation 2.5%, of which the t interval is 4.303 / sqrt(3) times.
    assert said[MODELS["dcgan"].title] == "−50.0 ± 6.2% (still falling)"
    assert said[MODELS["vae"].title].endswith("(no clear change)")
    assert said[MODELS["vqvae-gpt"].title].startswith("−38 ±")
    assert said[MODELS["vqvae-gpt"].title].endswith("(2 runs)")
    assert said[MODELS["vqvae-lstm"].title].endswith("(rising)")
    assert said[MODELS["diffusion"].title] == "−25% (one run)"
    assert said[MODELS["sngan"].title] == f"{prose.NONE} (one of 4 runs without a value)"
    assert said[MODELS["lsgan"].title] == prose.NONE


def test_a_model_with_one_fraction_has_no_last_step():
    frame, step = prose.last_step(*moved({"dcgan": [(2.0,)]}, fractions=(1.0,)))
    assert frame.to_dict("records") == [{"model": MODELS["dcgan"].title, "MNIST": prose.NONE}]
    assert step == ""


def test_a_folded_table_is_whole_inside_what_opens_it():
    rows = pd.DataFrame({"model": ["a"], "FD": ["1.00"]})
    kept = {"name": "tab-x", "caption": "All of it.", "source": "A run."}
    open_ = prose.Table(rows, **kept)._repr_mimebundle_()
    closed = prose.Table(rows, **kept, fold="More")._repr_mimebundle_()
    for kind, begin, end in (
        ("text/markdown", "::::::{dropdown} More\n", "::::::\n"),
        ("text/html", "<details><summary>More</summary>", "</details>"),
    ):
        assert closed[kind] == begin + open_[kind] + end
