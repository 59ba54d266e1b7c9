"""Real data, checked by checksums before use: `DATASETS`, `load(name)` and `fetch(names)`."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Any

from genbench.data import sources
from genbench.data.dataset import Data, DatasetInfo, Split
from genbench.data.images import IMAGE_DATASETS, load_images
from genbench.errors import UserError

__all__ = ["DATASETS", "Data", "DatasetInfo", "Split", "fetch", "info", "load"]

DATASETS: dict[str, DatasetInfo] = dict(IMAGE_DATASETS)


def info(name: str) -> DatasetInfo:
    """What is known of data set `name` without loading it; UserError for an unknown name."""
    if name not in DATASETS:
        raise _unknown(name, DATASETS)
    return DATASETS[name]


def _unknown(name: str, known: Collection[str]) -> UserError:
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"data set {name!r} is unknown: {hint}known are {', '.join(known)}")


def load(name: str) -> Data:
    """The splits of data set `name`; UserError if it is unknown, damaged or nowhere to be had."""
    return load_images(info(name).name)


def fetch(names: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Have each data set at hand and checked: one row each, for the CLI command `data`.

    names: None asks for whatever can be had of all of them, text included: the row of one that no
    source has then says why, where a name would raise. Columns: name, source (where it came from
    this time), path, train, validation, test (sizes of the splits), unit (of these: "images" or
    "characters"), licence, status ("ok" or "unavailable") and reason. Raises UserError as `load`
    does.
    """
    from genbench.data import text

    every: dict[str, DatasetInfo | text.TextInfo] = {**DATASETS, **text.TEXT_DATASETS}
    rows = []
    for name in every if names is None else names:
        if name not in every:
            raise _unknown(name, every)
        known = every[name]
        is_text = isinstance(known, text.TextInfo)
        sizes = known.characters if isinstance(known, text.TextInfo) else known.sizes
        source, path, status, reason = "", "", "ok", ""
        try:
            if is_text:
                source, kept = text.obtain(name)
            else:
                obtained = sources.obtain(name)
                source, kept = obtained.source, obtained.path
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
                **sizes,
                "unit": "characters" if is_text else "images",
                "licence": known.licence,
                "status": status,
                "reason": reason,
            }
        )
    return rows
