"""Run an extractor over images."""

from __future__ import annotations

import numpy as np
import torch

from genbench.features import Extractor, Features


@torch.no_grad()
def extract(
    extractor: Extractor, images: np.ndarray, levels: int, name: str = "images"
) -> Features:
    """Features and logits of `images`, uint8 (N, C, H, W) in 0..levels-1, N >= 1.

    Each row depends on its own image only, up to float rounding. Raises ValueError, calling the
    input `name`, for another dtype, shape or range, or no images.
    """
    check_images(extractor, images, levels, name)
    parts = []
    # TF32 would make features, hence distances, depend on the kind of GPU.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for start in range(0, len(images), extractor.batch_size):
            part = np.ascontiguousarray(images[start : start + extractor.batch_size])
            batch = torch.from_numpy(part).to(extractor.device)
            parts.append(extractor.network(extractor.prepare(batch, levels)))
    features, logits = zip(*parts, strict=True)
    return Features(torch.cat(features), None if logits[0] is None else torch.cat(logits))


def check_images(extractor: Extractor, images: np.ndarray, levels: int, name: str) -> None:
    """ValueError, calling the input `name`, unless `images` is uint8 (N, C, H, W), N >= 1, with
    values in 0..levels-1, of the shape and levels that the extractor takes."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        kind = getattr(images, "dtype", type(images).__name__)
        raise ValueError(f"{name}: expected a NumPy array of uint8, got {kind}")
    if extractor.levels not in (None, levels) or not 2 <= levels <= 256:
        raise ValueError(
            f"levels: {extractor.name} takes {extractor.levels or '2 to 256'}, got {levels}"
        )
    wanted = ", ".join(map(str, extractor.shape or ("1 or 3", "H", "W")))
    fits = images.shape[1:] == extractor.shape
    if extractor.shape is None:  # grey or colour images of any size
        fits = images.ndim == 4 and images.shape[1] in (1, 3)
    if not fits or images.size == 0:
        raise ValueError(f"{name}: expected shape (N >= 1, {wanted}), got {images.shape}")
    if (highest := int(images.max())) >= levels:
        raise ValueError(f"{name}: expected values in 0..{levels - 1}, got {highest}")
