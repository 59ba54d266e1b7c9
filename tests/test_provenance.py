"""Where a record comes from."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from genbench import provenance


@pytest.fixture
def commit():
    provenance.commit.cache_clear()
    yield provenance.commit
    provenance.commit.cache_clear()


def test_what_is_said_of_this_machine():
    said = provenance.provenance("cpu", 3)
    json.dumps(said, allow_nan=False)
    assert said["threads"] == 3
    assert said["device"] == "cpu"
    assert said["device_name"]
    assert datetime.fromisoformat(said["date"]).utcoffset().total_seconds() == 0
    assert set(said["versions"]) == set(provenance.PACKAGES)
    assert not any("/" in str(value) for key, value in said.items() if key != "device_name")


def test_installed_elsewhere_there_is_no_clone_and_no_commit(monkeypatch, tmp_path, commit):
    monkeypatch.setattr(provenance.genbench, "__file__", str(tmp_path / "genbench" / "__init__.py"))
    assert provenance.clone_root() is None
    assert commit() == ""
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "results").mkdir()
    assert provenance.clone_root() == tmp_path


def test_without_git_there_is_no_commit(monkeypatch, tmp_path, commit):
    monkeypatch.setattr(provenance, "clone_root", lambda: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() == ""


def test_changes_to_the_package_are_marked(monkeypatch, tmp_path, commit):
    import subprocess

    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *identity, "-C", str(tmp_path), *arguments], check=True,
                       capture_output=True)  # fmt: skip

    monkeypatch.setattr(provenance, "clone_root", lambda: tmp_path)
    (tmp_path / "genbench").mkdir()
    (tmp_path / "genbench" / "a.py").write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    clean = commit()
    assert len(clean) == 40
    (tmp_path / "notes.md").write_text("no part of the package")
    commit.cache_clear()
    assert commit() == clean
    (tmp_path / "genbench" / "a.py").write_text("2")
    commit.cache_clear()
    assert commit() == f"{clean}+changes"
