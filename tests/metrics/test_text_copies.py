"""Copies of text against plain search."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from genbench.metrics.text_copies import longest_copies


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text("ab c", min_size=1, max_size=12), min_size=1, max_size=4), st.text("ab c"))
def test_the_longest_copy_is_that_of_plain_search(samples, text):
    def plain(sample):
        lengths = range(len(sample), 0, -1)
        starts = ((n, i) for n in lengths for i in range(len(sample) - n + 1))
        return next((n for n, i in starts if sample[i : i + n] in text), 0)

    assert longest_copies(samples, text).tolist() == [plain(sample) for sample in samples]
