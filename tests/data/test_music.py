"""Chorales: facts of the corpus, splits that share no melody, windows, transposition, and files."""

import hashlib
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genbench.data import music, score_files
from genbench.data.music import (
    BAR,
    HIGHEST,
    LOWEST,
    MUSIC_DATASETS,
    RANGES,
    STEPS,
    SYMBOLS,
    draw_semitones,
    load_music,
    melody,
    melody_groups,
    split_by_melody,
    steps_outside,
    to_pitches,
    to_symbols,
    transpose,
    transposition_range,
    windows,
)
from genbench.data.score_files import REST, NotFourVoices
from genbench.data.sources import Unavailable
from genbench.errors import UserError

SPLITS = ("train", "validation", "test")
INFO = MUSIC_DATASETS["chorales"]

# sha256 over the names of the pieces of train, validation and test: a piece that moves changes it.
MEMBERS = "0c8581a9f99bda032b145d858b42cf0e4c9aaeac63d3b26709c7663415cd0946"
FINGERPRINT = "3c39a2f018cf"


@pytest.fixture(scope="module")
def chorales():
    try:
        return load_music("chorales")
    except Unavailable as reason:
        pytest.skip(f"the chorales are neither in the cache nor can music21 parse them: {reason}")


@pytest.fixture(scope="module")
def splits(chorales):
    return {split: dict(getattr(chorales, split).pieces) for split in SPLITS}


@pytest.fixture(scope="module")
def every(splits):
    return {name: piece for pieces in splits.values() for name, piece in pieces.items()}


@pytest.fixture(scope="module")
def groups(every):
    return melody_groups(every)


# --- the corpus -----------------------------------------------------------------------------------


def test_the_corpus_has_the_pieces_that_are_known_of_it(chorales, every):
    assert len(every) == 364
    assert len(every) + len(chorales.left_out) == 408
    assert sum(map(len, every.values())) == 79_268
    for piece in every.values():
        assert piece.dtype == np.int8
        assert piece.shape == (len(piece), 4)
    steps = np.concatenate(list(every.values()))
    lowest = np.where(steps == REST, HIGHEST, steps).min(0)
    assert list(zip(lowest.tolist(), steps.max(0).tolist(), strict=True)) == list(RANGES)
    assert (min(low for low, _ in RANGES), max(high for _, high in RANGES)) == (LOWEST, HIGHEST)


def test_what_is_left_out_says_why(chorales):
    assert all("its parts are" in why for why in chorales.left_out.values())
    assert "Horn 2, Soprano, Alto, Tenor, Bass" in chorales.left_out["bwv1.6"]
    assert "Soprano 1, Soprano 2" in chorales.left_out["bwv227.3"]
    assert "Piano, Piano" in chorales.left_out["bwv846"]


@pytest.mark.parametrize("name", ["bwv269", "bwv62.6", "bwv432"])
def test_a_piece_is_what_the_score_sounds_at_each_step(name, every):
    m21 = pytest.importorskip("music21", reason="music21, whose corpus it is, is not installed")
    (path,) = score_files.corpus(f"bach/{name}.mxl")
    for part, voice in zip(
        m21.converter.parse(path, forceSource=True).parts, every[name].T, strict=True
    ):
        flat = part.flatten().notesAndRests.stream()
        asked = [flat.getElementAtOrBefore(step / 4) for step in range(len(voice))]
        assert [REST if e.isRest else e.pitch.midi for e in asked] == voice.tolist()


def test_arrays_are_as_their_info_says(chorales):
    assert chorales.info is INFO
    assert (INFO.modality, INFO.shape, INFO.levels) == ("music", (64, 4), 47)
    assert len(INFO.class_names) == INFO.classes == 1
    for split in SPLITS:
        made = getattr(chorales, split)
        assert made.rows.shape == (INFO.sizes[split], *INFO.shape)
        assert len(made) == INFO.sizes[split]
        assert made.rows.dtype == np.uint8
        assert made.rows.flags.c_contiguous
        assert made.rows.flags.writeable
        assert made.rows.max() < INFO.levels
    assert chorales.test.rows.min() == 0  # there are rests


def test_windows_are_the_pieces_in_order(chorales):
    for split, hop in (("train", BAR), ("validation", STEPS), ("test", STEPS)):
        made = getattr(chorales, split)
        found = iter(made.rows)
        outside = 0
        for piece in made.pieces.values():
            end = 0
            for start in range(0, len(piece) - STEPS + 1, hop):
                np.testing.assert_array_equal(to_pitches(next(found)), piece[start : start + STEPS])
                end = start + STEPS
            outside += len(piece) - end
        assert next(found, None) is None
        assert made.steps_left_out == outside


def test_splits_are_constants(splits):
    members = [sorted(splits[split]) for split in SPLITS]
    assert hashlib.sha256(repr(members).encode()).hexdigest() == MEMBERS
    assert [len(names) for names in members] == [292, 36, 36]  # about 80, 10 and 10 of 100
    assert INFO.fingerprint.startswith(FINGERPRINT)
    with pytest.raises(TypeError):
        INFO.sizes["train"] = 0


# --- leaks ----------------------------------------------------------------------------------------


def test_a_melody_is_in_one_split_only(splits, groups):
    for group in groups:
        assert sum(not splits[split].keys().isdisjoint(group) for split in SPLITS) == 1
    assert sum(len(group) for group in groups if len(group) > 1) == 261


def test_no_two_splits_have_a_soprano_in_common(splits):
    seen = {
        split: {tuple(np.diff(melody(piece))) for piece in pieces.values()}
        for split, pieces in splits.items()
    }
    assert seen["train"].isdisjoint(seen["test"])
    assert seen["train"].isdisjoint(seen["validation"])
    assert seen["validation"].isdisjoint(seen["test"])


def phrases(pieces, steps):
    """Every stretch of `steps` of a soprano, as intervals from its first note."""
    for piece in pieces.values():
        soprano = piece[:, 0].astype(int)
        for i in range(len(soprano) - steps + 1):
            stretch = soprano[i : i + steps]
            if (stretch != REST).all():
                yield tuple((stretch - stretch[0]).tolist())


@pytest.mark.parametrize(
    ("steps", "tolerance"),
    # Two bars of a soprano can be a formula such as a descent to the close; of pieces split at
    # random, a third and more are in training.
    [(32, 0.10), (48, 0.01), (STEPS, 0.0)],
)
@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_few_phrases_of_a_held_out_soprano_were_learned(steps, tolerance, held_out, splits):
    learned = set(phrases(splits["train"], steps))
    known = [phrase in learned for phrase in phrases(splits[held_out], steps)]
    assert len(known) > 4000
    assert np.mean(known) <= tolerance


def test_without_melody_groups_there_would_be_leaks(every):
    names = np.random.RandomState(0).permutation(sorted(every))
    learned = set(phrases({name: every[name] for name in names[72:]}, 32))
    known = [phrase in learned for phrase in phrases({n: every[n] for n in names[:36]}, 32)]
    assert np.mean(known) > 0.3


# Pieces whose soprano is plainly another than that of a piece of the same title.
OTHER_MELODIES = {"127.5", "14.5", "24.6", "244.37", "272", "36.8-2", "398", "399", "45.7", "405"}


def test_pieces_of_one_title_are_in_one_group(groups):
    pytest.importorskip("music21", reason="music21, which lists titles, is not installed")
    from music21.corpus.chorales import ChoraleListRKBWV

    group_of = {name.removeprefix("bwv"): i for i, group in enumerate(groups) for name in group}
    titled = defaultdict(set)
    for name, entry in ChoraleListRKBWV().byBWV.items():
        if name in group_of and name not in OTHER_MELODIES:
            titled[entry["title"]].add(group_of[name])
    assert len(titled) > 200
    assert {title: found for title, found in titled.items() if len(found) > 1} == {}


def a_piece(soprano, steps=4):
    """Four voices of which the soprano sings these notes, each for some steps."""
    grid = np.repeat(np.array(soprano)[:, None] + [0, -5, -9, -17], steps, axis=0)
    return grid.astype(np.int8)


TUNE = (67, 69, 71, 72, 74, 72, 71, 69, 67, 71, 69, 66, 67, 74, 72, 71, 69, 71, 69, 67)
OTHER = (72, 67, 69, 64, 65, 62, 64, 60, 62, 67, 65, 69, 67, 64, 65, 60, 62, 59, 57, 60)


def test_a_melody_is_found_under_what_harmonisations_change():
    tune = a_piece(TUNE)
    slow = a_piece(TUNE, steps=8)
    ornamented = tune.copy()
    ornamented[2::8, 0] += 1
    paused = np.insert(tune, [20] * 4, REST, axis=0)
    passing = a_piece([*TUNE[:5], 73, *TUNE[5:10], 70, *TUNE[10:15], 70, *TUNE[15:]])
    lower = tune - 5
    part = a_piece([*OTHER[:6], *TUNE[:10], *OTHER[6:10]])
    pieces = {"tune": tune, "slow": slow, "ornamented": ornamented, "paused": paused}
    pieces |= {"passing": passing, "lower": lower, "part": part, "other": a_piece(OTHER)}
    assert melody_groups(pieces) == [sorted(pieces.keys() - {"other"}), ["other"]]


def test_melodies_at_random_are_not_one():
    random = np.random.default_rng(0)
    pieces = {str(i): a_piece(60 + random.integers(0, 13, 40)) for i in range(30)}
    assert len(melody_groups(pieces)) == 30


def test_silent_and_very_short_pieces_have_groups_too():
    silent = np.full((8, 4), REST, np.int8)
    pieces = {"silent": silent, "silent too": silent, "note": a_piece([60]), "tune": a_piece(TUNE)}
    assert sorted(name for group in melody_groups(pieces) for name in group) == sorted(pieces)
    assert melody(silent).tolist() == []
    assert melody(a_piece([60, 60, 62])).tolist() == [60, 62]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 4), max_size=12),
    st.lists(st.integers(0, 4), max_size=12),
)
def test_the_longest_common_subsequence_is_that_of_the_table(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1, j + 1] = (
                table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
            )
    assert music._common(a, b) == table[-1, -1]


def test_groups_stay_whole_whatever_the_order_of_the_pieces():
    random = np.random.default_rng(1)
    tunes = [60 + random.integers(0, 13, 30) for _ in range(20)]
    pieces = {f"{i}.{j}": a_piece(tune + j) for i, tune in enumerate(tunes) for j in range(2)}
    made = split_by_melody(pieces)
    assert made.keys() == {"train", "validation", "test"}
    assert [len(made[split]) for split in SPLITS] == [32, 4, 4]
    for names in made.values():
        assert {name[:-2] + ".0" for name in names} <= names.keys()
    backwards = split_by_melody(dict(reversed(pieces.items())))
    assert {s: list(m) for s, m in backwards.items()} == {s: list(m) for s, m in made.items()}


# --- windows and symbols --------------------------------------------------------------------------


def test_windows_of_a_piece():
    piece = np.arange(40, 80).reshape(10, 4)
    made = windows([piece, piece[:3]], 4, hop=3)
    np.testing.assert_array_equal(to_pitches(made), [piece[0:4], piece[3:7], piece[6:10]])
    assert windows([piece[:3]], 4, hop=1).shape == (0, 4, 4)
    assert windows([], hop=BAR).shape == (0, STEPS, 4)
    for wrong in ({"steps": 0, "hop": 1}, {"steps": 4, "hop": 0}):
        with pytest.raises(ValueError, match="steps >= 1 and hop >= 1"):
            windows([piece], **wrong)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 12), st.data())
def test_steps_outside_are_those_that_no_window_has(length, steps, data):
    hop = data.draw(st.integers(1, steps))
    inside = np.zeros(length, bool)
    for start in range(0, length - steps + 1, hop):
        inside[start : start + steps] = True
    assert steps_outside(length, steps, hop) == np.sum(~inside)


def test_symbols_number_silence_and_pitches_in_order():
    pitches = np.array([REST, *range(LOWEST, HIGHEST + 1)], np.int8)
    symbols = to_symbols(pitches)
    assert symbols.dtype == np.uint8
    assert symbols.tolist() == list(range(SYMBOLS)) == list(range(47))
    back = to_pitches(symbols)
    assert back.dtype == np.int8
    np.testing.assert_array_equal(back, pitches)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64])
@pytest.mark.parametrize("pitch", [-2, 0, 35, 82, 127])
def test_a_pitch_out_of_range_has_no_symbol(pitch, dtype):
    with pytest.raises(ValueError, match=rf"36\.\.81, or -1, not {pitch} at \(1, 0\)"):
        to_symbols(np.array([[60], [pitch]], dtype))


def test_what_is_no_symbol_has_no_pitch():
    for symbol in (47, 255):
        with pytest.raises(ValueError, match=rf"0\.\.46, not {symbol} at \(0,\)"):
            to_pitches(np.array([symbol], np.uint8))
    with pytest.raises(ValueError, match="not -1"):
        to_pitches(np.array([-1]))


@pytest.mark.parametrize("values", [[60.0], [np.nan], [True], ["60"], [None]])
def test_symbols_are_of_integers_alone(values):
    for convert in (to_symbols, to_pitches):
        with pytest.raises(ValueError, match="need integers"):
            convert(np.array(values))


# --- transposition --------------------------------------------------------------------------------


def in_ranges():
    """Windows (B, 5, 4) of pitches of which each voice is in its range, or silent."""
    voices = [
        st.lists(st.just(REST) | st.integers(low, high), min_size=5, max_size=5)
        for low, high in RANGES
    ]
    window = st.tuples(*voices).map(lambda voices: np.array(voices).T)
    return st.lists(window, min_size=1, max_size=4).map(np.stack)


@settings(deadline=None, max_examples=40)
@given(in_ranges())
def test_transposition_to_the_ends_of_the_range_keeps_every_voice_in_its_own(pitches):
    made = torch.from_numpy(to_symbols(pitches))
    down, up = transposition_range(made)
    low, high = np.array(RANGES).T
    for semitones in (down, up, torch.zeros_like(up)):
        moved = transpose(made, semitones)
        assert moved.dtype == torch.uint8
        expected = np.where(pitches == REST, REST, pitches + semitones.numpy()[:, None, None])
        np.testing.assert_array_equal(to_pitches(moved.numpy()), expected)
        assert ((expected == REST) | ((expected >= low) & (expected <= high))).all()
    for further, sounds in ((down - 1, pitches), (up + 1, pitches)):
        notes = sounds != REST
        beyond = sounds + further.numpy()[:, None, None]
        leaves = (notes & ((beyond < low) | (beyond > high))).any((1, 2))
        np.testing.assert_array_equal(leaves, notes.any((1, 2)))


def test_a_voice_outside_its_range_goes_no_further():
    pitches = np.array([[[81, 81, 60, 50]], [[70, 60, 48, 36]], [[REST] * 4]])
    down, up = transposition_range(torch.from_numpy(to_symbols(pitches)))
    assert down.tolist() == [-12, 0, 0]
    assert up.tolist() == [0, 11, 0]


@pytest.mark.parametrize(("pitch", "semitones"), [(HIGHEST, 1), (LOWEST, -1), (60, 10_000)])
def test_a_note_is_not_moved_out_of_the_symbols(pitch, semitones):
    made = torch.from_numpy(to_symbols(np.full((2, 3, 4), pitch)))
    with pytest.raises(ValueError, match=r"leave 36\.\.81"):
        transpose(made, torch.tensor([0, semitones]))


def test_semitones_are_drawn_over_the_whole_range_by_the_generator_alone():
    made = torch.from_numpy(to_symbols(np.array([[[77, 65, 57, 48]]]).repeat(4000, 0)))
    down, up = (int(end[0]) for end in transposition_range(made))
    first, again = (draw_semitones(made, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.dtype == torch.int64
    assert torch.equal(first, again)
    found, counts = first.unique(return_counts=True)
    assert found.tolist() == list(range(down, up + 1)) == list(range(-9, 5))
    expected = len(made) / len(found)
    assert (counts - expected).abs().max() < 5 * expected**0.5
    transpose(made, first)


def test_chorales_can_be_moved(chorales):
    made = torch.from_numpy(chorales.train.rows)
    down, up = transposition_range(made)
    assert (up - down).float().mean() > 5
    moved = transpose(made, draw_semitones(made, torch.Generator().manual_seed(0)))
    assert torch.equal(moved == 0, made == 0)


# --- files of the user's --------------------------------------------------------------------------


def layout(**changes):
    """A JSON file's content: two pieces of different melodies for each split."""
    random = np.random.default_rng(2)
    return {
        key: [a_piece(60 + random.integers(0, 13, 20)).tolist() for _ in range(2)]
        for key in ("train", "valid", "test")
    } | changes


@pytest.fixture
def keep(tmp_path):
    """Keep content, or text, as a JSON file; its path."""

    def write(content):
        path = tmp_path / "own.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


@pytest.mark.filterwarnings("error")
def test_a_json_file_works_in_their_place(keep):
    content = layout()
    content["train"][0][5] = [-1, 60, 50, 40]
    path = keep(content)
    loaded = load_music(path)
    assert loaded.info.name == f"own-{loaded.info.fingerprint[:8]}"
    assert loaded.info.key == path
    assert loaded.info.shape == INFO.shape
    assert dict(loaded.info.sizes) == {"train": 4, "validation": 2, "test": 2}
    for split, key in (("train", "train"), ("validation", "valid"), ("test", "test")):
        made = getattr(loaded, split)
        assert len(made) == loaded.info.sizes[split]
        assert made.rows.dtype == np.uint8
        assert [piece.tolist() for piece in made.pieces.values()] == content[key]
        np.testing.assert_array_equal(to_pitches(made.rows[0]), content[key][0][:STEPS])
    assert loaded.train.rows[0, 5].tolist() == [0, 25, 15, 5]
    assert (loaded.train.steps_left_out, loaded.test.steps_left_out) == (0, 32)
    content["test"][0][0][0] += 1
    assert load_music(keep(content)).info.fingerprint != loaded.info.fingerprint
    assert loaded.info.fingerprint != INFO.fingerprint


LONG = a_piece(OTHER).tolist()


def with_step(step):
    return layout(valid=[LONG, [*LONG[:17], step, *LONG[18:]]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"not JSON .*the layout is"),
        ('{"train": [', r"not JSON .*the layout is"),
        ("[" * 100_000, r"not JSON"),
        ([[1]], r"not an object of splits"),
        ({"train": layout()["train"], "valid": []}, r"no piece of valid has the 64 steps"),
        ({k: v for k, v in layout().items() if k != "test"}, r"the split 'test' is missing"),
        (layout(test=None), r"test is not a list of pieces"),
        (layout(test=[]), r"no piece of test has the 64 steps of a window"),
        (layout(test=[LONG[:63]]), r"no piece of test has the 64 steps of a window"),
        (layout(test=[LONG, []]), r"test, piece 1: \[\] is not a list of steps"),
        (layout(test=[LONG, "la"]), r"test, piece 1: 'la' is not a list of steps"),
        (with_step([]), r"valid, piece 1, step 17: \[\] is not 4 voices"),
        (with_step([60, 55, 50]), r"valid, piece 1, step 17: \[60, 55, 50\] is not 4 voices"),
        (with_step([60, 55, 50, 45, 40]), r"step 17: .* is not 4 voices"),
        (with_step(60), r"step 17: 60 is not 4 voices"),
        (with_step([60, 55, 82, 40]), r"valid, piece 1, step 17, tenor: 82 is not .*36\.\.81, or"),
        (with_step([60, 55, 50, 35]), r"step 17, bass: 35 is not"),
        (with_step([-2, 55, 50, 40]), r"step 17, soprano: -2 is not"),
        (with_step([60, 10**30, 50, 40]), r"step 17, alto: 1000.* is not"),
        (with_step([60, float("nan"), 50, 40]), r"step 17, alto: nan is not an integer"),
        (with_step([60, float("inf"), 50, 40]), r"step 17, alto: inf is not an integer"),
        (with_step([60, True, 50, 40]), r"step 17, alto: True is not an integer"),
        (with_step([60, 55.0, 50, 40]), r"step 17, alto: 55\.0 is not an integer"),
        (with_step([60, "55", 50, 40]), r"step 17, alto: '55' is not an integer"),
        (with_step([60, None, 50, 40]), r"step 17, alto: None is not an integer"),
        (with_step([60, [55] * 999, 50, 40]), r"step 17, alto: \[55, .*\.\.\.\] is not an int"),
        (layout(train=[LONG], test=[LONG]), r"train 0 is the same as test 0, transposed or not"),
        (
            layout(train=[LONG], valid=[(np.array(LONG) + 3).tolist()]),
            r"train 0 is the same as valid 0, transposed or not; leave one out",
        ),
    ],
)
def test_a_fault_of_a_file_is_one_line_that_names_it(content, message, keep):
    with pytest.raises(UserError, match=rf"own\.json: .*{message}") as caught:
        load_music(keep(content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_melody_in_two_splits_is_a_warning(keep):
    other_bass = [[*voices, bass + 1] for *voices, bass in LONG]
    path = keep(layout(train=[LONG], test=[other_bass]))
    with pytest.warns(UserWarning, match="of valid and test, 1 share a melody with a piece of an"):
        assert len(load_music(path).test) == 1


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(UserError, match=r"own\.json: cannot be read"):
        load_music(str(tmp_path / "own.json"))
    (tmp_path / "own.json").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(UserError, match=r"own\.json: not JSON"):
        load_music(str(tmp_path / "own.json"))
    for unknown in ("choral", "", "own.mid"):
        with pytest.raises(UserError, match=r"is unknown: known are chorales, or a \.json file"):
            load_music(unknown)


# --- the kept copy --------------------------------------------------------------------------------


@pytest.fixture
def little(monkeypatch, tmp_path):
    """A cache that is empty and a corpus of three files; how often each was read."""
    random = np.random.default_rng(4)
    pieces = {f"bwv{i}": a_piece(60 + random.integers(0, 13, 20)) for i in range(2)}
    content = {
        "pieces": {name: piece.tolist() for name, piece in pieces.items()},
        "left_out": {"bwv9": "bwv9.mxl: its parts are Piano"},
    }
    made = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    read = []

    def read_score(path):
        read.append(path.name)
        if path.stem == "bwv9":
            raise NotFourVoices("bwv9.mxl: its parts are Piano")
        return pieces[path.stem]

    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GENBENCH_DATA", raising=False)
    monkeypatch.setattr(music, "CONTENT_SHA256", hashlib.sha256(made).hexdigest())
    monkeypatch.setattr(
        score_files, "corpus", lambda pattern: [Path(f"bwv{i}.mxl") for i in (0, 1, 9)]
    )
    monkeypatch.setattr(score_files, "read_score", read_score)
    return read


def test_scores_are_parsed_once(little, tmp_path):
    first = load_music("chorales")
    assert little == ["bwv0.mxl", "bwv1.mxl", "bwv9.mxl"]
    assert music.obtain("chorales") == ("cache", tmp_path / "cache" / "data" / music.FILE)
    assert dict(first.left_out) == {"bwv9": "bwv9.mxl: its parts are Piano"}
    again = load_music("chorales")
    assert len(little) == 3
    np.testing.assert_array_equal(again.train.rows, first.train.rows)
    assert not list((tmp_path / "cache" / "data").glob("*.part"))


def test_what_another_process_parsed_meanwhile_is_used(little, monkeypatch):
    _, kept = music.obtain("chorales")
    content = kept.read_bytes()
    kept.unlink()

    class Waited(music.FileLock):
        def __enter__(self):
            super().__enter__()
            kept.write_bytes(content)
            return self

    monkeypatch.setattr(music, "FileLock", Waited)
    assert music.obtain("chorales") == ("cache", kept)
    assert len(little) == 3


def test_a_first_time_names_music21(little):
    assert music.obtain("chorales")[0] == "music21 10.5.1"


def test_a_damaged_copy_is_named_with_what_to_do(little, tmp_path):
    _, path = music.obtain("chorales")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"{path}: sha256 .*delete it and run again"):
        load_music("chorales")


def test_the_users_copy_comes_first(little, monkeypatch, tmp_path):
    _, kept = music.obtain("chorales")
    theirs = tmp_path / music.FILE
    kept.rename(theirs)
    monkeypatch.setenv("GENBENCH_DATA", str(tmp_path))
    assert music.obtain("chorales") == ("GENBENCH_DATA", theirs)
    theirs.write_bytes(b"{}")
    with pytest.raises(UserError, match=r"replace the file, or unset GENBENCH_DATA"):
        load_music("chorales")
    assert len(little) == 3


def test_another_corpus_is_not_kept(little, monkeypatch, tmp_path):
    monkeypatch.setattr(music, "CONTENT_SHA256", "0" * 64)
    with pytest.raises(Unavailable, match=r"another one \(sha256 .*pip install music21==10\.5\.1"):
        load_music("chorales")
    assert not (tmp_path / "cache" / "data" / music.FILE).exists()


def test_a_cache_that_cannot_be_written(little, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set GENBENCH_CACHE"):
        load_music("chorales")


def test_music21_is_asked_for_only_where_there_is_no_copy(monkeypatch, tmp_path, chorales):
    monkeypatch.setitem(sys.modules, "music21", None)
    assert music.obtain("chorales")[0] in ("cache", "GENBENCH_DATA")
    monkeypatch.delenv("GENBENCH_DATA", raising=False)
    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path))
    with pytest.raises(Unavailable, match=r'lacks .*pip install "genbench\[music\]"') as caught:
        load_music("chorales")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="is unknown: known are chorales"):
        music.obtain("own.json")


def test_neither_torch_nor_music21_is_imported_with_the_module():
    program = "import sys, genbench.data.music; print({'torch', 'music21'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
