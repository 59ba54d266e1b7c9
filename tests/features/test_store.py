"""The store: the same numbers as without it, never those of another question, and bounded."""

import dataclasses
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from genbench.data import load
from genbench.errors import UserError
from genbench.features import store
from genbench.features.classifier import load_extractor
from genbench.features.extraction import extract

ONE_MB = {"x": torch.zeros(1 << 18)}


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path))
    return tmp_path / "features"


@pytest.fixture
def extractor():
    return load_extractor("digits")


@pytest.fixture
def images():
    return load("digits").test.rows[:20]


def never():
    raise AssertionError("computed again")


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_what_comes_back_is_what_was_computed(extractor, images, folder, monkeypatch):
    fresh = extract(extractor, images, 17)
    first = store.features(extractor, images, 17, name="x")
    monkeypatch.setattr(store, "extract", never)
    second = store.features(extractor, images, 17, name="x")
    for found in (first, second):
        assert torch.equal(found.features, fresh.features)
        assert torch.equal(found.logits, fresh.logits)
    assert files(folder) == [f"{store.key(extractor, images, 17)}.safetensors"]


def test_a_space_without_classes(extractor, images):
    class Body(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1).float(), None

    alone = dataclasses.replace(extractor, network=Body(), sha256="0")
    for _ in range(2):
        found = store.features(alone, images, 17, name="x")
        assert found.logits is None
        assert torch.equal(found.features, torch.from_numpy(images).flatten(1).float())


def test_every_thing_that_matters_makes_another_key(extractor, images):
    changed = images.copy()
    changed[0, 0, 0, 0] ^= 1
    replace = dataclasses.replace
    keys = [
        store.key(extractor, images, 17),
        store.key(extractor, changed, 17),
        store.key(extractor, images[:-1], 17),
        store.key(extractor, images[::-1], 17),
        store.key(extractor, images.reshape(20, 1, 4, 16), 17),
        store.key(extractor, images.view(np.int8), 17),
        store.key(extractor, images, 18),
        store.key(replace(extractor, sha256="0"), images, 17),
        store.key(replace(extractor, name="other"), images, 17),
        store.key(replace(extractor, device=torch.device("cuda")), images, 17),
    ]
    assert len(set(keys)) == len(keys)
    assert store.key(extractor, np.asfortranarray(images), 17) == keys[0]
    assert store.key(replace(extractor, device=torch.device("cuda", 1)), images, 17) == keys[-1]


def test_other_weights_or_data_give_other_features(extractor, images):
    before = store.features(extractor, images, 17, name="x").features
    network = load_extractor("digits").network
    with torch.no_grad():
        network.body[0][0].weight.mul_(1.1)
    other = dataclasses.replace(extractor, network=network, sha256="other weights")
    assert not torch.equal(store.features(other, images, 17, name="x").features, before)
    turned = store.features(extractor, images[::-1], 17, name="x").features
    torch.testing.assert_close(turned.flip(0), before)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-9],
        lambda content: content[:20],
        lambda content: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content.replace(b'"sha256"', b'"sha512"'),
    ],
)
def test_a_damaged_file_is_computed_again(extractor, images, folder, damage):
    good = store.features(extractor, images, 17, name="x").features
    (path,) = folder.glob("*.safetensors")
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    assert torch.equal(store.features(extractor, images, 17, name="x").features, good)
    assert path.read_bytes() == content


def test_an_interrupted_computation_leaves_nothing(folder):
    def crash():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.stored(folder, "k", crash)
    assert files(folder) == []
    assert torch.equal(store.stored(folder, "k", lambda: ONE_MB)["x"], ONE_MB["x"])


def test_bad_images_are_refused_before_any_look_up(extractor, images, folder):
    with pytest.raises(ValueError, match="samples: expected a NumPy array of uint8"):
        store.features(extractor, images.astype(float), 17, name="samples")
    with pytest.raises(ValueError, match="levels: classifier-digits takes 17, got 256"):
        store.features(extractor, images, 256, name="samples")
    assert not folder.exists()


def test_trim_removes_what_was_used_longest_ago(folder):
    for i in range(4):
        store.stored(folder, f"k{i}", lambda: ONE_MB)
        os.utime(folder / f"k{i}.safetensors", (i, i))
    store.stored(folder, "k0", never)  # reading is using
    store.trim(folder, 2_200_000)
    assert files(folder) == ["k0.safetensors", "k3.safetensors"]
    assert not (folder / "k1.lock").exists()
    store.trim(folder, 0)
    assert files(folder) == []


def test_the_folder_stays_within_its_bound(folder, monkeypatch):
    monkeypatch.setattr(store, "MAX_BYTES", 3_500_000)
    for i in range(6):
        store.stored(folder, f"k{i}", lambda: ONE_MB)
    assert files(folder) == [f"k{i}.safetensors" for i in (3, 4, 5)]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="set GENBENCH_CACHE"):
        store.stored(tmp_path / "file" / "features", "k", lambda: ONE_MB)


def _slowly(folder: str) -> float:
    """One of two processes: its computation takes a moment and leaves a mark."""

    def compute():
        with (Path(folder).parent / "computed").open("a") as file:
            file.write("x")
        time.sleep(0.3)
        return {"x": torch.ones(3)}

    return float(store.stored(Path(folder), "k", compute)["x"].sum())


def test_two_processes_compute_once(folder):
    with ProcessPoolExecutor(2) as pool:
        assert list(pool.map(_slowly, [str(folder)] * 2)) == [3.0, 3.0]
    assert (folder.parent / "computed").read_text() == "x"
