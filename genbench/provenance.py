"""Where a record comes from: versions, machine, commit and date."""

from __future__ import annotations

import functools
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import genbench

Provenance = dict[str, str | int | dict[str, str]]

PACKAGES = ("torch", "torchvision", "transformers", "torch-fidelity", "numpy", "scipy")


def clone_root() -> Path | None:
    """The clone that the package is imported from; None where it is installed elsewhere."""
    root = Path(genbench.__file__).resolve().parents[1]
    return root if (root / "_toc.yml").is_file() and (root / "results").is_dir() else None


@functools.cache
def commit() -> str:
    """The clone's commit, with "+changes" where the package differs from it; "" outside one."""
    root = Path(genbench.__file__).resolve().parents[1]

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # An unpacked copy inside some other repository is not of that repository's commit.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return ""
        changes = git("status", "--porcelain", "--", "genbench")
        return git("rev-parse", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


@functools.cache
def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def provenance(device: str, threads: int) -> Provenance:
    """What a record says of where and when it was made."""
    import torch

    on_cuda = device.startswith("cuda")
    return {
        "genbench": genbench.__version__,
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "device_name": torch.cuda.get_device_name() if on_cuda else processor(),
        "threads": threads,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: version(name) for name in PACKAGES},
    }
