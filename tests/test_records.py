"""Files are whole or not there; one process a run; records are read with care."""

from __future__ import annotations

import errno
import gzip
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import tiny_cell

from genbench.errors import UserError
from genbench.records import (
    REQUIRED,
    TABLES,
    RunDirectory,
    atomic,
    load_records,
    read_json,
    record_path,
    write_json,
    write_record,
)


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_file_takes_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic(path) as temporary:
        temporary.write_text("content")
        assert not path.exists()
        assert temporary.parent == path.parent  # so that the move is one of names alone
        assert temporary.name.startswith(".")
    assert path.read_text() == "content"
    assert everything(tmp_path) == ["new", "new/file.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write():
        with atomic(path) as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert everything(tmp_path) == ["file.txt"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_json(path, {"old": 1})
    before = path.read_bytes()
    original = Path.write_text

    def full(self, text, *args, **kwargs):
        original(self, text[:5], *args, **kwargs)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            write_json(path, {"new": 2})
    assert path.read_bytes() == before
    assert everything(tmp_path) == ["record.json"]


def test_a_disk_that_is_full_only_when_it_is_flushed(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_json(path, {"old": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"new": 2})
    assert read_json(path) == {"old": 1}
    assert everything(tmp_path) == ["record.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_the_message_of_a_device_that_is_really_full():
    with pytest.raises(OSError, match="No space left"):
        Path("/dev/full").write_text("x")


def test_json_is_stable_and_refuses_what_json_cannot_hold(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1.5, "a": [1, "ü"]})
    write_json(tmp_path / "b.json", {"a": [1, "ü"], "b": 1.5})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_json(tmp_path / "a.json") == {"a": [1, "ü"], "b": 1.5}
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "c.json", bad)
    assert not (tmp_path / "c.json").exists()


def refused_by_name(path, read):
    with pytest.raises(UserError) as caught:
        read()
    assert str(path) in str(caught.value)
    assert "restore it from git or delete it" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b"\xff\xfe", b"nul"])
def test_a_file_that_is_not_json_is_refused_by_name(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    refused_by_name(path, lambda: read_json(path))
    record = record_path(tmp_path, "images/x")
    record.parent.mkdir(parents=True)
    for packed in (content, gzip.compress(content)):
        record.write_bytes(packed)
        refused_by_name(record, lambda: load_records(tmp_path))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9, 0.99])
def test_a_cut_record_is_refused_by_name(tmp_path, share):
    write_record(tmp_path, whole("images/x", metrics=[{"metric": "fd", "value": 1.0}]))
    path = record_path(tmp_path, "images/x")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused_by_name(path, lambda: load_records(tmp_path))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_record_with_a_changed_byte_is_refused_by_name(tmp_path, share):
    write_record(tmp_path, whole("images/x", metrics=[{"metric": "fd", "value": 1.0}]))
    path = record_path(tmp_path, "images/x")
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 0xFF
    path.write_bytes(content)
    refused_by_name(path, lambda: load_records(tmp_path))


@pytest.mark.parametrize("content", ["[]", "{}", "3", "null", '{"cell": "a"}'])
def test_json_that_is_no_record_is_refused_by_name(tmp_path, content):
    path = record_path(tmp_path, "x")
    path.parent.mkdir()
    path.write_bytes(gzip.compress(content.encode()))
    with pytest.raises(
        UserError, match=r"x\.json\.gz is not a whole record \(it lacks .*costs"
    ) as caught:
        load_records(tmp_path)
    assert "\n" not in str(caught.value)


def whole(name: str, **entries: object) -> dict[str, object]:
    """A record that has all that is required, and next to nothing in it."""
    return dict.fromkeys(REQUIRED) | {"cell": name, **{table: [] for table in TABLES}} | entries


def test_a_record_is_read_as_it_was_written(tmp_path):
    curves = [
        {"stage": "a", "step": 1, "loss": 0.25},
        {"stage": "b", "step": 2, "rate": 1e-7, "loss_D": 3.0},
    ]
    metrics = [{"metric": "fd", "value": None, "reason": "no, sir"}]
    record = whole("images/digits/vae/s0", curves=curves, metrics=metrics, seed=3)
    write_record(tmp_path, record)
    assert load_records(tmp_path) == [record]
    packed = record_path(tmp_path, "images/digits/vae/s0").read_bytes()
    write_record(tmp_path, record)
    assert record_path(tmp_path, "images/digits/vae/s0").read_bytes() == packed
    text = gzip.decompress(packed).decode()
    assert '  "loss": [0.25, null],' in text.splitlines()


@pytest.mark.parametrize("table", [3, "x", [{"a": 1}], {"a": [1], "b": []}, {"a": 1}])
def test_a_record_with_a_cut_table_is_refused_by_name(tmp_path, table):
    path = record_path(tmp_path, "images/digits/vae/s0")
    path.parent.mkdir(parents=True)
    content = whole("images/digits/vae/s0", metrics=table)
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    with pytest.raises(UserError, match=r"s0\.json\.gz .* \(a table of it is cut"):
        load_records(tmp_path)


def test_records_that_are_not_packed_are_told_of(tmp_path):
    write_record(tmp_path, whole("images/digits/vae/s0"))
    write_json(tmp_path / "records" / "images" / "old.json", whole("images/old"))
    with pytest.raises(UserError, match=r"old\.json is a record of an earlier form.*gzip -rn"):
        load_records(tmp_path)


def test_a_record_takes_no_numbers_that_json_lacks(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_record(tmp_path, whole("images/digits/vae/s0", wall_seconds=math.nan))
    assert load_records(tmp_path) == []


def test_records_come_in_the_order_of_their_cells(tmp_path):
    names = ["images/digits/vae/s10", "images/digits/vae/s2", "images/a/b/s0"]
    for name in names:
        write_record(tmp_path, whole(name))
    assert [record["cell"] for record in load_records(tmp_path)] == sorted(names)
    assert load_records(tmp_path / "nowhere") == []


def test_a_file_half_written_by_another_process_is_no_record(tmp_path):
    path = record_path(tmp_path, "images/digits/vae/s0")
    with atomic(path) as temporary:
        temporary.write_text("{")
        assert load_records(tmp_path) == []


# Run directories


def test_paths_tell_apart_what_keys_tell_apart(tmp_path):
    one = RunDirectory(tmp_path, tiny_cell(), "cpu")
    assert one.path.name.startswith("images__digits__vae__s0-")
    assert one.path != RunDirectory(tmp_path, tiny_cell(flops=9e6), "cpu").path
    assert one.path != RunDirectory(tmp_path, tiny_cell(), "cuda").path
    more = RunDirectory(tmp_path, tiny_cell(n=121), "cpu")
    assert one.path == more.path
    assert one.samples(1.0) != more.samples(1.0)
    assert one.weights(1 / 16) != one.weights(1 / 8) != one.weights(1.0)


def test_a_run_is_held_by_one_process(tmp_path):
    cell = tiny_cell()
    directory = RunDirectory(tmp_path, cell, "cpu")
    script = (
        "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire();"
        "print('held', flush=True); sys.stdin.read()"
    )
    directory.path.mkdir(parents=True)
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(directory.path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserError) as caught, directory.locked():
            pass
        assert cell.name in str(caught.value)
        assert "another process" in str(caught.value)
        # A process that is killed leaves no lock behind.
        other.kill()
        other.wait()
        with directory.locked():
            pass
    finally:
        other.kill()
        other.communicate()


def test_the_lock_is_let_go_after_an_error(tmp_path):
    directory = RunDirectory(tmp_path, tiny_cell(), "cpu")
    with pytest.raises(RuntimeError), directory.locked():
        raise RuntimeError
    with directory.locked():
        pass


def test_forgetting_removes_everything_but_the_lock(tmp_path):
    directory = RunDirectory(tmp_path, tiny_cell(), "cpu")
    with directory.locked():
        write_json(directory.training, {})
        write_json(directory.sampling, {})
        directory.forget()
        assert everything(directory.path) == ["lock"]
