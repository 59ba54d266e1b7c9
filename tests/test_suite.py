"""Suites, profiles and cells: what is refused and how, names, and what changes which key."""

from __future__ import annotations

from collections import Counter

import pytest
import yaml
from conftest import TRAINED, tiny_cell
from hypothesis import given, settings
from hypothesis import strategies as st

from genbench.data import DATASETS
from genbench.errors import UserError
from genbench.features import EXTRACTORS
from genbench.metrics import IMAGE_METRICS as METRICS
from genbench.models import MODELS, resolve
from genbench.suite import (
    COMMANDS,
    RESERVED,
    Budget,
    Cell,
    Profile,
    digest,
    load_profiles,
    load_suites,
    parse_suite,
    select,
    suite_names,
    validate,
)
from genbench.training import new_model, parameters, plan_stages

GOOD = """
name: mine
title: A suite of one's own
modality: images
grids:
  - datasets: [digits, {name: digits, fraction: 0.1}]
    models: [vae, {name: vae, latent: 8, learning_rate: 0.01}]
"""


def refused(text: str, where: str = "mine.yaml") -> str:
    """The one line that a suite file is refused with."""
    with pytest.raises(UserError) as caught:
        parse_suite(text, where)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(where)
    return message


def assert_parsed_or_refused(text: str) -> None:
    try:
        parse_suite(text, "mine.yaml")
    except UserError:
        refused(text)


def test_a_good_suite():
    suite = parse_suite(GOOD, "mine.yaml")
    cells = suite.cells(load_profiles()["smoke"], seeds=2)
    assert [cell.name for cell in cells] == [
        f"images/{data}/{model}/s{seed}"
        for data in ("digits", "digits[fraction=0.1]")
        for model in ("vae", "vae[latent=8,learning_rate=0.01]")
        for seed in (0, 1)
    ]
    # The suite's own parameters go over the profile's sizes.
    assert cells[2].model.settings == {"width": 32, "latent": 8, "learning_rate": 0.01}


def test_lists_of_values_are_taken_in_turn():
    text = GOOD.replace("latent: 8, learning_rate: 0.01", "latent: [2, 8], learning_rate: [0.1, 1]")
    models = parse_suite(text, "mine.yaml").grids[0].models
    found = [model.params for model in models if model.params]
    assert found == [
        {"latent": latent, "learning_rate": rate} for latent in (2, 8) for rate in (0.1, 1)
    ]


def test_what_a_grid_changes_shows_in_its_cells_names_and_in_nothing_else():
    changed = "budget: 0.25\n    seeds: 1\n    train: {schedule: cosine, warmup: 0.1}\n    models:"
    protocol = (
        "protocol: {fractions: [0.5, 1.0], sample: {n: 77}, evaluation: {redraws: 0}}\ngrids:"
    )
    text = GOOD.replace("models:", changed, 1).replace("grids:", protocol, 1)
    profile = load_profiles()["smoke"]
    cells, plain = (parse_suite(t, "mine.yaml").cells(profile) for t in (text, GOOD))
    assert [cell.name for cell in cells[:2]] == [
        "images/digits/vae[budget=0.25,schedule=cosine,warmup=0.1]/s0",
        "images/digits/vae[budget=0.25,latent=8,learning_rate=0.01,schedule=cosine,warmup=0.1]/s0",
    ]
    cell, before = cells[0], plain[0]
    assert cell.budget.train_flops == before.budget.train_flops / 4
    assert (cell.budget.fractions, cell.sample.n, cell.evaluation.redraws) == ((0.5, 1.0), 77, 0)
    expected = before.train.model_copy(update={"schedule": "cosine", "warmup": 0.1})
    assert cell.train == expected
    assert cell.train_key("cpu") != before.train_key("cpu")
    assert len(plain) == profile.seeds * len(cells)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: mine", "nam: mine", "unknown key 'nam'; did you mean 'name'?"),
        ("datasets:", "dataset:", "unknown key 'dataset'; did you mean 'datasets'?"),
        ("fraction:", "fractoin:", "unknown key 'fractoin'; did you mean 'fraction'?"),
        ("latent:", "latnet:", "unknown key 'latnet'; did you mean 'latent'?"),
        ("[vae,", "[vea,", "unknown model 'vea'; did you mean 'vae'?"),
        ("[digits,", "[digit,", "unknown data set 'digit'; did you mean 'digits'?"),
        ("[digits,", "[chorales,", "data set 'chorales' is music, and the suite"),
        ("[digits,", "[qqq,", "unknown data set 'qqq'; known: chorales, cifar10"),
        ("modality: images", "modality: sounds", "at modality: Input should be 'images'"),
        ("latent: 8", "latent: 0", "latent: Input should be greater than 0"),
        ("latent: 8", "latent: wide", "latent: Input should be a valid integer"),
        ("learning_rate: 0.01", "learning_rate: .inf", "learning_rate: expected a finite number"),
        ("learning_rate: 0.01", "learning_rate: [[1]]", "learning_rate: expected a finite number"),
        ("fraction: 0.1", "fraction: 0", "fraction: Input should be greater than 0"),
        ("fraction: 0.1", "fraction: 1.5", "fraction: Input should be less than or equal to 1"),
        ("fraction: 0.1", "fraction: .nan", "fraction"),
        ("title: A suite of one's own", "", "at title: is missing"),
        ("[vae, {name: vae, latent: 8, learning_rate: 0.01}]", "[]", "models"),
        ("[vae, {name: vae, latent: 8, learning_rate: 0.01}]", "vae", "models"),
        ("[digits, {name: digits, fraction: 0.1}]", "3", "datasets"),
        ("[digits, {name: digits, fraction: 0.1}]", "digits", "datasets"),
        ("[vae,", "[3,", "models.0"),
        ("{name: vae, latent: 8, learning_rate: 0.01}", "{latent: 8}", "models.1"),
        ("latent: 8", "params: {latent: 8}", "params"),
        ("    models:", "    train: {schedul: linear}\n    models:", "unknown key 'schedul'; did"),
        ("    models:", "    train: {warmup: 2}\n    models:", "warmup: Input should be less"),
        ("    models:", "    budget: 0\n    models:", "budget: Input should be greater than 0"),
        ("grids:", "protocol: {sample: {m: 5}}\ngrids:", "protocol.sample: unknown key 'm'"),
        ("grids:", "protocol: {evaluation: {redraws: -1}}\ngrids:", "evaluation: redraws: Input"),
        ("grids:", "protocol: {fractions: [0.5]}\ngrids:", "must rise strictly and end at 1"),
        ("grids:", "protocol: {evaluation: {spaces: [chorales]}}\ngrids:", "not for images"),
        (
            "grids:",
            "protocol: {evaluation: {spaces: [efficientnet-lite0]}}\ngrids:",
            "the first for images must be 'classifier'",
        ),
        ("grids:", "endpoint: {metric: fd, space: minilm}\ngrids:", "'minilm' is not for images"),
        ("grids:", "protocol: {sample: {n: true}}\ngrids:", "expected a number, not true"),
        ("grids:", "endpoint: {metric: fdd}\ngrids:", "unknown metric 'fdd'; did you mean 'fd'?"),
        ("title:", "name: twice\ntitle:", "line 3: not valid YAML: the key 'name' is given twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place_and_the_nearest_right_key(old, new, said):
    assert old in GOOD
    assert said in refused(GOOD.replace(old, new, 1))


def test_a_grid_without_models_is_refused_and_not_passed_over():
    line = next(line for line in GOOD.splitlines() if "models:" in line)
    assert "grids.0.models: is missing" in refused(GOOD.replace(line, ""))


def test_yaml_that_does_not_parse_is_refused_with_its_line():
    assert "mine.yaml, line 6: not valid YAML" in refused(GOOD.replace("[digits,", "[digits,]", 1))
    assert "mine.yaml, line 7: not valid YAML" in refused(GOOD.replace("    models", "   models"))


@pytest.mark.parametrize(
    "text",
    ["", "- a", "3", "name", "title: 2024-13-45", "a: \0", "&a [*a]", "{1: 2}", "{[1]: 2}", "\t",
     "[" * 5000],
)  # fmt: skip
def test_text_that_is_no_suite_is_refused_in_one_line(text):
    refused(text)


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet=st.sampled_from("[]{}:,-&*!|>'\"%@` \n\tabc01.#?"), max_size=60))
def test_any_text_is_a_suite_or_refused_in_one_line(text):
    assert_parsed_or_refused(text)


@settings(deadline=None, max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
        | st.sampled_from(["digits", "vae", "images", "name"]),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "title", "modality", "grids", "datasets", "models", "x"]),
            inner,
            max_size=5,
        ),
        max_leaves=12,
    )
)  # fmt: skip
def test_any_content_is_a_suite_or_refused_in_one_line(content):
    assert_parsed_or_refused(yaml.safe_dump(content))


@pytest.mark.parametrize("name", [*COMMANDS, *RESERVED])
def test_a_suite_cannot_be_called_like_a_command(name):
    assert "is a command's name" in refused(GOOD.replace("name: mine", f"name: {name}"))


def test_unknown_suite_and_unreadable_files(tmp_path):
    with pytest.raises(UserError, match="unknown command or suite 'imags'; did you mean 'images'"):
        load_suites("imags")
    with pytest.raises(UserError, match=r"cannot read .*none\.yaml: No such file"):
        load_suites(str(tmp_path / "none.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary\.yaml: not UTF-8"):
        load_suites(str(tmp_path / "binary.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UserError, match=r"folder\.yaml: Is a directory"):
        load_suites(str(tmp_path / "folder.yaml"))


def test_all_means_every_suite_and_a_file_is_read():
    assert "images" in suite_names()
    assert "profiles" not in suite_names()
    assert [suite.name for suite in load_suites("all")] == suite_names()


# Budgets and profiles


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf"), "much", None])
def test_a_budget_must_be_a_positive_number(budget):
    with pytest.raises(UserError, match="train_flops"):
        validate(Budget, {"train_flops": budget}, "profiles.yaml")


@pytest.mark.parametrize("fractions", [[], [0.5], [1.0, 0.5], [0.5, 0.5, 1], [0, 1], [1, 2]])
def test_fractions_rise_to_one(fractions):
    with pytest.raises(UserError, match="fractions"):
        validate(Budget, {"train_flops": 1, "fractions": fractions}, "profiles.yaml")


def test_a_misspelt_key_deep_in_a_profile_is_named():
    content = {"title": "", "seeds": 1,
               "images": {"datasets": [], "budget": {"train_flop": 1}}}  # fmt: skip
    with pytest.raises(UserError, match="train_flops") as caught:
        validate(Profile, content, "profiles.yaml: mine")
    assert "budget" in str(caught.value)


def test_specifications_cannot_be_changed():
    cell = tiny_cell()
    with pytest.raises(ValueError, match="frozen"):
        cell.seed = 3  # type: ignore[misc]


PROFILES = load_profiles()


def trained_cells(profile: Profile) -> list[Cell]:
    cells = [cell for suite in load_suites("all") for cell in suite.cells(profile, seeds=1)]
    return [cell for cell in cells if not cell.is_control]


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_speak_of_what_there_is(name):
    for modality in ("images", "text", "music"):
        scale = getattr(PROFILES[name], modality)
        assert {DATASETS[data].modality for data in scale.datasets} == {modality}
        for model, size in scale.models.items():
            assert modality in MODELS[model].modalities
            resolve(tiny_cell(model).model.model_copy(update={"tuned": size, "params": {}}))
    assert set(PROFILES[name].leave_out) <= set(suite_names())
    assert trained_cells(PROFILES[name])


@pytest.mark.parametrize("name", PROFILES)
def test_sizes_of_all_trained_models_are_within_a_quarter_of_the_target(name):
    for cell in trained_cells(PROFILES[name]):
        if cell.data.name == "cifar10":  # settings of 28x28, and so larger
            continue
        target = 0.1e6 if name == "smoke" else 0.25e6
        count = parameters(new_model(cell, "cpu"))
        assert abs(count / target - 1) <= 0.25, f"{cell.name}: {count} parameters"


@pytest.mark.parametrize("name", PROFILES)
def test_every_stage_of_every_cell_has_steps(name):
    least = 15 if name == "smoke" else 100
    for cell in trained_cells(PROFILES[name]):
        assert all(plan.steps > least for plan in plan_stages(cell, new_model(cell, "cpu")))


def test_gpu_is_a_hundred_times_cpu_and_differs_from_it_in_scale_only():
    cpu, gpu = PROFILES["cpu"].images, PROFILES["gpu"].images
    assert gpu.budget.train_flops >= 100 * cpu.budget.train_flops
    assert gpu.models == cpu.models
    assert set(gpu.datasets) == {*cpu.datasets, "cifar10"}
    assert gpu.leave_out == ()
    assert PROFILES["gpu"].device == "cuda"


def test_protocol_of_committed_results():
    for name in ("cpu", "gpu"):
        scale = PROFILES[name].images
        assert scale.sample.n == 10_000
        assert PROFILES[name].seeds >= 3
        assert {"mnist", "fashion-mnist"} <= set(scale.datasets)
        cells = [cell for suite in load_suites("images") for cell in suite.cells(PROFILES[name])]
        seeds = Counter((c.data.name, c.model.name) for c in cells if not c.is_control)
        for model in {*TRAINED} - {*scale.leave_out}:
            assert seeds["fashion-mnist", model] == 5
            assert seeds["mnist", model] == 3


def test_smoke_is_on_what_comes_with_the_installation_and_holds_every_model_and_control():
    smoke = PROFILES["smoke"]
    assert smoke.images.datasets == ("digits",)
    assert smoke.text.datasets == ("descriptions",)
    assert smoke.music.datasets == ("chorales",)
    cells = [cell for suite in load_suites("all") for cell in suite.cells(smoke)]
    for modality in ("images", "text", "music"):
        there = {cell.model.name for cell in cells if cell.modality == modality}
        assert there == {name for name, info in MODELS.items() if modality in info.modalities}
    # Weights that would have to be fetched are in no space of theirs.
    assert not {"efficientnet-lite0", "minilm"} & {
        space for cell in cells for space in cell.evaluation.spaces
    }


def test_the_same_models_are_compared_on_text_and_music_with_five_seeds():
    for modality in ("text", "music"):
        (suite,) = load_suites(modality)
        cells = [c for c in suite.cells(PROFILES["cpu"]) if not c.is_control and not c.changed]
        seeds = Counter(cell.model.name for cell in cells)
        assert seeds == dict.fromkeys(("token-gan", "token-vae", "token-gpt", "token-lstm"), 5)
        assert len({cell.budget for cell in cells}) == 1
        assert suite.endpoint is not None
        assert suite.endpoint.space == cells[0].evaluation.spaces[0]


def test_models_and_augmentations_are_of_the_suites_modality():
    with pytest.raises(
        UserError, match="model 'vae' is for images, and the suite's modality is te"
    ):
        parse_suite(
            "name: a\ntitle: b\nmodality: text\ngrids:\n"
            "  - {datasets: [shakespeare], models: [vae]}",
            "mine.yaml",
        )
    with pytest.raises(UserError, match="augmentation 'transpose' is for music, and the suite's"):
        parse_suite(
            "name: a\ntitle: b\nmodality: images\ngrids:\n"
            "  - {datasets: [digits], models: [vae], train: {augmentation: transpose}}",
            "mine.yaml",
        )
    with pytest.raises(UserError, match="training rows of shakespeare overlap"):
        parse_suite(
            "name: a\ntitle: b\nmodality: text\ngrids:\n"
            "  - {datasets: [{name: shakespeare, held_out: 0.2}], models: [token-gpt]}",
            "mine.yaml",
        )


# Choosing cells by name


def cells() -> list[Cell]:
    return parse_suite(GOOD, "mine.yaml").cells(load_profiles()["smoke"], seeds=2)


def names(*only: str) -> list[str]:
    return [cell.name for cell in select(cells(), only)]


def test_only_takes_globs_and_brackets_are_literal():
    assert len(names()) == 8
    assert names("images/digits/vae/s1") == ["images/digits/vae/s1"]
    assert names("*[fraction=0.1]/vae/s0") == ["images/digits[fraction=0.1]/vae/s0"]
    assert len(names("*/vae[latent=8*")) == 4
    assert names("*/s?") == names()
    # Each pattern adds; cells stay in the order of the suite and come once.
    assert names("*/s1", "*/s0", "images/*") == names()


@pytest.mark.parametrize("pattern", ["", "vae", "images/digits/vae", "images/digits/vae/s[01]"])
def test_only_that_matches_nothing_is_refused_with_the_nearest(pattern):
    with pytest.raises(UserError, match="matches none of the 8 cells") as caught:
        names("*/s0", pattern)
    assert f"'{pattern}'" in str(caught.value)
    if pattern.startswith("images/digits/vae"):
        assert "the nearest is 'images/digits/vae/s" in str(caught.value)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from([cell.name for cell in cells()]))
def test_every_name_selects_itself_alone(name):
    assert names(name) == [name]


# Names and keys


def test_names_of_variants_do_not_depend_on_the_order_of_parameters():
    one, two = tiny_cell(latent=8, width=6), tiny_cell(width=6, latent=8)
    assert one.name == two.name == "images/digits/vae[latent=8,width=6]/s0"
    assert tiny_cell(fraction=0.1, seed=3).name == "images/digits[fraction=0.1]/vae/s3"


DEVICE = "cpu"


def keys(cell: Cell, device: str = DEVICE) -> tuple[str, str, str]:
    return cell.train_key(device), cell.sample_key(device), cell.evaluate_key(device)


def changed(one: Cell, two: Cell) -> tuple[bool, bool, bool]:
    a, b = keys(one), keys(two)
    return a[0] != b[0], a[1] != b[1], a[2] != b[2]


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"flops": 9e6},
        {"fractions": (0.5, 1.0)},
        {"fraction": 0.5},
        {"train": {"threads": 2}},
        {"train": {"batch_size": 17}},
        {"train": {"ema_half_life": 0.1}},
        {"learning_rate": 0.5},
        {"size": {"width": 5}},
        {"data": "mnist"},
    ],
)
def test_what_changes_the_training_changes_all_keys(other):
    assert changed(tiny_cell(), tiny_cell(**other)) == (True, True, True)


def test_what_changes_samples_or_evaluation_leaves_the_training_alone():
    cell = tiny_cell()
    assert changed(cell, tiny_cell(n=121)) == (False, True, True)
    evaluation = cell.evaluation.model_copy(update={"projections": 5})
    assert changed(cell, cell.model_copy(update={"evaluation": evaluation})) == (False, False, True)


def test_a_metrics_version_or_new_extractor_weights_change_the_last_key_alone(monkeypatch):
    from dataclasses import replace

    cell = tiny_cell()
    before = keys(cell)
    with monkeypatch.context() as patch:
        patch.setitem(METRICS, "fd", replace(METRICS["fd"], version=99))
        assert keys(cell)[:2] == before[:2]
        assert keys(cell)[2] != before[2]
    with monkeypatch.context() as patch:
        patch.setitem(METRICS, "new", METRICS["fd"])
        assert keys(cell)[:2] == before[:2]
        assert keys(cell)[2] != before[2]
    with monkeypatch.context() as patch:
        patch.setitem(EXTRACTORS, "digits", replace(EXTRACTORS["digits"], sha256="0"))
        assert keys(cell)[:2] == before[:2]
        assert keys(cell)[2] != before[2]
    with monkeypatch.context() as patch:
        patch.setitem(DATASETS, "digits", replace(DATASETS["digits"], fingerprint="0"))
        assert keys(cell)[0] != before[0]
    assert keys(cell) == before


@pytest.mark.parametrize(
    ("version", "moved"),
    [
        ("TRAIN_VERSION", (True, True, True)),
        ("SAMPLE_VERSION", (False, True, True)),
        ("EVALUATE_VERSION", (False, False, True)),
    ],
)
def test_a_stages_version_changes_its_key_and_those_after(monkeypatch, version, moved):
    before = keys(tiny_cell())
    monkeypatch.setattr(f"genbench.suite.{version}", 99)
    after = keys(tiny_cell())
    assert tuple(a != b for a, b in zip(before, after, strict=True)) == moved


def test_the_device_belongs_to_training():
    cell = tiny_cell()
    assert all(a != b for a, b in zip(keys(cell, "cpu"), keys(cell, "cuda"), strict=True))


def test_keys_see_values_and_not_where_they_were_written():
    # A default spelt out, a size given by the suite in place of the profile, 1 or 1.0: the same.
    assert keys(tiny_cell()) == keys(tiny_cell(learning_rate=1e-3))
    assert keys(tiny_cell()) == keys(tiny_cell(width=4))
    assert keys(tiny_cell("dcgan", beta1=0)) == keys(tiny_cell("dcgan", beta1=0.0))


def test_a_controls_key_does_not_hang_on_the_budget():
    assert keys(tiny_cell("noise", flops=1.0)) == keys(tiny_cell("noise", flops=2.0))
    assert keys(tiny_cell("noise")) != keys(tiny_cell("noise", seed=1))


@given(
    st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.integers())), st.randoms()
)
def test_digest_does_not_depend_on_the_order_of_keys(content, order):
    items = list(content.items())
    order.shuffle(items)
    assert digest(dict(items)) == digest(content)


@given(st.dictionaries(st.text(), st.integers()), st.text(), st.integers())
def test_digest_depends_on_every_value(content, key, value):
    if content.get(key) != value:
        assert digest({**content, key: value}) != digest(content)


def test_cells_are_equal_whatever_suite_they_come_from():
    renamed = parse_suite(GOOD.replace("name: mine", "name: other"), "other.yaml")
    assert renamed.cells(load_profiles()["smoke"], seeds=2) == cells()


def test_seeds_come_innermost_and_from_the_profile_unless_named():
    suite = parse_suite(GOOD, "mine.yaml")
    profile = load_profiles()["smoke"]
    assert len(suite.cells(profile)) == 4 * profile.seeds
    assert [cell.seed for cell in suite.cells(profile, seeds=3)] == [0, 1, 2] * 4
    # Data sets that the profile does not hold are left out.
    assert suite.cells(load_profiles()["cpu"]) == []
