"""Scores read and written: known grids, what is refused, and files that another reader reads."""

import re
import sys
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genbench.data import score_files
from genbench.data.score_files import (
    REST,
    STEPS_PER_BEAT,
    TEMPO,
    VOICES,
    NotFourVoices,
    notes,
    read_score,
    write_midi,
    write_musicxml,
)
from genbench.data.sources import Unavailable
from genbench.errors import UserError

m21 = pytest.importorskip("music21", reason="music21 is not installed: pip install genbench[music]")


def sung(*events):
    """A part's events: name and length in quarters, "" for a rest."""
    return [
        m21.note.Note(name, quarterLength=length) if name else m21.note.Rest(quarterLength=length)
        for name, length in events
    ]


def score(*parts, names=VOICES):
    made = m21.stream.Score()
    for name, events in zip(names, parts, strict=True):
        part = m21.stream.Part(id=name)
        part.partName = name
        part.append(m21.meter.TimeSignature("2/4"))
        for event in events:
            part.append(event)
        made.insert(0, part)
    return made


def plain(name="C3"):
    return sung((name, 2.0))


@pytest.fixture
def keep(tmp_path):
    """Keep a score as MusicXML; the path."""

    def write(made):
        return made.write("musicxml", fp=tmp_path / "score.musicxml")

    return write


def test_a_step_has_the_pitch_that_sounds_when_it_begins(keep):
    short = sung(("C5", 0.125), ("D5", 0.125), ("E5", 0.25), ("", 0.5), ("F5", 1.0))
    triplets = sung(("C4", 1 / 3), ("D4", 1 / 3), ("E4", 1 / 3), ("F4", 1.0))
    grid = read_score(keep(score(short, triplets, plain("A3"), sung(("C2", 1.0)))))
    assert grid.dtype == np.int8
    np.testing.assert_array_equal(
        grid.T,
        [
            [72, 76, REST, REST, 77, 77, 77, 77],
            [60, 60, 62, 64, 65, 65, 65, 65],
            [57] * 8,
            [36] * 4 + [REST] * 4,
        ],
    )


def test_grace_notes_fermatas_and_repeats_change_nothing_and_ties_hold(keep):
    (grace,) = sung(("B4", 0.5))
    held, again = sung(("C5", 2.0), ("C5", 2.0))
    held.expressions.append(m21.expressions.Fermata())
    tied = sung(("E4", 3.0), ("D4", 1.0))  # the bar line divides the first, with a tie
    made = score([grace.getGrace(), held, again], tied, plain(), plain())
    made = made.makeNotation()
    made.parts[0].getElementsByClass("Measure")[0].rightBarline = m21.bar.Repeat(direction="end")
    grid = read_score(keep(made))
    np.testing.assert_array_equal(grid[:, 0], [72] * 16)
    np.testing.assert_array_equal(grid[:, 1], [64] * 12 + [62] * 4)


def test_a_pickup_comes_first(keep):
    pickup, bar = m21.stream.Measure(number=0), m21.stream.Measure(number=1)
    pickup.append([m21.meter.TimeSignature("4/4"), *sung(("G4", 1.0))])
    pickup.paddingLeft = 3.0
    bar.append(sung(("C5", 4.0)))
    grid = read_score(keep(score([pickup, bar], plain(), plain(), plain())))
    np.testing.assert_array_equal(grid[:, 0], [67] * 4 + [72] * 16)


def divided():
    measure = m21.stream.Measure([m21.stream.Voice(plain("C4")), m21.stream.Voice(plain("A3"))])
    made = score(plain(), plain(), plain(), [])
    made.parts[3].append(measure)
    return made


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: score(plain(), plain(), plain(), names=VOICES[:3]), "are Soprano, Alto, Tenor, n"),
        (lambda: score(*(plain() for _ in range(5)), names=(*VOICES, "Horn\r1")), "Bass, Horn 1,"),
        (lambda: score(*(plain() for _ in range(4)), names=VOICES[::-1]), "Bass, Tenor, Alto, Sop"),
        (
            lambda: score(plain(), [m21.chord.Chord(["C4", "E4"])], plain(), plain()),
            "Alto has a chord at beat 0",
        ),
        (divided, "Bass divides into several voices"),
    ],
)
def test_what_is_not_four_voices_is_refused(made, why, keep):
    path = keep(made())
    with pytest.raises(NotFourVoices, match=why) as caught:
        read_score(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"<score-partwise>", b"\x00\xff" * 50])
def test_what_is_no_score_is_one_line_that_names_the_file(content, tmp_path):
    path = tmp_path / "bwv0.musicxml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bwv0\.musicxml") as caught:
        read_score(path)
    assert "\n" not in str(caught.value)


def test_without_music21_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "music21", None)
    for use in (
        lambda: read_score(tmp_path / "score.mxl"),
        lambda: write_midi(np.full((4, 4), 60), tmp_path / "piece.mid"),
        lambda: score_files.corpus("bach/bwv*.mxl"),
    ):
        with pytest.raises(Unavailable, match=r'pip install "genbench\[music\]"'):
            use()


def test_a_corpus_that_is_not_there():
    with pytest.raises(UserError, match=r"no nobody/\*\.mxl in music21's corpus"):
        score_files.corpus("nobody/*.mxl")


# --- writing --------------------------------------------------------------------------------------


@settings(deadline=None)
@given(hnp.arrays(np.int8, st.integers(0, 24), elements=st.sampled_from([REST, 60, 62])))
def test_notes_are_the_runs_of_each_beat(voice):
    found = list(notes(voice))
    np.testing.assert_array_equal(
        np.concatenate([[pitch] * steps for pitch, steps in found]) if found else [], voice
    )
    ends = np.cumsum([0, *(steps for _, steps in found)])
    beats = [
        [pitch for (pitch, _), start in zip(found, ends[:-1], strict=True) if start // 4 == beat]
        for beat in range(-(-len(voice) // STEPS_PER_BEAT))
    ]
    assert set(range(0, len(voice), STEPS_PER_BEAT)) <= set(ends.tolist())  # none crosses a beat
    assert all(len(list(groupby(beat))) == len(beat) for beat in beats)  # none could be longer


def test_a_note_is_held_within_a_beat_and_struck_anew_with_the_next():
    voice = np.array([60] * 4 + [60, 60, 62, 62] + [62, REST, REST, 62] + [62])
    assert list(notes(voice)) == [
        (60, 4), (60, 2), (62, 2), (62, 1), (REST, 2), (62, 1), (62, 1),
    ]  # fmt: skip


def a_piece(steps=40):
    """Four voices that move and rest at random, in the ranges of voices."""
    random = np.random.default_rng(0)
    eighths = random.integers([60, 55, 48, 40], [72, 67, 60, 52], (steps // 2, 4))
    piece = np.repeat(eighths, 2, axis=0)
    piece[10:14, 1] = REST
    piece[:3, 3] = REST
    return piece.astype(np.int8)


def gridded(part, steps):
    """What a part read by music21 sounds at each step, asked step by step."""
    flat = part.flatten().notesAndRests.stream()
    events = [flat.getElementAtOrBefore(i / STEPS_PER_BEAT) for i in range(steps)]
    return [REST if event.isRest else event.pitch.midi for event in events]


@pytest.mark.parametrize(
    ("write", "name"), [(write_midi, "piece.mid"), (write_musicxml, "piece.musicxml")]
)
def test_a_file_has_the_notes_tempo_and_bars_of_the_piece(write, name, tmp_path):
    piece = a_piece()
    write(piece, tmp_path / name)
    read = m21.converter.parse(tmp_path / name, forceSource=True)
    assert [part.partName for part in read.parts] == list(VOICES)
    for part, voice in zip(read.parts, piece.T, strict=True):
        assert gridded(part, len(piece)) == voice.tolist()
        struck = [(n.offset, n.pitch.midi, n.quarterLength) for n in part.flatten().notes]
        ends = np.cumsum([0, *(steps for _, steps in notes(voice))]) / STEPS_PER_BEAT
        assert struck == [
            (start, pitch, steps / STEPS_PER_BEAT)
            for start, (pitch, steps) in zip(ends[:-1], notes(voice), strict=True)
            if pitch != REST
        ]
    assert {mark.number for mark in read[m21.tempo.MetronomeMark]} == {TEMPO}
    assert {sign.ratioString for sign in read[m21.meter.TimeSignature]} == {"4/4"}
    assert 60 <= TEMPO <= 80


def test_a_score_that_was_written_is_read_as_it_was(tmp_path):
    piece = a_piece()
    write_musicxml(piece, tmp_path / "piece.musicxml", title="Sample 3")
    np.testing.assert_array_equal(read_score(tmp_path / "piece.musicxml"), piece)
    assert "<work-title>Sample 3</work-title>" in (tmp_path / "piece.musicxml").read_text()


def test_white_keys_need_no_accidentals(tmp_path):
    white = np.repeat([[72, 67, 60, 48], [72, 67, 60, 48], [71, 65, 62, 43]], 4, axis=0)
    write_musicxml(white, tmp_path / "piece.musicxml")
    assert "<accidental>" not in (tmp_path / "piece.musicxml").read_text()


@pytest.mark.parametrize("write", [write_midi, write_musicxml])
def test_the_same_piece_is_the_same_file_but_for_the_date(write, tmp_path):
    files = tmp_path / "a.xml", tmp_path / "b.xml"
    for file in files:
        write(a_piece(16), file)
    a, b = (re.sub(rb"<encoding-date>.*</encoding-date>", b"", file.read_bytes()) for file in files)
    assert a == b


@pytest.mark.parametrize(
    "piece",
    [
        np.zeros((0, 4), int),
        np.full((8, 3), 60),
        np.full((1, 8, 4), 60),
        np.full((8, 4), 60.0),
        np.full((8, 4), np.nan),
        np.full((8, 4), 128),
        np.full((8, 4), -2),
    ],
)
def test_what_is_no_piece_is_not_written(piece, tmp_path):
    with pytest.raises(ValueError, match="a piece "):
        write_midi(piece, tmp_path / "piece.mid")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", [write_midi, write_musicxml])
def test_a_folder_that_is_not_there(write, tmp_path):
    with pytest.raises(UserError, match=r"nowhere/piece.*cannot be written"):
        write(a_piece(16), tmp_path / "nowhere" / "piece.xml")
