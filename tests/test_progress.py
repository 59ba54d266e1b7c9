"""Progress: plain lines in a pipe, a bar on a terminal, durations as people say them."""

from __future__ import annotations

import io

import pytest

from genbench import progress
from genbench.progress import Display, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(display):
    for name in ("images/a", "images/b"):
        display.begin(name)
        for stage in ("train", "sample", "evaluate"):
            for done in (0.1, 0.5, 1.0):
                display.advance(stage, done)
        display.end("ok (1.0 s)")
    display.close()


def test_in_a_pipe_there_is_one_plain_line_for_each_stage():
    stream = io.StringIO()
    run(Display([1.0, 1.0], stream))
    lines = stream.getvalue().splitlines()
    assert [line.split(" (about")[0] for line in lines] == [
        f"[{i}/2] images/{name}: {what}"
        for i, name in ((1, "a"), (2, "b"))
        for what in ("train", "sample", "evaluate", "ok (1.0 s)")
    ]
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_the_time_left_is_reckoned_from_the_weights(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    display = Display([1.0, 3.0], stream)
    display.begin("a")
    display.advance("train", 0.5)
    assert "left" not in stream.getvalue()  # nothing is known yet
    now[0] = 20.0
    display.end("ok")
    display.begin("b")
    display.advance("train", 0.0)
    assert "(about 1 min 0 s left)" in stream.getvalue()


def test_on_a_terminal_there_is_a_bar_that_ends(monkeypatch):
    stream = Terminal()
    display = Display([1.0, 1.0], stream)
    seen = []
    monkeypatch.setattr(display.bar, "refresh", lambda **_: seen.append(display.bar.n))
    run(display)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(2)
    assert "[2/2] images/b" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"), (1.234, "1.2 s"), (42.4, "42 s"), (59.6, "1 min 0 s"),
        (200, "3 min 20 s"), (3599.7, "1 h 0 min"), (7500, "2 h 5 min"), (1e6, "277 h 46 min"),
    ],
)  # fmt: skip
def test_durations(seconds, said):
    assert duration(seconds) == said
