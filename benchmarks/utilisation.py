"""What does a training step reach of the machine? `python benchmarks/utilisation.py [MODEL..]`

For each model of the image grid, at the cpu profile's size and batch: FLOP/s of whole training
steps (counted by formula, optimisers and averaged weights included in the time and not in the
count) over the rate of a float32 product of two 1024 x 1024 matrices, measured before and after
each choice in the same run. Every number format that the CPU has instructions for and every layout
is timed, and with --compile compiled code too; the profile's layouts are the fastest. A share above
1 is possible: bfloat16 is counted against the float32 peak.
"""

from __future__ import annotations

import argparse
import itertools
import time

import torch
from common import Measurement, record, spread

from genbench.cost import matmul_peak
from genbench.data import DATASETS, load
from genbench.suite import Cell, load_profiles, load_suites
from genbench.training import average, compile_networks, has_bfloat16, new_model, practise


def cells() -> dict[str, Cell]:
    (suite,) = load_suites("images")
    found = suite.cells(load_profiles()["cpu"], seeds=1)
    there = [c for c in found if c.data.name == "fashion-mnist" and not c.is_control]
    return {cell.model.name: cell for cell in there}


def rates(cell: Cell, rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    """FLOP/s and images/s of a model's training steps, one value a round. A model of several stages
    is timed on each, and their FLOPs and seconds are weighed as its budget is."""
    info = DATASETS[cell.data.name]
    data = load(info.name).train
    n = 2_048
    images, labels = torch.from_numpy(data.rows[:n]), torch.from_numpy(data.labels[:n])
    model = new_model(cell, "cpu").train()
    if cell.train.compiled:
        compile_networks(model)
    generator = torch.Generator().manual_seed(0)
    per_stage = []
    for stage in model.stages:
        rows = stage.prepare(images, labels, generator)
        practise(stage, cell.train)
        averaged = average(stage.network, cell.train, 1_000)
        size = cell.train.batch_size * stage.batches

        def step(stage=stage, rows=rows, averaged=averaged, size=size) -> None:
            with torch.autocast(
                "cpu", torch.bfloat16, enabled=cell.train.dtype == "bfloat16", cache_enabled=False
            ):
                stage.step(rows[:size], labels[:size], generator)
            averaged.update_parameters(stage.network)

        for _ in range(3):
            step()
        started = time.perf_counter()
        step()
        repeats = max(1, round(seconds / (time.perf_counter() - started)))
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            for _ in range(repeats):
                step()
            times.append((time.perf_counter() - started) / repeats)
        per_stage.append((stage.share, stage.step_flops(cell.train.batch_size), size, times))
    flops, pictures = [], []
    for index in range(rounds):
        # A budget of one FLOP takes so many seconds and images.
        cost = sum(share / step * times[index] for share, step, _, times in per_stage)
        seen = sum(share / step * size for share, step, size, _ in per_stage)
        flops.append(1 / cost)
        pictures.append(seen / cost)
    return flops, pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.7, help="of a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--record", action="store_true", help="keep it under results/cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    known = cells()
    # Without instructions for it bfloat16 takes ten times as long, and the LSTM has none.
    dtypes = ("float32", "bfloat16") if has_bfloat16("cpu") else ("float32",)
    rows = []
    for name in args.models or known:
        for dtype, last, compiled in itertools.product(
            dtypes, (False, True), (False, True) if args.compile else (False,)
        ):
            train = known[name].train.model_copy(
                update={
                    "dtype": dtype, "channels_last": last, "compiled": compiled,
                    "threads": args.threads,
                }
            )  # fmt: skip
            cell = known[name].model_copy(update={"train": train})
            matmul_peak.cache_clear()
            peak = matmul_peak("cpu", args.threads)
            flops, pictures = rates(cell, args.rounds, args.seconds)
            matmul_peak.cache_clear()
            peak = max(peak, matmul_peak("cpu", args.threads))
            words = [
                dtype,
                *(["channels last"] if last else []),
                *(["compiled"] if compiled else []),
            ]
            what = f"{name}, {', '.join(words)}"
            shares = [rate / peak for rate in flops]
            rows += [
                Measurement("utilisation", what, *spread(shares), "share of the float32 peak"),
                Measurement("utilisation", what, *spread(pictures), "images/s"),
            ]
            print(f"{what}: {spread(shares)[0]:.2f} of {peak / 1e9:.0f} GFLOP/s, "
                  f"{spread(pictures)[0]:.0f} images/s", flush=True)  # fmt: skip
    record(rows, args.threads, keep=args.record)


if __name__ == "__main__":
    main()
