"""Real images with one fault: how strong it is, and that nothing else is done to them."""

import numpy as np
import pytest
import torch

from genbench.errors import UserError
from genbench.models import resolve
from genbench.suite import ModelSpec


@pytest.fixture
def samples(make_model, digits):
    """(spoilt, clean) images, in the same order, from the same draw."""

    def draw(kind, strength, n=400):
        model = make_model("distorted", kind=kind, strength=strength)
        images, labels = (torch.from_numpy(x) for x in (digits.train.rows, digits.train.labels))
        model.stages[0].prepare(images, labels, torch.Generator().manual_seed(0))
        spoilt = model.sample(n, torch.Generator().manual_seed(1)).numpy()
        order = torch.randperm(len(model.kept), generator=torch.Generator().manual_seed(1))
        return spoilt, model.kept[order[:n]].numpy()

    return draw


def test_noise_has_the_declared_deviation_where_nothing_is_clamped(samples):
    spoilt, clean = samples("noise", 0.1)
    middle = (clean > 5) & (clean < 11)
    difference = (spoilt.astype(float) - clean)[middle] / 16
    assert difference.std() == pytest.approx(np.hypot(0.1, 1 / 16 / np.sqrt(12)), rel=0.05)
    assert abs(difference.mean()) < 0.01


def test_salt_and_pepper_sets_the_declared_share_of_pixels_evenly(samples):
    spoilt, clean = samples("salt-and-pepper", 0.2)
    inner = (clean > 0) & (clean < 16)
    assert (spoilt[inner] == 0).mean() == pytest.approx(0.1, abs=0.01)
    assert (spoilt[inner] == 16).mean() == pytest.approx(0.1, abs=0.01)
    untouched = inner & (spoilt > 0) & (spoilt < 16)
    assert (spoilt[untouched] == clean[untouched]).all()


def test_blur_takes_contrast_the_more_the_stronger(samples):
    contrast = [samples("blur", s)[0].astype(float).std() for s in (0.5, 1.0, 2.0)]
    assert contrast == sorted(contrast, reverse=True)
    assert len(set(contrast)) == 3


def test_class_drop_leaves_whole_classes_out_and_images_alone(samples, digits):
    spoilt, clean = samples("class-drop", 0.3)
    assert (spoilt == clean).all()
    label = {x.tobytes(): int(y) for x, y in zip(digits.train.rows, digits.train.labels)}  # noqa: B905
    assert {label[image.tobytes()] for image in spoilt} == set(range(7))


def test_what_leaves_nothing_or_is_unknown_is_refused(make_model):
    with pytest.raises(UserError, match="leaves no class"):
        make_model("distorted", kind="class-drop", strength=1.0)
    with pytest.raises(UserError, match="no share of pixels"):
        make_model("distorted", kind="salt-and-pepper", strength=7.0)
    with pytest.raises(UserError, match="kind"):
        resolve(ModelSpec(name="distorted", params={"kind": "rotate", "strength": 1.0}))
    with pytest.raises(UserError, match="strength"):
        resolve(ModelSpec(name="distorted", params={"kind": "blur", "strength": 0.0}))
