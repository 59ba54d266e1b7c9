"""Inception: the user's file or none, never a download unasked; with random weights of its form."""

import shutil

import numpy as np
import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from genbench.data.sources import sha256
from genbench.errors import UserError
from genbench.features import inception
from genbench.features.extraction import extract
from genbench.features.spaces import Unavailable, load, space_info


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with the right keys and random numbers: the true weights are in no package."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"

    def keep(network, state):
        torch.manual_seed(0)
        for name, tensor in state.items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
        torch.save(state, path)

    with pytest.MonkeyPatch.context() as patch:
        module = "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url"
        patch.setattr(module, lambda *a, **k: None)
        patch.setattr(
            FeatureExtractorInceptionV3,
            "load_state_dict",
            lambda network, _: keep(network, network.state_dict()),
        )
        FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    return path


@pytest.fixture(autouse=True)
def empty_hub(monkeypatch, tmp_path):
    """torch's folder of downloads, empty and without a network behind it."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(inception, "URL", (tmp_path / "none.pth").as_uri())


def test_absent_weights_are_a_reason(tmp_path):
    for call in (load, space_info):
        with pytest.raises(Unavailable, match=r"no Inception weights: .*none\.pth is no file"):
            call("inception", "mnist")
    with pytest.raises(Unavailable, match=r"mine\.pth is no file"):
        load("inception", "mnist", inception=tmp_path / "mine.pth")
    with pytest.raises(Unavailable, match=r"none\.pth"):
        inception.download()


def test_torch_fidelitys_own_file_is_found(weights):
    inception.cached().parent.mkdir(parents=True)
    shutil.copy(weights, inception.cached())
    assert inception.find() == inception.cached()
    assert inception.find(weights) == weights
    assert space_info("inception", "mnist") == space_info("inception", "digits", weights)


def test_download_checks_the_hash_in_the_name(monkeypatch, tmp_path, weights):
    good = tmp_path / f"weights-{sha256(weights.read_bytes())[:8]}.pth"
    bad = tmp_path / "weights-01234567.pth"
    for path in (good, bad):
        shutil.copy(weights, path)
    monkeypatch.setattr(inception, "URL", good.as_uri())
    assert inception.download() == inception.find()
    monkeypatch.setattr(inception, "URL", bad.as_uri())
    with pytest.raises(Unavailable, match="invalid hash value"):
        inception.download()
    with pytest.raises(Unavailable, match="no Inception weights"):
        inception.find()


def test_features_are_torch_fidelitys(weights):
    extractor = load("inception", "digits", inception=weights)
    assert (extractor.name, extractor.dimension) == ("inception-v3-compat", 2048)
    images = np.random.default_rng(0).integers(0, 17, (3, 1, 8, 8), np.uint8)
    found = extract(extractor, images, 17)
    theirs = FeatureExtractorInceptionV3("inception-v3-compat", inception.LAYERS, str(weights))
    colour = np.rint(images.repeat(3, axis=1) * 255 / 16).astype(np.uint8)
    features, logits = theirs(torch.from_numpy(colour))
    torch.testing.assert_close(found.features, features, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.logits, logits, rtol=1e-5, atol=1e-5)
    assert found.features.shape == (3, 2048)
    assert found.logits.shape == (3, 1008)
    assert features.std() > 0


def test_the_hash_follows_the_file(weights, tmp_path):
    state = torch.load(weights, weights_only=True)
    state["fc.bias"] += 1
    torch.save(state, tmp_path / "other.pth")
    one, other = (space_info("inception", "mnist", p) for p in (weights, tmp_path / "other.pth"))
    assert one.sha256 != other.sha256
    assert one == space_info("inception", "fashion-mnist", weights)
    shutil.copy(weights, tmp_path / "other.pth")
    assert space_info("inception", "mnist", tmp_path / "other.pth") == one


class Hostile:
    def __reduce__(self):
        return (print, ("pwned",))


@pytest.mark.parametrize(
    "content", [{"fc.weight": torch.zeros(2)}, [1, 2], Hostile(), b"text", b"", None]
)
def test_files_of_other_things_are_refused(weights, tmp_path, content, capsys):
    path = tmp_path / "bad.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is None:
        path.write_bytes(weights.read_bytes()[:-1000])
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=r"^.*bad.pth: not Inception weights of torch-fidelity"):
        load("inception", "mnist", inception=path)
    assert capsys.readouterr().out == ""
