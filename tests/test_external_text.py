"""Samples of text from a file: what is a sample, what is noted and what is refused."""

from __future__ import annotations

import pytest

from genbench.errors import UserError
from genbench.external_text import load_text_samples


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "samples.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_blocks_are_samples_where_there_are_any_and_lines_elsewhere(write):
    assert load_text_samples(write("a\nb\n\nc\n"))[0] == ["a\nb", "c"]
    samples, notes = load_text_samples(write("a\r\nb\r\nc"))
    assert samples == ["a", "b", "c"]
    assert any("3 lines" in note for note in notes)


def test_what_is_done_to_samples_is_noted(write):
    samples, notes = load_text_samples(write("x" * 300 + "\nb\nb\nc"), n=3)
    assert [len(sample) for sample in samples] == [256, 1, 1]
    assert any("first 3 of 4" in note for note in notes)
    assert any("1 of 3 samples were cut" in note for note in notes)
    assert any("1 of 3 samples repeat" in note for note in notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty or blank"),
        (b" \n\n", "is empty or blank"),
        (b"one line", "holds one sample"),
        (b"a\nb\0c", "is binary .byte 3 is NUL"),
        (b"a\nb\xff", "is not UTF-8 .byte 3 is 0xff"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(write, content, message):
    with pytest.raises(UserError, match=message) as error:
        load_text_samples(write(content))
    assert "\n" not in str(error.value)


def test_a_path_that_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.txt"):
        with pytest.raises(UserError, match=path.name):
            load_text_samples(path)
