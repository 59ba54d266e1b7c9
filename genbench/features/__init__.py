"""Frozen feature extractors, known by the sha256 of their weights.

`EXTRACTORS` says which there are without importing torch, for the keys of stages;
`genbench.features.classifier` loads and runs them, `genbench.features.recipe` trained them, and
`genbench.features.fidelity` lends them to torch-fidelity.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class ExtractorInfo:
    """A frozen classifier: its name, the data set it was trained on, the sha256 hex digest of its
    weights file, the dimension of its features and its number of classes."""

    name: str
    dataset: str
    sha256: str
    dimension: int
    classes: int


def _read(path: Path) -> ExtractorInfo:
    card = json.loads(path.read_text())
    return ExtractorInfo(**{field: card[field] for field in ExtractorInfo.__dataclass_fields__})


EXTRACTORS: dict[str, ExtractorInfo] = {
    path.stem: _read(path) for path in sorted(WEIGHTS.glob("*.json"))
}
"""Data set name -> its extractor, from the JSON beside each weights file."""
