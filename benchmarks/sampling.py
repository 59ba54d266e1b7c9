"""How fast is a GPT sampled, and are its tokens right? `python benchmarks/sampling.py`

`GPT.sample` against `generate(use_cache=True)` of transformers' GPT2LMHeadModel with the same
weights, both greedy, so that the tokens can be compared; then both at random. The two take turns,
so that the ratio of each pair holds when the machine's speed drifts, and every ratio is given by
wall time and by this process's CPU time: on a busy machine the second is the better witness, but
with more than one thread it counts their waiting for each other. The floor is what the matrix
products alone would take at the peak of `cost.matmul_peak`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from common import Measurement, record, spread
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from genbench.cost import Meter, matmul_peak
from genbench.models.gpt import GPT

VOCABULARY, LENGTH, WIDTH, LAYERS, HEADS = 256, 49, 128, 4, 4


def library(network: GPT) -> GPT2LMHeadModel:
    """The language model of transformers as GPT-2 is published, with the network's weights."""
    config = GPT2Config(
        vocab_size=network.embeddings, n_positions=LENGTH, n_embd=WIDTH, n_layer=LAYERS,
        n_head=HEADS, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    model.transformer.load_state_dict(network.transformer.state_dict())
    return model


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall time and of CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(
    how: str, theirs: Callable[[], Tensor], ours: Callable[[], Tensor], pairs: int, tokens: int
) -> tuple[list[Measurement], float]:
    """Rates and paired ratios; the fastest of our times, in seconds."""
    theirs(), ours()  # the first call of either is slower
    times = [(timed(theirs), timed(ours)) for _ in range(pairs)]
    values = {
        (f"ratio to generate, {how}", "ratio"): [lib[0] / own[0] for lib, own in times],
        (f"ratio to generate by CPU time, {how}", "ratio"): [lib[1] / own[1] for lib, own in times],
        (f"ours, {how}", "tokens/s"): [tokens / own[0] for _, own in times],
        (f"generate, {how}", "tokens/s"): [tokens / lib[0] for lib, _ in times],
    }
    rows = [
        Measurement("sampling", what, *spread(each), unit) for (what, unit), each in values.items()
    ]
    return rows, min(own[0] for _, own in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--record", action="store_true", help="keep it under results/cpu")
    args = parser.parse_args()
    n, tokens = args.batch, args.batch * LENGTH

    peak = matmul_peak("cpu", args.threads)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    network = GPT(
        vocabulary=VOCABULARY, length=LENGTH, width=WIDTH, layers=LAYERS, heads=HEADS, dropout=0.0
    ).eval()
    with torch.no_grad():  # as initialised, a network hardly tells one token from another
        for p in network.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    model = library(network)
    start = torch.full((n, 1), VOCABULARY)
    mask = torch.ones_like(start)

    def theirs(**how: object) -> Tensor:
        drawn: Tensor = model.generate(
            start, attention_mask=mask, max_new_tokens=LENGTH, use_cache=True,
            suppress_tokens=[VOCABULARY], pad_token_id=VOCABULARY, **how,
        )  # fmt: skip
        return drawn[:, 1:]

    def greedy() -> Tensor:
        return network.sample(n, torch.Generator(), choose=lambda logits, _: logits.argmax(-1))

    generator = torch.Generator().manual_seed(0)
    same = torch.equal(theirs(do_sample=False), greedy())
    print(f"{args.threads} threads, batch {n}, {LAYERS} layers of width {WIDTH}, {LENGTH} tokens")
    print(f"greedy tokens identical: {same}")
    with Meter("cpu") as meter:
        greedily, best = compare(
            "greedy", lambda: theirs(do_sample=False), greedy, args.pairs, tokens
        )
        randomly, _ = compare(
            "at random",
            lambda: theirs(do_sample=True, top_k=0),
            lambda: network.sample(n, generator),
            args.pairs,
            tokens,
        )
        usage = meter.usage()
    record([*greedily, *randomly], args.threads, keep=args.record and same)
    floor = n * network.sample_flops() / peak
    print(f"floor: {n * network.sample_flops():.3g} FLOPs at {peak / 1e9:.0f} GFLOP/s take "
          f"{floor:.3f} s, {tokens / floor / 1e3:,.3g} thousand tokens/s")  # fmt: skip
    print(f"our best greedy time is {best / floor:.2f} times the floor")
    print(f"other processes took {usage.other_cpu:.0%} of the machine's CPU time meanwhile")
    if not same:
        raise SystemExit("the greedy tokens differ")


if __name__ == "__main__":
    main()
