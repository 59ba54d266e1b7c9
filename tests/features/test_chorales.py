"""The chorale encoder: it learns to fill in voices, repeats itself, and sees what music is."""

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genbench.data.music import SYMBOLS, to_symbols
from genbench.errors import UserError
from genbench.features import chorales, spaces
from genbench.features.chorales import Encoder, Recipe, Widths, features, hidden, nats
from genbench.features.extraction import extract
from genbench.metrics.frechet import fd, gaussian

SMALL = Widths(symbol=8, inner=16, last=8)
SHORT = Recipe(steps=8, batch_size=16, threads=1)

CHORDS = np.array([(72, 67, 64, 48), (72, 69, 65, 53), (71, 67, 62, 55), (71, 65, 62, 55)])


def windows(seed, n=150):
    """Symbols (n, 64, 4): the four chords in their order, each for one or two beats, in one of
    three keys."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        chords = CHORDS[(rng.integers(4) + np.arange(16)) % 4]
        made.append(np.repeat(chords, rng.choice([4, 8], 16), axis=0)[:64] + rng.choice([-5, 0, 2]))
    return to_symbols(np.stack(made))


DATA = SimpleNamespace(
    info=SimpleNamespace(fingerprint="f"),
    train=SimpleNamespace(rows=windows(0)),
    validation=SimpleNamespace(rows=windows(1, 40)),
)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network, seen = Encoder(SMALL), chorales.check_symbols(DATA.train.rows)
    # Half windows take half the time, and it takes windows of any length.
    r = Recipe(steps=250, batch_size=16, peak_rate=2e-2, threads=1)
    chorales.train(network, seen[:, :32], r)
    chorales.whiten(network, seen)
    return network.requires_grad_(False)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An encoder that was trained for a few steps, in a folder of its own."""
    monkeypatch.setattr(chorales, "FOLDER", tmp_path)
    chorales.run(DATA, SHORT, SMALL)
    return tmp_path


def test_it_fills_in_voices_better_than_by_how_common_notes_are(trained):
    fresh = windows(2)
    commonness = [Counter(fresh[..., v].ravel().tolist()) for v in range(4)]
    size = fresh[..., 0].size
    entropy = np.mean([-sum(n / size * np.log(n / size) for n in c.values()) for c in commonness])
    assert nats(trained, chorales.check_symbols(fresh), Recipe()) < 0.85 * entropy


def test_features_see_harmony_rhythm_and_line(trained):
    def measured(x):
        return trained.features(chorales.check_symbols(x))

    reference, fresh = gaussian(measured(windows(3))), windows(4)
    out_of_tune, out_of_time = fresh.copy(), fresh.copy()
    out_of_tune[..., 2] += 1
    for v in range(1, 4):
        out_of_time[..., v] = np.roll(fresh[..., v], v, axis=1)
    beats = fresh.reshape(150, 16, 16)
    order = np.random.default_rng(0).permuted(np.tile(np.arange(16), (150, 1)), axis=1)
    out_of_order = np.take_along_axis(beats, order[..., None], axis=1).reshape(fresh.shape)
    real = fd(measured(fresh), reference)
    for fault in (out_of_tune, out_of_time, out_of_order):
        assert fd(measured(fault), reference).low > real.high


def test_training_windows_have_features_of_mean_0_and_covariance_1(trained):
    seen = chorales.check_symbols(DATA.train.rows)
    x = trained.features(seen).double().numpy()
    raw = np.linalg.eigvalsh(np.cov(trained.means(seen).double().numpy().T))
    expected = raw / np.maximum(raw, chorales.LEAST_VARIANCE * raw[-1])
    assert np.abs(x.mean(axis=0)).max() < 1e-2
    assert np.linalg.eigvalsh(np.cov(x.T)) == pytest.approx(expected, abs=2e-2)
    assert (expected == 1).sum() > 8


def test_it_repeats_itself_and_writes_what_it_says(folder, monkeypatch):
    monkeypatch.setattr(spaces, "CHORALES_CARD", folder / "chorales.json")
    card = json.loads((folder / "chorales.json").read_text())
    weights = (folder / "chorales.safetensors").read_bytes()
    assert chorales.run(DATA, SHORT, SMALL) == card
    assert (folder / "chorales.safetensors").read_bytes() == weights
    assert card["train_nats_per_hidden_note"] > 0
    info = spaces.space_info("chorales", "chorales")
    assert info.name == card["name"] == "chorales-encoder"
    assert info.sha256 != card["sha256"]
    extractor = chorales.load_extractor(info)
    assert extractor.sha256 == info.sha256
    rows = windows(5, 30).astype(np.uint8)
    assert torch.equal(extract(extractor, rows, SYMBOLS).features, features(rows))


def test_features_are_of_each_window_alone(folder):
    x = windows(5, 300)
    found = features(x)
    assert found.shape == (300, 16)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert torch.allclose(features(x[::-1])[-1], found[0], atol=1e-3)
    assert torch.allclose(features(x[7:8])[0], found[7], atol=1e-3)


def test_the_declared_network_has_64_features():
    network = Encoder(Widths()).eval()
    with torch.inference_mode():
        silence = torch.zeros(2, 64, 4, dtype=torch.int64)
        found, logits = network.features(silence), network(silence)
    assert found.shape == (2, 64)
    assert logits.shape == (2, 64, 4, SYMBOLS)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 70), st.integers(1, 20), st.integers(0, 1000))
def test_voices_are_hidden_for_whole_spans(steps, span, seed):
    r = Recipe(span=span, masked=0.5)
    mask = hidden(torch.zeros(3, steps, 4), r, torch.Generator().manual_seed(seed))
    assert mask.shape == (3, steps, 4)
    for start in range(0, steps, span):
        assert (mask[:, start : start + span] == mask[:, start : start + 1]).all()


def test_a_quarter_of_the_notes_is_hidden():
    mask = hidden(torch.zeros(2000, 64, 4), Recipe(), torch.Generator().manual_seed(0))
    assert mask.float().mean() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 64, 4)), "which are integers, got float64"),
        (np.zeros((2, 63, 4), int), "expected shape"),
        (np.zeros((64, 4), int), "expected shape"),
        (np.zeros((0, 64, 4), int), "expected shape"),
        (np.full((2, 64, 4), 47), "0..46, got 47 to 47"),
        (np.full((2, 64, 4), -1), "0..46, got -1 to -1"),
    ],
)
def test_what_is_no_set_of_windows_is_refused(x, message):
    with pytest.raises(ValueError, match=message):
        features(x)


def test_without_weights_it_says_how_to_make_them(monkeypatch, tmp_path):
    monkeypatch.setattr(chorales, "FOLDER", tmp_path / "none")
    with pytest.raises(UserError, match=chorales.MAKE):
        features(windows(0, 2))
    monkeypatch.setattr(spaces, "CHORALES_CARD", tmp_path / "none" / "chorales.json")
    assert spaces.space_info("chorales", "chorales").name == chorales.NAME  # what can be planned


def test_weights_that_are_not_the_cards_are_refused(folder):
    weights = folder / "chorales.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match="sha256 should be"):
        features(windows(0, 2))
    weights.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        features(windows(0, 2))
    (folder / "chorales.json").write_text("{}")
    with pytest.raises(UserError, match="not the card of an encoder"):
        features(windows(0, 2))
