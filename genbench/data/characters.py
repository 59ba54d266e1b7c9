"""Text as rows for models: a fixed number of characters each, as indices into an alphabet.

The alphabet is a constant of a data set: the characters of its training split, in order, and one
symbol more for every character that was not seen there, so that held-out text keeps its length.
Rows of validation and test lie end to end from the split's start on. Those of training overlap,
starting every quarter of a row: a model of fixed positions then meets a character at four of them
and with four lengths of context, at four bytes a character of memory; twice the overlap would take
twice that. Rows that overlap share characters, so parts of the training split that must not know
one another are to be made of rows next to each other.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from genbench.data import descriptions
from genbench.data.dataset import SPLITS, Data, DatasetInfo, Split, by_split
from genbench.data.text import TEXT_DATASETS, TextData, TextInfo, load_text
from genbench.errors import UserError

RULE_VERSION = 1  # raised when the same text would give other rows

LENGTH = 256
"""Characters of a row, but for the descriptions, which are too short for rows like these."""
DESCRIPTIONS_LENGTH = 64
OVERLAP = 4  # training rows in which a character stands

MAX_CHARACTERS = 255  # which with the symbol for unseen ones fill a byte

# As loading finds; known without it.
SHAKESPEARE_LEVELS = 72
SHAKESPEARE_SEPARATORS = (0, 1)


@dataclass(frozen=True)
class Alphabet:
    """The different characters of a training text, 1 to 255, in ascending order of code points.

    Their indices are 0, 1, ...; the last one, `unseen`, stands for every other character.
    """

    characters: str

    @classmethod
    def of(cls, text: str, where: str) -> Alphabet:
        """The alphabet of a training text, which is from `where`; UserError, which names the
        rarest, for more than 255 different characters."""
        counts = Counter(text)
        if (excess := len(counts) - MAX_CHARACTERS) > 0:
            rare = sorted(counts, key=lambda character: (counts[character], character))[:excess]
            share = sum(counts[character] for character in rare) / len(text)
            raise UserError(
                f"{where}: its training split has {len(counts)} different characters, and a row of "
                f"bytes tells {MAX_CHARACTERS} apart; map the {excess} rarest, {share:.2g} of the "
                f"text, to others or leave them out: {_named(rare)}"
            )
        return cls("".join(sorted(counts)))

    @property
    def separators(self) -> tuple[int, ...]:
        """The indices of characters that are in no word: spaces and line breaks."""
        return tuple(i for i, character in enumerate(self.characters) if character.isspace())

    @property
    def unseen(self) -> int:
        """The index of characters that the training text lacks."""
        return len(self.characters)

    def __len__(self) -> int:
        """Number of indices, the one for unseen characters included."""
        return len(self.characters) + 1

    def encode(self, text: str) -> np.ndarray:
        """Indices uint8 (len(text),) of a text's characters, in 0..len(self)-1."""
        points, known = _points(text), _points(self.characters)
        index = np.searchsorted(known, points)
        found = np.take(known, index, mode="clip") == points
        return np.where(found, index, self.unseen).astype(np.uint8)

    def prompt(self, text: str) -> np.ndarray:
        """As `encode`, of a text to be continued; UserError, which names them, for characters that
        the training text lacks, since no model has learned what follows them."""
        index = self.encode(text)
        if len(places := np.flatnonzero(index == self.unseen)):
            unseen = list(dict.fromkeys(text[place] for place in places))
            raise UserError(
                f"prompt: the training text has no {_named(unseen)}; leave out or replace what no "
                "model has seen"
            )
        return index

    def decode(self, row: np.ndarray) -> str:
        """The text of indices (L,), with U+FFFD for unseen characters. ValueError for indices
        beyond the alphabet or of another shape."""
        row = np.asarray(row)
        if row.ndim != 1 or row.dtype.kind not in "iu":
            raise ValueError(f"row: expected integers (L,), got {row.dtype} {row.shape}")
        if row.size and not 0 <= row.min() <= row.max() <= self.unseen:
            raise ValueError(
                f"row: expected indices in 0..{self.unseen}, got {row.min()}..{row.max()}"
            )
        symbols = self.characters + "\ufffd"
        return "".join(symbols[i] for i in row.tolist())


@dataclass(frozen=True)
class CharacterData(Data):
    """The three splits of one data set as rows uint8 (N, L) of one class.

    left_out: split -> characters after the last row, fewer than a row. unseen: split -> characters
    that the alphabet lacks, those left out included.
    """

    text: TextData
    alphabet: Alphabet
    left_out: Mapping[str, int]
    unseen: Mapping[str, int]

    @property
    def apart(self) -> int:
        return OVERLAP


def load_characters(name: str) -> CharacterData:
    """The rows of `name`, for which `load_text` has the text; UserError as there, and where a split
    is shorter than a row or the alphabet too large."""
    return as_rows(load_text(name), _length(name))


def character_info(name: str) -> DatasetInfo:
    """What is known of the rows of `name`, as for `load_text`; where it is not in TEXT_DATASETS, by
    loading it. `shape` is (L,), `levels` the size of the alphabet, and `sizes` are in rows."""
    if name not in TEXT_DATASETS:
        return load_characters(name).info
    text = TEXT_DATASETS[name]
    sizes = {split: _rows(split, text.characters[split], LENGTH) for split in SPLITS}
    return _info(text, LENGTH, SHAKESPEARE_LEVELS, SHAKESPEARE_SEPARATORS, sizes)


def as_rows(data: TextData, length: int) -> CharacterData:
    """The splits of a text as rows of `length` characters, a multiple of 4."""
    texts = {split: getattr(data, split) for split in SPLITS}
    for split, text in texts.items():
        if len(text) < length:
            raise UserError(
                f"{data.info.source}: its {split} split has {len(text)} characters and a row "
                f"{length}; give more text"
            )
    alphabet = Alphabet.of(data.train, data.info.source)
    rows, left_out, unseen = {}, {}, {}
    for split, text in texts.items():
        index, step = alphabet.encode(text), _step(split, length)
        windows = np.lib.stride_tricks.sliding_window_view(index, length)[::step]
        # A copy, since a view of the text could not be written to.
        rows[split] = Split(windows.copy(), np.zeros(len(windows), np.int64))
        left_out[split] = (len(text) - length) % step
        unseen[split] = int((index == alphabet.unseen).sum())
    sizes = {split: len(rows[split]) for split in SPLITS}
    return CharacterData(
        _info(data.info, length, len(alphabet), alphabet.separators, sizes),
        **rows,
        text=data,
        alphabet=alphabet,
        left_out=MappingProxyType(left_out),
        unseen=MappingProxyType(unseen),
    )


def _length(name: str) -> int:
    return DESCRIPTIONS_LENGTH if name == descriptions.NAME else LENGTH


def _step(split: str, length: int) -> int:
    """Characters from a row's start to the next one's."""
    return length // OVERLAP if split == "train" else length


def _rows(split: str, characters: int, length: int) -> int:
    return (characters - length) // _step(split, length) + 1


def _info(
    text: TextInfo,
    length: int,
    levels: int,
    separators: tuple[int, ...],
    sizes: Mapping[str, int],
) -> DatasetInfo:
    rule = f"{text.fingerprint} rows of {length} {OVERLAP} {RULE_VERSION}"
    return DatasetInfo(
        name=text.name,
        modality="text",
        shape=(length,),
        levels=levels,
        classes=1,
        class_names=("text",),
        sizes=by_split(*(sizes[split] for split in SPLITS)),
        licence=text.licence,
        source=text.source,
        fingerprint=hashlib.sha256(rule.encode()).hexdigest(),
        separators=separators,
        path=text.path,
    )


def _points(text: str) -> np.ndarray:
    """Code points uint32 (len(text),), also of lone surrogates, which a shell may hand over."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _named(characters: list[str], most: int = 8) -> str:
    """Characters with their code points, for one line of a message."""
    shown = [f"{ascii(c) if not c.isprintable() else repr(c)} (U+{ord(c):04X})" for c in characters]
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")
