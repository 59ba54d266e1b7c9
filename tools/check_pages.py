"""Open every page of a built book in Chromium with no network and report what does not show.

    python tools/check_pages.py _build/html [--shots FOLDER] [--only PART_OF_A_PAGE_NAME]

Pages open from file: addresses, as a reader's would, at desktop and phone width, in light and dark.
CHROMIUM names the browser where it is none of the usual ones.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Route, TimeoutError, sync_playwright

WIDTHS = {"desktop": (1400, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Keeps Chromium from calling home by itself.
ARGS = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]

# MathJax and mermaid work after the page has loaded.
SETTLED = """() => {
  const all = (selector) => document.querySelectorAll(selector).length;
  return document.readyState === "complete"
    && all("mjx-container") >= all(".math") && all("pre.mermaid svg") === all("pre.mermaid")
}"""

LOOK = """() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const shown = (element) => element.getClientRects().length > 0;
  return {
    theme: document.documentElement.dataset.theme,
    // The theme keeps a second one for print, hidden.
    headings: all("h1").filter(shown).length,
    overflow: document.documentElement.scrollWidth - innerWidth,
    math: all(".math").length - all("mjx-container").length,
    mathErrors: all("mjx-merror").length,
    diagrams: all("pre.mermaid").length - all("pre.mermaid svg").length,
    diagramErrors: all("pre.mermaid .error-text, pre.mermaid .error-icon").length,
    broken: all("img").filter((i) => shown(i) && i.complete && !i.naturalWidth).map((i) => i.src),
    // Without a text of its own a figure is given its file's name, which is a hash.
    nameless: all("img").filter((i) => !i.alt || /[0-9a-f]{32}/.test(i.alt)).map((i) => i.src),
    // A role or directive that nothing understood stays in the text as it was typed.
    raw: all("article p, article li, article td, article figcaption")
      .map((e) => e.innerText).filter((t) => /\\{[a-z:-]+\\}`|^:::|\\$\\$/.test(t)),
    // An output of a notebook that is empty is shown as the object that it is.
    objects: all("article .output").map((e) => e.innerText).filter((t) => /<IPython\\./.test(t)),
  };
}"""


def browser_path() -> str:
    names = [os.environ.get("CHROMIUM", ""), *BROWSERS]
    path = next(filter(None, map(shutil.which, filter(None, names))), None)
    if not path:
        raise SystemExit(
            f"no browser: install chromium, or set CHROMIUM (tried {', '.join(BROWSERS)})"
        )
    return path


def complaints(look: dict[str, Any], scheme: str) -> Iterator[str]:
    if look["theme"] != scheme:
        yield f"theme is {look['theme']}"
    if look["headings"] != 1:
        yield f"{look['headings']} first-level headings"
    if look["overflow"] > 0:
        yield f"wider than the window by {look['overflow']} px"
    if look["math"] > 0:
        yield f"{look['math']} formulas not drawn"
    if look["mathErrors"]:
        yield f"{look['mathErrors']} formulas with errors"
    if look["diagrams"] or look["diagramErrors"]:
        yield "a diagram not drawn"
    if look["broken"]:
        yield f"pictures that do not load: {look['broken']}"
    if look["nameless"]:
        yield f"pictures without alt text: {look['nameless']}"
    if look["objects"]:
        yield f"outputs shown as objects: {look['objects'][:3]}"
    if look["raw"]:
        yield f"markup shown as text: {look['raw'][:3]}"


def visit(context: BrowserContext, path: Path, scheme: str, shot: Path | None) -> list[str]:
    """Everything that is wrong with one page."""
    page = context.new_page()
    found: list[str] = []

    def guard(route: Route) -> None:
        url = route.request.url
        if url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            found.append(f"asks the network for {url}")
            route.abort()

    page.route("**/*", guard)

    def console(message: ConsoleMessage) -> None:
        if message.type == "error":
            found.append(f"console: {message.text.splitlines()[0]}")  # the rest is a stack trace

    page.on("console", console)
    page.on("pageerror", lambda error: found.append(f"script: {error}"))
    page.goto(path.as_uri())
    try:
        page.wait_for_function(SETTLED, timeout=15_000)
    except TimeoutError:
        found.append("not drawn after 15 s")
    found += complaints(page.evaluate(LOOK), scheme)
    if shot:
        page.screenshot(path=shot, full_page=True)
    page.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Open every page with no network.")
    parser.add_argument("html", type=Path)
    parser.add_argument("--shots", type=Path, help="folder for screenshots of every page")
    parser.add_argument("--only", default="", help="only pages whose path contains this")
    args = parser.parse_args()

    root = args.html.resolve()
    pages = [
        path
        for path in sorted(root.rglob("*.html"))
        # The root index only forwards to the first page.
        if "_static" not in path.parts and path != root / "index.html" and args.only in str(path)
    ]
    if not pages:
        raise SystemExit(f"{args.html}: no such pages; build the book first")
    if args.shots:
        args.shots.mkdir(parents=True, exist_ok=True)

    bad = 0
    # Chromium refuses to run its sandbox for root, as in most containers.
    sandbox = os.geteuid() != 0
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=browser_path(), args=ARGS, chromium_sandbox=sandbox
        )
        for width, (x, y) in WIDTHS.items():
            for scheme in SCHEMES:
                context = browser.new_context(
                    viewport={"width": x, "height": y},
                    color_scheme="dark" if scheme == "dark" else "light",
                )
                context.set_offline(True)
                for path in pages:
                    name = path.relative_to(root).with_suffix("").as_posix()
                    shot = (
                        args.shots and args.shots / f"{name.replace('/', '-')}-{width}-{scheme}.png"
                    )
                    found = visit(context, path, scheme, shot)
                    bad += bool(found)
                    for fault in found:
                        print(f"{name} ({width}, {scheme}): {fault}")
                context.close()
        browser.close()
    views = len(pages) * len(WIDTHS) * len(SCHEMES)
    print(f"pages: {len(pages)} in {views} views, {bad} with faults")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
