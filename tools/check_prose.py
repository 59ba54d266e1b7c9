"""Fail on decimals and percentages typed into the book's prose.

    python tools/check_prose.py [FILE...]       (every page of book/ if none is named)

A number in a chapter is computed from the results, or it goes stale without anybody noticing. Read
are Markdown pages and the Markdown cells of notebooks; left out are code, mathematics, roles,
addresses and comments. Version numbers belong in `code`. A line whose number is a fact that no run
can change ends in a comment that says so: <!-- number: why it may stand -->.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

BOOK = Path(__file__).resolve().parents[1] / "book"

NUMBER = re.compile(r"(?<![\w.])\d*\.\d+|\d\s*\\?%|\d\s*per ?cent\b", re.IGNORECASE)
EXCUSED = re.compile(r"<!-- number: \S.*-->")
FENCE = re.compile(r"^\s*(?P<marks>`{3,}|~{3,}|:{3,})\s*(?P<kind>\{[\w:-]+\})?")
# Directives whose body is code, mathematics or a drawing; the bodies of all others are prose.
NO_PROSE = {
    "{bibliography}",
    "{code}",
    "{code-block}",
    "{code-cell}",
    "{literalinclude}",
    "{math}",
    "{mermaid}",
}
# Spans that are not prose, taken out in this order; each keeps its line breaks.
SPANS = [
    re.compile(r"<!--.*?-->", re.DOTALL),
    re.compile(r"\$\$.*?\$\$", re.DOTALL),
    re.compile(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", re.DOTALL),
    re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL),  # code, and the text of roles
    re.compile(r"(?<![\\$])\$(?!\s)[^$]+?(?<!\s)\$"),
    re.compile(r"<https?:[^>]*>|\]\([^)]*\)|https?://\S+"),
    re.compile(r"^\s*\[[^\]]+\]:.*$", re.MULTILINE),  # targets of reference links
]


def without_code(text: str) -> str:
    """The text with blank lines where fenced blocks hold no prose, and where options stand."""
    lines = []
    open_fences: list[tuple[str, bool]] = []  # the marks, and whether the body is prose
    for line in text.splitlines():
        fence = FENCE.match(line)
        inside = open_fences[-1] if open_fences else ("", True)
        if fence and inside[0] and line.strip() == fence["marks"] and fence["marks"] >= inside[0]:
            open_fences.pop()
            line = ""
        elif fence and inside[1]:
            # A plain fence is code; colons without a directive are a division of prose.
            kind = fence["kind"]
            prose = kind not in NO_PROSE if kind else fence["marks"][0] == ":"
            open_fences.append((fence["marks"], prose))
            line = line[fence.end() :] if prose else ""  # a title is prose
        elif not inside[1] or (inside[0] and re.match(r"\s*:[\w-]+:", line)):
            line = ""
        lines.append(line)
    return "\n".join(lines)


def faults(text: str) -> Iterator[tuple[int, str]]:
    """Line number and line of every typed number."""
    prose = without_code(text)
    for span in SPANS:
        prose = span.sub(lambda match: "\n" * match[0].count("\n"), prose)
    typed = text.splitlines()
    for number, line in enumerate(prose.splitlines(), start=1):
        if NUMBER.search(line) and not EXCUSED.search(typed[number - 1]):
            yield number, typed[number - 1].strip()


def texts(path: Path) -> Iterator[tuple[str, str]]:
    """Every piece of Markdown in a file, with the name to report it under."""
    if path.suffix == ".ipynb":
        for index, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
            if cell["cell_type"] == "markdown":
                yield f"{path}: cell {index}", "".join(cell["source"])
    else:
        yield str(path), path.read_text(encoding="utf-8")


def main() -> int:
    pages = [Path(name) for name in sys.argv[1:]]
    pages = pages or sorted(p for p in BOOK.iterdir() if p.suffix in {".md", ".ipynb"})
    bad = 0
    for path in pages:
        for name, text in texts(path):
            for line, typed in faults(text):
                bad += 1
                print(f"{name}: line {line}: a typed number: {typed}")
    if bad:
        print("Compute these from the results (see the note at the top of tools/check_prose.py).")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
