"""SmolLM2 from its file: what it must say of English, and how its weights and tokens are read."""

import random

import pytest
import torch

from genbench.data.sources import Unavailable
from genbench.features import smollm2
from genbench.features.language_model import bits_per_byte, nats, sample

PROSE = (
    "The sun rises in the east and sets in the west. Every morning, people wake up, drink a cup of "
    "coffee and go to work."
)


def test_digits_are_apart_and_text_comes_back():
    letters = ["1", "2", "3", "12", "a", "b", "ab", "Ġ", "Ġab", "Ċ"]
    tokens = smollm2.tokenizer(letters, ["1 2", "a b", "Ġ ab"])
    assert tokens.encode("12 ab\n123").tokens == ["1", "2", "Ġab", "Ċ", "1", "2", "3"]
    assert tokens.decode(tokens.encode("12 ab\n123ab").ids) == "12 ab\n123ab"


def test_without_gguf_it_is_unavailable(monkeypatch):
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="pip install gguf"):
        smollm2.load.__wrapped__()


@pytest.fixture(scope="module")
def model():
    try:
        return smollm2.load()
    except Unavailable as reason:
        pytest.skip(f"the weights are not to be had: {reason}")


@pytest.mark.slow
def test_it_reads_english(model):
    """A misread weight, or a coordinate turned with the wrong one, would cost bits at once."""
    shuffled = " ".join(random.Random(0).sample(PROSE.split(), len(PROSE.split())))
    prose, mixed = (bits_per_byte([text], model).value for text in (PROSE, shuffled))
    assert prose < 0.9
    assert mixed > 1.5 * prose


@pytest.mark.slow
def test_known_tokens(model):
    """Of llama.cpp's rules for this release: digits apart, words with the space before them."""
    assert model.encode("Hello, world! 1234") == [19556, 28, 905, 17, 216, 33, 34, 35, 36]
    for text in ("naïve ☃ \t\n\n  two", "<|im_end|>", "", "\x00\x7f"):
        assert model.decode(model.encode(text)) == text
    assert not set(model.encode("<|im_end|><|endoftext|>")) & set(model.ends)


@pytest.mark.slow
def test_neither_batch_nor_padding_matters(model):
    texts = ["To be", PROSE, "or not"]
    together = nats(texts, model)
    assert together.tolist() == pytest.approx([nats([text], model)[0] for text in texts], rel=1e-4)


@pytest.mark.slow
def test_it_knows_what_comes_next(model):
    (found,) = sample(["The capital of France is"], model, tokens=1, seed=0, top_k=1)
    assert found == "The capital of France is Paris"
    assert not any(p.requires_grad for p in model.network.parameters())
    assert model.network.dtype == torch.float32
