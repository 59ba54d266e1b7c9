"""What the results keep of a cell's samples for people to look at: the first ones, not chosen.

One preview a model and data set, of seed 0, or pictures would take most of the room that results
have. Images are a PNG of 8 x 8; text is the first 8 passages; music is the first 4 windows, as JSON
for figures and sound, and as one MIDI file for whoever has a player.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from genbench.data import Data
from genbench.data.characters import CharacterData
from genbench.data.music import BAR, to_pitches
from genbench.data.score_files import REST, write_midi
from genbench.records import atomic, read_json
from genbench.suite import Cell
from genbench.tables import Results

SUFFIXES = {"images": (".png",), "text": (".txt",), "music": (".json", ".mid")}
PASSAGES, WINDOWS = 8, 4
# Between passages; what is generated one character after the other hardly ever has it.
RULE = "\n" + "-" * 64 + "\n"


def has_preview(cell: Cell) -> bool:
    """Whether a cell is one of those that are shown: seed 0 of a plain model."""
    return cell.seed == 0 and not cell.variant


def preview_paths(results: Path, cell_name: str) -> tuple[Path, ...]:
    """Where a cell's preview is, whether or not there is one; the first is what chapters read."""
    stem = results / "samples" / cell_name.replace("/", "__")
    # Not `with_suffix`: settings in a name have points.
    return tuple(Path(f"{stem}{suffix}") for suffix in SUFFIXES[cell_name.partition("/")[0]])


def kept_previews(results: Results, models: Sequence[str]) -> dict[str, Path]:
    """Model -> its preview, in the order given, of those that have one: a run that failed before
    it drew samples has none. results: plain models on one data set, as `analysis.of_suite` gives
    for text and music."""
    names = results.cells[results.cells["seed"] == 0].set_index("model")["cell"]
    paths = {
        model: preview_paths(results.folder, names[model])[0] for model in models if model in names
    }
    return {model: path for model, path in paths.items() if path.is_file()}


def save_preview(rows: np.ndarray, data: Data, results: Path, cell_name: str) -> None:
    """Write the first of a cell's samples (N, *shape) uint8, as their modality has it."""
    path, *more = preview_paths(results, cell_name)
    if data.info.modality == "images":
        save_grid(rows, data.info.levels, path)
    elif isinstance(data, CharacterData):
        passages = [data.alphabet.decode(row) for row in rows[:PASSAGES]]
        with atomic(path) as temporary:
            temporary.write_text(RULE.join(passages) + "\n", "utf-8")
    else:
        windows = to_pitches(rows[:WINDOWS])
        with atomic(path) as temporary:
            temporary.write_text(json.dumps({"windows": windows.tolist()}) + "\n", "utf-8")
        with atomic(more[0]) as temporary:
            write_midi(joined(windows), temporary)


def save_grid(images: np.ndarray, levels: int, path: Path, rows: int = 8) -> None:
    """The first rows*rows of the images (N, 1 or 3, H, W), in their order, as one PNG, in grey or
    in colour."""
    tiles = images[: rows * rows].astype(np.float32) * (255 / (levels - 1))
    margin = ((0, 0), (0, 0), (1, 1), (1, 1))
    tiles = np.pad(tiles.round().astype(np.uint8), margin, constant_values=128)
    channels, height, width = tiles.shape[1:]
    rows = min(rows, len(tiles))
    columns = len(tiles) // rows
    grid = tiles[: rows * columns].reshape(rows, columns, channels, height, width)
    picture = grid.transpose(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)
    with atomic(path) as temporary:
        # PIL takes grey without an axis of channels.
        Image.fromarray(picture[:, :, 0] if channels == 1 else picture).save(temporary, "PNG")


def joined(windows: np.ndarray) -> np.ndarray:
    """Windows of pitches (N, T, 4) as one piece, with a bar of silence between them."""
    silence = np.full((BAR, windows.shape[2]), REST, windows.dtype)
    return np.concatenate([part for window in windows for part in (window, silence)][:-1])


def read_passages(path: Path) -> list[str]:
    """The passages of a preview of text."""
    return path.read_text("utf-8").removesuffix("\n").split(RULE)


def read_windows(path: Path) -> np.ndarray:
    """The windows (N, 64, 4) int8 of a preview of music: MIDI pitches, -1 for silence."""
    return np.array(read_json(path)["windows"], np.int8)
