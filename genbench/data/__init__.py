"""Real data, checked by checksums before use: `DATASETS`, `load(name)` and `fetch(names)`."""

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


def fetch(names: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Have each data set at hand and checked: one row each, for the CLI command `data`.

    names: None asks for whatever can be had of all of them: the row of one that no source has then
    says why, where a name would raise. Columns: name, source (where it came from this time), path,
    train, validation, test (numbers of images), licence, status ("ok" or "unavailable") and reason.
    Raises UserError as `load` does.
    """
    rows = []
    for name in DATASETS if names is None else names:
        known = info(name)
        source, path, status, reason = "", "", "ok", ""
        try:
            obtained = sources.obtain(name)
            source, path = obtained.source, str(obtained.path)
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
                "licence": known.licence,
                "status": status,
                "reason": reason,
            }
        )
    return rows
