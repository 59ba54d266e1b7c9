"""An n-gram model of tokens: what the last few of them tell of the next, without a network.

A point of reference without gradient steps or training budget: how far local statistics go. What a
network is for lies beyond it.

Smoothing: modified Kneser-Ney, interpolated (Chen and Goodman 1999, section 3), which they find
best of all that they compare; interpolated Witten-Bell is simpler, for it has no discounts to
estimate, but takes a tenth more bits on held-out plays of Shakespeare. With c the context, w the
token, c' the context without its oldest token and a(cw) the adjusted count,

    p(w | c) = (a(cw) - D(a(cw))) / sum_w a(cw) + gamma(c) p(w | c'),

gamma(c) being what the discounts D_1, D_2, D_3+ took away, so that each conditional is a
distribution; below the empty context lies the uniform one, so that every token has a mass. a(cw) is
how often cw is there for the longest contexts and for those that begin at a row's start, which have
nothing before them; for others it is the number of different tokens before cw (Heafield et al.
2013, section 3.1). Where a length has too few different n-grams to give a discount above zero, D is
1/2, 1 and 3/2.

Order: a context is the order - 1 tokens before, or fewer where the row or, with a token of its own
for that, its start comes first. Music is read in the interleaved order of `token_sequence`, and
contexts are told the voice that is next. At order 5 a voice is given the four tokens before: the
voices above it in this step, and from the step before its own note and those of the voices below.
So four tokens, whatever the voice, hold every voice's newest note: harmony and the voice's own
line. With fewer, the bass would be drawn without its last note. The default of 6 looks a token
further.

Rows that overlap: where a row begins with what ends the row before, those tokens were counted
there. Counted again, no n-gram would be rare any more, and discounts follow from the rare ones. At
each row's start, though, there is a row's start of its own.

An n-gram is one integer of 63 bits, which bounds the order, to 9 for an alphabet of 90.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from pydantic import Field
from torch import Tensor

from genbench.data import DatasetInfo
from genbench.errors import UserError
from genbench.models.controls import Control, drawn
from genbench.models.controls import Params as ControlParams

# The discounts where counts of counts give none, as KenLM has them.
USUAL_DISCOUNTS = (0.5, 1.0, 1.5)


class Params(ControlParams):
    """kept: distinct training rows that it is fitted to, all by default; order: n, of the longest
    n-grams, one more than the tokens of a context."""

    kept: int = Field(1_000_000, gt=0)
    order: int = Field(6, gt=0)


@dataclass(frozen=True)
class Coding:
    """n-grams as integers, w + K (v + V (x_1 + x_2 B + x_3 B^2 + ...)) for token w of voice v after
    x_1, which is after x_2 and so on.

    K = levels tokens, the row's start as token K, so B = K + 1, and V voices. Contexts are the
    quotient by K; what is left of the oldest token is a remainder. Sorted n-grams have those of a
    context side by side.
    """

    levels: int
    voices: int

    @property
    def base(self) -> int:
        return self.levels + 1

    def size(self, depth: int) -> int:
        """Above the largest n-gram with a context of `depth` tokens."""
        return self.levels * self.voices * self.base**depth

    def ngrams(self, tokens: Tensor, depths: int) -> Iterator[Tensor]:
        """Of tokens (N, L) int64, for contexts of 0, 1, ... depths - 1 tokens, the n-grams at the
        positions that have so many before them, (N, L) or (N, L - depth + 1) int64."""
        codes = tokens + self.levels * (torch.arange(tokens.shape[1]) % self.voices)
        yield codes
        started = torch.cat([torch.full_like(tokens[:, :1], self.levels), tokens], dim=1)
        for depth in range(1, depths):
            n = tokens.shape[1] - depth + 1
            codes = codes[:, -n:] + self.size(depth - 1) * started[:, :n]
            yield codes


@dataclass(frozen=True)
class Order:
    """What is known of contexts of one length.

    ngrams: (G,) int64, sorted; mass: (G,), (a - D(a)) / sum a; cumulative: (G + 1,), its sums.
    contexts: (C,) int64, sorted; first: (C + 1,) int64, where each one's n-grams begin; left: (C,),
    gamma. All numbers are float64.
    """

    ngrams: Tensor
    mass: Tensor
    cumulative: Tensor
    contexts: Tensor
    first: Tensor
    left: Tensor


def discounts(counts: Tensor) -> tuple[float, float, float]:
    """D_1, D_2 and D_3+ of adjusted counts (G,) int64: Chen and Goodman 1999, section 3."""
    n = [0, *(int((counts == i).sum()) for i in (1, 2, 3, 4))]
    if 0 in n[1:]:
        return USUAL_DISCOUNTS
    Y = n[1] / (n[1] + 2 * n[2])
    D = tuple(i - (i + 1) * Y * n[i + 1] / n[i] for i in (1, 2, 3))
    return (D[0], D[1], D[2]) if min(D) > 0 else USUAL_DISCOUNTS


def order_of(ngrams: Tensor, counts: Tensor, levels: int) -> Order:
    """The order of sorted n-grams (G,) int64 with their adjusted counts (G,) int64."""
    contexts, sizes = torch.unique_consecutive(ngrams // levels, return_counts=True)
    owner = torch.arange(len(contexts)).repeat_interleave(sizes)
    total = torch.zeros(len(contexts), dtype=torch.float64).index_add_(0, owner, counts.double())
    D = torch.tensor([0.0, *discounts(counts)], dtype=torch.float64)[counts.clamp(max=3)]
    mass = (counts - D) / total[owner]
    zero = torch.zeros(1, dtype=torch.int64)
    return Order(
        ngrams=ngrams,
        mass=mass,
        cumulative=torch.cat([zero, mass.cumsum(0)]),
        contexts=contexts,
        first=torch.cat([zero, sizes.cumsum(0)]),
        left=torch.zeros_like(total).index_add_(0, owner, D) / total,
    )


def shared(tokens: Tensor, voices: int) -> Tensor:
    """How many tokens at the start of each row (N, L) are those at the end of the row before, at
    most L - voices, and all voices of a step or none: (N,) int64."""
    n, length = tokens.shape
    counts = torch.zeros(n, dtype=torch.int64)
    row = torch.arange(1, n)
    for shift in range(voices, length, voices):
        likely = row[tokens[row, 0] == tokens[row - 1, shift]]
        same = (tokens[likely, : length - shift] == tokens[likely - 1, shift:]).all(1)
        counts[likely[same]] = length - shift
        row = row[counts[row] == 0]
    return counts


def fitted(tokens: Tensor, coding: Coding, depths: int) -> list[Order]:
    """The orders of contexts of 0 to depths - 1 tokens, of tokens (N, L) int64."""
    starts = []
    for depth, codes in enumerate(coding.ngrams(tokens, depths)):
        # The first of each length has a context that begins at the row's start, but the empty one.
        starts.append(codes[:, : min(depth, 1)].clone())
    position = torch.arange(tokens.shape[1])[-codes.shape[1] :]
    counted = (position >= shared(tokens, coding.voices)[:, None]) | (position < depths - 1)
    # From the longest contexts down: an n-gram's adjusted count is the number of those one token
    # longer, and these are fewer than the tokens that all were counted from.
    ngrams, counts = torch.unique(codes[counted], return_counts=True)
    orders = [order_of(ngrams, counts, coding.levels)]
    for depth in reversed(range(depths - 1)):
        inner, continuations = torch.unique(ngrams % coding.size(depth), return_counts=True)
        outer, repeats = torch.unique(starts[depth], return_counts=True)
        ngrams, order = torch.cat([inner, outer]).sort()
        counts = torch.cat([continuations, repeats])[order]
        orders.append(order_of(ngrams, counts, coding.levels))
    return orders[::-1]


def find(values: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Where values are in a sorted table, an index, and whether they are."""
    index = torch.searchsorted(table, values).clamp(max=len(table) - 1)
    return index, table[index] == values


class NGram(Control):
    """The rows that it is fitted to, from which all counts follow: a small state of known size.

    rows: (K, *shape) uint8, of which the first `number`, () int64, are there.
    """

    likelihood = "bpd"

    params: Params
    rows: Tensor
    number: Tensor

    def __init__(self, params: Params, data: DatasetInfo):
        """Raises UserError for an order whose n-grams are no integers of 63 bits."""
        super().__init__(params, data)
        _, *voices = data.shape
        self.coding = Coding(data.levels, math.prod(voices))
        self.length = math.prod(data.shape)
        most = 1
        while self.coding.size(most) < 2**63:
            most += 1
        if params.order > most:
            raise UserError(
                f"ngram: order {params.order} is too long for {data.name}, with an alphabet of "
                f"{data.levels}: it may be {most} at most"
            )
        n = min(params.kept, data.sizes["train"])
        self.register_buffer("rows", torch.zeros(n, *data.shape, dtype=torch.uint8))
        self.register_buffer("number", torch.zeros((), dtype=torch.int64))
        self.register_load_state_dict_post_hook(NGram._forget)

    def _forget(self, *_: object) -> None:
        self.__dict__.pop("orders", None)

    @property
    def depths(self) -> int:
        """Lengths of context, from 0: no row has more than its start and all tokens but one."""
        return min(self.params.order, self.length + 1)

    def fit(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        """Raises ValueError where there is no row, or one with tokens beyond the alphabet."""
        if len(images) == 0:
            raise ValueError("rows: expected at least 1, got 0")
        n = min(len(images), len(self.rows))
        # In the order of the data, in which rows that overlap follow each other.
        chosen = images[drawn(len(images), n, generator).sort().values]
        self._tokens(chosen)
        self.rows.zero_()[:n] = chosen
        self.number.fill_(n)
        self._forget()

    def _tokens(self, rows: Tensor) -> Tensor:
        """The tokens (N, L) int64 of rows (N, *shape), on the CPU, where all counts are."""
        tokens = rows.flatten(1).long().cpu()
        if len(tokens) and tokens.max() >= self.data.levels:
            raise ValueError(f"rows: tokens must be within 0..{self.data.levels - 1}")
        return tokens

    @cached_property
    def orders(self) -> list[Order]:
        """What contexts of 0, 1, ... tokens tell, of the rows fitted to."""
        if self.number == 0:
            raise ValueError("an n-gram model must be fitted before it is used")
        return fitted(self._tokens(self.rows[: self.number]), self.coding, self.depths)

    def probabilities(self, rows: Tensor) -> Tensor:
        """p(x_t | x_<t) of each token, (N, L) float64 for rows (N, *shape) uint8."""
        tokens = self._tokens(rows)
        p = torch.full(tokens.shape, 1 / self.data.levels, dtype=torch.float64)
        ngrams = self.coding.ngrams(tokens, self.depths)
        for order, codes in zip(self.orders, ngrams, strict=True):
            index, known = find(codes, order.ngrams)
            context, met = find(codes // self.data.levels, order.contexts)
            lower = p[:, -codes.shape[1] :]
            higher = order.mass[index] * known + order.left[context] * lower
            p[:, -codes.shape[1] :] = torch.where(met, higher, lower)
        return p

    def bits_per_dim(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Exact negative log2-likelihood per token: (N,) for rows (N, *shape) uint8."""
        return -self.probabilities(rows).log2().mean(1).float().to(rows.device)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        tokens = torch.empty(n, self.length, dtype=torch.uint8)
        # The tokens before, as in `Coding`: at first the row's start.
        before = torch.full((n,), self.coding.levels)
        longest = self.coding.base ** max(self.depths - 2, 0)
        for t in range(self.length):
            u = torch.rand(self.depths + 1, n, generator=generator, device=generator.device).cpu()
            token = self._draw(before, t, u)
            tokens[:, t] = token
            before = token + self.coding.base * (before % longest)
        return tokens.view(n, *self.data.shape).to(generator.device)

    def _draw(self, before: Tensor, t: int, u: Tensor) -> Tensor:
        """Tokens (n,) int64 at position t after those `before`, by uniform numbers u.

        An interpolation is a mixture: with probability gamma(c) a token is one of the shorter
        context, and else one that was seen in c. One row of u decides for each length of context,
        and the last picks the token.
        """
        K, V = self.coding.levels, self.coding.voices
        *stay, pick_by = u
        token = (pick_by * K).long().clamp(max=K - 1)
        undecided = torch.arange(len(before))
        for depth in reversed(range(min(self.depths, t + 2))):
            order = self.orders[depth]
            context = t % V + V * (before[undecided] % self.coding.base**depth)
            index, met = find(context, order.contexts)
            here = met & (stay[depth][undecided] >= order.left[index])
            chosen, index = undecided[here], index[here]
            first, end = order.first[index], order.first[index + 1]
            low, high = order.cumulative[first], order.cumulative[end]
            place = torch.searchsorted(
                order.cumulative, low + pick_by[chosen] * (high - low), right=True
            )
            token[chosen] = order.ngrams[(place - 1).clamp(first, end - 1)] % K
            undecided = undecided[~here]
        return token
