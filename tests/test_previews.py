"""What is kept of samples for people to look at."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from genbench.data import load
from genbench.data.music import to_pitches
from genbench.data.score_files import read_score
from genbench.previews import (
    PASSAGES,
    WINDOWS,
    joined,
    kept_previews,
    preview_paths,
    read_passages,
    read_windows,
    save_grid,
    save_preview,
)
from genbench.tables import Results


def test_a_preview_is_called_after_its_cell_settings_and_all(tmp_path):
    (path,) = preview_paths(tmp_path, "images/digits/vae[beta=0.5]/s0")
    assert path == tmp_path / "samples" / "images__digits__vae[beta=0.5]__s0.png"


def test_text_is_kept_as_its_first_passages(tmp_path):
    data = load("descriptions")
    save_preview(data.test.rows, data, tmp_path, "text/descriptions/token-gpt/s0")
    (path,) = preview_paths(tmp_path, "text/descriptions/token-gpt/s0")
    assert read_passages(path) == [data.alphabet.decode(row) for row in data.test.rows[:PASSAGES]]


def test_music_is_kept_for_figures_and_for_a_player(tmp_path):
    data = load("chorales")
    save_preview(data.test.rows, data, tmp_path, "music/chorales/token-gpt/s0")
    grid, midi = preview_paths(tmp_path, "music/chorales/token-gpt/s0")
    windows = to_pitches(data.test.rows[:WINDOWS])
    np.testing.assert_array_equal(read_windows(grid), windows)
    piece = joined(windows)
    heard = read_score(midi)
    np.testing.assert_array_equal(heard, piece[: len(heard)])
    assert (piece[len(heard) :] == -1).all()


def test_chapters_find_the_previews_that_are_there_in_the_order_they_ask_for(tmp_path):
    data = load("descriptions")
    cells = pd.DataFrame(
        [("token-gan", 0), ("token-gpt", 0), ("token-gpt", 1), ("token-vae", 1), ("ngram", 0)],
        columns=["model", "seed"],
    )
    cells["cell"] = [
        f"text/descriptions/{model}/s{seed}"
        for model, seed in cells.itertuples(index=False, name=None)
    ]
    # Of the first GAN nothing is kept, and of the VAE no first seed is recorded.
    for model in ("token-gpt", "ngram"):
        save_preview(data.test.rows, data, tmp_path, f"text/descriptions/{model}/s0")
    rest = pd.DataFrame()
    results = Results("smoke", cells, rest, rest, rest, {}, tmp_path)
    wanted = ["ngram", "token-gan", "token-vae", "noise", "token-gpt"]
    found = kept_previews(results, wanted)
    assert list(found) == ["ngram", "token-gpt"]
    assert found["ngram"] == preview_paths(tmp_path, "text/descriptions/ngram/s0")[0]


def test_silence_can_be_kept_too(tmp_path):
    data = load("chorales")
    silent = np.zeros_like(data.test.rows[:WINDOWS])
    save_preview(silent, data, tmp_path, "music/chorales/token-gan/s0")
    grid, midi = preview_paths(tmp_path, "music/chorales/token-gan/s0")
    assert (read_windows(grid) == -1).all()
    assert midi.is_file()


def test_a_picture_shows_the_first_images_in_their_order(tmp_path):
    images = np.zeros((70, 1, 4, 4), np.uint8)
    images[:, 0] = np.arange(70)[:, None, None] % 17
    save_grid(images, 17, tmp_path / "new" / "grid.png")
    picture = np.asarray(Image.open(tmp_path / "new" / "grid.png"))
    assert picture.shape == (8 * 6, 8 * 6)
    tiles = picture.reshape(8, 6, 8, 6).transpose(0, 2, 1, 3).reshape(64, 6, 6)
    inner = tiles[:, 1:-1, 1:-1]
    np.testing.assert_array_equal(inner[:, 0, 0], np.round(np.arange(64) % 17 * 255 / 16))
    assert (inner == inner[:, :1, :1]).all()
    assert (tiles[:, 0] == 128).all()


def test_a_picture_in_colour_shows_red_green_and_blue(tmp_path):
    images = np.zeros((64, 3, 4, 5), np.uint8)
    images[:, 0] = np.arange(64)[:, None, None]
    images[:, 1, :2] = 100  # the upper half
    images[:, 2, :, 4] = 255  # the rightmost column
    save_grid(images, 256, tmp_path / "grid.png")
    image = Image.open(tmp_path / "grid.png")
    assert image.mode == "RGB"
    picture = np.asarray(image)
    assert picture.shape == (8 * 6, 8 * 7, 3)
    tiles = picture.reshape(8, 6, 8, 7, 3).transpose(0, 2, 4, 1, 3).reshape(64, 3, 6, 7)
    np.testing.assert_array_equal(tiles[:, :, 1:-1, 1:-1], images)
    assert (tiles[..., 0, :] == 128).all()


@pytest.mark.parametrize("n", [1, 5, 8, 20, 63])
def test_a_picture_of_few_images(tmp_path, n):
    save_grid(np.zeros((n, 1, 4, 4), np.uint8), 17, tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").size[0] % 6 == 0
