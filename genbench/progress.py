"""Progress on stderr: a bar with the time left on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import NoReturn, TextIO

from tqdm import tqdm


class Display:
    """Progress over a number of cells. stdout is left to results."""

    def __init__(self, weights: Sequence[float], stream: TextIO | None = None):
        """weights: how long each cell takes, in any unit; the time left is reckoned from them."""
        self.weights = list(weights)
        self.stream = stream or sys.stderr
        self.started = time.monotonic()
        self.index = 0
        self.cell = ""
        self.stage = ""
        self.bar: tqdm[NoReturn] | None = None
        if self.stream.isatty():
            self.bar = tqdm(
                total=sum(self.weights),
                file=self.stream,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed} < {remaining}",
                leave=False,
            )

    def begin(self, cell: str) -> None:
        self.cell, self.stage = cell, ""

    def advance(self, stage: str, done: float) -> None:
        """A stage of the current cell is `done`, in [0, 1]. Training is most of a cell's time."""
        start, share = {"train": (0.0, 0.8), "sample": (0.8, 0.1), "evaluate": (0.9, 0.1)}[stage]
        if self.bar is not None:
            self.bar.set_description_str(f"{self._place()} {stage}", refresh=False)
            self.bar.n = self._passed() + (start + share * done) * self.weights[self.index]
            self.bar.refresh()
        elif stage != self.stage:
            self.line(f"{self._place()}: {stage}{self._left()}")
        self.stage = stage

    def end(self, outcome: str) -> None:
        self.line(f"{self._place()}: {outcome}")
        self.index += 1

    def _place(self) -> str:
        return f"[{self.index + 1}/{len(self.weights)}] {self.cell}"

    def _passed(self) -> float:
        return sum(self.weights[: self.index])

    def _left(self) -> str:
        passed = self._passed()
        if not passed:
            return ""
        left = (time.monotonic() - self.started) / passed * sum(self.weights[self.index :])
        return f" (about {duration(left)} left)"

    def line(self, text: str) -> None:
        if self.bar is not None:
            self.bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def duration(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if seconds >= 10 else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
