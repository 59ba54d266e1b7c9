"""all-MiniLM-L6-v2: known answers of sentence-transformers, and what must not matter."""

import numpy as np
import pytest
import torch

from genbench.data.sources import Unavailable
from genbench.features import minilm

CPU = torch.device("cpu")

# Of sentence-transformers 6.2.0 in float64 with the files of the same release: the first four
# features, the last two, and the sum of all.
KNOWN = {
    "A man is playing a guitar.": (
        [0.02166407, -0.00486423, -0.00964909, -0.06340124, 0.08174599, -0.01865469], 0.0402641
    ),
    "If music be the food of love, play on;\nGive me excess of it,": (
        [0.00043348, 0.02062347, 0.07710992, -0.00348394, 0.04226964, -0.0806108], 0.01449346
    ),
}  # fmt: skip

# A sentence, another that says the same, and one that does not.
TRIPLES = [
    ("A man is playing a guitar.", "Someone plays the guitar.", "Stock markets fell today."),
    ("The cat sat on the mat.", "A kitten rested on a rug.", "He repaired the engine."),
    ("I love thee dearly.", "My heart is wholly thine.", "The army marches on London."),
]


@pytest.fixture(scope="module", autouse=True)
def weights():
    try:
        minilm.network()
    except Unavailable as reason:
        pytest.skip(f"the weights are neither in the cache nor to be downloaded: {reason}")


def test_known_answers():
    x = minilm.encode(list(KNOWN), CPU)
    assert x.dtype == torch.float32
    assert x.shape == (2, minilm.MINILM_DIMENSION)
    for row, (some, total) in zip(x.numpy(), KNOWN.values(), strict=True):
        np.testing.assert_allclose([*row[:4], *row[-2:]], some, atol=1e-6)
        assert row.sum() == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("triple", TRIPLES)
def test_what_says_the_same_is_closer(triple):
    x = minilm.encode(triple, CPU)
    same, other = x[0] @ x[1], x[0] @ x[2]
    assert same > other + 0.1


def test_neither_batch_nor_order_matters():
    rng = np.random.default_rng(0)
    words = [
        "to",
        "be",
        "or",
        "not",
        "that",
        "is",
        "the",
        "question",
        "whether",
        "'tis",
        "nobler",
        "in",
        "the",
        "mind",
    ]
    texts = [" ".join(rng.choice(words, n)) for n in rng.integers(1, 60, 40)]
    x = minilm.encode(texts, CPU)
    alone = torch.cat([minilm.encode([text], CPU) for text in texts[:8]])
    torch.testing.assert_close(x[:8], alone, rtol=0, atol=1e-5)
    order = rng.permutation(len(texts))
    shuffled = minilm.encode([texts[i] for i in order], CPU)
    torch.testing.assert_close(shuffled, x[order], rtol=0, atol=1e-5)
    torch.testing.assert_close(x.norm(dim=1), torch.ones(40), rtol=0, atol=1e-6)


def test_only_256_tokens_count_and_capitals_do_not():
    # 254 words and the marks of start and end
    long = " ".join(["love"] * 254)
    x = minilm.encode([long, f"{long} stock markets fell", "LOVE\n me", "love me"], CPU)
    torch.testing.assert_close(x[0], x[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(x[2], x[3], rtol=0, atol=1e-6)
    shorter = minilm.encode([" ".join(["love"] * 253 + ["stock"]), long], CPU)
    assert (shorter[0] - shorter[1]).norm() > 1e-2


@pytest.mark.parametrize("text", ["", " \n ", "\U0001f600" * 400, "\x01\x02", "语言" * 300])
def test_any_text_has_a_finite_feature(text):
    x = minilm.encode([text], CPU)
    assert torch.isfinite(x).all()
    assert x.norm() == pytest.approx(1, abs=1e-6)


def test_computed_once(monkeypatch, tmp_path):
    monkeypatch.setenv("GENBENCH_CACHE", str(tmp_path))
    first = minilm.features(["some text", "another"])

    def refuse(texts, device):
        raise AssertionError("computed again")

    monkeypatch.setattr(minilm, "encode", refuse)
    assert torch.equal(minilm.features(["some text", "another"]), first)
    with pytest.raises(AssertionError, match="computed again"):
        minilm.features(["another", "some text"])


def test_keys_tell_texts_apart():
    keys = {
        minilm.key(texts, device)
        for texts in (["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"], ['ab", "c'])
        for device in ("cpu", "cuda")
    }
    assert len(keys) == 10


def test_no_texts():
    with pytest.raises(ValueError, match="texts: expected at least one"):
        minilm.features([])


@pytest.mark.cuda
def test_cuda_agrees_with_cpu():
    texts = [sentence for triple in TRIPLES for sentence in triple]
    on_gpu = minilm.encode(texts, torch.device("cuda"))
    assert on_gpu.device.type == "cuda"
    torch.testing.assert_close(on_gpu.cpu(), minilm.encode(texts, CPU), rtol=0, atol=1e-4)
