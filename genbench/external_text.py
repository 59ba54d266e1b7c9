"""Samples of text that genbench did not make, read from a file."""

from __future__ import annotations

import re
from pathlib import Path

from genbench.data.text import N_CHARACTERS
from genbench.data.text_files import read_utf8
from genbench.errors import UserError

MAX_BYTES = 64 << 20
LEAST = 2  # no metric is defined for fewer samples


def load_text_samples(path: Path, n: int = 1_000) -> tuple[list[str], list[str]]:
    """The first `n` samples of a UTF-8 file, and one line for each thing done to them.

    Samples are the blocks between blank lines or, where the text has no blank line, its lines;
    spaces around them are dropped and they are cut to 256 characters, the length of passages. Line
    ends may be those of any system. Raises UserError, in one line, for what is not a file, is
    larger than 64 MiB, is not UTF-8, holds a NUL, is blank, or has fewer than 2 samples.
    """
    text, notes = _read(path)
    by_block = re.split(r"\n(?:[^\S\n]*\n)+", text)
    blocks = by_block if len(by_block) > 1 else text.split("\n")
    if len(blocks) < LEAST:
        raise UserError(f"{path}: holds one sample; at least {LEAST} lines or blocks are needed")
    what = "blocks between blank lines" if len(by_block) > 1 else "lines, as none is blank"
    notes.append(f"samples are its {len(blocks)} {what}")
    if len(blocks) > n:
        notes.append(f"the first {n} of {len(blocks)} samples are scored")
    whole = [block.strip() for block in blocks[:n]]
    samples = [block[:N_CHARACTERS] for block in whole]
    if cut := sum(len(block) > N_CHARACTERS for block in whole):
        notes.append(f"{cut} of {len(samples)} samples were cut to {N_CHARACTERS} characters")
    if len(samples) < n:
        notes.append(
            f"{len(samples)} samples, and the protocol has {n}: metrics depend on that number, so "
            "compare with rows of equal n_samples alone"
        )
    if repeated := len(samples) - len(set(samples)):
        notes.append(f"{repeated} of {len(samples)} samples repeat an earlier one exactly")
    return samples, notes


def _read(path: Path) -> tuple[str, list[str]]:
    """The file's text without blanks around it, and whether a byte order mark was dropped."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; a data set of text takes one file of UTF-8 text")
    text, marked = read_utf8(path, MAX_BYTES)
    return text.strip(), ["a byte order mark was dropped"] if marked else []
