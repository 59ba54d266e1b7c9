"""scikit-learn's descriptions of its data sets: a little prose that is installed with it.

They are read from the installed package, so the text is that of its version, and what is known of
it is computed, not declared. Splits are constants, by whole description; one that a version adds is
trained on.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from genbench.errors import UserError

NAME = "descriptions"
CLEANING_VERSION = 1  # raised when `clean` would give another text

VALIDATION = ("diabetes", "kddcup99")
TEST = ("breast_cancer", "iris", "lfw")

MARKUP = [
    # Doctests up to the blank line after them, for their output is no prose.
    (re.compile(r"^[ ]*>>>.*\n(?:[ ]*\S.*\n)*", re.MULTILINE), ""),
    # A table: from one of its rules to the last.
    (re.compile(r"^[ ]*=+(?: +=+)+ *\n(?:[ ]*\S.*\n)*", re.MULTILINE), ""),
    # Underlines of headings; targets and other directives, of which the words of a heading stay.
    (re.compile(r"^[ ]*([-=~^])\1+ *\n", re.MULTILINE), ""),
    (re.compile(r"^[ ]*\.\. _.*\n", re.MULTILINE), ""),
    (re.compile(r"^[ ]*\.\. (?:\w+::|\[\w+\])[ ]*", re.MULTILINE), ""),
    (re.compile(r":\w+:`~?([^`<]*?)(?: *<[^`]*>)?`"), r"\1"),
    (re.compile(r"`([^`<]*?)\s*<[^`]*>`_+"), r"\1"),
    (re.compile(r" ?\[\w+\]_"), ""),
    (re.compile(r"``?([^`]*)``?_*"), r"\1"),
    (re.compile(r"\*\*?([^*\n]+)\*\*?"), r"\1"),
    (re.compile(r"^[ ]*:([^:\n]+):", re.MULTILINE), r"\1:"),
    (re.compile(r"::$", re.MULTILINE), ":"),
    (re.compile(r"^[ ]+|[ ]+$", re.MULTILINE), ""),
    (re.compile(r"\n{3,}"), "\n\n"),
]
"""reStructuredText's markup and what stands in its place, one after the other."""


def read() -> dict[str, str]:
    """Name -> text, cleaned, of every description, in the order of their names. UserError where
    scikit-learn is not installed or has none."""
    spec = find_spec("sklearn")  # without importing it, which takes a second
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{NAME}: scikit-learn is not installed; pip install scikit-learn")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "descr"
    found = {path.stem: clean(path.read_text("utf-8")) for path in sorted(folder.glob("*.rst"))}
    if absent := {*VALIDATION, *TEST} - set(found):
        raise UserError(
            f"{NAME}: {folder} lacks {', '.join(sorted(absent))}; reinstall scikit-learn"
        )
    return found


def clean(rst: str) -> str:
    """Prose of a description: words and punctuation without markup, indentation, tables, doctests
    or targets; lines stay as they are broken."""
    text = rst.replace("\r\n", "\n")
    for markup, text_for_it in MARKUP:
        text = markup.sub(text_for_it, text)
    return text.strip("\n") + "\n"
