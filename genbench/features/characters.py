"""Short strings of characters, hashed: a space of text that needs no weights and no network.

The features of a passage are its counts of strings of one to three characters, each added to one of
128 numbers with a sign, both by a hash, and scaled to length 1. In expectation the signs leave
inner products of the counts as they were (Weinberger et al. 2009, "Feature hashing for large scale
multitask learning", section 2). The space knows spelling, capitals, punctuation and the breaking of
lines, which sentence encoders drop, and nothing of meaning. A distance here is
"FD (characters-hashed-128)".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor, nn

from genbench.data.characters import load_characters
from genbench.features import Extractor
from genbench.features.spaces import CHARACTERS_DIMENSION, CHARACTERS_STRINGS, SpaceInfo

BATCH_SIZE = 500


class Strings(nn.Module):
    """Texts to features (N, 128), and no classes."""

    def __init__(self, device: torch.device):
        super().__init__()
        self.device = device
        self.vectorizer = HashingVectorizer(
            analyzer="char",
            ngram_range=CHARACTERS_STRINGS,
            lowercase=False,
            n_features=CHARACTERS_DIMENSION,
        )

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, None]:
        counts = self.vectorizer.transform(texts).toarray()
        return torch.from_numpy(counts).float().to(self.device), None


def load_extractor(known: SpaceInfo, dataset: str, device: str | torch.device = "cpu") -> Extractor:
    """The space for rows of characters of a data set of text. Raises as `load_characters` does."""
    data = load_characters(dataset)
    return Extractor(
        name=known.name,
        sha256=known.sha256,
        dimension=known.dimension,
        prepare=lambda rows, levels: [data.alphabet.decode(row) for row in rows.cpu().numpy()],
        network=Strings(torch.device(device)),
        device=torch.device(device),
        batch_size=BATCH_SIZE,
        shape=data.info.shape,
        levels=data.info.levels,
    )
