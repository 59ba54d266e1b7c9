"""Real data, checked by sha256 before use: `DATASETS`, `load(name)` and `fetch(names)`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from genbench.data import sources
from genbench.data.images import IMAGE_DATASETS, DatasetInfo, ImageData, Split, load_images
from genbench.errors import UserError

__all__ = ["DATASETS", "DatasetInfo", "ImageData", "Split", "fetch", "info", "load"]

DATASETS: dict[str, DatasetInfo] = dict(IMAGE_DATASETS)


def info(name: str) -> DatasetInfo:
    """What is known of data set `name` without loading it; UserError for an unknown name."""
    if name not in DATASETS:
        near = difflib.get_close_matches(name.lower(), DATASETS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"data set {name!r} is unknown: {hint}known are {', '.join(DATASETS)}")
    return DATASETS[name]


def load(name: str) -> ImageData:
    """The splits of data set `name`; UserError if it is unknown, damaged or nowhere to be had."""
    return load_images(info(name).name)


def fetch(names: Iterable[str]) -> list[dict[str, Any]]:
    """Have each data set at hand and checked: one row each, for the CLI command `data`.

    Columns: name, source (where it came from this time), path, train, validation, test (numbers
    of images), licence, status ("ok"). Raises UserError as `load` does.
    """
    rows = []
    for name in names:
        known = info(name)
        obtained = sources.obtain(name)
        rows.append(
            {
                "name": name,
                "source": obtained.source,
                "path": str(obtained.path),
                **known.sizes,
                "licence": known.licence,
                "status": "ok",
            }
        )
    return rows
