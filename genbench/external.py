"""Samples that genbench did not make, read from a folder of PNGs, an .npy or an .npz.

What cannot be read in one way only is refused: a wrong guess would be scored without a word. Of
every conversion that was made there is a note. Nothing is unpickled, and no more is read into
memory than the samples that are scored.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from genbench.data import DatasetInfo
from genbench.errors import UserError

LEAST = 2  # no metric is defined for fewer samples

FORMS = "a folder of PNGs, an .npy or an .npz"
PICTURES = {".bmp", ".gif", ".jpeg", ".jpg", ".jxl", ".tif", ".tiff", ".webp"}
TEXTS = {".csv", ".json", ".jsonl", ".md", ".txt"}


@dataclass(frozen=True)
class External:
    """Samples in the form of a data set.

    images: uint8 (N, C, H, W), C-contiguous, in 0..levels-1, with the data set's C, H, W and
    levels. labels: int64 (N,) in 0..classes-1, or None where the samples come without.
    notes: one line for each conversion, and for whatever makes the scores worth less.
    sha256: hex digest of images and labels as they are here, so of equal samples whatever file
    they came in.
    """

    images: np.ndarray
    labels: np.ndarray | None
    notes: list[str]
    sha256: str


def load_samples(path: Path, info: DatasetInfo, n: int = 10_000) -> External:
    """The first `n` samples at `path`, in the form of the data set `info`.

    Metrics depend on how many samples there are, so of more than the `n` of the protocol the first
    are taken: in the order of an array, or of the names of PNGs.

    - A folder: every .png of its top level, 8 bits a channel or fewer; 0..255 is scaled to
      0..levels-1. A palette is looked up. Alpha that is opaque everywhere is left out, and refused
      otherwise, since it has no one background. Pictures in other formats are refused, for without
      them a part would be scored as the whole; other files, hidden ones and subfolders are passed
      over with a note.
    - An .npy, or an .npz with one array or one called `samples`, and integers `labels` (N,) beside
      it if the samples are of classes: (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3;
      uint8 in 0..levels-1, or floats in 0..1, which are multiplied by levels-1 and rounded, halves
      to even.
    - Colour becomes grey by the luma of ITU-R BT.601; grey becomes colour by repeating it.

    Raises UserError, in one line, for anything else, and for fewer than 2 samples.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {_line(error)}; expected {FORMS}") from None
    suffix = path.suffix.lower()
    labels = None
    if stat.S_ISDIR(mode):
        images, notes = _folder(path, info, n)
    elif not stat.S_ISREG(mode):
        raise UserError(f"{path}: is neither a file nor a folder; expected {FORMS}")
    elif suffix == ".npy":
        images, notes = _npy(path, info, n)
    elif suffix == ".npz":
        images, labels, notes = _npz(path, info, n)
    elif suffix in TEXTS:
        raise UserError(
            f"{path}: text goes with a data set of text, and {info.name} holds images; "
            f"to compare with it, give {FORMS}"
        )
    else:
        raise UserError(f"{path}: '{suffix}' is not a form of samples; expected {FORMS}")
    # A copy: what is read from bytes cannot be written to, and torch.from_numpy dislikes that.
    images = np.array(images, order="C")
    notes += _warnings(images, info, n)
    digest = hashlib.sha256(f"{images.shape} {labels is not None} ".encode() + images.tobytes())
    if labels is not None:
        digest.update(labels.astype("<i8").tobytes())
    return External(images, labels, notes, digest.hexdigest())


def to_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Images uint8 (N, 1 or 3, H, W) as (N, `channels`, H, W): colour to grey by the luma of ITU-R
    BT.601, in the integers of PIL's mode "L", so that equal channels stay as they are; grey to
    colour by repeating it."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.repeat(3, axis=1)
    red, green, blue = images.astype(np.uint32).swapaxes(0, 1)
    luma = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
    return luma.astype(np.uint8)[:, None]


def _warnings(images: np.ndarray, info: DatasetInfo, n: int) -> list[str]:
    """What to beware of in samples that could be read."""
    notes = []
    if len(images) < n:
        notes.append(
            f"{len(images)} samples, and the protocol has {n}: metrics depend on that number, so "
            "compare with rows of equal n_samples alone"
        )
    constant = int((images == images[:, :, :1, :1]).all(axis=(1, 2, 3)).sum())
    if constant:
        notes.append(f"{constant} of {len(images)} samples are of one colour throughout")
    repeated = len(images) - len({image.tobytes() for image in images})
    if repeated:
        notes.append(f"{repeated} of {len(images)} samples repeat an earlier one exactly")
    if info.levels > 2 and images.max() == 1:
        notes.append(
            f"no value is above 1 of {info.levels - 1}: if they were meant as 0..1, save floats"
        )
    return notes


def _converted(found: int, info: DatasetInfo) -> str:
    """The note on samples of `found` channels, where the data set has another number."""
    if found == info.shape[0]:
        return ""
    return "colour became grey by BT.601 luma" if found == 3 else "grey was repeated as colour"


def _of_more(total: int, n: int, what: str) -> list[str]:
    return [f"the first {n} of {total} {what} are scored"] if total > n else []


def _line(error: BaseException) -> str:
    """What an exception says, in one line."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(said.split()) or type(error).__name__


# A folder of PNGs


def _folder(path: Path, info: DatasetInfo, n: int) -> tuple[np.ndarray, list[str]]:
    try:
        entries = sorted(path.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{path}: {_line(error)}; expected a folder that can be read") from None
    folders = [entry for entry in entries if entry.is_dir()]
    seen = [entry for entry in entries if entry not in set(folders) and entry.name[0] != "."]
    files = [entry for entry in seen if entry.suffix.lower() == ".png"]
    pictures = [entry.name for entry in seen if entry.suffix.lower() in PICTURES]
    if pictures:
        raise UserError(
            f"{path}: {len(pictures)} pictures are not PNGs, the first is {pictures[0]!r}; "
            "convert them to PNG or move them elsewhere"
        )
    if len(files) < LEAST:
        aside = f" ({len(folders)} subfolders are not looked into)" if folders else ""
        raise UserError(f"{path}: holds {len(files)} PNGs{aside}; at least {LEAST} are needed")
    _, *size = info.shape
    images = np.empty((min(n, len(files)), *info.shape), np.uint8)
    made: Counter[str] = Counter()
    faults = []
    for image, file in zip(images, files, strict=False):
        try:
            pixels, opaque = _pixels(file, (size[0], size[1]))
        except Exception as error:  # what PIL raises for a damaged file is not declared
            faults.append(f"{file.name!r}: {_line(error)}")
            continue
        scaled = np.rint(pixels * ((info.levels - 1) / 255)).astype(np.uint8)
        image[:] = to_channels(scaled[None], info.shape[0])[0]
        made.update(
            filter(None, [_converted(len(pixels), info), "opaque alpha was left out" * opaque])
        )
    if faults:
        raise UserError(
            f"{path}: {len(faults)} of {len(images)} PNGs cannot be used; mend or remove them; the "
            f"first is {faults[0]}"
        )
    notes = _of_more(len(files), n, "PNGs, in the order of their names,")
    notes += [f"{what} in {count} of {len(images)} samples" for what, count in sorted(made.items())]
    if info.levels != 256:
        notes.append(f"PNGs were scaled from 0..255 to 0..{info.levels - 1}")
    if len(entries) > len(files):
        others = len(entries) - len(files) - len(folders)
        notes.append(f"passed over: {others} other files, {len(folders)} subfolders")
    return images, notes


def _pixels(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, bool]:
    """The pixels uint8 (1 or 3, H, W) in 0..255 of a PNG of height and width `size`, and whether
    alpha was left out. ValueError where it is another picture; a damaged one raises what PIL does.
    """
    if not path.is_file():  # opening a pipe would wait for its writer
        raise ValueError("not a file, or a link to none")
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # PIL reads 16 bits of colour as 8 without saying so; the header's 25th byte tells.
        depth = file.read(25)[24:]
        file.seek(0)
        with Image.open(file, formats=["PNG"]) as image:
            height, width = size
            # Before a pixel is decompressed, so that a small file cannot fill the memory.
            if image.size != (width, height):
                found = f"{image.height} x {image.width}"
                raise ValueError(f"{found} pixels (height x width), expected {height} x {width}")
            if depth == b"\x10":
                raise ValueError("16 bits a channel, expected 8")
            image.verify()  # checksums and the end, past which decoding does not look
        file.seek(0)
        with Image.open(file, formats=["PNG"]) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise ValueError("an animation, expected one image")
            if image.has_transparency_data:
                pixels = np.asarray(image.convert("RGBA"))
                if (pixels[..., 3] < 255).any():
                    raise ValueError("transparent pixels; put it on a background of your choice")
                return pixels[..., :3].transpose(2, 0, 1), True
            if image.mode in ("1", "L"):
                return np.asarray(image.convert("L"))[None], False
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1), False


# Arrays


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns whatever reading a damaged file raises into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # neither NumPy nor zipfile declares what it raises
        raise UserError(f"{path}: cannot be read ({_line(error)}); write it again") from None


def _npy(path: Path, info: DatasetInfo, n: int) -> tuple[np.ndarray, list[str]]:
    with _readable(path), path.open("rb") as file:
        return _images(file, os.fstat(file.fileno()).st_size, str(path), info, n)


def _npz(path: Path, info: DatasetInfo, n: int) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    with _readable(path), zipfile.ZipFile(path) as archive:
        members = {
            member.filename.removesuffix(".npy"): member
            for member in archive.infolist()
            if member.filename.endswith(".npy")
        }
        others = [name for name in members if name != "labels"]
        if "samples" not in members and len(others) != 1:
            raise UserError(
                f"{path}: holds {len(others)} arrays ({', '.join(map(repr, others[:5]))}) beside "
                "labels and none is called 'samples'; name the images so"
            )
        name = "samples" if "samples" in members else others[0]
        with archive.open(members[name]) as file:
            where = f"{path}, array {name!r}"
            images, notes = _images(file, members[name].file_size, where, info, n)
        labels = None
        if "labels" in members:
            with archive.open(members["labels"]) as file:
                where = f"{path}, array 'labels'"
                labels = _labels(file, members["labels"].file_size, where, info, n)
            if len(labels) != len(images):
                raise UserError(
                    f"{path}: {len(labels)} labels for {len(images)} samples (of the first {n}); "
                    "give each sample one"
                )
        passed_over = [other for other in others if other != name]
        if passed_over:
            notes.append(f"passed over: arrays {', '.join(map(repr, passed_over[:5]))}")
    return images, labels, notes


def _images(
    file: IO[bytes], size: int, where: str, info: DatasetInfo, n: int
) -> tuple[np.ndarray, list[str]]:
    """The first `n` images of an array in the .npy format, `size` bytes long with its header."""
    shape, dtype = _header(file, size, where)
    channels_last = _channels_last(shape, where, info)
    if len(shape) == 3:
        channels = 1
    else:
        channels = shape[3] if channels_last else shape[1]
    if dtype != np.uint8 and dtype.kind != "f":
        raise UserError(
            f"{where}: holds {dtype}; save uint8 in 0..{info.levels - 1}, or floats in 0..1"
        )
    if shape[0] < LEAST:
        raise UserError(f"{where}: holds {shape[0]} samples; at least {LEAST} are needed")
    found = _first(file, shape, dtype, n)
    images = _to_levels(found, where, info)
    if len(shape) == 3:
        images = images[:, None]
    elif channels_last:
        images = images.transpose(0, 3, 1, 2)
    notes = _of_more(shape[0], n, "samples")
    if dtype.kind == "f":
        notes.append(f"floats in 0..1 were multiplied by {info.levels - 1} and rounded")
    if note := _converted(channels, info):
        notes.append(note)
    return to_channels(images, info.shape[0]), notes


def _labels(file: IO[bytes], size: int, where: str, info: DatasetInfo, n: int) -> np.ndarray:
    shape, dtype = _header(file, size, where)
    if len(shape) != 1 or dtype.kind not in "iu":
        raise UserError(f"{where}: is {dtype} {shape}; expected integers of shape (N,)")
    labels = _first(file, shape, dtype, n)
    wrong = int(((labels < 0) | (labels >= info.classes)).sum())
    if wrong:
        raise UserError(
            f"{where}: {wrong} of {len(labels)} are not in 0..{info.classes - 1}, "
            f"the classes of {info.name}"
        )
    return labels.astype(np.int64)


def _header(file: IO[bytes], size: int, where: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype that an .npy declares, unless `size` is not what they come to."""
    version = np.lib.format.read_magic(file)
    # Later versions are for records, and let a header be as long as 4 GiB.
    if version != (1, 0):
        raise UserError(f"{where}: has version {version} of the .npy format; expected (1, 0)")
    shape, columns_first, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise UserError(f"{where}: holds Python objects, which are never unpickled; save numbers")
    if columns_first and len(shape) > 1:
        raise UserError(f"{where}: is in Fortran order; save np.ascontiguousarray of it")
    declared, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if declared != held:
        raise UserError(
            f"{where}: its header declares {declared} bytes and {held} follow; write it again"
        )
    return shape, dtype


def _first(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype, n: int) -> np.ndarray:
    """The first `n` rows of the array whose header has just been read."""
    shape = (min(n, shape[0]), *shape[1:])
    content = file.read(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(content, dtype).reshape(shape)


def _channels_last(shape: tuple[int, ...], where: str, info: DatasetInfo) -> bool:
    """Whether the channels are the last of four axes. UserError unless the shape can be read in
    one way only."""
    _, height, width = info.shape
    if len(shape) == 3 and shape[1:] == (height, width):
        if shape[0] == 3:
            raise UserError(
                f"{where}: shape {shape} may be three grey images or one in colour; add an axis of "
                "channels"
            )
        return False
    first = len(shape) == 4 and shape[1] in (1, 3) and shape[2:] == (height, width)
    last = len(shape) == 4 and shape[3] in (1, 3) and shape[1:3] == (height, width)
    if first == last:
        fault = "may have its channels first or last" if first else "is not one of images"
        raise UserError(
            f"{where}: shape {shape} {fault}; {info.name} needs (N, {height}, {width}), "
            f"(N, {height}, {width}, C) or (N, C, {height}, {width}) with C 1 or 3"
        )
    return last


def _to_levels(images: np.ndarray, where: str, info: DatasetInfo) -> np.ndarray:
    """uint8 in 0..levels-1 from such integers or from floats in 0..1."""
    top = info.levels - 1
    if images.dtype.kind == "f":
        bad = int((~np.isfinite(images)).sum())
        if bad:
            raise UserError(f"{where}: {bad} of {images.size} values are NaN or infinite")
    limit = 1 if images.dtype.kind == "f" else top
    wrong = int(((images < 0) | (images > limit)).sum())
    if wrong:
        raise UserError(
            f"{where}: {wrong} of {images.size} values lie outside 0..{limit} (they run from "
            f"{images.min():g} to {images.max():g}); {info.name} needs uint8 in 0..{top} or floats "
            "in 0..1"
        )
    if images.dtype.kind == "f":
        return np.rint(images.astype(np.float64) * top).astype(np.uint8)
    return images
