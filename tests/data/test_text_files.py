"""A user's own text: what is read, what is refused in one line, and how it is split."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genbench.data.text_files import SHARES, allot, read, split
from genbench.errors import UserError


def refused(what, message):
    with pytest.raises(UserError, match=message) as error:
        what()
    assert "\n" not in str(error.value)


def test_a_folder_is_read_to_its_depths_but_for_hidden_files(tmp_path):
    for name in ("b.txt", "a/z.md", "a/.hidden", ".git/config", "no-suffix"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    found = read(tmp_path)
    assert list(found) == ["a/z.md", "b.txt", "no-suffix"]
    assert set(found.values()) == {"one\ntwo\nthree\n"}
    assert read(tmp_path / "b.txt") == {"b.txt": "one\ntwo\nthree\n"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "b.txt: is empty or blank"),
        (b"\xef\xbb\xbf \r\n", "b.txt: is empty or blank"),
        (b"text\0text", r"b.txt: is binary \(byte 4 is NUL\)"),
        (b"caf\xe9", r"b.txt: is not UTF-8 \(byte 3 is 0xe9\)"),
        ("text".encode("utf-16"), "b.txt: is binary"),
        (b"\xed\xa0\x80", "b.txt: is not UTF-8"),  # a surrogate, which UTF-8 may not hold
    ],
)
def test_a_file_that_is_no_text_is_named(tmp_path, content, message):
    (tmp_path / "a.txt").write_text("text\n")
    (tmp_path / "b.txt").write_bytes(content)
    refused(lambda: read(tmp_path), message)
    refused(lambda: read(tmp_path / "b.txt"), message)


def test_what_is_no_file_is_refused(tmp_path):
    refused(lambda: read(tmp_path / "none"), "No such file")
    refused(lambda: read(tmp_path), "holds no files")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    refused(lambda: read(tmp_path), "dangling: No such file")
    (tmp_path / "dangling").unlink()
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: read(tmp_path), "pipe: is not a file")


def test_too_much_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(257 << 20)
    refused(lambda: read(tmp_path), "269,484,032 bytes and 268,435,456 are read at most")
    refused(lambda: read(tmp_path / "large"), "268,435,456 are read at most")


def test_files_of_one_size_are_allotted_8_to_1_to_1():
    files = {f"{i:02}": f"text {i:02}" for i in range(40)}
    allotted = list(allot(files).values())
    assert [allotted.count(split) for split in SHARES] == [32, 4, 4]


def test_three_files_make_three_splits_and_the_longest_trains(tmp_path):
    files = {"a": "x" * 10, "b": "y" * 1000, "c": "z" * 900}
    assert sorted(allot(files).values()) == sorted(SHARES)
    assert allot(files)["b"] == "train"
    assert split(files, tmp_path)[0] == ["y" * 1000]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 300), min_size=3, max_size=40), st.randoms(use_true_random=False))
def test_no_split_is_empty_and_names_decide_nothing(sizes, random):
    texts = [f"{i:02}".ljust(size, "-") for i, size in enumerate(sizes)]  # all of them different
    allotted = allot({text: text for text in texts})
    assert set(allotted.values()) == set(SHARES)
    random.shuffle(texts)
    files = {f"file {i}": text for i, text in enumerate(texts)}
    assert {files[name]: s for name, s in allot(files).items()} == allotted


def test_identical_files_in_two_splits_leak(tmp_path):
    files = {"a": "long " * 100, "b": "same text", "c": "same\n text\n", "d": "other text"}
    refused(lambda: split(files, tmp_path), "'b' and 'c' are identical and would stand in")
    # In one split they are no leak.
    files = {"a": "x" * 500, "b": "x" * 500, "c": "y" * 90, "d": "z" * 80}
    assert split(files, tmp_path)[0] == ["x" * 500, "x" * 500]


def test_a_part_that_repeats_the_training_text_leaks(tmp_path):
    text = "".join(f"line {i}\n" for i in range(100))
    refused(lambda: split({"a": text, "b": text}, tmp_path), "stands in the training split too")
    train, validation, test = split({"a": text, "b": text.replace("line", "word")}, tmp_path)
    assert (train[0] + validation[0] + test[0]).startswith(text)
