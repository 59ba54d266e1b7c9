"""The recipe: it repeats itself, learns, and augments as it says."""

import dataclasses
import json
import sys

import numpy as np
import pytest
import torch

from genbench.data import load
from genbench.data.images import IMAGE_DATASETS
from genbench.features import classifier, recipe
from genbench.features.classifier import WIDTHS


@pytest.fixture
def threads():
    """The recipe sets the number of threads of the process: put it back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def quick(monkeypatch, tmp_path, threads):
    """Four epochs on the digits by one thread, which a busy machine delays least, and elsewhere."""
    monkeypatch.setattr(classifier, "WEIGHTS", tmp_path)
    short = dataclasses.replace(recipe.RECIPES["digits"], epochs=4, threads=1)
    monkeypatch.setitem(recipe.RECIPES, "digits", short)
    return tmp_path


def test_it_learns_and_repeats_itself(quick):
    first = recipe.run("digits")
    weights = (quick / "digits.safetensors").read_bytes()
    assert first == recipe.run("digits")
    assert weights == (quick / "digits.safetensors").read_bytes()
    assert first == json.loads((quick / "digits.json").read_text())
    assert first["validation_accuracy"] > 0.9


def test_every_data_set_has_a_recipe():
    assert set(recipe.RECIPES) == set(WIDTHS) == set(IMAGE_DATASETS)


def test_command_line_refuses_an_unknown_name(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["recipe", "cifar"])
    with pytest.raises(SystemExit) as caught:
        recipe.main()
    assert caught.value.code == 2
    assert "cifar" in capsys.readouterr().err


@pytest.mark.parametrize("flip", [False, True])
def test_augmentation_shifts_and_mirrors(flip):
    r = recipe.Recipe(epochs=1, shift=1, flip=flip)
    image = load("digits").train.rows[0]
    images = torch.from_numpy(np.repeat(image[None], 500, axis=0))
    found = {x.numpy().tobytes() for x in recipe.augment(images, r, torch.Generator())}

    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    shifted = [padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    mirrored = [x[:, :, ::-1] for x in shifted] if flip else []
    assert found == {x.tobytes() for x in [*shifted, *mirrored]}
