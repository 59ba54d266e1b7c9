"""A pretrained language model as a judge of text, in bits per byte, and as a source of it.

A model's nats per token depend on its tokens; bits per byte of UTF-8 do not, so models of any
vocabulary compare. The text must come back whole from its tokens, as it does from those of bytes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genbench.data.sources import Unavailable
from genbench.metrics.measured import Measured, normal

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH_SIZE = 8  # larger ones leave a core's cache and take longer


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A frozen causal network and its tokens.

    name: as tables have it. network: from transformers, on its device. encode: a text to the ids of
    its tokens, without special ones; decode: back. start: the id before a text. ends: those after
    one, at least one.
    """

    name: str
    network: PreTrainedModel
    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    start: int
    ends: tuple[int, ...]


def load(name: str, device: str | torch.device = "cpu") -> LanguageModel:
    """The language model `name`: SmolLM2's of the package index, or one that Hugging Face's hub or
    a folder has, such as "gpt2". Raises Unavailable, in one line, where it cannot be had."""
    from genbench.features import smollm2

    return smollm2.load(device) if name == smollm2.NAME else _from_hub(name, device)


def _from_hub(name: str, device: str | torch.device) -> LanguageModel:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        network = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise Unavailable(f"language model {name!r}: {said}") from None
    end = tokenizer.eos_token_id
    if end is None:
        raise Unavailable(f"language model {name!r}: its tokenizer has no end token")
    return LanguageModel(
        name=name,
        network=network.to(device).requires_grad_(False).eval(),
        encode=lambda text: tokenizer(text, add_special_tokens=False).input_ids,
        decode=lambda ids: tokenizer.decode(ids, clean_up_tokenization_spaces=False),
        start=end if tokenizer.bos_token_id is None else tokenizer.bos_token_id,
        ends=(end,),
    )


def bits_per_byte(texts: Sequence[str], model: LanguageModel) -> Measured:
    """Bits that the model needs for N >= 1 texts, over their bytes of UTF-8, of which there is one
    at least.

    Each text is a document of its own, given the start token alone; its end is not counted. The
    interval is the delta method's for a ratio of means over texts, of which a text of b_i bytes has
    the influence (bits_i - b_i value) / mean(b); NaN ends for N = 1. Raises ValueError as `nats`
    does, for texts of no bytes, and where the model's tokens lose part of a text.
    """
    sizes = np.array([len(text.encode()) for text in texts])
    if not sizes.sum():
        raise ValueError("texts: expected at least one byte of text")
    if lost := sum(model.decode(model.encode(text)) != text for text in texts):
        raise ValueError(f"texts: the tokens of {model.name} lose part of {lost} of {len(texts)}")
    bits = nats(texts, model) / math.log(2)
    value = bits.sum() / sizes.sum()
    influence = (bits - sizes * value) / sizes.mean()
    error = influence.std(ddof=1) / math.sqrt(len(texts)) if len(texts) > 1 else math.nan
    return normal(float(value), float(error))


@torch.inference_mode()
def nats(texts: Sequence[str], model: LanguageModel) -> np.ndarray:
    """-log p of each text, float64 (N,): the sum over its tokens, the start token given.

    Neither the order nor the number of texts changes it but for rounding. Raises ValueError for a
    text of more tokens than the network has positions for.
    """
    tokens = [torch.tensor([model.start, *model.encode(text)]) for text in texts]
    longest, most = max(map(len, tokens), default=0), model.network.config.max_position_embeddings
    if longest > most:
        raise ValueError(f"texts: one has {longest - 1} tokens, and {model.name} takes {most - 1}")
    # Texts of like length together: then little of a batch is padding.
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
    made = np.zeros(len(tokens))
    for first in range(0, len(order), BATCH_SIZE):
        rows = order[first : first + BATCH_SIZE]
        made[rows] = _nats([tokens[i] for i in rows], model)
    return made


def _nats(tokens: list[Tensor], model: LanguageModel) -> np.ndarray:
    """The same of a batch of tokens (T_i,)."""
    device = model.network.device
    lengths = torch.tensor([len(t) for t in tokens], device=device)
    padded = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True).to(device)
    mask = torch.arange(padded.shape[1], device=device) < lengths[:, None]
    logits = model.network(input_ids=padded, attention_mask=mask.long(), use_cache=False).logits
    each = F.cross_entropy(logits[:, :-1].mT, padded[:, 1:], reduction="none")
    return (each.double() * mask[:, 1:]).sum(dim=1).cpu().numpy()


@torch.inference_mode()
def sample(
    prompts: Sequence[str],
    model: LanguageModel,
    *,
    tokens: int,
    seed: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> list[str]:
    """Each prompt, which may be empty, continued by at most `tokens` tokens, up to an end token.

    Logits are divided by the temperature, above 0; then the top_k likeliest tokens are kept (0:
    all) and of those the fewest whose probabilities reach top_p (Holtzman et al. 2020, "The curious
    case of neural text degeneration", section 3.1). The same seed, prompts and device give the same
    texts; the global generators are left as they were. Raises ValueError for numbers out of range.
    """
    if not (tokens >= 1 and temperature > 0 and top_k >= 0 and 0 < top_p <= 1):
        raise ValueError(
            "need tokens >= 1, temperature > 0, top_k >= 0 and 0 < top_p <= 1, got "
            f"{tokens}, {temperature}, {top_k}, {top_p}"
        )
    from transformers import GenerationConfig

    settings = GenerationConfig(
        do_sample=True, temperature=temperature, top_k=top_k, top_p=top_p, max_new_tokens=tokens,
        pad_token_id=model.ends[0], eos_token_id=list(model.ends),
    )  # fmt: skip
    device, made = model.network.device, []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for first in range(0, len(prompts), BATCH_SIZE):
            given = [[model.start, *model.encode(p)] for p in prompts[first : first + BATCH_SIZE]]
            width = max(map(len, given))
            padded = [[model.ends[0]] * (width - len(row)) + row for row in given]
            mask = [[0] * (width - len(row)) + [1] * len(row) for row in given]
            rows = model.network.generate(
                torch.tensor(padded, device=device),
                attention_mask=torch.tensor(mask, device=device),
                generation_config=settings,
            )
            for prompt, row in zip(given, rows[:, width:].tolist(), strict=True):
                continued = itertools.takewhile(lambda token: token not in model.ends, row)
                made.append(model.decode([*prompt[1:], *continued]))
    return made
