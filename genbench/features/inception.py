"""Inception's features as the FID has them, by torch-fidelity, where the user has its weights.

Heusel et al. 2017, "GANs trained by a two time-scale update rule": only a Frechet distance in this
space is called FID. The weights (Szegedy et al. 2015, converted from TensorFlow) are in no package,
and nothing is downloaded unless `download` is called.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor

from genbench.data.sources import Unavailable, sha256
from genbench.errors import UserError
from genbench.features import Extractor
from genbench.features.spaces import SpaceInfo

LAYERS = ["2048", "logits_unbiased"]
# torch-fidelity takes seconds to import, so that is done where its network is built; this is the
# address that it downloads from.
URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)


def cached() -> Path:
    """Where torch-fidelity keeps the weights that it has downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(URL).name


def find(path: Path | None = None) -> Path:
    """The weights file: `path`, else torch-fidelity's own where it is there already.

    Raises Unavailable where neither is a file.
    """
    wanted = cached() if path is None else path
    if not wanted.is_file():
        raise Unavailable(f"no Inception weights: {wanted} is no file; give one with --inception")
    return wanted


def download() -> Path:
    """Have torch-fidelity's weights (91 MiB) downloaded from its release page, checked by the hash
    in their name; the file they are in. Raises Unavailable where that fails."""
    try:
        torch.hub.load_state_dict_from_url(
            URL, check_hash=True, progress=False, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"Inception weights: {URL}: {error}") from error
    return cached()


def weights_sha256(path: Path) -> str:
    """Hex digest of a weights file, read once for each version of the file."""
    stat = path.stat()
    return _sha256(path, stat.st_mtime_ns, stat.st_size)


@functools.cache
def _sha256(path: Path, modified: int, size: int) -> str:
    return sha256(path.read_bytes())


def prepare(images: Tensor, levels: int) -> Tensor:
    """Images uint8 (B, 1 or 3, H, W) in 0..levels-1 as uint8 (B, 3, H, W) in 0..255: grey is
    repeated. The network itself brings them to 299 pixels, as TensorFlow 1 did."""
    x = (images.float() * (255 / (levels - 1))).round().to(torch.uint8)
    return x.expand(-1, 3, -1, -1)


def load_extractor(info: SpaceInfo, path: Path, device: str | torch.device = "cpu") -> Extractor:
    """The extractor on `device` with the weights in `path`: features (N, 2048), logits (N, 1008)
    without bias, as the Inception score takes them. Raises UserError for a file of other things."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        # torch-fidelity unpickles whatever it is given: what is no plain state dict ends here.
        torch.load(path, map_location="cpu", weights_only=True)
        network = FeatureExtractorInceptionV3(info.name, LAYERS, str(path))
    except Exception as error:  # a hostile or cut file can raise anything
        said = str(error).strip().splitlines()
        reason = said[0] if said else type(error).__name__
        raise UserError(f"{path}: not Inception weights of torch-fidelity ({reason})") from error
    return Extractor(
        name=info.name,
        sha256=info.sha256,
        dimension=info.dimension,
        prepare=prepare,
        network=network.to(device),
        device=torch.device(device),
        batch_size=50,
    )
