"""What a run costs: FLOPs by formula, time, memory, and the machine's matrix-product peak.

One multiply-add is two FLOPs. Counted are matrix products, convolutions, attention's two products
and codebook distances; element-wise work, normalisation and optimisers are not, as is usual
(Kaplan et al. 2020, section 2.1). Counts depend on shapes alone: never on the device, dropout or
the attention kernel.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn


def _linear(layer: nn.Linear, x: Tensor, y: Tensor) -> int:
    return 2 * layer.in_features * y.numel()


def _conv(layer: nn.Conv2d, x: Tensor, y: Tensor) -> int:
    return 2 * y.numel() * (layer.in_channels // layer.groups) * math.prod(layer.kernel_size)


def _conv_transpose(layer: nn.ConvTranspose2d, x: Tensor, y: Tensor) -> int:
    # Each input element is multiplied into every element of the kernel.
    return 2 * x.numel() * (layer.out_channels // layer.groups) * math.prod(layer.kernel_size)


def _formula(layer: nn.Module) -> Callable[[Any, Tensor, Tensor], int] | None:
    if isinstance(layer, nn.Linear):
        return _linear
    if isinstance(layer, nn.Conv2d):
        return _conv
    if isinstance(layer, nn.ConvTranspose2d):
        return _conv_transpose
    # A module of our own may state its products itself.
    return getattr(type(layer), "forward_flops", None)


def forward_flops(network: nn.Module, *inputs: Tensor) -> list[int]:
    """Forward FLOPs of each counted layer, in the order of execution, for these inputs.

    The network runs once in evaluation mode without gradients, so no state and no random
    generator changes. A module that defines `forward_flops(self, input, output)` is counted by
    it, and its children are not.
    """
    counts: list[int] = []
    hooks = []
    inside = 0

    def before(layer: nn.Module, args: Any) -> None:
        nonlocal inside
        inside += 1

    def after(layer: nn.Module, args: Any, output: Any) -> None:
        nonlocal inside
        inside -= 1
        formula = _formula(layer)
        if formula is not None and inside == 0:
            counts.append(int(formula(layer, args[0], output)))

    device = next(network.parameters()).device
    was_training = {module: module.training for module in network.modules()}
    try:
        for layer in network.modules():
            if _formula(layer) is not None:
                hooks.append(layer.register_forward_pre_hook(before))
                hooks.append(layer.register_forward_hook(after))
        network.eval()
        with torch.no_grad():
            network(*(x.to(device) for x in inputs))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in was_training.items():
            module.training = training
    return counts


def backward_flops(
    layers: Sequence[int], *, weight_gradients: bool = True, input_gradient: bool = False
) -> int:
    """FLOPs of the backward pass of layers whose forward FLOPs are given in order.

    A layer's gradient by its weights costs as much as its forward pass, and so does the gradient
    by its input, which the first layer needs only if something before it is trained
    (`input_gradient`).
    """
    weights = sum(layers) if weight_gradients else 0
    inputs = sum(layers) if input_gradient else sum(layers[1:])
    return weights + inputs


@functools.cache
def matmul_peak(device: str, threads: int, size: int = 1024, seconds: float = 0.5) -> float:
    """The machine's best float32 matrix-product rate, in FLOP/s, measured once per process.

    The best of repeated products of two (size, size) matrices within about `seconds`. On a CPU it
    is taken per second of CPU time over `threads`, as training's rates are, so that another
    process on the machine lowers neither.
    """
    clock = time.perf_counter if device != "cpu" else lambda: time.process_time() / threads
    torch.set_num_threads(threads)
    a = torch.randn(size, size, device=device, generator=torch.Generator(device).manual_seed(0))
    best = math.inf
    start = time.perf_counter()
    runs = 0
    while runs < 3 or time.perf_counter() - start < seconds:
        before = clock()
        a @ a
        synchronise(device)
        best = min(best, clock() - before)
        runs += 1
    return 2 * size**3 / best


def synchronise(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


@dataclass
class Usage:
    """What work took; adds up over the parts of an interrupted run.

    seconds: wall time. cpu_seconds: this process's CPU time over all its threads.
    other_cpu_seconds: CPU time that other processes took meanwhile, on all cores.
    peak_memory: bytes; of the device where it counts them (CUDA), else resident in this process.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    other_cpu_seconds: float = 0.0
    peak_memory: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            self.other_cpu_seconds + other.other_cpu_seconds,
            max(self.peak_memory, other.peak_memory),
        )

    def without(self, other: Usage) -> Usage:
        """This less a part of it; the peak of memory stays."""
        return Usage(
            self.seconds - other.seconds,
            self.cpu_seconds - other.cpu_seconds,
            max(0.0, self.other_cpu_seconds - other.other_cpu_seconds),
            self.peak_memory,
        )

    @property
    def other_cpu(self) -> float:
        """Share of the machine's CPU time that other processes took, in [0, 1]. Timings with more
        than a few per cent of it were not taken on a quiet machine."""
        available = self.seconds * (psutil.cpu_count() or 1)
        return self.other_cpu_seconds / available if available else 0.0


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    # Linux counts guests' time in `user` already.
    ignored = ("idle", "iowait", "guest", "guest_nice")
    return sum(v for k, v in times._asdict().items() if k not in ignored)


class Meter:
    """Measures from its creation on; a context manager that stops watching at its end."""

    def __init__(self, device: str, interval: float = 0.05):
        self.device = device
        self._process = psutil.Process()
        self._peak = 0
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        else:
            self._watcher = threading.Thread(target=self._watch, args=(interval,), daemon=True)
            self._watcher.start()
        self._busy, self._own = _busy_seconds(), time.process_time()
        self._start = time.perf_counter()

    def _watch(self, interval: float) -> None:
        while not self._stop.is_set():
            self._peak = max(self._peak, self._process.memory_info().rss)
            self._stop.wait(interval)

    def usage(self) -> Usage:
        """What has been used so far."""
        synchronise(self.device)
        own = time.process_time() - self._own
        on_cuda = self.device.startswith("cuda")
        return Usage(
            seconds=time.perf_counter() - self._start,
            cpu_seconds=own,
            other_cpu_seconds=max(0.0, _busy_seconds() - self._busy - own),
            peak_memory=torch.cuda.max_memory_allocated() if on_cuda else self._peak,
        )

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()
