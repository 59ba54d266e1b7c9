"""Scores in files, by music21: four voices read onto a grid, and a grid written for eyes and ears.

A grid is int8 (T, 4): the MIDI pitch that each voice (soprano, alto, tenor, bass) sounds at the
start of each sixteenth, REST where it is silent. It has no ties: of two equal steps in a row it
does not say whether the second is a new note.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from genbench.data.sources import Unavailable
from genbench.errors import UserError

VOICES = ("Soprano", "Alto", "Tenor", "Bass")
REST = -1
STEPS_PER_BEAT = 4
TEMPO = 72  # quarters a minute, as chorales are often sung

MISSING = 'music21 is not installed: pip install "genbench[music]"'


class NotFourVoices(UserError):
    """A score that is no grid, although it can be read; the message says why."""


def _music21() -> ModuleType:
    """The library: an optional one, and it takes a second to import."""
    try:
        return import_module("music21")
    except ImportError as error:
        raise Unavailable(MISSING) from error


def corpus(pattern: str) -> list[Path]:
    """Files of the corpus that music21 ships, by name; UserError where it ships none."""
    folder = Path(_music21().common.getCorpusFilePath())
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise UserError(f"{folder}: no {pattern} in music21's corpus; reinstall music21")
    return paths


def read_score(path: Path) -> np.ndarray:
    """The grid of a score with four parts, called as VOICES are, of one voice each.

    Grace notes are left out, and so is what begins and ends between two steps. A fermata takes its
    written length. Repeats are played once, endings one after the other. The first step is that of
    the pickup, where there is one. Parts that end early are silent to the end. Raises NotFourVoices
    where parts are others, more or fewer, and where one has chords or divides; UserError where
    music21 cannot read the file; Unavailable without music21.
    """
    m21 = _music21()
    try:
        score = m21.converter.parse(path, forceSource=True)
    except Exception as error:  # a parser of many formats raises anything
        raise UserError(
            f"{path}: music21 cannot read it ({' '.join(str(error).split())})"
        ) from error
    names = tuple(" ".join(str(part.partName).split()) for part in score.parts)
    if names != VOICES:
        raise NotFourVoices(
            f"{path.name}: its parts are {', '.join(names)}, not {', '.join(VOICES)}"
        )
    steps = max(math.ceil(part.highestTime * STEPS_PER_BEAT) for part in score.parts)
    grid = np.full((steps, len(VOICES)), REST, np.int8)
    for voice, part in zip(grid.T, score.parts, strict=True):
        if part[m21.stream.Voice]:
            raise NotFourVoices(f"{path.name}: {part.partName} divides into several voices")
        for note in part.flatten().notes:
            if not isinstance(note, m21.note.Note):
                raise NotFourVoices(
                    f"{path.name}: {part.partName} has a chord at beat {note.offset}"
                )
            # A grace note has length 0. Offsets of triplets are fractions, so this is exact.
            begin, end = note.offset, note.offset + note.quarterLength
            voice[math.ceil(begin * STEPS_PER_BEAT) : math.ceil(end * STEPS_PER_BEAT)] = (
                note.pitch.midi
            )
    return grid


def notes(voice: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pitch, or REST, and length in steps of each note of one voice's grid (T,).

    Equal steps are one note within a beat, and a new note begins with each beat. A voice of the
    chorales that keeps its pitch within a beat holds the note, more than 999 times of 1,000; one
    that keeps it into the next beat holds it or strikes it anew about equally often. To strike
    keeps every syllable, and no note crosses a bar line.
    """
    for beat in range(0, len(voice), STEPS_PER_BEAT):
        for pitch, steps in groupby(voice[beat : beat + STEPS_PER_BEAT].tolist()):
            yield pitch, len(list(steps))


def write_midi(piece: np.ndarray, path: Path) -> None:
    """Write the grid (T, 4) as a MIDI file of four tracks, sung by a choir at TEMPO.

    `notes` says which steps are one note. Raises ValueError for what is no grid, UserError where
    the file cannot be written, Unavailable without music21.
    """
    _write(piece, path, "midi", "")


def write_musicxml(piece: np.ndarray, path: Path, title: str = "") -> None:
    """Write the grid (T, 4) as a MusicXML file of four staves in bars of 16 steps, with the date.

    Joins notes and raises as `write_midi` does.
    """
    _write(piece, path, "musicxml", title)


def _write(piece: np.ndarray, path: Path, kind: str, title: str) -> None:
    if piece.ndim != 2 or piece.shape[1] != len(VOICES) or not len(piece):
        raise ValueError(f"a piece is (T, {len(VOICES)}) with T > 0, not {piece.shape}")
    if piece.dtype.kind not in "iu" or piece.min() < REST or piece.max() > 127:
        raise ValueError(f"a piece has integer pitches up to 127, or {REST}, not {piece.dtype} in "
                         f"{piece.min()}..{piece.max()}")  # fmt: skip
    score = _score(piece, title)
    try:
        score.write(kind, fp=path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error}); name another file") from error


def _score(piece: np.ndarray, title: str) -> Any:
    m21 = _music21()
    score = m21.stream.Score()
    score.metadata = m21.metadata.Metadata(title=title, composer="genbench")
    for i, (name, voice) in enumerate(zip(VOICES, piece.T, strict=True), start=1):
        part = m21.stream.Part(id=name)
        part.partName = name
        choir = m21.instrument.Choir()
        # Else they are drawn anew each time, and no two files of a piece would be equal.
        choir.partId, choir.instrumentId, choir.partName = f"P{i}", f"I{i}", name
        part.insert(0, choir)
        if i == 1:
            part.append(m21.tempo.MetronomeMark(number=TEMPO))
        part.append(m21.meter.TimeSignature("4/4"))
        for pitch, steps in notes(voice):
            part.append(_event(m21, pitch, steps / STEPS_PER_BEAT))
        score.insert(0, part)
    return score


def _event(m21: ModuleType, pitch: int, quarters: float) -> Any:
    if pitch == REST:
        return m21.note.Rest(quarterLength=quarters)
    # By name: from a number, music21 writes a natural sign before every white key.
    return m21.note.Note(m21.pitch.Pitch(pitch).nameWithOctave, quarterLength=quarters)
