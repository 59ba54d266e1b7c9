"""A classifier that does not come with genbench: refused until it is trained here, and then known
by its hash."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from conftest import tiny_cell

from genbench.data import DATASETS, Data, Split
from genbench.errors import UserError
from genbench.features import WEIGHTS, classifier, recipe, spaces
from genbench.features.extraction import extract
from genbench.features.spaces import TRAINED_HERE, load, space_info
from genbench.scoring import Judge

COMMAND = "python -m genbench.features.recipe cifar10"


def coloured(n: int, seed: int) -> Split:
    """Noise whose red plane is the brighter, the higher the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 10
    images = rng.integers(0, 30, (n, 3, 32, 32), np.uint8)
    images[:, 0] += (labels * 25).astype(np.uint8)[:, None, None]
    return Split(images, labels.astype(np.int64))


DATA = Data(DATASETS["cifar10"], coloured(640, 0), coloured(100, 1), coloured(100, 2))


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache; the folder in which classifiers are kept."""
    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "classifiers"


@pytest.fixture
def trained(monkeypatch, cache):
    """Two epochs on the stand-in for CIFAR-10, with a narrow network; the card."""
    before = torch.get_num_threads()
    monkeypatch.setattr(recipe, "load", lambda name: DATA)
    monkeypatch.setitem(classifier.WIDTHS, "cifar10", classifier.Widths(8, 8, 16))
    quick = dataclasses.replace(recipe.RECIPES["cifar10"], epochs=3, threads=1, batch_size=32)
    monkeypatch.setitem(recipe.RECIPES, "cifar10", quick)
    yield lambda: recipe.run("cifar10")
    torch.set_num_threads(before)


def test_widths_and_dimensions_agree():
    for name, dimension in TRAINED_HERE.items():
        assert classifier.WIDTHS[name].features == dimension
        assert not (WEIGHTS / f"{name}.json").exists()
    assert recipe.RECIPES["cifar10"].flip


def test_until_it_is_trained_evaluation_is_refused_in_one_line():
    judge = Judge(DATA, tiny_cell(data="cifar10").evaluation, "cpu")
    for call in (judge.check_spaces, lambda: load("classifier", "cifar10")):
        with pytest.raises(UserError) as error:
            call()
        # An Unavailable would be a row with a reason, and the run would go on without it.
        assert not isinstance(error.value, spaces.Unavailable)
        assert "\n" not in str(error.value)
        assert str(error.value).endswith(f"train it once with: {COMMAND}")


def test_keys_exist_before_and_change_with_it(trained):
    cell = tiny_cell(data="cifar10")
    before, expected = cell.evaluate_key("cpu"), cell.sample_key("cpu")
    assert before == cell.evaluate_key("cpu")
    trained()
    assert cell.evaluate_key("cpu") != before
    assert cell.sample_key("cpu") == expected


def test_trained_it_is_kept_in_the_cache_and_known_by_its_hash(trained, cache):
    card = trained()
    assert sorted(path.name for path in cache.iterdir()) == ["cifar10.json", "cifar10.safetensors"]
    assert card == json.loads((cache / "cifar10.json").read_text())
    known, extractor = space_info("classifier", "cifar10"), load("classifier", "cifar10")
    assert extractor.name == known.name == f"classifier-cifar10-{card['sha256'][:8]}"
    assert extractor.sha256 == known.sha256
    assert extractor.dimension == known.dimension == 16
    features, logits = extract(extractor, DATA.test.rows, 256)
    assert features.shape == (100, 16)
    assert logits is not None
    found = (logits.argmax(1).numpy() == DATA.test.labels).mean()
    assert found == pytest.approx(card["test_accuracy"])
    assert found > 0.5  # it has learnt from colour
    Judge(DATA, tiny_cell(data="cifar10").evaluation, "cpu").check_spaces()


def test_another_training_is_another_space(trained, monkeypatch):
    trained()
    first = space_info("classifier", "cifar10")
    r = dataclasses.replace(recipe.RECIPES["cifar10"], seed=1, epochs=1)
    monkeypatch.setitem(recipe.RECIPES, "cifar10", r)
    trained()
    second = space_info("classifier", "cifar10")
    assert first.name != second.name
    assert first.sha256 != second.sha256


def test_one_of_other_splits_does_not_count(trained, monkeypatch):
    trained()
    moved = dataclasses.replace(DATASETS["cifar10"], fingerprint="other")
    monkeypatch.setitem(DATASETS, "cifar10", moved)
    with pytest.raises(UserError, match="train it once with"):
        load("classifier", "cifar10")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": "x"}'])
def test_a_damaged_card_is_refused(cache, content):
    cache.mkdir(parents=True)
    (cache / "cifar10.json").write_text(content)
    with pytest.raises(UserError, match=rf"cifar10\.json: not the card .*{COMMAND}"):
        space_info("classifier", "cifar10")


def test_damaged_or_lost_weights_are_refused(trained, cache, monkeypatch):
    trained()
    with monkeypatch.context() as patch:
        patch.setitem(classifier.WIDTHS, "cifar10", classifier.Widths(8, 8, 24))
        with pytest.raises(UserError, match=rf"weights of another network; .*{COMMAND}"):
            load("classifier", "cifar10")
    path = cache / "cifar10.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"sha256 should be .*; train it again with: {COMMAND}"):
        load("classifier", "cifar10")
    path.unlink()
    with pytest.raises(UserError, match=r"cannot be read .*; train it again with"):
        load("classifier", "cifar10")


def test_a_cache_that_takes_no_files_is_told_before_training(trained, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(recipe, "train", None)
    with pytest.raises(UserError, match=r"cannot write to .*set GENBENCH_CACHE"):
        trained()
    assert space_info("classifier", "cifar10").name == "classifier-cifar10"


def test_no_cuda_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["recipe", "cifar10", "--device", "cuda"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as caught:
        recipe.main()
    assert caught.value.code == 2
    assert "torch finds none" in capsys.readouterr().err
