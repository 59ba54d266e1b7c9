"""Check a built book: every internal link, id, image and script exists; nothing loads from outside.

python tools/check_links.py _build/html
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# An address that a page fetches by itself, as opposed to one that a reader may follow.
LOADS = {"img": "src", "script": "src", "source": "src", "iframe": "src", "object": "data"}
# rel values of <link> that name a page without fetching it.
ONLY_NAMED = {"author", "canonical", "index", "next", "prev", "search"}


class Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a = {name: value for name, value in attrs if value}
        self.ids.update(a[name] for name in ("id", "name") if name in a)
        if tag == "a" and "href" in a:
            self.links.append(a["href"])
        elif tag == "link" and "href" in a:
            named = set(a.get("rel", "").split()) <= ONLY_NAMED
            (self.links if named else self.loads).append(a["href"])
        elif tag in LOADS and LOADS[tag] in a:
            self.loads.append(a[LOADS[tag]])


def faults(root: Path) -> Iterator[str]:
    files = [f for f in sorted(root.rglob("*.html")) if "_static" not in f.parts]
    if not files:
        yield f"{root}: no pages; build the book first"
    pages = {path: Page(path) for path in files}
    for path, page in pages.items():
        name = path.relative_to(root)
        for url in (*page.links, *page.loads):
            parts = urlsplit(url)
            if parts.scheme == "data":
                continue
            if parts.scheme == "file":
                yield f"{name}: names a path of this machine, {url}"
            elif parts.scheme or parts.netloc:
                if url in page.loads:
                    yield f"{name}: loads {url} from outside"
            else:
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                if not target.exists():
                    yield f"{name}: {url} does not exist"
                elif target in pages and unquote(parts.fragment) not in pages[target].ids | {""}:
                    yield f"{name}: {url} names no id of that page"
    for sheet in sorted(root.rglob("*.css")):
        for url in re.findall(
            r"(?:@import|url\()\s*['\"]?((?:https?:)?//[^'\")]+)", sheet.read_text()
        ):
            yield f"{sheet.relative_to(root)}: loads {url} from outside"


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    found = list(faults(Path(sys.argv[1]).resolve()))
    print("\n".join(found) or "links: all internal links, ids and files are there")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
