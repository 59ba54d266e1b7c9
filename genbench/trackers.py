"""Follow a run while it trains, in TensorBoard or Weights & Biases: the same rows that its record's
curves keep; after a resume, those since the last checkpoint come once more. Neither changes what is
trained, and without them nothing is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from genbench.errors import UserError
from genbench.suite import Cell
from genbench.training import Row

Log = Callable[[Row], None]


@contextlib.contextmanager
def tensorboard(cell: Cell, folder: Path) -> Iterator[Log]:
    """Scalars of each row as `stage/name` by step, as event files in `folder`.
    Raises UserError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard: pip install 'genbench[tensorboard]' first") from None
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("cell", f"```\n{cell.model_dump_json(indent=1)}\n```")

        def log(row: Row) -> None:
            for name, value in _values(row).items():
                writer.add_scalar(f"{row['stage']}/{name}", value, int(row["step"]))

        yield log


@contextlib.contextmanager
def wandb(cell: Cell, folder: Path) -> Iterator[Log]:
    """Each row to Weights & Biases, whose own settings say where: with WANDB_MODE=offline, to files
    in `folder` alone. Raises UserError where it is not installed."""
    try:
        import wandb as library
    except ImportError:
        raise UserError("--wandb: pip install 'genbench[wandb]' first") from None
    run = library.init(
        project="genbench", name=cell.name, dir=str(folder), config=cell.model_dump(mode="json"),
        id=folder.parent.name[-12:], resume="allow",
    )  # fmt: skip

    def log(row: Row) -> None:
        run.log({f"{row['stage']}/{name}": value for name, value in _values(row).items()})

    try:
        yield log
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()


def _values(row: Row) -> dict[str, float]:
    return {name: float(x) for name, x in row.items() if name != "stage"}


TRACKERS: dict[str, Callable[[Cell, Path], contextlib.AbstractContextManager[Log]]] = {
    "tensorboard": tensorboard,
    "wandb": wandb,
}
