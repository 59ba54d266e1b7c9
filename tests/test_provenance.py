"""Where a record comes from."""

from __future__ import annotations

import json
import subprocess
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


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """The package imported from another folder."""
    (tmp_path / "genbench").mkdir()
    (tmp_path / "genbench" / "__init__.py").write_text("1")
    monkeypatch.setattr(provenance.genbench, "__file__", str(tmp_path / "genbench" / "__init__.py"))
    return tmp_path


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["git", *identity, "-C", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True)


def test_installed_elsewhere_there_is_no_clone_and_no_commit(elsewhere, commit):
    assert provenance.clone_root() is None
    assert commit() == ""
    (elsewhere / "_toc.yml").touch()
    (elsewhere / "results").mkdir()
    assert provenance.clone_root() == elsewhere


def test_without_git_there_is_no_commit(monkeypatch, elsewhere, commit):
    monkeypatch.setenv("PATH", str(elsewhere))
    assert commit() == ""


def test_changes_to_the_package_are_marked(elsewhere, commit):
    git(elsewhere, "init")
    git(elsewhere, "add", ".")
    git(elsewhere, "commit", "-m", "first")
    clean = commit()
    assert len(clean) == 40
    (elsewhere / "notes.md").write_text("no part of the package")
    commit.cache_clear()
    assert commit() == clean
    (elsewhere / "genbench" / "__init__.py").write_text("2")
    commit.cache_clear()
    assert commit() == f"{clean}+changes"


def test_a_copy_within_another_repository_is_not_of_its_commit(
    monkeypatch, elsewhere, tmp_path, commit
):
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    inner = tmp_path / "inner" / "genbench"
    inner.mkdir(parents=True)
    monkeypatch.setattr(provenance.genbench, "__file__", str(inner / "__init__.py"))
    assert commit() == ""
