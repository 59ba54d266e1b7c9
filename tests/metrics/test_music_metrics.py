"""The register of music's metrics, all of them at once, and their controls on made-up chorales."""

import math

import numpy as np
import pytest

from genbench.metrics import IMAGE_METRICS, MUSIC_METRICS, TEXT_METRICS
from genbench.metrics.measured import Measured
from genbench.metrics.music import measure, nats_per_step
from genbench.metrics.music_statistics import chord_share

OF_WINDOWS = [name for name, info in MUSIC_METRICS.items() if info.needs == "music"]

# Three triads of C major and its dominant seventh, voiced for soprano, alto, tenor and bass.
CHORDS = np.array([(72, 67, 64, 48), (72, 69, 65, 53), (71, 67, 62, 55), (71, 65, 62, 55)])


def chorales(seed, n, bars=4):
    """Pieces of chords of a beat or two, in C, G or D each, now and then with a passing soprano."""
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(n):
        chords = CHORDS[rng.integers(len(CHORDS), size=4 * bars)]
        lengths = rng.choice([4, 4, 8], size=4 * bars)
        piece = np.repeat(chords, lengths, axis=0)[: 16 * bars] + rng.choice([-5, 0, 2])
        passing = np.flatnonzero(rng.random(4 * bars) < 0.2) * 4 + 2
        piece[passing[:, None] + [0, 1], 0] += 2
        pieces.append(piece)
    return np.stack(pieces)


@pytest.fixture(scope="module")
def measured():
    """What every metric says of each control."""
    train, held_out = chorales(0, 150), chorales(1, 150)
    rng = np.random.default_rng(2)
    order = rng.permuted(np.tile(np.arange(4), (150, 1)), axis=1)
    bars = train.reshape(150, 4, 16, 4)
    shuffled = np.take_along_axis(bars, order[..., None, None], axis=1)
    controls = {
        "held-out": chorales(3, 150),
        "train": train,
        "bars shuffled": shuffled.reshape(train.shape),
        "copier": train[rng.integers(15, size=150)],
        "noise": rng.integers(36, 82, train.shape),
    }
    return {name: measure(x, held_out, list(train)) for name, x in controls.items()}


def test_every_metric_is_measured_in_the_order_of_the_register(measured):
    assert set(MUSIC_METRICS) - set(OF_WINDOWS) == {"nats_per_step"}
    for values in measured.values():
        assert list(values) == OF_WINDOWS
    assert all(isinstance(value, Measured) for value in measured["train"].values())
    for name, value in measured["train"].items():
        assert math.isnan(value.low) == (MUSIC_METRICS[name].interval == "")


def test_names_are_those_of_no_other_register():
    assert not set(MUSIC_METRICS) & {*IMAGE_METRICS, *TEXT_METRICS}


@pytest.mark.parametrize(
    "name",
    [name for name in OF_WINDOWS if name.endswith("_js")]
    + ["parallel_fifths", "parallel_octaves", "voice_crossing", "wide_spacing", "out_of_range"],
)
def test_noise_is_worse_than_music(measured, name):
    assert measured["noise"][name].low > measured["held-out"][name].high


def test_noise_has_fewer_chords_and_repetitions(measured):
    for name in ("chord_share", "chord_share_gap", "beats_repeated", "mean_run"):
        assert measured["noise"][name].high < measured["held-out"][name].low
    gap = measured["held-out"]["chord_share_gap"]
    assert gap.low < 0 < gap.high


def test_copies_are_found(measured):
    for name in ("mean_run", "longest_run", "longest_run_transposed", "longest_soprano_run"):
        assert measured["train"][name].value == measured["copier"][name].value == 64
    assert measured["held-out"]["mean_run"].high < measured["bars shuffled"]["mean_run"].low
    assert 16 <= measured["bars shuffled"]["mean_run"].value < 64


def test_few_pieces_over_and_over_are_farther_from_the_reference(measured):
    for name in ("pitch_class_js", "chord_transition_js"):
        assert measured["copier"][name].value > measured["train"][name].value


def test_a_window_too_short_for_a_metric_gives_its_reason():
    x = chorales(0, 20)[:, :16]
    values = measure(x, chorales(1, 20)[:, :16], list(chorales(2, 5)))
    assert values["bars_repeated"] == "samples: none has an occasion for it"
    assert isinstance(values["beats_repeated"], Measured)


def test_windows_of_another_length_than_the_reference_are_refused():
    with pytest.raises(ValueError, match="of 64 steps but reference of 32"):
        measure(chorales(0, 4), chorales(1, 4)[:, :32], list(chorales(2, 4)))
    with pytest.raises(ValueError, match="reference: expected whole numbers"):
        measure(chorales(0, 4), chorales(1, 4) / 1, list(chorales(2, 4)))


def test_intervals_of_rates_hold_what_they_promise():
    x = chorales(5, 4_000)
    x[:, :, 0] += np.random.default_rng(6).random((len(x), 1)) < 0.3  # whole windows off key
    found = [chord_share(each) for each in x.reshape(100, 40, 64, 4)]
    share = chord_share(x).value
    held = np.mean([each.low <= share <= each.high for each in found])
    assert held >= 0.9  # at most 10 of 100 miss, which 95% intervals do in all but 1% of cases


def test_four_uniform_tokens_are_a_uniform_step():
    # 47 symbols by four voices: the step has 47^4 outcomes.
    assert nats_per_step(math.log2(47)) == pytest.approx(math.log(47**4))
    assert nats_per_step(1.0) == pytest.approx(2.772588722239781)
    assert nats_per_step(0.0) == 0
