"""A user's own text: read from UTF-8 files, checked, and split.

The rule is a constant: what is held out depends on the content alone.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from genbench.errors import UserError

MAX_BYTES = 256 << 20  # training rows take four bytes a character

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
"""Split -> its share of the characters, as nearly as whole files or lines allow."""


def read(path: Path) -> dict[str, str]:
    """Name -> text of the file at `path`, or of every file in the folder and its subfolders, in the
    order of their names, which are paths from there; hidden ones are passed over.

    Raises UserError, in one line, for a folder without files, files of more than 256 MiB in all,
    and as `read_utf8` does.
    """
    if not path.is_dir():
        return {path.name: read_utf8(path)[0]}
    names = sorted(
        name.as_posix()
        for name in (file.relative_to(path) for file in path.rglob("*") if not file.is_dir())
        if not any(part.startswith(".") for part in name.parts)
    )
    if not names:
        raise UserError(f"{path}: holds no files; expected files of UTF-8 text")
    there = [path / name for name in names]
    if (size := sum(file.stat().st_size for file in there if file.is_file())) > MAX_BYTES:
        raise UserError(
            f"{path}: its files are of {size:,} bytes and {MAX_BYTES:,} are read at most"
        )
    return {name: read_utf8(path / name)[0] for name in names}


def read_utf8(path: Path, max_bytes: int = MAX_BYTES) -> tuple[str, bool]:
    """A file's text, with line ends of any system as newlines, and whether a byte order mark was
    dropped.

    Raises UserError, in one line, for what is not a file, is larger than `max_bytes`, is not UTF-8,
    holds a NUL, or is blank.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: is not a file; expected one of UTF-8 text")
        if status.st_size > max_bytes:
            raise UserError(
                f"{path}: is of {status.st_size:,} bytes and {max_bytes:,} are read at most; "
                f"give its first part"
            )
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: {reason}; expected a file of UTF-8 text") from None
    if (nul := content.find(b"\0")) >= 0:
        raise UserError(f"{path}: is binary (byte {nul} is NUL); expected UTF-8 text")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is not UTF-8 (byte {error.start} is 0x{content[error.start]:02x}); convert it"
        ) from None
    if not text.removeprefix("\ufeff").strip():
        raise UserError(f"{path}: is empty or blank; expected lines of text")
    marked = text.startswith("\ufeff")
    return re.sub(r"\r\n?", "\n", text.removeprefix("\ufeff")), marked


def split(files: Mapping[str, str], path: Path) -> tuple[list[str], list[str], list[str]]:
    """Texts of train, validation and test, from name -> text; `path` is where they are from.

    Three or more files are allotted whole (see `allot`), fewer are joined in the order of their
    names and cut at the first line ends from 80% and 90% of the characters on. Raises UserError
    where text of one split stands in another: one of two identical files (but for spaces), or the
    whole of a part that was cut.
    """
    if len(files) < len(SHARES):
        return _parts("\n".join(files[name] for name in sorted(files)), path)
    allotted = allot(files)
    seen: dict[str, str] = {}
    for name in sorted(files):
        twin = seen.setdefault(_digest(" ".join(files[name].split())), name)
        if allotted[twin] != allotted[name]:
            raise UserError(
                f"{path}: {twin!r} and {name!r} are identical and would stand in {allotted[twin]} "
                f"and {allotted[name]}; remove one of them"
            )
    train, validation, test = (
        [files[name] for name in sorted(files) if allotted[name] == split] for split in SHARES
    )
    return train, validation, test


def allot(files: Mapping[str, str]) -> dict[str, str]:
    """Name -> split of three or more texts, none of them empty: the longest first, each to the
    split that with it is filled least for its share; the last ones to splits that have none yet."""
    held = dict.fromkeys(SHARES, 0)
    allotted: dict[str, str] = {}
    # By content where lengths are equal, so that no name or date decides.
    order = sorted(files, key=lambda name: (-len(files[name]), _digest(files[name]), name))
    for done, name in enumerate(order):
        empty = [split for split in SHARES if not held[split]]
        choice = empty if len(order) - done == len(empty) else SHARES
        size = len(files[name])
        allotted[name] = min(choice, key=lambda s, size=size: (held[s] + size) / SHARES[s])
        held[allotted[name]] += size
    return allotted


def _parts(text: str, path: Path) -> tuple[list[str], list[str], list[str]]:
    first, second = (_line_end(text, round(share * len(text))) for share in (0.8, 0.9))
    train, validation, test = text[:first], text[first:second], text[second:]
    for name, start, held_out in (("validation", first, validation), ("test", second, test)):
        if held_out.strip() and held_out.strip() in train:
            raise UserError(
                f"{path}: the whole {name} split, {len(held_out):,} characters from {start:,} on, "
                "stands in the training split too; remove the repetition"
            )
    return [train], [validation], [test]


def _line_end(text: str, position: int) -> int:
    """Where the line that holds `position` ends; `position` itself where no line ends after it."""
    return text.find("\n", position) + 1 or position


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
