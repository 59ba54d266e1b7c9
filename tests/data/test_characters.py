"""Rows of characters: they cover the text, come back as it, and are known without loading."""

import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genbench.data.characters import (
    Alphabet,
    as_rows,
    character_info,
    load_characters,
)
from genbench.data.sources import Unavailable
from genbench.data.text import TextData, TextInfo, load_text
from genbench.errors import UserError

SPLITS = ("train", "validation", "test")


def text_of(train, validation, test):
    info = TextInfo("t", "text", {}, {}, "", "t.txt", "fingerprint")
    return TextData(info, train, validation, test)


@settings(deadline=None, max_examples=50)
@given(st.text(min_size=1, max_size=30), st.text(max_size=30))
def test_decoding_undoes_encoding_but_for_unseen_characters(known, text):
    alphabet = Alphabet.of(known, "here")
    row = alphabet.encode(text)
    assert row.dtype == np.uint8
    assert row.shape == (len(text),)
    assert alphabet.decode(row) == "".join(c if c in known else "\ufffd" for c in text)
    assert alphabet.decode(alphabet.encode(known)) == known
    assert len(alphabet) == len(set(known)) + 1
    assert ((row == alphabet.unseen) == [c not in known for c in text]).all()


def test_a_prompt_names_what_no_model_has_seen():
    alphabet = Alphabet.of("To be, or not", "here")
    assert alphabet.decode(alphabet.prompt("or not to b")) == "or not to b"
    with pytest.raises(UserError, match=r"has no 'é' \(U\+00E9\), '\\x00' \(U\+0000\); leave out"):
        alphabet.prompt("bé be\0é")
    with pytest.raises(UserError, match=r"'\\ud800' \(U\+D800\)") as error:
        alphabet.prompt("\ud800\n")
    assert "\n" not in str(error.value)
    assert alphabet.prompt("").shape == (0,)


@pytest.mark.parametrize("row", [np.array([99]), np.array([-1]), np.array([[0]]), np.array([0.0])])
def test_what_is_no_row_is_refused(row):
    with pytest.raises(ValueError, match="row: expected"):
        Alphabet.of("abc", "here").decode(row)


def test_an_alphabet_has_255_characters_at_most():
    some = "".join(chr(0x4E00 + i) for i in range(255))
    alphabet = Alphabet.of(some, "here")
    assert alphabet.encode(some + "a").max() == alphabet.unseen == 255
    with pytest.raises(
        UserError, match=r"here: its training split has 257 .* the 2 rarest"
    ) as error:
        Alphabet.of(some * 2 + "ab", "here")
    assert "'a' (U+0061), 'b' (U+0062)" in str(error.value)


@settings(deadline=None, max_examples=20)
@given(
    st.integers(64, 400),
    st.integers(64, 300),
    st.integers(64, 300),
    st.randoms(use_true_random=False),
)
def test_rows_cover_their_split(train, validation, test, random):
    letters = string.ascii_lowercase
    texts = ["".join(random.choices(letters, k=n)) for n in (train, validation, test)]
    data = as_rows(text_of(*texts), 64)
    for split, text in zip(SPLITS, texts, strict=True):
        rows = getattr(data, split).rows
        assert rows.shape == (data.info.sizes[split], 64)
        assert rows.flags.c_contiguous
        step = 16 if split == "train" else 64
        covered = text[: len(text) - data.left_out[split]]
        assert data.left_out[split] < step
        found = [data.alphabet.decode(row) for row in rows]
        seen = {c if c in texts[0] else "\ufffd" for c in text}
        assert set("".join(found)) <= seen
        expected = [covered[i : i + 64] for i in range(0, len(covered) - 63, step)]
        assert found == ["".join(c if c in texts[0] else "\ufffd" for c in e) for e in expected]
        assert data.unseen[split] == sum(c not in texts[0] for c in text)
        assert getattr(data, split).labels.tolist() == [0] * len(rows)


@pytest.mark.parametrize("short", SPLITS)
def test_a_split_shorter_than_a_row_is_refused(short):
    texts = dict.fromkeys(SPLITS, "ab" * 40) | {short: "a" * 63}
    with pytest.raises(UserError, match=f"t.txt: its {short} split has 63 characters and a row 64"):
        as_rows(text_of(**texts), 64)


def test_shakespeare_is_as_declared():
    try:
        data = load_characters("shakespeare")
    except Unavailable as reason:
        pytest.skip(f"the text is neither in the cache nor to be downloaded: {reason}")
    assert data.info == character_info("shakespeare")
    assert data.info.shape == (256,)
    assert data.info.levels == len(data.alphabet) == 72
    text = load_text("shakespeare")
    for split in SPLITS:
        rows = getattr(data, split).rows
        assert len(rows) == data.info.sizes[split]
        assert rows.dtype == np.uint8
        assert rows.max() < data.info.levels
    joined = "".join(data.alphabet.decode(row) for row in data.test.rows)
    assert text.test.startswith(joined)
    assert len(text.test) - len(joined) == data.left_out["test"] < 256
    assert data.unseen == {"train": 0, "validation": 6, "test": 0}
    assert data.alphabet.decode(data.train.rows[1]) == text.train[64:320]


def test_descriptions_are_known_by_what_is_installed():
    data = load_characters("descriptions")
    assert data.info == character_info("descriptions")
    assert data.info.shape == (64,)
    assert (data.info.classes, data.info.modality) == (1, "text")
    assert data.info.sizes["train"] > 500
    assert data.info.sizes["test"] > 50


def test_a_path_serves_in_the_place_of_a_name(tmp_path):
    for i in range(5):
        (tmp_path / f"{i}.txt").write_text(f"file {i} says: all this and more\n" * 60)
    data = load_characters(str(tmp_path))
    assert data.info == character_info(str(tmp_path))
    assert data.info.shape == (256,)
    assert data.info.name.endswith(load_text(str(tmp_path)).info.fingerprint[:8])
    assert data.info.fingerprint != load_text(str(tmp_path)).info.fingerprint
