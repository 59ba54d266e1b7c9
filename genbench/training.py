"""The one training loop, for every family.

A model's stages are trained one after the other, each with its share of the budget turned into
steps. A batch is an index into a tensor that lives on the device. Averaged weights are kept at
each declared fraction of the budget; the last of them is the model (the checkpoint rule, for every
family). A run that is stopped at any moment resumes from its last checkpoint and ends in the same
weights, bit for bit, on the same CPU or CUDA device with the same number of threads.
"""

from __future__ import annotations

import functools
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.optim.swa_utils import AveragedModel

from genbench.cost import Meter, Usage
from genbench.data import Data, info
from genbench.data.music import draw_semitones, transpose
from genbench.errors import UserError
from genbench.models import build
from genbench.models.interface import Model, Stage
from genbench.provenance import Provenance, provenance
from genbench.records import RunDirectory, atomic, read_json, write_json
from genbench.suite import Cell, TrainSpec

# Curves have this many points over a whole run; losses in between are averaged.
CURVE_POINTS = 128
# A loss or gradient norm beyond this has exploded: the run is recorded as diverged.
EXPLODED = 1e9
CHECKPOINT_SECONDS = 10.0
# Of the choice of held-out training images: a constant, like the splits themselves.
HELD_OUT_SEED = 0


Tensors = tuple[Tensor, ...] | list[Tensor]


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from a cell's seed and the purpose it is for."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seeded(device: str, *parts: object) -> torch.Generator:
    return torch.Generator(device).manual_seed(derive_seed(*parts))


@dataclass(frozen=True)
class StagePlan:
    """A stage's part of the budget: FLOPs spent before it, on preparing it, and on each step, and
    the images that a step takes."""

    name: str
    start_flops: int
    prepare_flops: int
    step_flops: int
    steps: int
    step_images: int

    def flops(self, step: int) -> int:
        """FLOPs spent in the whole run when `step` steps of this stage are done."""
        return self.start_flops + self.prepare_flops + step * self.step_flops

    @property
    def end_flops(self) -> int:
        return self.flops(self.steps)


def members(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training split that the cell learns from, and those that are held out of it:
    of the declared fraction, a random part that is the same for every model and seed."""
    n = max(1, math.floor(info(cell.data.name).sizes["train"] * cell.data.fraction))
    held_out = min(n - 1, round(n * cell.data.held_out))
    order = np.random.default_rng(HELD_OUT_SEED).permutation(n)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def train_images(cell: Cell) -> int:
    """Number of training images that the cell learns from."""
    return len(members(cell)[0])


def batch_size(cell: Cell) -> int:
    return min(cell.train.batch_size, train_images(cell))


def plan_stages(cell: Cell, model: Model) -> list[StagePlan]:
    """The budget as steps of each stage, rounded down. Raises UserError if one has none."""
    plans: list[StagePlan] = []
    spent = 0
    for stage in model.stages:
        step_flops = stage.step_flops(batch_size(cell))
        prepare_flops = stage.prepare_flops(train_images(cell))
        steps = 0
        if step_flops:
            steps = math.floor((cell.budget.train_flops * stage.share - prepare_flops) / step_flops)
            if steps < 1:
                needed = (prepare_flops + step_flops) / stage.share
                raise UserError(
                    f"{cell.name}: a budget of {cell.budget.train_flops:.3g} FLOPs has no step of "
                    f"stage '{stage.name}'; it needs at least {needed:.3g}"
                )
        step_images = stage.batches * batch_size(cell)
        plans.append(StagePlan(stage.name, spent, prepare_flops, step_flops, steps, step_images))
        spent = plans[-1].end_flops
    return plans


def new_model(cell: Cell, device: str) -> Model:
    """The cell's model, initialised from the cell's seed, on the device."""
    torch.manual_seed(derive_seed(cell.seed, "initialise"))
    try:
        model = build(cell.model, info(cell.data.name))
    except (RuntimeError, OverflowError, MemoryError) as error:
        first = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{cell.name}: its networks cannot be made: {first}") from error
    if cell.train.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model.to(device)


def compile_networks(module: nn.Module) -> None:
    """Compile, in place, the outermost networks: those modules that can be called."""
    if type(module).forward is not nn.Module.forward:
        module.compile()
        return
    for child in module.children():
        compile_networks(child)


def check_dtype(cells: Sequence[Cell], device: str) -> None:
    """Raises UserError if a cell wants a number format for which the device has no instructions:
    a CPU without them takes about ten times as long, and has no LSTM at all."""
    wanted = [cell.name for cell in cells if cell.train.dtype == "bfloat16"]
    if wanted and not has_bfloat16(device):
        raise UserError(
            f"{wanted[0]}: train.dtype is bfloat16, for which this machine's {device} has no "
            "instructions; say float32 in the suite or in the profile"
        )


def has_bfloat16(device: str) -> bool:
    """Whether the device computes in bfloat16."""
    if device == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.cuda.is_bf16_supported(including_emulation=False)


def check_budget(cells: Sequence[Cell]) -> None:
    """Raises UserError if a cell's budget is too small for a step of any stage."""
    # Seeds share their plan, so one of them is looked at.
    for cell in {cell.name.rpartition("/")[0]: cell for cell in cells}.values():
        plan_stages(cell, new_model(cell, "cpu"))


def snapshot_steps(cell: Cell, plan: StagePlan) -> dict[int, float]:
    """step -> fraction of the budget, for the fractions that fall within the last stage: before
    it, a model cannot be sampled."""
    steps = {plan.steps: 1.0}
    for fraction in cell.budget.fractions:
        target = fraction * cell.budget.train_flops
        if plan.flops(1) <= target < plan.end_flops:
            steps[int(target - plan.flops(0)) // plan.step_flops] = fraction
    return steps


def average(network: nn.Module, spec: TrainSpec, steps: int) -> AveragedModel:
    """An exponential moving average of a network's weights and buffers.

    Its half-life is a fraction of the stage's steps, and early on no more than a fraction of the
    steps done, so that the first weights do not linger (Karras et al. 2022, appendix F.2). With a
    half-life of 0 the average is the weights themselves.
    """

    @torch.no_grad()
    def update(averaged: Tensors, current: Tensors, done: Tensor | int) -> None:
        half_life = min(spec.ema_half_life * steps, spec.ema_rampup * float(done))
        decay = 0.5 ** (1 / half_life) if half_life else 0.0
        for a, c in zip(averaged, current, strict=True):
            # Counters (such as batches seen) are taken over as they are.
            a.lerp_(c, 1 - decay) if a.is_floating_point() else a.copy_(c)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)


def step_size_factor(spec: TrainSpec, step: int, steps: int) -> float:
    """What step sizes are multiplied by in step 0 <= `step` < `steps` of a stage, in (0, 1]: a
    linear rise over the warm-up, times what the schedule leaves."""
    rise = spec.warmup * steps
    factor = min(1.0, (step + 1) / rise) if rise else 1.0
    left = 1 - step / steps
    if spec.schedule == "cosine":
        return factor * (1 - math.cos(math.pi * left)) / 2
    return factor * left if spec.schedule == "linear" else factor


def practise(stage: Stage, spec: TrainSpec) -> None:
    """Give a stage's optimisers their weight decay and their limit on gradients."""
    for optimiser in stage.optimisers.values():
        for group in optimiser.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["weight_decay"] = spec.weight_decay
        if spec.clip_norm:
            optimiser.register_step_pre_hook(functools.partial(_limit, spec.clip_norm))


def _limit(most: float, optimiser: torch.optim.Optimizer, *_: object) -> None:
    weights = [w for group in optimiser.param_groups for w in group["params"]]
    nn.utils.clip_grad_norm_(weights, most)


def augment(images: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Images (B, C, H, W) uint8, each moved by -2 to 2 pixels along both axes with the darkest
    level moving in ("shift"), or mirrored left to right with probability a half ("mirror"); or
    windows of music (B, T, 4) uint8, each in another key ("transpose")."""
    if kind == "transpose":
        return transpose(images, draw_semitones(images, generator))
    n, _, height, width = images.shape
    device = images.device
    if kind == "mirror":
        flip = torch.rand(n, generator=generator, device=device) < 0.5
        return torch.where(flip[:, None, None, None], images.flip(3), images)
    wide = pad(images, (2, 2, 2, 2))
    down, right = torch.randint(5, (2, n), generator=generator, device=device)
    rows = (down[:, None] + torch.arange(height, device=device))[:, None, :, None]
    columns = (right[:, None] + torch.arange(width, device=device))[:, None, None, :]
    owner = torch.arange(n, device=device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=device)[None, :, None, None]
    return wide[owner, channel, rows, columns]


@dataclass
class Progress:
    """Everything about a run that a checkpoint keeps beside the tensors. lowest: the criterion's
    lowest value, and how many checks were without gain since; stopped: why it stopped early."""

    stage: int = 0
    step: int = 0
    status: str = "ok"
    reason: str = ""
    lowest: float = math.inf
    without_gain: int = 0
    stopped: str = ""
    usage: Usage = field(default_factory=Usage)
    curves: list[dict[str, float | str]] = field(default_factory=list)


@dataclass(frozen=True)
class Training:
    """What training leaves behind, as kept in training.json.

    status: "ok" or "diverged", with the reason. snapshots: fractions whose weights are kept.
    curves: one row a logged point, with stage, step, train_flops, examples, seconds and the
    stage's own values, each the mean since the row before. provenance: where, when and with what
    code it was trained; a record that is written again later keeps it.
    """

    status: str
    reason: str
    steps: int
    examples: int
    train_flops: int
    parameters: int
    snapshots: list[float]
    unsampled: dict[str, str]
    usage: Usage
    curves: list[dict[str, float | str]]
    provenance: Provenance


def parameters(model: nn.Module) -> int:
    """Trainable parameters of all the model's networks."""
    return sum(p.numel() for p in model.parameters())


class Run:
    """One cell's training in progress: what a checkpoint saves and restores."""

    def __init__(self, cell: Cell, model: Model, plans: Sequence[StagePlan], device: str):
        self.cell, self.model, self.plans, self.device = cell, model, plans, device
        self.progress = Progress()
        self.generator = seeded(device, cell.seed, "train")
        self.averaged: AveragedModel | None = None
        self.checking = Usage()  # what checks have taken in this process

    @property
    def stage(self) -> Stage:
        return self.model.stages[self.progress.stage]

    @property
    def plan(self) -> StagePlan:
        return self.plans[self.progress.stage]

    def save(self, directory: RunDirectory, usage: Usage) -> None:
        state = {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else None,
            "optimisers": {k: o.state_dict() for k, o in self.stage.optimisers.items()},
            "generator": self.generator.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if self.device.startswith("cuda") else None,
            "progress": asdict(self.progress) | {"usage": asdict(usage)},
        }
        with atomic(directory.checkpoint) as temporary:
            torch.save(state, temporary)

    def restore(self, directory: RunDirectory) -> None:
        try:
            state = torch.load(directory.checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:
            raise UserError(
                f"cannot read the checkpoint {directory.checkpoint} ({type(error).__name__}); "
                "delete it, or use --force, to train this cell from its start"
            ) from None
        usage = Usage(**state["progress"].pop("usage"))
        self.progress = Progress(**state["progress"], usage=usage)
        self.model.load_state_dict(state["model"])
        self.start_averaging()
        assert self.averaged is not None
        self.averaged.load_state_dict(state["averaged"])
        for name, optimiser in self.stage.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"])

    def start_averaging(self) -> None:
        self.averaged = average(self.stage.network, self.cell.train, self.plan.steps)

    def averaged_state(self) -> dict[str, Tensor]:
        """The model's state with the current stage's network replaced by its average."""
        state = dict(self.model.state_dict())
        if self.averaged is not None:
            names = {module: name for name, module in self.model.named_modules()}
            prefix = names[self.stage.network]
            for key, value in self.averaged.module.state_dict().items():
                state[f"{prefix}.{key}" if prefix else key] = value
        return {key: value.detach().cpu().contiguous() for key, value in state.items()}

    def save_weights(self, path: Path) -> None:
        with atomic(path) as temporary:
            save_file(self.averaged_state(), temporary)

    def check(self, directory: RunDirectory, criterion: Callable[[Model], float]) -> float:
        """The criterion's value of the averaged weights, which are kept where it is the lowest."""
        # A new model takes its first weights from the generators that dropout uses.
        with torch.random.fork_rng():
            model = new_model(self.cell, self.device)
        model.load_state_dict(self.averaged_state())
        value = criterion(model.eval())
        if value < self.progress.lowest:
            self.progress.lowest, self.progress.without_gain = value, 0
            self.save_weights(directory.best)
        else:
            self.progress.without_gain += 1
        return value


Row = dict[str, float | str]


@dataclass(frozen=True)
class Watch:
    """Who is told of a run in progress. report: the part of the budget that is spent, in [0, 1].
    log: each row of the curves. criterion: the FD of a model's samples against validation, for runs
    that may stop early."""

    report: Callable[[float], None] = lambda done: None
    log: Callable[[Row], None] = lambda row: None
    criterion: Callable[[Model], float] | None = None


def train(
    cell: Cell,
    data: Data,
    directory: RunDirectory,
    device: str,
    watch: Watch = Watch(),
) -> Training:
    """Train the cell, or go on with it, or return at once what a finished run left behind."""
    if directory.training.exists():
        return load_training(directory)
    torch.set_num_threads(cell.train.threads)
    model = new_model(cell, device)
    torch.manual_seed(derive_seed(cell.seed, "train"))
    plans = plan_stages(cell, model)
    run = Run(cell, model, plans, device)
    resumed = directory.checkpoint.exists()
    if resumed:
        run.restore(directory)
    if cell.train.compiled:
        compile_networks(model)
    seen, _ = members(cell)
    images = torch.from_numpy(data.train.rows[seen]).to(device)
    labels = torch.from_numpy(data.train.labels[seen]).to(device)

    before = run.progress.usage
    with Meter(device) as meter:

        def usage() -> Usage:
            return before + meter.usage().without(run.checking)

        for index in range(run.progress.stage, len(plans)):
            model.train()
            if not resumed:
                run.progress.stage, run.progress.step = index, 0
            prepared = run.stage.prepare(
                images, labels, seeded(device, cell.seed, "prepare", run.plan.name)
            )
            if run.plan.steps:
                if not resumed:
                    run.start_averaging()
                practise(run.stage, cell.train)
                run_stage(run, prepared, labels, directory, usage, watch)
                assert run.averaged is not None
                run.stage.network.load_state_dict(run.averaged.module.state_dict())
                run.averaged = None
            resumed = False
            if run.progress.status != "ok":
                break
        if run.progress.status == "ok":
            if directory.best.exists():
                directory.weights(1.0).parent.mkdir(exist_ok=True)
                directory.best.replace(directory.weights(1.0))
            else:
                run.save_weights(directory.weights(1.0))
        used = usage()
    return finish(run, directory, used)


def run_stage(
    run: Run,
    prepared: Tensor,
    labels: Tensor,
    directory: RunDirectory,
    usage: Callable[[], Usage],
    watch: Watch,
) -> None:
    """The steps of one stage, from where it stands to its end, its divergence, or, by the declared
    criterion, an early stop."""
    cell, plan, stage, progress = run.cell, run.plan, run.stage, run.progress
    assert run.averaged is not None
    size = plan.step_images
    per_epoch = max(1, len(prepared) // size)
    total = sum(p.steps for p in run.plans)
    every = max(1, total // CURVE_POINTS)
    last = progress.stage == len(run.plans) - 1
    snapshots = snapshot_steps(cell, plan) if last else {}
    checks = check_steps(cell, plan) if last else set()
    images_before = sum(p.steps * p.step_images for p in run.plans[: progress.stage])
    moving = cell.train.warmup > 0 or cell.train.schedule != "constant"
    autocast = torch.autocast(
        run.device,
        torch.bfloat16,
        enabled=cell.train.dtype == "bfloat16",
        # It would keep weights from before an optimiser's step.
        cache_enabled=False,
    )
    order, order_epoch = torch.empty(0), -1
    sums: dict[str, Tensor] = {}
    since = 0
    unchecked: list[float] = []
    saved = time.monotonic()
    while progress.step < plan.steps:
        epoch, position = divmod(progress.step, per_epoch)
        if epoch != order_epoch:
            # A function of the seed and the epoch alone, so that resuming needs no state.
            generator = seeded(run.device, cell.seed, "order", plan.name, epoch)
            order = torch.randperm(len(prepared), generator=generator, device=run.device)
            # A data set smaller than a step's images is gone through more than once.
            order = order.repeat(-(-size // len(order)))
            order_epoch = epoch
        chosen = order[position * size : (position + 1) * size]
        batch = prepared[chosen]
        if cell.train.augmentation != "none" and batch.dtype == torch.uint8:
            batch = augment(batch, cell.train.augmentation, run.generator)
        if moving:
            factor = step_size_factor(cell.train, progress.step, plan.steps)
            for optimiser in stage.optimisers.values():
                for group in optimiser.param_groups:
                    group["lr"] = group["initial_lr"] * factor
        with autocast:
            values = stage.step(batch, labels[chosen], run.generator)
        run.averaged.update_parameters(stage.network)
        progress.step += 1
        since += 1
        for name, value in values.items():
            sums[name] = sums[name] + value if name in sums else value.clone()

        fraction = snapshots.get(progress.step)
        if fraction is not None and fraction < 1:
            run.save_weights(directory.weights(fraction))
            unchecked.append(fraction)
        check = progress.step in checks
        if progress.step % every and progress.step != plan.steps and not check:
            continue
        used = usage()
        means = {name: float(value) / since for name, value in sums.items()}
        sums, since = {}, 0
        for name, mean in means.items():
            if not math.isfinite(mean) or abs(mean) > EXPLODED:
                progress.status = "diverged"
                progress.reason = (
                    f"{name} is {mean:.3g} at step {progress.step} of stage {plan.name}"
                )
                # Weights kept since the values were last looked at may be broken already.
                for fraction in unchecked:
                    directory.weights(fraction).unlink()
                return
        unchecked = []
        if check:
            assert watch.criterion is not None
            means["criterion"] = run.check(directory, watch.criterion)
            run.checking += usage().without(used)
        row: Row = {
            "stage": plan.name,
            "step": progress.step,
            "train_flops": plan.flops(progress.step),
            "examples": images_before + progress.step * size,
            "seconds": round(used.seconds, 3),
            # A curve is looked at: more digits are of no use and take most of a record.
            **{name: float(f"{mean:.6g}") for name, mean in means.items()},
        }
        progress.curves.append(row)
        watch.log(row)
        watch.report(plan.flops(progress.step) / cell.budget.train_flops)
        if progress.without_gain >= cell.train.early_stopping > 0:
            progress.stopped = (
                f"stopped early: no better for {progress.without_gain} checks by step "
                f"{progress.step}"
            )
            return
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            run.save(directory, used)
            saved = time.monotonic()


def check_steps(cell: Cell, plan: StagePlan) -> set[int]:
    """The steps of the last stage after which a run that may stop early is checked."""
    if not cell.train.early_stopping:
        return set()
    n = min(cell.train.checks, plan.steps)
    return {plan.steps * i // n for i in range(1, n + 1)}


def finish(run: Run, directory: RunDirectory, usage: Usage) -> Training:
    """Write training.json; the checkpoint is not needed any more."""
    progress, cell = run.progress, run.cell
    done = [p.steps for p in run.plans[: progress.stage]] + [progress.step]
    examples = sum(steps * plan.step_images for steps, plan in zip(done, run.plans, strict=False))
    kept = [f for f in cell.budget.fractions if directory.weights(f).exists()]
    first = run.plans[-1].flops(1) / cell.budget.train_flops
    not_begun = f"stage {run.plans[-1].name} has not begun"
    lost = (
        f"{progress.status}: {progress.reason}"
        if progress.reason
        else progress.stopped or "so small a budget has no step of its own for this fraction"
    )
    training = Training(
        status=progress.status,
        reason=progress.reason,
        steps=sum(done),
        examples=examples,
        train_flops=run.plan.flops(progress.step),
        parameters=parameters(run.model),
        snapshots=kept,
        unsampled={
            f"{f:g}": not_begun if f < first else lost
            for f in cell.budget.fractions
            if f not in kept and not cell.is_control
        },
        usage=usage,
        curves=progress.curves,
        provenance=provenance(run.device, cell.train.threads),
    )
    write_json(directory.training, asdict(training))
    directory.checkpoint.unlink(missing_ok=True)
    return training


def load_training(directory: RunDirectory) -> Training:
    content: dict[str, Any] = read_json(directory.training)
    return Training(**content | {"usage": Usage(**content["usage"])})


def trained_model(cell: Cell, directory: RunDirectory, fraction: float, device: str) -> Model:
    """The model in evaluation mode with the averaged weights kept at a fraction of the budget."""
    model = new_model(cell, device)
    model.load_state_dict(load_file(directory.weights(fraction), device=device))
    model.eval()
    return model
