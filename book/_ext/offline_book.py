"""Sphinx extension: the built pages ask nothing of the network.

Two extensions would make them ask. sphinxcontrib-mermaid parses the directive well, but
draws with an ES module, which comes from a CDN and, vendored or not, never loads from a
``file:`` address. sphinx-thebe, which Jupyter Book always loads, writes a CDN address
into every page for a button that this book does not have. Both are kept from adding
their scripts; pages with a diagram get the vendored classic build of mermaid instead
(see tools/vendor_js.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ConfigError
from sphinxcontrib import mermaid

VENDORED = ("vendor/mathjax/tex-chtml-full.js", "vendor/mermaid/mermaid.min.js")


def disconnect(app: Sphinx, event: str, module: str, name: str) -> None:
    """Undo one extension's ``app.connect``; an error if there is nothing to undo.

    A silent miss, after an upgrade that renamed the handler, would bring the CDN back.
    """
    for listener in list(app.events.listeners.get(event, ())):
        handler = listener.handler
        if (handler.__module__, handler.__name__) == (module, name):
            app.disconnect(listener.id)
            return
    raise ConfigError(
        f"{module}.{name} no longer listens to {event}: mend {Path(__file__).name}"
    )


def require_vendored(app: Sphinx, config: Config) -> None:
    static = [Path(app.confdir, folder) for folder in config.html_static_path]
    for script in VENDORED:
        if not any((folder / script).is_file() for folder in static):
            raise ConfigError(
                f"{script} is missing: run `python tools/vendor_js.py` first"
            )


def add_mermaid(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: nodes.document,
) -> None:
    if doctree and next(doctree.findall(mermaid.mermaid), None):
        app.add_js_file("vendor/mermaid/mermaid.min.js", loading_method="defer")
        app.add_js_file("mermaid-init.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("sphinxcontrib.mermaid")
    app.setup_extension("sphinx_thebe")
    disconnect(app, "html-page-context", "sphinxcontrib.mermaid", "install_js")
    disconnect(app, "env-before-read-docs", "sphinx_thebe", "init_thebe_core")
    app.connect("config-inited", require_vendored)
    app.connect("html-page-context", add_mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
