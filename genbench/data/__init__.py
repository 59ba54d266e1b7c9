"""Real data, checked before use: `DATASETS`, `info(name)`, `load(name)` and `fetch(names)`.

A name is a key of DATASETS or a path: of a UTF-8 file or a folder of them, which is text, or of a
JSON file of chorales (see `music.load_music`)."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from genbench.data import descriptions, music, sources, text
from genbench.data.characters import character_info, load_characters
from genbench.data.dataset import Data, DatasetInfo, Split
from genbench.data.images import IMAGE_DATASETS, load_images, obtain_images
from genbench.data.music import MUSIC_DATASETS, load_music
from genbench.data.text import TEXT_DATASETS
from genbench.errors import UserError

__all__ = ["DATASETS", "Data", "DatasetInfo", "Split", "fetch", "info", "is_path", "load"]

DATASETS: dict[str, DatasetInfo] = {
    **IMAGE_DATASETS,
    **{name: character_info(name) for name in (*TEXT_DATASETS, descriptions.NAME)},
    **MUSIC_DATASETS,
}

LOADERS = {"images": load_images, "text": load_characters, "music": load_music}

OBTAINERS = {"images": obtain_images, "text": text.obtain, "music": music.obtain}

UNITS = {"images": "images", "text": "passages", "music": "windows"}


def info(name: str) -> DatasetInfo:
    """What is known of data set `name`, of ours without loading it; UserError for an unknown name,
    and for a path as `load` does."""
    if name in DATASETS:
        return DATASETS[name]
    if is_path(name):
        return _info_of_path(name)
    raise _unknown(name, DATASETS)


def is_path(name: str) -> bool:
    """Whether a name that is not in DATASETS is taken for a path: it has a separator or ends like a
    file's."""
    return name not in DATASETS and (os.sep in name or bool(Path(name).suffix))


@functools.cache  # a file is taken not to change while a process runs
def _info_of_path(path: str) -> DatasetInfo:
    return load(path).info


def _modality(name: str) -> str:
    if is_path(name):
        return "music" if Path(name).suffix == ".json" else "text"
    return info(name).modality


def _unknown(name: str, known: Collection[str]) -> UserError:
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"data set {name!r} is unknown: {hint}known are {', '.join(known)}")


def load(name: str) -> Data:
    """The splits of data set `name`; UserError if it is unknown, damaged or nowhere to be had."""
    data: Data = LOADERS[_modality(name)](name)
    return data


def fetch(names: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Have each data set at hand and checked: one row each, for the CLI command `data`.

    names: None asks for whatever can be had of all of them: the row of one that no source has then
    says why, where a name would raise. Columns: name, source (where it came from this time), path,
    train, validation, test (sizes of the splits), unit (of these: "images", "passages" or
    "windows"), licence, status ("ok" or "unavailable") and reason. Raises UserError as `load` does.
    """
    rows = []
    for name in DATASETS if names is None else names:
        known = info(name)
        source, path, status, reason = "", "", "ok", ""
        try:
            source, kept = ("yours", name) if known.path else OBTAINERS[known.modality](name)
            path = str(kept)
        except sources.Unavailable as error:
            if names is not None:
                raise
            status, reason = "unavailable", str(error)
        rows.append(
            {
                "name": name,
                "source": source,
                "path": path,
                **known.sizes,
                "unit": UNITS[known.modality],
                "licence": known.licence,
                "status": status,
                "reason": reason,
            }
        )
    return rows
