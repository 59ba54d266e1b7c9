"""Bits per byte and sampling, on a tiny random network whose tokens are bytes or pairs of them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from genbench.data.sources import Unavailable
from genbench.features import language_model
from genbench.features.language_model import LanguageModel, bits_per_byte, load, nats, sample

TEXTS = ["", "a", "to be or not to be", "é—☃", "x" * 60, "Whether 'tis nobler\nin the mind", "ab"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    network = LlamaForCausalLM(config).requires_grad_(False).eval()
    network.lm_head.weight.mul_(30)  # far from uniform
    return LanguageModel(
        name="tiny",
        network=network,
        encode=lambda text: list(text.encode()),
        decode=lambda ids: bytes(ids).decode("utf-8", "surrogateescape"),
        start=256,
        ends=(256,),
    )


@torch.inference_mode()
def one_by_one(text, model):
    """-log2 p of a text, a prefix at a time, in float64 from the logits on."""
    ids = [model.start, *model.encode(text)]
    total = 0.0
    for i in range(1, len(ids)):
        logits = model.network(torch.tensor([ids[:i]])).logits[0, -1].double()
        total -= float(torch.log_softmax(logits, 0)[ids[i]]) / math.log(2)
    return total


def test_bits_are_those_of_each_token_given_all_before_it(model):
    expected = [one_by_one(text, model) for text in TEXTS]
    np.testing.assert_allclose(nats(TEXTS, model) / math.log(2), expected, rtol=1e-5)
    found = bits_per_byte(TEXTS, model)
    assert found.value == pytest.approx(sum(expected) / len("".join(TEXTS).encode()), rel=1e-5)
    assert found.value > 2


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_neither_batch_nor_order_matters(model, monkeypatch, batch_size):
    expected = nats(TEXTS, model)
    monkeypatch.setattr(language_model, "BATCH_SIZE", batch_size)
    order = np.random.default_rng(batch_size).permutation(len(TEXTS))
    found = nats([TEXTS[i] for i in order], model)
    np.testing.assert_allclose(found, expected[order], rtol=1e-5)


def test_a_uniform_model_needs_the_logarithm_of_its_vocabulary_a_token(model):
    """Bits per byte do not depend on how the bytes are cut into tokens; bits per token do."""
    network = LlamaForCausalLM(model.network.config).requires_grad_(False).eval()
    network.lm_head.weight.zero_()
    found = bits_per_byte(["to be", "é"], replace(model, network=network))
    assert found.value == pytest.approx(math.log2(257), rel=1e-6)
    assert found.high == pytest.approx(found.low, abs=1e-6)
    pairs = replace(
        model,
        network=network,
        encode=lambda text: [0] * (len(text.encode()) // 2),
        decode=lambda ids: "abcd"[: 2 * len(ids)],
    )
    assert bits_per_byte(["abcd"], pairs).value == pytest.approx(math.log2(257) / 2, rel=1e-6)


def test_the_interval_is_that_of_a_bootstrap_over_texts(model):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdef "), rng.integers(1, 40))) for _ in range(60)]
    found = bits_per_byte(texts, model)
    bits, sizes = nats(texts, model) / math.log(2), np.array([len(text) for text in texts])
    redrawn = [bits[i].sum() / sizes[i].sum() for i in rng.integers(60, size=(2000, 60))]
    assert found.high - found.value == pytest.approx(1.96 * np.std(redrawn), rel=0.15)
    assert math.isnan(bits_per_byte(texts[:1], model).high)


def test_what_cannot_be_measured_is_refused(model):
    with pytest.raises(ValueError, match="at least one byte"):
        bits_per_byte(["", ""], model)
    with pytest.raises(ValueError, match="one has 64 tokens, and tiny takes 63"):
        nats(["a", "x" * 64], model)
    lossy = replace(model, encode=lambda text: list(text.lower().encode()))
    with pytest.raises(ValueError, match="tokens of tiny lose part of 1 of 2"):
        bits_per_byte(["ab", "aB"], lossy)


def test_samples_are_those_of_their_seed_and_go_on_from_their_prompts(model):
    prompts = ["", "to", "a longer prompt than those"]
    before = torch.random.get_rng_state()
    found = sample(prompts, model, tokens=12, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(text.startswith(prompt) for text, prompt in zip(found, prompts, strict=True))
    assert found == sample(prompts, model, tokens=12, seed=1)
    assert found != sample(prompts, model, tokens=12, seed=2)
    assert max(len(text) - len(prompt) for text, prompt in zip(found, prompts, strict=True)) <= 12


def test_settings_that_leave_one_token_give_the_likeliest_text(model):
    """Of top-k 1, a tiny top-p and a low temperature, whatever the seed, and whatever the length
    of the other prompts, which are padded to one."""

    def greedy(prompt, n):
        ids = [model.start, *model.encode(prompt)]
        for _ in range(n):
            ids.append(int(model.network(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] in model.ends:
                break
        return model.decode([i for i in ids if i not in model.ends])

    prompts = ["to be", "or", "not to be, that is"]
    expected = [greedy(prompt, 8) for prompt in prompts]
    for seed, settings in enumerate(({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4})):
        assert sample(prompts, model, tokens=8, seed=seed, **settings) == expected


def test_first_tokens_have_the_models_probabilities(model):
    n = 400
    found = sample(["q"] * n, model, tokens=1, seed=3, top_k=3, temperature=2.0)
    logits = model.network(torch.tensor([[256, ord("q")]])).logits[0, -1]
    top = torch.topk(logits, 3)
    expected = torch.softmax(top.values / 2.0, 0).numpy()
    counts = [found.count("q" + model.decode([int(i)])) for i in top.indices]
    assert sum(counts) == n
    assert expected.max() < 0.9
    # Four standard errors of a share, at most.
    np.testing.assert_allclose(np.array(counts) / n, expected, atol=4 * 0.5 / math.sqrt(n))


def test_numbers_out_of_range_are_refused(model):
    faults = ({"temperature": 0.0}, {"temperature": math.nan}, {"top_p": 1.5}, {"top_p": 0.0},
              {"top_k": -1}, {"tokens": 0})  # fmt: skip
    for fault in faults:
        with pytest.raises(ValueError, match="need tokens >= 1, temperature > 0"):
            sample(["a"], model, **({"tokens": 1, "seed": 0} | fault))


def test_a_model_in_a_folder_is_loaded_and_one_that_is_nowhere_is_not(model, tmp_path, monkeypatch):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = Tokenizer(models.BPE({c: i for i, c in enumerate([*alphabet, "<|end|>"])}, []))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token="<|end|>").save_pretrained(tmp_path)
    model.network.save_pretrained(tmp_path)
    found = load(str(tmp_path))
    assert (found.start, found.ends) == (256, (256,))
    assert found.decode(found.encode("é ☃  .")) == "é ☃  ."
    ours = replace(model, encode=found.encode, decode=found.decode)
    assert bits_per_byte(TEXTS, found) == pytest.approx(bits_per_byte(TEXTS, ours))
    with pytest.raises(Unavailable, match=r"language model '.*nowhere'") as error:
        load(str(tmp_path / "nowhere"))
    assert "\n" not in str(error.value)
