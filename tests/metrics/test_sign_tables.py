"""The sign tables of music and text: every metric is in its table, with signs that it can have."""

from importlib.resources import files

import pytest
import yaml

from genbench.metrics import IMAGE_METRICS, MUSIC_METRICS, TEXT_METRICS, MetricInfo

# Of features and of training examples.
EVERYWHERE = {
    name: info for name, info in IMAGE_METRICS.items() if info.needs in ("space", "train")
}
TABLES: dict[str, tuple[dict[str, MetricInfo], set[str]]] = {
    "controls_music": (
        {name: info for name, info in MUSIC_METRICS.items() if info.needs == "music"},
        {"shuffled-bars", "ngram", "copier", "noise"},
    ),
    "controls_text": (TEXT_METRICS, {"shuffled-words", "ngram", "copier", "noise"}),
}


def read(name: str) -> dict[str, dict[str, str]]:
    return yaml.safe_load((files("genbench") / "metrics" / f"{name}.yaml").read_text("utf-8"))


@pytest.mark.parametrize("name", TABLES)
def test_every_metric_says_something_or_is_blank_on_purpose(name):
    own, _ = TABLES[name]
    assert {*own, *EVERYWHERE} <= set(read(name))


@pytest.mark.parametrize("name", TABLES)
def test_signs_are_those_that_the_metric_can_have(name):
    own, controls = TABLES[name]
    for metric, signs in read(name).items():
        assert set(signs) <= controls
        assert set(signs.values()) <= {"worse", "lower", "higher"}
        info = (own | EVERYWHERE).get(metric)
        if info is not None:
            neither = info.higher_is_better is None
            assert set(signs.values()) <= ({"lower", "higher"} if neither else {"worse"}), metric


@pytest.mark.parametrize("name", TABLES)
def test_every_control_is_seen_by_some_metric(name):
    seen = {control for signs in read(name).values() for control in signs}
    assert seen == TABLES[name][1]


def test_noise_is_seen_by_every_distance():
    for name in TABLES:
        for metric, signs in read(name).items():
            if metric.endswith("_js") or metric in ("fd", "fd_infinity", "kid", "mmd_rbf"):
                assert signs["noise"] == "worse"
