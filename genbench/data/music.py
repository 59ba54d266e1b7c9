"""Chorales: what is known of them without loading them, their pieces, and windows for models.

A piece is a grid int8 (T, 4): the MIDI pitch that each of four voices (soprano, alto, tenor, bass)
sounds at each sixteenth, -1 where it is silent; `score_files` says how it is read from a score. A
window is uint8 (steps, 4) of symbols: 0 for silence, 1 to 46 for the pitches 36 to 81.

Splits are constants of a data set. Bach set many melodies more than once, so that pieces drawn at
random would be tested on what was learned: whole groups of pieces that share a melody
(`melody_groups`) go into one split. Windows of validation and test follow each other; those of
training overlap, and begin 16 steps apart. What is left of a piece after its last window is in
none.

Sixteen steps are called a bar, and counted from a piece's first step. That is the length of a
printed bar of four quarters, and seldom its place: most chorales begin with a pickup, and some are
in triple time.

The notes are read from music21's corpus on the user's machine, kept in the cache, and never handed
on. Of its 408 chorales 364 have exactly four parts; the other 44 have five voices, instruments
beside the four, or are for a keyboard, and are left out whole, because their harmony is not four
voices'. In those kept, 3 grace notes and 5 thirty-seconds fall between steps.
"""

from __future__ import annotations

import hashlib
import json
import os
import reprlib
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from genbench.data import score_files, sources
from genbench.data.dataset import Data, DatasetInfo, Split, named_after
from genbench.data.score_files import REST, STEPS_PER_BEAT, VOICES
from genbench.data.sources import Unavailable
from genbench.errors import UserError

if TYPE_CHECKING:
    import torch

LOWEST, HIGHEST = 36, 81
SYMBOLS = HIGHEST - LOWEST + 2
STEPS = 64
"""Length of a window: 16 quarters, about two phrases."""
BAR = 16

# The lowest and highest pitch of each voice in the corpus.
RANGES = ((57, 81), (53, 74), (48, 69), (36, 64))

MUSIC21 = "10.5.1"
FILE = f"chorales-music21-{MUSIC21}.json"
CONTENT_SHA256 = "5daf183197e1f825625c1e1630b1bdedc7e1d7184079e608d1e1f1ed2156d8cd"

SPLIT_RULE_VERSION = 1  # raised when `melody_groups` or `split_by_melody` would give other splits
SPLIT_SEED = 20  # of the one permutation of groups: a constant of the data set, not a setting

RUN = 7  # intervals, so eight notes: about a phrase
RUNS_SHARED = 1 / 5
NOTES_SHARED = 5 / 6


@dataclass(frozen=True)
class MusicSplit(Split):
    """Windows uint8 (N, 64, 4), C-contiguous, in 0..46, all of one class; name -> the whole piece
    int8 (T, 4), whose pitches are in 36..81 or -1; and how many steps of these are in no window."""

    pieces: Mapping[str, np.ndarray]
    steps_left_out: int


@dataclass(frozen=True)
class MusicData(Data):
    """The three splits of one data set; and piece -> why, of those that are in none."""

    train: MusicSplit
    validation: MusicSplit
    test: MusicSplit
    left_out: Mapping[str, str]

    @property
    def apart(self) -> int:
        return STEPS // BAR


Pieces = dict[str, np.ndarray]
"""Name -> grid int8 (T, 4)."""


def _info(
    name: str, sizes: Mapping[str, int], licence: str, source: str, key: str, path: str = ""
) -> DatasetInfo:
    windows = f"{STEPS} steps, {BAR} apart in training"
    return DatasetInfo(
        name=name,
        modality="music",
        shape=(STEPS, len(VOICES)),
        levels=SYMBOLS,
        classes=1,
        class_names=("chorale",),
        sizes=MappingProxyType(dict(sizes)),
        licence=licence,
        source=source,
        fingerprint=hashlib.sha256(f"{key} {windows}".encode()).hexdigest(),
        path=path,
    )


MUSIC_DATASETS: dict[str, DatasetInfo] = {
    "chorales": _info(
        "chorales",
        {"train": 3009, "validation": 120, "test": 131},
        "used by permission of its encoders; not to be redistributed",
        f"Bach's chorales in four parts, in the corpus of music21 {MUSIC21}, Cuthbert and Ariza",
        f"chorales {CONTENT_SHA256} splits {SPLIT_RULE_VERSION}",
    )
}


def load_music(name: str) -> MusicData:
    """The splits of `name`: a key of MUSIC_DATASETS, or the path of a JSON file.

    The file has the layout {"train": [piece, ...], "valid": ..., "test": ...} where a piece is a
    list of steps [soprano, alto, tenor, bass] and a step has MIDI pitches, or -1 for silence; the
    steps are taken as they are. Raises UserError where the name is unknown, the data are damaged or
    wrong, or a piece (transposed or not) is in two splits; Unavailable where no source has them.
    Warns where splits of a file share a melody: published splits do, and their results can only be
    compared if they may.
    """
    if name in MUSIC_DATASETS:
        content, _, _ = _obtain()
        kept = json.loads(content)
        pieces = {piece: np.array(grid, np.int8) for piece, grid in kept["pieces"].items()}
        return _data(MUSIC_DATASETS[name], split_by_melody(pieces), kept["left_out"])
    path = Path(name).expanduser()
    if path.suffix != ".json":
        known = ", ".join(MUSIC_DATASETS)
        raise UserError(
            f"data set of music {name!r} is unknown: known are {known}, or a .json file"
        )
    content = _read(path)
    splits = _from_json(content, path)
    _check_leaks(splits, path)
    sizes = {split: len(_windows(split, pieces)) for split, pieces in splits.items()}
    key = f"json {sources.sha256(content)}"
    made = _info(name, sizes, "the file's own", f"the file {path}", key, path=name)
    return _data(replace(made, name=named_after(path, made.fingerprint, "music")), splits, {})


def obtain(name: str) -> tuple[str, Path]:
    """Where the pieces of `name`, a key of MUSIC_DATASETS, came from this time, and the file that
    they are kept in. Fetched and checked; raises UserError as `load_music` does."""
    if name not in MUSIC_DATASETS:
        raise UserError(
            f"data set of music {name!r} is unknown: known are {', '.join(MUSIC_DATASETS)}"
        )
    _, source, path = _obtain()
    return source, path


def _data(
    info: DatasetInfo, splits: Mapping[str, Pieces], left_out: Mapping[str, str]
) -> MusicData:
    made = {}
    for split, pieces in splits.items():
        rows = _windows(split, pieces)
        steps_left_out = sum(steps_outside(len(p), STEPS, _hop(split)) for p in pieces.values())
        labels = np.zeros(len(rows), np.int64)
        made[split] = MusicSplit(rows, labels, MappingProxyType(pieces), steps_left_out)
    return MusicData(info, **made, left_out=MappingProxyType(dict(left_out)))


def _hop(split: str) -> int:
    return BAR if split == "train" else STEPS


def _windows(split: str, pieces: Pieces) -> np.ndarray:
    return windows(pieces.values(), STEPS, hop=_hop(split))


# --- the corpus -----------------------------------------------------------------------------------


def _obtain() -> tuple[bytes, str, Path]:
    """The kept content, where it came from, and its file: in the user's folder (`GENBENCH_DATA`),
    else in the cache, where it is parsed once; a second process waits for the first."""
    folder = os.environ.get("GENBENCH_DATA")
    theirs = Path(folder).expanduser() / FILE if folder else None
    if theirs is not None and theirs.is_file():
        remedy = "replace the file, or unset GENBENCH_DATA"
        return sources.read_checked(theirs, CONTENT_SHA256, remedy), "GENBENCH_DATA", theirs
    root = sources.cache_root() / "data"
    kept, source = root / FILE, "cache"
    if not kept.is_file():
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f"{FILE}.lock"):
                if not kept.is_file():
                    sources.write_atomically(kept, _parsed())
                    source = f"music21 {MUSIC21}"
        except OSError as error:
            raise UserError(
                f"chorales: cannot write to the cache {root} ({error}); "
                "set GENBENCH_CACHE to a folder that can be written"
            ) from error
        except Unavailable as error:
            raise Unavailable(f"chorales: {root} lacks {FILE}, and {error}") from error
    remedy = "delete it and run again to have it parsed afresh"
    return sources.read_checked(kept, CONTENT_SHA256, remedy), source, kept


def _parsed() -> bytes:
    """The corpus as JSON in ASCII: {"pieces": {name: grid}, "left_out": {name: why}}. It takes half
    a minute."""
    pieces, left_out = {}, {}
    for path in score_files.corpus("bach/bwv*.mxl"):
        try:
            pieces[path.stem] = score_files.read_score(path).tolist()
        except score_files.NotFourVoices as error:
            left_out[path.stem] = str(error)
    parsed = {"pieces": pieces, "left_out": left_out}
    content = json.dumps(parsed, sort_keys=True, separators=(",", ":")).encode()
    if wrong := sources.fault(content, CONTENT_SHA256):
        raise Unavailable(
            f"the corpus of music21 that is installed is another one ({wrong}): "
            f"pip install music21=={MUSIC21}"
        )
    return content


# --- melodies and splits --------------------------------------------------------------------------


def melody(piece: np.ndarray) -> np.ndarray:
    """Pitches int64 (M,) of the soprano on the beats, silence dropped and repeats merged.

    So rhythm, and most ornaments, which fall between beats, are not in it.
    """
    soprano = piece[::STEPS_PER_BEAT, 0].astype(np.int64)
    soprano = soprano[soprano != REST]
    return soprano[np.diff(soprano, prepend=REST) != 0]


def melody_groups(pieces: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Names of the pieces, those that share a melody in one group; sorted, groups and all.

    Two pieces do where, of their melodies' runs of eight notes, transposed or not, a fifth of those
    of the piece with fewer are the other's too; or where, with the last notes made equal, five
    sixths of their notes are common, in order (twice the longest common subsequence over both
    lengths). The first finds pieces that share some phrases; the second, melodies with notes put
    in. Who shares with a third piece is in its group. Groups are rather too large than too small.
    """
    names = sorted(pieces)
    melodies = {name: melody(pieces[name]) for name in names}
    runs = {name: _runs(melodies[name]) for name in names}
    group = {name: {name} for name in names}
    for a, b in combinations(names, 2):
        if group[a] is not group[b] and (
            _share_runs(runs[a], runs[b]) or _share_notes(melodies[a], melodies[b])
        ):
            group[a] |= group[b]
            for name in group[b]:
                group[name] = group[a]
    return sorted({min(members): sorted(members) for members in group.values()}.values())


def _runs(melody: np.ndarray) -> set[tuple[int, ...]]:
    intervals = np.diff(melody).tolist()
    return {tuple(intervals[i : i + RUN]) for i in range(len(intervals) - RUN + 1)}


def _share_runs(a: set[tuple[int, ...]], b: set[tuple[int, ...]]) -> bool:
    fewer = min(len(a), len(b))
    return fewer > 0 and len(a & b) >= RUNS_SHARED * fewer


def _share_notes(a: np.ndarray, b: np.ndarray) -> bool:
    needed = NOTES_SHARED * (len(a) + len(b)) / 2
    if min(len(a), len(b)) < max(needed, 1):
        return False
    return _common((a - a[-1]).tolist(), (b - b[-1]).tolist()) >= needed


def _common(a: list[int], b: list[int]) -> int:
    """Length of the longest common subsequence, a row of its table in the bits of one integer
    (Hyyrö 2004, Bit-parallel LCS-length computation revisited)."""
    positions: dict[int, int] = defaultdict(int)
    for i, x in enumerate(a):
        positions[x] |= 1 << i
    row = every = (1 << len(a)) - 1
    for y in b:
        matches = row & positions[y]
        row = (row + matches | row - matches) & every
    return len(a) - row.bit_count()


def split_by_melody(pieces: Mapping[str, np.ndarray]) -> dict[str, Pieces]:
    """Split -> pieces: groups in one fixed permutation go to test while they fit into a tenth of
    all pieces, else to validation while they fit into another, else to training."""
    groups = melody_groups(pieces)
    # RandomState and not default_rng: NumPy promises never to change its streams.
    order = np.random.RandomState(SPLIT_SEED).permutation(len(groups))
    tenth = len(pieces) // 10
    room = {"test": tenth, "validation": tenth, "train": len(pieces)}
    splits: dict[str, Pieces] = {"train": {}, "validation": {}, "test": {}}
    for i in order:
        split = next(split for split in room if len(groups[i]) <= room[split])
        room[split] -= len(groups[i])
        splits[split].update((name, pieces[name]) for name in groups[i])
    return {split: dict(sorted(members.items())) for split, members in splits.items()}


# --- windows --------------------------------------------------------------------------------------


def windows(pieces: Iterable[np.ndarray], steps: int = STEPS, *, hop: int) -> np.ndarray:
    """Symbols uint8 (N, steps, 4): of each piece int (T, 4) the windows that begin at 0, hop,
    2 hop, ... and end within it. Raises ValueError as `to_symbols` does, or for steps or hop < 1.
    """
    if steps < 1 or hop < 1:
        raise ValueError(f"need steps >= 1 and hop >= 1, got {steps}, {hop}")
    found = [np.empty((0, steps, len(VOICES)), np.uint8)]
    for piece in pieces:
        symbols = to_symbols(piece)
        found += [symbols[None, i : i + steps] for i in range(0, len(piece) - steps + 1, hop)]
    return np.concatenate(found)


def steps_outside(length: int, steps: int, hop: int) -> int:
    """How many steps of a piece of `length` are in none of its windows, for hop <= steps."""
    return length if length < steps else (length - steps) % hop


def to_symbols(pitches: np.ndarray) -> np.ndarray:
    """Symbols uint8 of integer pitches of any shape; ValueError for one not in 36..81 or -1."""
    _check(pitches, (REST, *range(LOWEST, HIGHEST + 1)), f"{LOWEST}..{HIGHEST}, or {REST}")
    return np.where(pitches == REST, 0, pitches - (LOWEST - 1)).astype(np.uint8)


def to_pitches(symbols: np.ndarray) -> np.ndarray:
    """Pitches int8 of integer symbols of any shape; ValueError for one not in 0..46."""
    _check(symbols, range(SYMBOLS), f"0..{SYMBOLS - 1}")
    return np.where(symbols == 0, REST, symbols.astype(np.int64) + (LOWEST - 1)).astype(np.int8)


def _check(values: np.ndarray, allowed: Iterable[int], named: str) -> None:
    if values.dtype.kind not in "iu":
        raise ValueError(f"need integers in {named}, not {values.dtype}")
    outside = np.argwhere(~np.isin(values, list(allowed)))
    if len(outside):
        where = tuple(outside[0].tolist())
        raise ValueError(f"need integers in {named}, not {values[where]} at {where}")


def transpose(windows: torch.Tensor, semitones: torch.Tensor) -> torch.Tensor:
    """The windows uint8 (B, steps, 4), each higher by its semitones int64 (B,), silence as it was.

    All voices move together. Raises ValueError where a note would leave the symbols.
    """
    symbols = windows.long()
    notes = symbols > 0
    moved = symbols + notes * semitones[:, None, None]
    if bool((notes & ((moved < 1) | (moved >= SYMBOLS))).any()):
        raise ValueError(f"semitones: a note would leave {LOWEST}..{HIGHEST}")
    return moved.to(windows.dtype)


def transposition_range(windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The fewest and most semitones int64 (B,), below and above 0 or equal to it, by which each of
    the windows uint8 (B, steps, 4) may move so that no voice leaves its RANGES.

    A voice that is outside of them already may not go further; a silent window does not move.
    """
    symbols = windows.long()
    notes = symbols > 0
    pitches = symbols + (LOWEST - 1)
    lowest, highest = symbols.new_tensor(RANGES).unbind(1)
    down = (lowest - pitches.masked_fill(~notes, 2 * HIGHEST).amin(1)).amax(1)
    up = (highest - pitches.masked_fill(~notes, -HIGHEST).amax(1)).amin(1)
    sounds = notes.flatten(1).any(1)
    return down.clamp(max=0) * sounds, up.clamp(min=0) * sounds


def draw_semitones(windows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Semitones int64 (B,) for `transpose`, each uniform over its window's `transposition_range`.

    `generator` is on the device of the windows.
    """
    import torch

    down, up = transposition_range(windows)
    uniform = torch.rand(len(windows), generator=generator, device=windows.device)
    # In float32 the largest product may round up to one too many.
    return torch.minimum(down + (uniform * (up - down + 1)).long(), up)


# --- files of the user's --------------------------------------------------------------------------

KEYS = {"train": "train", "validation": "valid", "test": "test"}
LAYOUT = '{"train": [[[soprano, alto, tenor, bass], ...], ...], "valid": ..., "test": ...}'


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name another file") from error


def _from_json(content: bytes, path: Path) -> dict[str, Pieces]:
    """Split -> pieces, called by their split and place in it."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); the layout is {LAYOUT}") from error
    if not isinstance(parsed, dict):
        raise UserError(f"{path}: not an object of splits; the layout is {LAYOUT}")
    splits: dict[str, Pieces] = {}
    for split, key in KEYS.items():
        if key not in parsed:
            raise UserError(f"{path}: the split {key!r} is missing; the layout is {LAYOUT}")
        if not isinstance(parsed[key], list):
            raise UserError(f"{path}: {key} is not a list of pieces; the layout is {LAYOUT}")
        splits[split] = {
            f"{key} {i}": _piece(piece, f"{path}: {key}, piece {i}")
            for i, piece in enumerate(parsed[key])
        }
        if not any(len(piece) >= STEPS for piece in splits[split].values()):
            raise UserError(f"{path}: no piece of {key} has the {STEPS} steps of a window; add one")
    return splits


def _piece(steps: Any, where: str) -> np.ndarray:
    """The grid of a piece as JSON has it; UserError, beginning with `where`, for anything else.

    Pieces and steps are counted from 0.
    """
    if not isinstance(steps, list) or not steps:
        raise UserError(f"{where}: {_short(steps)} is not a list of steps; leave the piece out")
    for i, step in enumerate(steps):
        if not isinstance(step, list) or len(step) != len(VOICES):
            raise UserError(
                f"{where}, step {i}: {_short(step)} is not {len(VOICES)} voices; give each a "
                f"pitch, or {REST} for silence"
            )
        for voice, pitch in zip(VOICES, step, strict=True):
            # A bool is an int, too, but none of these.
            if not isinstance(pitch, int) or not (pitch == REST or LOWEST <= pitch <= HIGHEST):
                raise UserError(
                    f"{where}, step {i}, {voice.lower()}: {_short(pitch)} is not an integer in "
                    f"{LOWEST}..{HIGHEST}, or {REST}; transpose the piece or leave it out"
                )
    return np.array(steps, np.int8)


def _short(value: Any) -> str:
    return reprlib.repr(value)


def _check_leaks(splits: Mapping[str, Pieces], path: Path) -> None:
    """Refuse a piece that is in two splits; warn where pieces of two share a melody."""
    home = {name: split for split, pieces in splits.items() for name in pieces}
    pieces = {name: piece for members in splits.values() for name, piece in members.items()}
    first: dict[bytes, str] = {}
    for name, piece in pieces.items():
        other = first.setdefault(_transposed(piece).tobytes(), name)
        if home[other] != home[name]:
            raise UserError(
                f"{path}: piece {other} is the same as {name}, transposed or not; leave one out"
            )
    shared = [g for g in melody_groups(pieces) if len({home[name] for name in g}) > 1]
    if shared:
        held_out = sum(home[name] != "train" for group in shared for name in group)
        warnings.warn(
            f"{path}: of valid and test, {held_out} share a melody with a piece of another split; "
            "a model that remembers melodies will look better than it is",
            stacklevel=3,
        )


def _transposed(piece: np.ndarray) -> np.ndarray:
    """The grid int64 (T, 4) moved so that the first note, by step and voice, is HIGHEST."""
    notes = piece[piece != REST].astype(np.int64)
    return np.where(piece == REST, REST, piece - notes[:1].sum() + HIGHEST)
