"""Features on disk, known by everything that they depend on, so that none is ever out of date.

A file's name is a sha256 over the images themselves and the extractor's own, so other images, other
weights or another preprocessing look elsewhere. A file holds a digest of its tensors: one that was
cut or altered is computed again. Processes that want the same file wait for the first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import safetensors.torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch import Tensor

from genbench.data.sources import cache_root
from genbench.errors import UserError
from genbench.features import Extractor, Features
from genbench.features.extraction import check_images, extract

VERSION = 1  # raised when the same extractor would give other features for the same images
MAX_BYTES = 4 << 30

Tensors = dict[str, Tensor]


def features(extractor: Extractor, images: np.ndarray, levels: int, *, name: str) -> Features:
    """As `extract`, but read from the cache where the same was asked before on a device of the same
    kind. Raises ValueError as `extract` does, and UserError for a cache that cannot be written."""
    check_images(extractor, images, levels, name)

    def compute() -> Tensors:
        found = extract(extractor, images, levels, name)._asdict()
        return {part: tensor for part, tensor in found.items() if tensor is not None}

    found = stored(cache_root() / "features", key(extractor, images, levels), compute)
    on_device = {part: tensor.to(extractor.device) for part, tensor in found.items()}
    return Features(on_device["features"], on_device.get("logits"))


def holds(extractor: Extractor, images: np.ndarray, levels: int) -> bool:
    """Whether the cache has a file of what `features` would give."""
    return _path(cache_root() / "features", key(extractor, images, levels)).is_file()


def key(extractor: Extractor, images: np.ndarray, levels: int) -> str:
    """Hex digest of all that features depend on: the images' bytes and form, their levels, the
    extractor, the kind of its device, and the version of this store."""
    form = (VERSION, images.shape, str(images.dtype), levels)
    whose = (extractor.name, extractor.sha256, extractor.device.type)
    return _digest([repr(form + whose).encode(), np.ascontiguousarray(images).data])


def stored(folder: Path, key: str, compute: Callable[[], Tensors]) -> Tensors:
    """The tensors, on the CPU, of the file `key` of `folder`, which `compute` fills if need be.

    The folder is then trimmed to `MAX_BYTES`. Raises UserError where it cannot be written.
    """
    path = _path(folder, key)
    if (found := _read(path)) is not None:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock(path)):
            if (found := _read(path)) is not None:  # another process may have just filled it
                return found
            made = {name: tensor.cpu().contiguous() for name, tensor in compute().items()}
            # The process in the name: a lock that `trim` removed no longer keeps a second one out.
            temporary = path.with_suffix(f".{os.getpid()}.part")
            safetensors.torch.save_file(made, temporary, {"sha256": _checksum(made)})
            temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cannot write to the cache {folder} ({error}); "
            "set GENBENCH_CACHE to a folder that can be written"
        ) from error
    trim(folder, MAX_BYTES)
    return made


def trim(folder: Path, max_bytes: int) -> None:
    """Remove the files of `folder` that were used longest ago until at most `max_bytes` are left,
    whatever other processes add or remove meanwhile."""
    files = []
    for path in folder.iterdir():
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if path.suffix != ".lock":
            files.append((stat.st_mtime_ns, stat.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= max_bytes:
            break
        path.unlink(missing_ok=True)
        _lock(path).unlink(missing_ok=True)
        total -= size


def _path(folder: Path, key: str) -> Path:
    return folder / f"{key}.safetensors"


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")


def _read(path: Path) -> Tensors | None:
    """The tensors of a file, which then counts as just used; None where it is absent or damaged."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            expected = (file.metadata() or {}).get("sha256")
        if _checksum(tensors) != expected:
            return None
        os.utime(path)
    except (OSError, SafetensorError):
        return None
    return tensors


def _checksum(tensors: Tensors) -> str:
    parts: list[bytes | memoryview] = []
    for name, tensor in sorted(tensors.items()):
        parts += [repr((name, tensor.dtype, tuple(tensor.shape))).encode()]
        parts += [np.ascontiguousarray(tensor.numpy()).data]
    return _digest(parts)


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
