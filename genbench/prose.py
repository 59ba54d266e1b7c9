"""What chapters say: numbers with unit and interval, sentences made from them, captioned figures
and tables that show in the book and in JupyterLab alike, and where all of it comes from.

The book reads the Markdown that these objects offer, JupyterLab the HTML beside it.
"""

from __future__ import annotations

import base64
import html
import inspect
import io
import itertools
import math
import re
import string
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure as Plot

from genbench.analysis import DECIDED, FAILED, differences, final, in_order, over_seeds, ranked
from genbench.metrics import METRICS
from genbench.models import MODELS
from genbench.statistics import FEWEST, Estimate, mean_interval
from genbench.suite import Cell
from genbench.tables import Results

NONE = "–"  # what a table shows where there is no value

# What a cell of a column of numbers starts with.
NUMBER = re.compile(rf"[−\d]|{NONE}|$")

# Behind a metric's name, by whether higher is better.
ARROWS = {True: " ↑", False: " ↓", None: ""}

# unit -> (factor, what is written after the number)
UNITS: dict[str, tuple[float, str]] = {
    "": (1, ""),
    "%": (100, "%"),
    "bytes": (2**-20, " MiB"),
    "bits per pixel": (1, " bits per pixel"),
    "bits": (1, " bits"),
    "s": (1, " s"),
    "FLOPs": (1, " FLOPs"),
    "FLOP/s": (1, " FLOP/s"),
    "examples/s": (1, " examples/s"),
}


def say(value: float | Estimate, unit: str = "", digits: int = 3, *, compact: bool = False) -> str:
    """A number for a reader: `8.31`, `12.4%`, `1.0×10¹³ FLOPs`, `8.31 (7.90 to 8.72)`.

    A plain number has `digits` significant digits; whole numbers below a million are written out.
    An Estimate has as many as its interval supports (two in its half-width) and its interval
    behind it, or with `compact`, for tables, `8.31 ± 0.41`. `unit`: one of UNITS, or "time" for
    seconds as a person says them.
    """
    if isinstance(value, Estimate):
        return _say_interval(value, unit, digits, compact)
    if value is None or not math.isfinite(value):
        return NONE
    if unit == "time":
        return _time(value)
    factor, suffix = UNITS[unit]
    return _number(value * factor, digits) + suffix


def _say_interval(e: Estimate, unit: str, digits: int, compact: bool) -> str:
    if not math.isfinite(e.half_width):
        return say(e.estimate, unit, digits)
    if unit == "time":
        return f"{_time(e.estimate)} ({_time(max(0.0, e.low))} to {_time(e.high)})"
    factor, suffix = UNITS[unit]
    middle, low, high = (x * factor for x in (e.estimate, e.low, e.high))
    half = (high - low) / 2

    def written(x: float) -> str:
        if max(abs(low), abs(high)) >= 1e6:
            return _number(x, digits)
        return _minus(f"{x:,.{_places(middle, half, digits)}f}")

    if compact:
        return f"{written(middle)}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{written(half)}{suffix}"
    if unit == "%":
        return f"{written(middle)}% ({written(low)}% to {written(high)}%)"
    return f"{written(middle)} ({written(low)} to {written(high)}){suffix}"


def _places(middle: float, half: float, digits: int) -> int:
    """Decimals for two digits of the half-width, and no more than one beyond the middle's own."""
    if half == 0 and middle == int(middle):
        return 0
    places = 1 - math.floor(math.log10(half)) if half > 0 else digits
    if middle:
        places = min(places, digits - math.floor(math.log10(abs(middle))))
    return max(0, min(places, 6))


def _number(x: float, digits: int) -> str:
    if x == int(x) and abs(x) < 1e6:
        return _minus(f"{int(x):,}")
    magnitude = math.floor(math.log10(abs(x)))
    if magnitude >= 6 or magnitude < -4:
        mantissa = f"{x / 10**magnitude:.{digits - 1}f}"
        if abs(float(mantissa)) >= 10:  # rounded up over the next power
            magnitude += 1
            mantissa = f"{x / 10**magnitude:.{digits - 1}f}"
        power = str(magnitude).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return _minus(f"{mantissa}×10{power}")
    return _minus(f"{x:,.{max(0, digits - 1 - magnitude)}f}")


def _minus(text: str) -> str:
    """With a true minus; and nothing is less than zero by rounding alone."""
    text = re.sub(r"-(0(?:\.0*)?)(?![\d.])", r"\1", text)
    return re.sub(r"-(?=\d)", "−", text)


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if seconds < 600:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class _Formatter(string.Formatter):
    """`{name}` and `{name:unit}` by `say`; text as it is."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, str):
            return value
        return say(value, format_spec)


def tell(template: str, **values: Any) -> Markdown:
    """Markdown with numbers put in: `tell("{fd} after {time:time}", fd=..., time=...)`.

    Numbers and Estimates are written by `say`, with the unit behind the colon.
    """
    return Markdown(_Formatter().vformat(template, (), values))


def join(parts: Iterable[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = list(parts)
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def count(n: int, noun: str, plural: str = "") -> str:
    """`no runs`, `one run`, `2 runs`."""
    if n == 1:
        return f"one {noun}"
    return f"{n or 'no'} {plural or noun + 's'}"


def dataset_title(name: str) -> str:
    titles = {
        "mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "shakespeare": "Shakespeare's plays",
        "chorales": "Bach's chorales",
    }  # fmt: skip
    return titles.get(name, name)


# --- what differs, and what does not ------------------------------------------------------------


def best(summary: pd.DataFrame, pairs: pd.DataFrame, metric: str, higher_is_better: bool) -> str:
    """Who leads on one data set, in words that follow from the numbers.

    summary: rows of `over_seeds` for its models; pairs: rows of `differences`, of the leader
    against all others at once. A model with failed runs ranks behind all without, by the declared
    rule; the lead over another is called clear only where the corrected p-value is at most 0.05.
    """
    rows: list[dict[Any, Any]] = ranked(summary, higher_is_better=higher_is_better).to_dict(
        "records"
    )
    rows = [row for row in rows if row["estimate"].n or row["failed"]]
    if not rows:
        return f"No model has a value of {metric} yet."
    first, *others = rows
    words = "highest" if higher_is_better else "lowest"
    mean = "mean " if first["estimate"].n > 1 else ""
    once = "" if first["estimate"].n > 1 else " in its one run"
    text = [f"{first['title']} has the {words} {mean}{metric}{once}, {say(first['estimate'])}."]
    if first["failed"]:
        text = [
            f"Every model lost a run; with {count(first['failed'], 'failed run')} of "
            f"{first['runs']}, {first['title']} lost the fewest or is the best of those that did."
        ]
    clear: list[str] = []
    open_: list[str] = []
    few: list[str] = []
    for other in others:
        if other["failed"] > first["failed"]:
            text.append(
                f"{other['title']} lost {count(other['failed'], 'run')} of {other['runs']} and "
                "ranks behind by the declared rule, whatever its other runs reached."
            )
            continue
        pair = pairs[
            ((pairs["a"] == first["model"]) & (pairs["b"] == other["model"]))
            | ((pairs["a"] == other["model"]) & (pairs["b"] == first["model"]))
        ]
        if pair.empty or pair.iloc[0]["difference"].n < FEWEST:
            few.append(other["title"])
        elif pair.iloc[0]["corrected"] <= DECIDED:
            clear.append(other["title"])
        else:
            open_.append(other["title"])
    rest = len(clear) + len(open_) + len(few)
    if clear:
        text.append(f"Its lead over {_some(clear, rest)} is clear of seed-to-seed variation.")
    if open_:
        text.append(f"Against {_some(open_, rest)} these seeds do not decide.")
    if few:
        text.append(f"With {_some(few, rest)} it shares too few seeds to be compared.")
    return " ".join(text)


VERDICTS = {
    "decided": "Clear of seed-to-seed variation",
    "open": "Not decided by these seeds",
    "few": "With too few shared seeds to be tested",
    "failed": "By more failed runs, which rank last by the declared rule",
}


def order(pairs: pd.DataFrame) -> str:
    """An order from the best to the worst, and how sure each of its steps is. pairs: rows of
    `verdicts` of one data set; its titles are the names."""
    titles = list(dict.fromkeys([*pairs["title_a"], *pairs["title_b"]]))
    text = [f"The order is {join(titles)}."]
    found = {(row["title_a"], row["title_b"]): row["verdict"] for _, row in pairs.iterrows()}
    for verdict, words in VERDICTS.items():
        steps = [f"{a} over {b}" for a, b in itertools.pairwise(titles) if found[a, b] == verdict]
        if steps:
            text.append(f"{words}: {join(steps)}.")
    return " ".join(text)


def across(orders: Mapping[str, pd.DataFrame]) -> str:
    """Whether the same comes first, and last, in several orders, and how sure that is. orders:
    where -> rows of `verdicts`, whose titles are plural names."""
    text = []
    for end, they, who in (("a", "lead", "leads"), ("b", "come last", "comes last")):
        at, sure = {}, []
        for where, pairs in orders.items():
            title = pairs[f"title_{end}"].iloc[0 if end == "a" else -1]
            at[where] = title
            rows = pairs[pairs[f"title_{end}"] == title]
            if rows["verdict"].isin(["decided", "failed"]).all():
                sure.append(where)
        open_ = [where for where in at if where not in sure]
        if len(set(at.values())) == 1:
            tail = f", which is not decided on {join(open_)}" if open_ else ""
            text.append(f"{at[next(iter(at))]} {they} on each{tail}.")
        elif len({at[where] for where in sure}) > 1:
            text.append(f"Who {who} changes with the data.")
        else:
            text.append(
                f"In these means it changes with the data who {who}, but these runs do not "
                "decide it."
            )
    return " ".join(text)


def _some(titles: Sequence[str], of: int) -> str:
    """The names, or how many there are where they are many and all."""
    return f"all {of} others" if len(titles) == of > 5 else join(titles)


def _named(titles: Sequence[str], most: int = 6) -> str:
    """The names, or how many models there are where they are more than `most`."""
    return join(titles) if len(titles) <= most else f"{len(titles)} models"


def quoted(passages: Mapping[str, str]) -> Markdown:
    """Texts as they are, line breaks included, each under its title."""
    if not passages:
        return Markdown("*No samples of text are kept here.*")
    return Markdown(
        "\n\n".join(f"**{title}**\n\n~~~text\n{text}\n~~~" for title, text in passages.items())
    )


def expectations(checked: pd.DataFrame) -> Markdown:
    """What came of the expectations that `controls.check` checked, failures by name."""
    if checked.empty:
        return Markdown("*No control is recorded yet, so nothing was checked.*")
    wrong = checked[~checked["agrees"]]
    were = "was" if len(checked) == 1 else "were"
    told = (
        f"{count(len(checked), 'expectation')} {were} checked, each in every recorded run of its "
        "control. "
    )
    if wrong.empty:
        return Markdown(told + "**All of them hold.**")
    return Markdown(
        told
        + f"**{len(wrong)} of them {'fails' if len(wrong) == 1 else 'fail'}:** "
        + "; ".join(
            f'{METRICS[row["metric"]].title} of "{MODELS[row["control"]].title}" should be '
            f"{row['expected']} than {say(row['train_split'])} of real training rows, and is "
            f"{say(row['control_value'])}"
            for row in wrong.to_dict("records")
        )
        + "."
    )


def between(places: Mapping[str, Estimate], low: str, high: str) -> Markdown:
    """Where models are on a scale between two things, and which are clearly on one side of the
    upper one, of those with FEWEST runs or more: each by its own interval, with both ends of the
    scale taken as known. places: model -> its place, 0 being `low` and 1 `high`."""
    known = {MODELS[name].title: place for name, place in places.items() if place.n}
    if not known:
        return Markdown("*No model has a place between the two yet.*")
    enough = {title: place for title, place in known.items() if place.n >= FEWEST}
    nearer = [title for title, place in enough.items() if place.high < 1]
    further = [title for title, place in enough.items() if place.low > 1]
    open_ = [title for title in enough if title not in (*nearer, *further)]
    few = [title for title in known if title not in enough]
    text = [
        f"On the scale where {low} are 0 and {high} 1, "
        + join(f"{title} is at {say(place)}" for title, place in known.items())
        + "."
    ]
    if nearer:
        text.append(f"Closer to {low} than {high} are, by its interval: {join(nearer)}.")
    if further:
        text.append(f"Further away, by its interval: {join(further)}.")
    if open_:
        text.append(f"Seeds do not decide on which side of {high} are: {join(open_)}.")
    if few:
        text.append(f"Too few runs to say on which side of {high}: {join(few)}.")
    return Markdown(" ".join(text))


def trained_with(results: Results, names: Sequence[str], rows: str) -> pd.DataFrame:
    """What each of these models had: parameters, steps, rows seen, FLOPs and runs, ready for
    `Table`. rows: what a row of the data is called, such as "passages"."""
    table = []
    for name in names:
        runs = results.cells[results.cells["model"] == name]
        failed = int(runs["status"].isin(FAILED).sum())
        whole = runs[["parameters", "steps", "examples"]].dropna()  # a crash leaves none
        parameters, steps, examples = (
            (f"{int(value):,}" for value in whole.iloc[0]) if len(whole) else [NONE] * 3
        )
        table.append(
            {
                "model": MODELS[name].title,
                "family": runs["family"].iloc[0],
                "parameters": parameters,
                "steps": steps,
                f"{rows} seen": examples,
                "training FLOPs": say(float(runs["train_flops"].mean())),
                "runs, failed": f"{len(runs)}, {failed}",
            }
        )
    return pd.DataFrame(table)


# --- tables of scores --------------------------------------------------------------------------


def metric_title(metric: str) -> str:
    """A metric's name with an arrow to where it is better, if either end is: `FD ↓`."""
    info = METRICS[metric]
    return info.title + ARROWS[info.higher_is_better]


def metric_words(metric: str) -> str:
    """A metric's name for a list in a sentence: `Realism (median)`."""
    return apart(METRICS[metric].title)


def apart(title: str) -> str:
    """A title for a list in a sentence, where a comma would part it."""
    title, _, rest = title.partition(", ")
    return f"{title} ({rest})" if rest else title


def scores(
    results: Results,
    metrics: Sequence[str],
    *,
    models: Sequence[str] | None = None,
    split: str = "test",
    space: str = "classifier",
) -> pd.DataFrame:
    """Mean and interval over seeds of final metrics: one row a data set and model, ready for
    `Table`, with how many runs it has and how many of them failed. A metric that has no value in
    any row is left out, and one that some runs lack says how many have it. space: the feature
    space, for metrics that have one."""
    table: dict[tuple[str, str], dict[str, str]] = {}
    for metric in metrics:
        for row in over_seeds(final(results, metric, split, space)).to_dict("records"):
            if models is not None and row["model"] not in models:
                continue
            line = table.setdefault(
                (row["dataset"], row["model"]),
                {"data": dataset_title(row["dataset"]), "model": row["title"]},
            )
            failed = f" ({row['failed']} failed)" if row["failed"] else ""
            line["runs"] = f"{row['runs']}{failed}"
            some = 0 < row["estimate"].n < row["runs"]
            line[metric_title(metric)] = say(row["estimate"], compact=True) + (
                f" ({count(row['estimate'].n, 'run')})" if some else ""
            )
    columns = ["model", "data", "runs", *map(metric_title, metrics)]
    frame = pd.DataFrame(list(table.values()), columns=columns)
    frame = frame.loc[:, [len(frame) == 0 or (frame[name] != NONE).any() for name in columns]]
    return frame.drop(columns="data") if frame["data"].nunique() == 1 else frame


def firsts(results: Results, metrics: Sequence[str], space: str = "classifier") -> str:
    """Which model of one data set has the best mean of which of these metrics on test, models that
    lost runs behind those that did not, in a sentence: empty where none has a value. Metrics
    without a better end are left out, and so are those that several models lead with the same."""
    best: dict[str, list[str]] = {}
    for metric in metrics:
        values = final(results, metric, space=space)
        means = over_seeds(values[values["family"] != "control"])
        up = METRICS[metric].higher_is_better
        ranking = ranked(means, higher_is_better=bool(up))
        if up is None or ranking.empty or not ranking["estimate"].iloc[0].n:
            continue
        first = ranking.iloc[0]
        alike = [e.estimate for e in ranking["estimate"]].count(first["estimate"].estimate)
        if alike == 1:
            best.setdefault(first["title"], []).append(metric_words(metric))
    if not best:
        return ""
    parts = (f"{title} in {join(metrics)}" for title, metrics in best.items())
    return f"The best means are those of {'; '.join(parts)}."


def to_come(
    results: Results, planned: Sequence[Cell], names: Sequence[str] | None = None
) -> Markdown | None:
    """How many of the planned runs of plain models are recorded, of those named or of all but the
    controls; None where all are."""
    counts: dict[tuple[str, str], list[bool]] = {}  # data set, model -> whether each is there
    recorded = set(results.cells["cell"])
    for cell in planned:
        wanted = cell.model.name in names if names is not None else not cell.is_control
        if wanted and not cell.variant:
            runs = counts.setdefault((cell.data.name, cell.model.name), [])
            runs.append(cell.name in recorded)
    if not counts:
        raise ValueError(f"no run of {names or 'any model'} is planned")
    if all(map(all, counts.values())):
        return None
    of = sum(map(len, counts.values()))
    text = [f"**Not all is recorded yet: {sum(map(sum, counts.values()))} of {of} planned runs.**"]
    for dataset in dict.fromkeys(data for data, _ in counts):
        alike: dict[tuple[int, int], list[str]] = {}
        for (data, model), runs in counts.items():
            if data == dataset:
                alike.setdefault((sum(runs), len(runs)), []).append(apart(MODELS[model].title))
        said = (
            f"{_named(alike[have, want])} {have or 'none'} of {want}"
            for have, want in sorted(alike, reverse=True)
        )
        text.append(f"{dataset_title(dataset)}: {'; '.join(said)}.")
    return Markdown(" ".join(text))


def variants(results: Results, names: Sequence[str], base: str) -> pd.DataFrame:
    """What a family's variants are beside one of its models by FD on test: one row a model, one
    column a data set. A cell has the ratio of the variant's mean to that of `base` over the seeds
    that both have, below 1 for a model that is closer to real data, and whether the paired
    difference is decided; a variant that lost runs says how many, for it ranks behind."""
    fd = final(results, "fd")
    fd = fd[fd["model"].isin([base, *names])]
    lines: dict[str, dict[str, str]] = {}
    lost = over_seeds(fd).set_index(["dataset", "model"])
    pairs = differences(fd, against=dict.fromkeys(fd["dataset"].unique(), base))
    for row in pairs.to_dict("records"):
        line = lines.setdefault(row["title_b"], {"model": row["title_b"]})
        own = lost.loc[(row["dataset"], row["b"])]
        if own["failed"]:
            said = f"lost {own['failed']} of {own['runs']} runs"
        elif not row["difference"].n:
            said = NONE
        else:
            both = fd[fd["dataset"].eq(row["dataset"]) & fd["model"].isin([row["a"], row["b"]])]
            by_seed = both.pivot(index="seed", columns="model", values="value").dropna()
            ratio = by_seed[row["b"]].mean() / by_seed[row["a"]].mean()
            if row["difference"].n < FEWEST:
                word = count(row["difference"].n, "run")
            elif not row["corrected"] <= DECIDED:
                word = "not decided"
            else:
                word = "better" if row["difference"].estimate > 0 else "worse"
            said = f"{say(ratio)} ({word})"
        line[dataset_title(row["dataset"])] = said
    columns = ["model", *map(dataset_title, dict.fromkeys(pairs["dataset"]))]
    return pd.DataFrame(list(lines.values()), columns=columns).fillna(NONE)


def last_step(progress: pd.DataFrame, cells: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """How a distance moved from the last but one evaluated fraction of the budget to the last, as
    a share of what it was: one row a model, one column a data set, each with whether the interval
    over seeds leaves out zero; a model of which a run lacks a value has none. With it, which step
    that was. progress: `analysis.progress`; cells: the runs that are asked for."""
    lines: dict[str, dict[str, str]] = {}
    steps: set[tuple[float, float]] = set()
    cells = in_order(cells)
    for (dataset, title), runs in cells.groupby(["dataset", "title"], sort=False):
        name = dataset_title(str(dataset))
        line = lines.setdefault(str(title), {"model": str(title)})
        line[name] = NONE
        values = progress[progress["cell"].isin(runs["cell"])]
        values = values.pivot(index="cell", columns="fraction", values="value")
        if values.shape[1] < 2:
            continue
        before, after = map(float, values.columns[-2:])
        steps.add((before, after))
        change = mean_interval((values[after] / values[before] - 1).dropna().to_numpy())
        if change.n < len(runs):
            lost = len(runs) - change.n
            word = f"{lost if lost > 1 else 'one'} of {len(runs)} runs without a value"
            change = mean_interval([])
        elif change.n < FEWEST:
            word = count(change.n, "run")
        elif change.holds_zero:
            word = "no clear change"
        else:
            word = "still falling" if change.estimate < 0 else "rising"
        line[name] = f"{say(change, '%', compact=True)} ({word})"
    columns = ["model", *map(dataset_title, dict.fromkeys(cells["dataset"]))]
    frame = pd.DataFrame(list(lines.values()), columns=columns).fillna(NONE)
    return frame, join(f"{say(a, '%')} to {say(b, '%')} of the budget" for a, b in sorted(steps))


def by_data(sentences: Mapping[str, str]) -> str:
    """Sentences on data sets, said once where several have the same: data set -> sentence."""
    alike: dict[str, list[str]] = {}
    for dataset, sentence in sentences.items():
        alike.setdefault(sentence, []).append(dataset_title(dataset))
    return "\n".join(f"- **{join(names)}.** {sentence}" for sentence, names in alike.items())


# --- where it comes from ------------------------------------------------------------------------


def provenance(results: Results, cells: pd.DataFrame | None = None) -> str:
    """One line for a figure: profile, cells, seeds, commit, device and dates of these cells."""
    cells = results.cells if cells is None else cells
    cells = results.cells[results.cells["cell"].isin(cells["cell"])]
    if cells.empty:
        return f"Profile {results.profile}; no cells."
    seeds = sorted(cells["seed"].unique())
    failed = int(cells["status"].isin(FAILED).sum())
    parts = [
        f"Profile {results.profile}",
        count(len(cells), "cell") + (f", {failed} failed" if failed else ""),
        f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}",
        *_circumstances(cells),
    ]
    return "; ".join(parts) + "."


def benchmark_provenance(rows: pd.DataFrame) -> str:
    """One line for a table of benchmarks: scripts, commit, device and dates of these rows."""
    if rows.empty:
        return "Nothing was measured."
    scripts = join(f"`benchmarks/{name}.py`" for name in rows["benchmark"].unique())
    return "; ".join([scripts, *_circumstances(rows)]) + "."


def _circumstances(rows: pd.DataFrame) -> list[str]:
    """Commits, devices with their threads, and days."""
    commits = sorted({_short(str(commit)) for commit in rows["commit"]})
    devices = sorted(map(str, rows["device_name"].unique()))
    threads = sorted(map(int, rows["threads"].unique()))
    days = sorted(datetime.fromisoformat(date).date().isoformat() for date in rows["date"])
    return [
        f"commit {join(commits)}",
        f"{join(devices)}, {join(count(n, 'thread') for n in threads)}",
        days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}",
    ]


def _short(commit: str) -> str:
    if not commit or commit == "nan":
        return "not recorded"
    head, _, changes = commit.partition("+")
    return head[:10] + (" with changes" if changes else "")


def source(thing: Any) -> Markdown:
    """The code of a class or function as it stands in the package, with the file it is in."""
    code = textwrap.dedent(inspect.getsource(thing)).rstrip()
    file = thing.__module__.replace(".", "/") + ".py"
    return Markdown(f"From `{file}`:\n\n```python\n{code}\n```")


class Picture:
    """A numbered figure with caption, alt text and a line that says where it comes from."""

    def __init__(self, plot: Plot, *, name: str, caption: str, alt: str, source: str):
        self.name, self.caption, self.alt, self.source = name, caption, alt, source
        buffer = io.BytesIO()
        plot.savefig(buffer, format="svg", metadata={"Date": None})
        plt.close(plot)
        self.svg = buffer.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        uri = "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()
        alt = _one_line(self.alt)
        return {
            "text/markdown": (
                f":::::{{figure}} {uri}\n:name: {self.name}\n:alt: {alt}\n\n"
                f"{_one_line(self.caption)}\n\n{_one_line(self.source)}\n:::::\n"
            ),
            "text/html": (
                f'<figure><img src="{uri}" alt="{html.escape(alt, quote=True)}" '
                'style="background: white; max-width: 100%">'
                f"<figcaption>{html.escape(_one_line(self.caption))}<br>"
                f"<small>{html.escape(_one_line(self.source))}</small></figcaption></figure>"
            ),
            "text/plain": f"{self.caption}\n{self.source}",
        }


class Table:
    """A numbered table with a caption and a line that says where it comes from.

    Cells are text (from `say`). Columns of numbers align right, the others left. fold: what a
    closed table is opened by; one without it is open.
    """

    def __init__(self, rows: pd.DataFrame, *, name: str, caption: str, source: str, fold: str = ""):
        self.rows = rows.map(lambda x: x if isinstance(x, str) else say(x)).astype(object)
        self.name, self.caption, self.source, self.fold = name, caption, source, fold

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        caption, source = _one_line(self.caption), _one_line(self.source)
        head = [str(column) for column in self.rows.columns]
        rows = self.rows.to_numpy().tolist()
        numbers = [all(NUMBER.match(row[i]) for row in rows) for i in range(len(head))]
        lines = [head, ["--:" if right else ":--" for right in numbers], *rows]
        body = "\n".join(f"| {' | '.join(_cell(c) for c in line)} |" for line in lines)
        markdown = (
            f":::::{{table}} {caption}\n:name: {self.name}\n\n{body}\n:::::\n\n"
            f":::{{div}} provenance\n{source}\n:::\n"
        )
        page = (
            f"<p>{html.escape(caption)}</p>{self.rows.to_html(index=False, border=0)}"
            f"<p><small>{html.escape(source)}</small></p>"
        )
        if self.fold:
            markdown = f"::::::{{dropdown}} {_one_line(self.fold)}\n{markdown}::::::\n"
            page = f"<details><summary>{html.escape(self.fold)}</summary>{page}</details>"
        return {
            "text/markdown": markdown,
            "text/html": page,
            "text/plain": f"{caption}\n{self.rows.to_string(index=False)}\n{source}",
        }


def _one_line(text: str) -> str:
    return re.sub(r"[ \t\r\n]+", " ", text).strip(" ")  # spaces that do not break stay


def _cell(text: str) -> str:
    """A cell of a Markdown table; numbers keep to one line."""
    text = _one_line(str(text)).replace("|", "\\|")
    return text.replace(" ", "\N{NO-BREAK SPACE}") if NUMBER.match(text) else text
