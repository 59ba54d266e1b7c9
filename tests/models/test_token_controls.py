"""Controls of rows of tokens: shuffled words and bars, and real rows as they are."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from token_rows import BOTH, generator, info, rows

from genbench.errors import UserError
from genbench.models.controls import Copier, Params, TrainSplit
from genbench.models.token_controls import ShuffledBars, shuffle_bars, shuffle_words

ALPHABET = "ab, \n"
SEPARATORS = [3, 4]


def encoded(*texts):
    return torch.tensor([[ALPHABET.index(c) for c in text] for text in texts]).byte()


def decoded(batch):
    return ["".join(ALPHABET[i] for i in row) for row in batch.tolist()]


def fitted(kind, data, batch, **params):
    model = kind(Params(**params), data)
    model.stages[0].prepare(batch, torch.zeros(len(batch)).long(), generator())
    return model


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(ALPHABET, min_size=9, max_size=9), min_size=1, max_size=5), st.integers(0))
def test_words_move_whole_and_what_separates_them_stays_in_its_order(texts, seed):
    shuffled = shuffle_words(encoded(*texts), SEPARATORS, generator(seed % 2**32))
    assert shuffled.dtype == torch.uint8
    for before, after in zip(texts, decoded(shuffled), strict=True):
        assert sorted(re.findall(r"[ab,]+", after)) == sorted(re.findall(r"[ab,]+", before))
        assert re.findall(r"[ \n]+", after) == re.findall(r"[ \n]+", before)
        assert (after[0] in " \n") == (before[0] in " \n")


def test_a_known_text_and_each_order_of_its_words_as_often_as_any():
    n = 12_000
    batch = encoded("a bb,\nab").expand(n, -1)
    found = Counter(decoded(shuffle_words(batch, SEPARATORS, generator())))
    assert set(found) == {
        "a bb,\nab", "a ab\nbb,", "bb, a\nab", "bb, ab\na", "ab a\nbb,", "ab bb,\na",
    }  # fmt: skip
    assert sum((k - n / 6) ** 2 / (n / 6) for k in found.values()) < 26  # once in 10,000


def test_rows_without_words_or_without_spaces_stay_as_they_are():
    for text in ("aba,", "  \n ", "a", " "):
        batch = encoded(text)
        assert torch.equal(shuffle_words(batch, SEPARATORS, generator()), batch)
    batch = encoded("ab a", "b ,a")
    assert torch.equal(shuffle_words(batch, [], generator()), batch)


def test_bars_move_whole_and_what_is_left_over_stays():
    batch = torch.arange(2 * 50 * 4).view(2, 50, 4)
    shuffled = shuffle_bars(batch, generator())
    assert torch.equal(shuffled[:, 48:], batch[:, 48:])
    for before, after in zip(batch, shuffled, strict=True):
        bars = [{bytes(bar.numpy()) for bar in x[:48].view(3, 16, 4)} for x in (before, after)]
        assert bars[0] == bars[1]
    assert not torch.equal(shuffled, batch)


def test_each_order_of_bars_comes_as_often_as_any_and_rows_have_orders_of_their_own():
    n = 6_000
    batch = torch.arange(3).repeat_interleave(16).view(1, 48, 1).expand(n, -1, 4)
    orders = shuffle_bars(batch, generator())[:, ::16, 0]
    counts = Counter(map(tuple, orders.tolist()))
    assert len(counts) == 6
    assert sum((k - n / 6) ** 2 / (n / 6) for k in counts.values()) < 26


def test_shuffled_bars_are_those_of_training_rows():
    data = info((64, 4), 47)
    batch = rows(data, 40)
    model = fitted(ShuffledBars, data, batch, kept=20)
    samples = model.sample(20, generator(1))
    assert samples.shape == (20, 64, 4)
    assert samples.dtype == torch.uint8
    assert torch.equal(model.sample(20, generator(1)), samples)
    of = {bytes(bar.numpy()): i for i, row in enumerate(batch) for bar in row.view(4, 16, 4)}
    origins = [{of[bytes(bar.numpy())] for bar in row.view(4, 16, 4)} for row in samples]
    assert all(len(each) == 1 for each in origins)
    assert len(set.union(*origins)) == 20
    assert not (samples[:, None] == batch).flatten(2).all(2).any(1).all()


def test_rows_with_nothing_to_shuffle_are_refused():
    with pytest.raises(UserError, match="rows of tokens have 31 steps, and two bars of 16"):
        ShuffledBars(Params(), info((31, 4)))


@pytest.mark.parametrize("data", BOTH.values(), ids=BOTH)
def test_real_rows_and_copies_of_them_need_no_images(data):
    batch = rows(data, 40)
    known = {bytes(row.numpy()) for row in batch}
    real = fitted(TrainSplit, data, batch).sample(100, generator())
    assert real.shape == (40, *data.shape)
    assert {bytes(row.numpy()) for row in real} == known
    copies = fitted(Copier, data, batch, copied=5).sample(100, generator())
    assert copies.shape == (100, *data.shape)
    assert copies.dtype == torch.uint8
    assert len({bytes(row.numpy()) for row in copies}) == 5
    assert {bytes(row.numpy()) for row in copies} <= known
