"""The spaces in which distances between sets of images are taken, by name.

"classifier": a small network trained on the data set itself; it comes with genbench, or, for the
data sets of `TRAINED_HERE`, is trained once on this machine. "efficientnet-lite0": features of
ImageNet, from a hash-pinned package. "inception": those of the FID, where the user has the weights.
"minilm": sentences, for text. "characters": short strings of characters, for text, without weights.
"chorales": an encoder of four-part music that comes with genbench.
Nothing here imports torch until a space is loaded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genbench.data import info
from genbench.data.sources import Unavailable, cache_root
from genbench.errors import UserError
from genbench.features import EXTRACTORS, WEIGHTS, Extractor, ExtractorInfo, identity

if TYPE_CHECKING:
    import torch

__all__ = ["SPACES", "Extractor", "SpaceInfo", "Unavailable", "load", "space_info"]

SPACES = ("classifier", "efficientnet-lite0", "inception", "minilm", "characters", "chorales")

CLASSIFIER_PREPROCESSING = "levels to [-1, 1]"

# Data sets whose classifier does not come with genbench -> the dimension of its features.
TRAINED_HERE = {"cifar10": 256}

EFFICIENTNET_SIZE = 96  # pixels a side: ten thousand images take about 40 s on one core
EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EFFICIENTNET_PREPROCESSING = f"levels to [0, 255], bilinear to {EFFICIENTNET_SIZE}, (x - 127) / 128"

MINILM = "minilm-l6-v2"
MINILM_DIMENSION = 384
MINILM_TOKENS = 256  # that a text is cut to, as the release has it, start and end among them
MINILM_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_SETTINGS_SHA256 = "e33e78017314d1413b9355269262b0fe49e5d9d5b07ac0adbfdf37828f38cdf4"
MINILM_SHA256 = identity(
    MINILM_WEIGHTS_SHA256, f"{MINILM_SETTINGS_SHA256} {MINILM_TOKENS} tokens, mean, length 1"
)

CHARACTERS_DIMENSION = 128
CHARACTERS_STRINGS = (1, 3)  # the shortest and the longest that are counted
CHARACTERS_PREPROCESSING = f"strings of {CHARACTERS_STRINGS}, hashed with signs, length 1"

CHORALES = "chorales-encoder"
CHORALES_CARD = WEIGHTS / "music" / "chorales.json"
CHORALES_PREPROCESSING = "symbols 0..46, 64 steps; mean and mean change, whitened"
CHORALES_DIMENSION = 64

INCEPTION_PREPROCESSING = "levels to 0..255, rounded; torch-fidelity inception-v3-compat"


@dataclass(frozen=True)
class SpaceInfo:
    """An extractor's name, sha256 and dimension, as `Extractor` has them, without loading it."""

    name: str
    sha256: str
    dimension: int


def trained_here() -> Path:
    """The folder of the classifiers that were trained on this machine, in the cache."""
    return cache_root() / "classifiers"


def make_classifier(dataset: str) -> str:
    """The command that trains the classifier of a data set."""
    return f"python -m genbench.features.recipe {dataset}"


def classifier_card(dataset: str) -> ExtractorInfo | None:
    """What is known of a data set's classifier; None for one of `TRAINED_HERE` that was not yet
    trained on the splits as they are now.

    Another training, or another machine, gives other weights, so the name of such a one ends in the
    first digits of their hash. Raises UserError for a data set without a classifier and for a
    damaged card.
    """
    if dataset in EXTRACTORS:
        return EXTRACTORS[dataset]
    known = info(dataset)
    if dataset not in TRAINED_HERE:
        raise UserError(f"no extractor for {dataset!r}: known are {[*EXTRACTORS, *TRAINED_HERE]}")
    path = trained_here() / f"{dataset}.json"
    try:
        card = json.loads(path.read_text("utf-8"))
        digest, dimension = str(card["sha256"]), int(card["dimension"])
        if card["data_fingerprint"] != known.fingerprint:
            return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: not the card of a classifier ({type(error).__name__}: {error}); make it "
            f"again with: {make_classifier(dataset)}"
        ) from error
    name = f"classifier-{dataset}-{digest[:8]}"
    return ExtractorInfo(name, dataset, digest, dimension, known.classes)


def space_info(space: str, dataset: str, inception: Path | None = None) -> SpaceInfo:
    """What is known of a space for `dataset` before it is loaded; `inception` as for `load`.

    A classifier that is yet to be trained here has a hash that stands for that: what is planned
    with it can be named, nothing can be measured with it, and it changes once there is one. Raises
    UserError for an unknown space or data set, and Unavailable for "inception" where its weights,
    whose hash is part of the answer, are not at hand.
    """
    if space == "classifier":
        card = classifier_card(dataset)
        if card is None:
            digest = identity("yet to be trained", CLASSIFIER_PREPROCESSING)
            return SpaceInfo(f"classifier-{dataset}", digest, TRAINED_HERE[dataset])
        digest = identity(card.sha256, CLASSIFIER_PREPROCESSING)
        return SpaceInfo(card.name, digest, card.dimension)
    if space == "efficientnet-lite0":
        digest = identity(EFFICIENTNET_SHA256, EFFICIENTNET_PREPROCESSING)
        return SpaceInfo(f"{space}-{EFFICIENTNET_SIZE}", digest, 1280)
    if space == "inception":
        from genbench.features.inception import find, weights_sha256

        digest = identity(weights_sha256(find(inception)), INCEPTION_PREPROCESSING)
        return SpaceInfo("inception-v3-compat", digest, 2048)
    if space == "minilm":
        return SpaceInfo(MINILM, MINILM_SHA256, MINILM_DIMENSION)
    if space == "characters":
        digest = identity("no weights", f"{CHARACTERS_PREPROCESSING}, {CHARACTERS_DIMENSION}")
        return SpaceInfo(f"characters-hashed-{CHARACTERS_DIMENSION}", digest, CHARACTERS_DIMENSION)
    if space == "chorales":
        digest = identity(_chorales_weights(), CHORALES_PREPROCESSING)
        return SpaceInfo(CHORALES, digest, CHORALES_DIMENSION)
    raise UserError(f"feature space {space!r} is unknown: known are {', '.join(SPACES)}")


def _chorales_weights() -> str:
    """The sha256 of the chorale encoder's weights, from their card; a word in its place where they
    are yet to be trained."""
    try:
        return str(json.loads(CHORALES_CARD.read_text("utf-8"))["sha256"])
    except FileNotFoundError:
        return "yet to be trained"
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{CHORALES_CARD}: not the card of an encoder ({type(error).__name__}: {error}); "
            "reinstall genbench, or train it again with: python -m genbench.features.chorales"
        ) from error


def load(
    space: str, dataset: str, device: str | torch.device = "cpu", inception: Path | None = None
) -> Extractor:
    """The extractor of a space for `dataset` on `device`.

    inception: the user's file of Inception weights, as torch-fidelity has them; without it, the
    one that torch-fidelity downloaded before. Raises UserError for an unknown space or data set,
    for damaged weights and for a classifier that is yet to be trained here, and Unavailable, with
    the reason, where there are none to be had.
    """
    known = space_info(space, dataset, inception)
    if space == "classifier":
        from genbench.features.classifier import load_extractor

        return load_extractor(dataset, device)
    if space == "efficientnet-lite0":
        from genbench.features import efficientnet

        return efficientnet.load_extractor(known, device)
    if space == "minilm":
        from genbench.features import minilm

        return minilm.load_extractor(dataset, device)
    if space == "characters":
        from genbench.features import characters

        return characters.load_extractor(known, dataset, device)
    if space == "chorales":
        from genbench.features import chorales

        return chorales.load_extractor(known, device)
    from genbench.features import inception as fid

    return fid.load_extractor(known, fid.find(inception), device)
