"""A text or a file of chorales of one's own, by its path, from the suite to the tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from genbench import tables
from genbench.data import info, load
from genbench.engines import local
from genbench.errors import UserError
from genbench.progress import Display
from genbench.suite import load_profiles, parse_suite

SENTENCES = "A quick brown fox number {i} jumps over {n} lazy dogs, and then it rests.\n"


def prose(folder: Path, n: int = 900) -> Path:
    path = folder / "my text.txt"
    lines = (SENTENCES.format(i=i * i, n=i % 7) for i in range(n))
    path.write_text("".join(lines), "utf-8")
    return path


def chorales(folder: Path) -> Path:
    rng = np.random.default_rng(0)

    def piece(steps: int) -> list[list[int]]:
        walk = np.clip(rng.integers(-2, 3, (steps, 4)).cumsum(0), -4, 4)
        return (walk + np.array([72, 65, 58, 50])).tolist()

    path = folder / "mine.json"
    path.write_text(
        json.dumps({k: [piece(64 * n) for _ in range(4)] for k, n in
                    (("train", 8), ("valid", 7), ("test", 7))})
    )  # fmt: skip
    return path


def suite(path: Path, modality: str, model: str = "ngram") -> str:
    return (
        f"name: mine\ntitle: Mine\nmodality: {modality}\ngrids:\n"
        f"  - {{datasets: ['{path}'], models: [{model}]}}"
    )


def test_a_text_of_ones_own_is_called_after_its_file_and_content(tmp_path):
    path = prose(tmp_path)
    known = info(str(path))
    assert known.name == f"my-text-{known.name[-8:]}"
    assert known.path == str(path)
    (cell,) = parse_suite(suite(path, "text"), "x.yaml").cells(load_profiles()["smoke"])
    assert cell.name == f"text/{known.name}/ngram/s0"


def test_where_a_file_lies_is_no_part_of_keys(tmp_path):
    keys = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        (cell,) = parse_suite(suite(prose(folder), "text"), "x.yaml").cells(
            load_profiles()["smoke"]
        )
        keys.append(cell.evaluate_key("cpu"))
    assert keys[0] == keys[1]


@pytest.mark.parametrize(("make", "modality"), [(prose, "text"), (chorales, "music")])
def test_ones_own_data_go_all_the_way(tmp_path, make, modality):
    path = make(tmp_path)
    cells = parse_suite(suite(path, modality), "x.yaml").cells(load_profiles()["smoke"])
    setting = local.Setting(
        profile="smoke",
        results=tmp_path / "results" / "smoke",
        runs=tmp_path / "runs",
        device="cpu",
    )
    records = local.run([(cell, ["mine"]) for cell in cells], setting, Display([1.0]))
    (record,) = records.values()
    assert record["status"] == "ok", record["reason"]
    (row,) = tables.load("smoke", tmp_path / "results").cells.to_dict("records")
    assert row["dataset"] == load(str(path)).info.name
    values = {m["metric"]: m["value"] for m in record["metrics"] if m["split"] == "test"}
    assert values["fd"] > 0
    assert values["bpd"] > 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("short.txt", b"too short", "short"),
        ("empty.txt", b"", "empty.txt"),
        ("binary.txt", b"\x00\xff\xfe\x00" * 400, "binary.txt"),
        ("cut.json", b'{"train": [', "not JSON"),
        ("none.json", b"{}", "the split 'train' is missing"),
    ],
)
def test_unfit_files_are_refused_before_anything_runs(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    modality = "music" if name.endswith("json") else "text"
    with pytest.raises(UserError, match=said) as caught:
        parse_suite(suite(path, modality), "x.yaml")
    assert "\n" not in str(caught.value)


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.txt"):
        parse_suite(suite(tmp_path / "nothing.txt", "text"), "x.yaml")
    with pytest.raises(UserError, match="did you mean 'shakespeare'"):
        parse_suite(suite(Path("shakespear"), "text"), "x.yaml")


def test_a_file_of_another_modality_is_refused(tmp_path):
    with pytest.raises(UserError, match="is music, and the suite's modality is text"):
        parse_suite(suite(chorales(tmp_path), "text"), "x.yaml")
