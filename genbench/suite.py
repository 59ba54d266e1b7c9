"""What to run: suites (grids of cells), profiles (at what scale), and the cells they make.

Everything here is frozen, typed and checked: an unknown key, a misspelt name or a budget of zero
is refused with one line before any training starts. Nothing here imports torch.
"""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import itertools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from genbench.data import DATASETS, info, is_path
from genbench.errors import UserError

# Versions of the stages' code. Raise one when its outcome changes for the same specification:
# everything from that stage on is then computed again, and nothing before it.
TRAIN_VERSION = 1
SAMPLE_VERSION = 1
EVALUATE_VERSION = 2

# Words of the command line that no suite may be called.
COMMANDS = ("all", "plan", "status", "tables", "data", "evaluate", "compare")
RESERVED = ("verify", "replicate", "cell", "clean")

Scalar = bool | int | float | str
Fraction = Annotated[float, Field(gt=0, le=1)]
SpaceName = Literal[
    "classifier", "efficientnet-lite0", "inception", "minilm", "characters", "chorales"
]
# The feature spaces of each modality.
SPACES_OF = {
    "images": ("classifier", "efficientnet-lite0", "inception"),
    "text": ("minilm", "characters"),
    "music": ("chorales",),
}
# Which modality a way of augmenting is for.
AUGMENTATIONS = {"shift": "images", "mirror": "images", "transpose": "music"}


class Spec(BaseModel):
    """A frozen specification that refuses unknown keys, and true or false for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_number(cls, value: Any, field: ValidationInfo) -> Any:
        of = cls.model_fields[str(field.field_name)].annotation
        if isinstance(value, bool) and of in (int, float):
            raise ValueError(f"expected a number, not {str(value).lower()}")
        return value


def changes(cls: type[Spec], value: Mapping[str, Any]) -> Mapping[str, Any]:
    """`value`, shown to be good for fields of `cls`, all of which have defaults. Raises ValueError
    for an unknown field or a value that it does not take."""
    for name in value:
        if name not in cls.model_fields:
            raise ValueError(unknown("key", name, cls.model_fields))
    try:
        cls.model_validate(dict(value))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][:1])
        raise ValueError(f"{place}: {first['msg']} (found {first['input']!r})") from None
    return value


class DataSpec(Spec):
    """A data set as one cell sees it. `fraction` keeps the first part of the training split;
    `held_out` is the share of what is kept that the model never sees, picked at random, so that
    members and others are exchangeable; for images alone, since other rows overlap."""

    name: str
    fraction: Fraction = 1.0
    held_out: float = Field(0.0, ge=0, lt=1)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if is_path(name):
            try:
                info(name)
            except UserError as error:
                raise ValueError(str(error)) from None
        elif name not in DATASETS:
            raise ValueError(unknown("data set", name, DATASETS))
        return name

    @field_validator("held_out")
    @classmethod
    def _of_rows_apart(cls, held_out: float, context: ValidationInfo) -> float:
        name = context.data.get("name")
        if held_out and name and info(name).modality != "images":
            raise ValueError(f"training rows of {name} overlap, so none can be held out at random")
        return held_out

    @property
    def label(self) -> str:
        """How cells and tables call it: a path by its last part and the hash of its content."""
        return info(self.name).name

    @property
    def variant(self) -> str:
        parts = [f"fraction={self.fraction:g}"] if self.fraction < 1 else []
        parts += [f"held_out={self.held_out:g}"] if self.held_out else []
        return ",".join(parts)

    @property
    def content(self) -> dict[str, Any]:
        """What decides which images are trained on, for keys: a share of 0 held out is left out,
        so that keys from before there was such a share stay as they were."""
        content = self.model_dump(exclude=set() if self.held_out else {"held_out"})
        return content | {"name": self.label}


class ModelSpec(Spec):
    """A model by its file's name. `params` are the suite's and show in the cell's name; `tuned`
    (sizes, and settings chosen by the pilot runs) comes from the profile and does not."""

    name: str
    params: dict[str, Scalar] = {}
    tuned: dict[str, Scalar] = {}

    @property
    def settings(self) -> dict[str, Scalar]:
        return {**self.tuned, **self.params}


def _ends_at_one(fractions: tuple[float, ...]) -> tuple[float, ...]:
    if list(fractions) != sorted(set(fractions)) or not fractions or fractions[-1] != 1:
        raise ValueError("fractions must rise strictly and end at 1")
    return fractions


class Budget(Spec):
    """Training FLOPs over all stages of a model, and the fractions of it that are evaluated."""

    train_flops: float = Field(gt=0)
    fractions: Annotated[tuple[Fraction, ...], AfterValidator(_ends_at_one)] = (
        1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0,
    )  # fmt: skip


class TrainSpec(Spec):
    """How the one training loop runs.

    batch_size: images of a batch; a step may take several (n-critic).
    ema_half_life: half-life of the weight average, as a fraction of a stage's steps; 0 keeps the
    weights as they are. ema_rampup: the half-life never exceeds this fraction of the steps done.
    weight_decay: decoupled, as in AdamW, of every optimiser. clip_norm: the largest 2-norm of the
    gradients that an optimiser steps by; 0 for no limit. schedule: of every step size over a stage:
    as it is, to zero as a half cosine, or to zero in a line. warmup: the fraction of a stage's
    steps over which step sizes rise from zero first. augmentation: in each step, of images: moved
    by up to 2 pixels each way, or mirrored left to right half of the time; of music: moved to
    another key, as far as voices' ranges allow.
    A stage that learns codes has those of images as they are.
    early_stopping: end when the criterion, FD of samples against validation in the protocol's first
    space, has not fallen for so many checks, and keep the weights of the lowest; 0 for never. The
    samples that checks draw are no part of the budget; their FLOPs are the cost `check_flops`.
    checks: how many checks a run has, evenly spaced over its last stage.
    dtype: of matrix products and convolutions, by autocast. channels_last: layout of images.
    compiled: by torch.compile. threads: CPU threads; they change the order of sums and so belong to
    the outcome.
    """

    batch_size: int = Field(64, gt=0)
    ema_half_life: float = Field(0.02, ge=0, le=1)
    ema_rampup: float = Field(0.1, gt=0, le=1)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(0.0, ge=0)
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: float = Field(0.0, ge=0, lt=1)
    augmentation: Literal["none", "shift", "mirror", "transpose"] = "none"
    early_stopping: int = Field(0, ge=0)
    checks: int = Field(16, gt=0)
    dtype: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    compiled: bool = False
    threads: int = Field(1, gt=0)


class SampleSpec(Spec):
    """How many samples are drawn: `n` at the end of training, `n_intermediate` at each fraction."""

    n: int = Field(10_000, gt=1)
    n_intermediate: int = Field(2_500, gt=1)
    batch_size: int = Field(500, gt=0)


class EvaluationSpec(Spec):
    """Constants of the evaluation protocol.

    spaces: the feature spaces in which distances are taken; the first is the data set's own
    classifier, which every other metric uses too. thorough_seeds: seeds whose samples
    are also measured in the others and for what a classifier learns from them, which cost more than
    all else together. inception_sha256: of the user's Inception weights, where there are any.
    redraws: further sets of final samples from the same weights, to tell sampling from training.
    importance_samples: K of the importance-weighted bound, which costs K decodings an image, so
    that weights are drawn for `importance_images` of each split.
    likelihood_images: training images whose likelihood is taken, beside all held-out ones.
    A model has collapsed when its samples cover fewer than `min_classes` (as a share of the
    classes), or their class entropy is under `min_entropy` (as a share of its maximum).
    """

    spaces: tuple[SpaceName, ...] = Field(
        ("classifier", "efficientnet-lite0", "inception"), min_length=1
    )
    thorough_seeds: int = Field(1, ge=0)
    inception_sha256: str = ""
    kid_subsets: int = Field(100, gt=0)
    kid_subset_size: int = Field(1_000, gt=1)
    projections: int = Field(256, gt=0)
    redraws: int = Field(2, ge=0)
    importance_samples: int = Field(50, gt=0)
    importance_images: int = Field(2_000, gt=1)
    likelihood_images: int = Field(10_000, gt=1)
    min_classes: Fraction = 0.5
    min_entropy: Fraction = 0.5


class Cell(Spec):
    """One run: (data, model, budget, seed) and the protocol that measures it.

    changed: what its suite changes of the profile's budget and training, for the cell's name.
    """

    modality: str
    data: DataSpec
    model: ModelSpec
    budget: Budget
    train: TrainSpec
    sample: SampleSpec
    evaluation: EvaluationSpec
    changed: dict[str, Scalar] = {}
    seed: int = Field(ge=0)

    @property
    def variant(self) -> str:
        """How the model and its training differ from the plain model of the profile."""
        return spelt({**self.model.params, **self.changed})

    @property
    def name(self) -> str:
        def full(name: str, variant: str) -> str:
            return f"{name}[{variant}]" if variant else name

        data = full(self.data.label, self.data.variant)
        model = full(self.model.name, self.variant)
        return f"{self.modality}/{data}/{model}/s{self.seed}"

    @property
    def is_control(self) -> bool:
        from genbench.models import MODELS

        return MODELS[self.model.name].family == "control"

    def train_key(self, device: str) -> str:
        """Hash of all that determines the trained weights, `device` ("cpu", "cuda") included."""
        from genbench.models import MODELS, resolve

        settings = resolve(self.model).model_dump()  # refuses an unknown model
        return digest(
            {
                **self._stopping(),
                "version": TRAIN_VERSION,
                "data": self.data.content,
                "data_fingerprint": info(self.data.name).fingerprint,
                "model": self.model.name,
                "model_version": MODELS[self.model.name].version,
                "settings": settings,
                # A control is fitted in closed form: no budget, and no training.
                "budget": None if self.is_control else self.budget.model_dump(),
                "train": None if self.is_control else self.train.model_dump(),
                "seed": self.seed,
                "device": device,
            }
        )

    def _stopping(self) -> dict[str, Any]:
        """What decides where a run that may stop early does so, beside its training."""
        if not self.train.early_stopping:
            return {}
        from genbench.features.spaces import space_info

        space = self.evaluation.spaces[0]
        return {
            "stopping": {
                "samples": self.sample.n_intermediate,
                "batch_size": self.sample.batch_size,
                "space": self.evaluation.inception_sha256
                if space == "inception"
                else space_info(space, self.data.name).sha256,
            }
        }

    def sample_key(self, device: str) -> str:
        """Hash of the trained weights' key and of all that determines the samples."""
        return digest(
            {
                "version": SAMPLE_VERSION,
                "train": self.train_key(device),
                "sample": self.sample.model_dump(),
            }
        )

    def evaluate_key(self, device: str) -> str:
        """Hash of the samples' key, the metrics' versions and the extractors' weights."""
        from genbench.features.spaces import space_info
        from genbench.metrics import OF_MODALITY

        metrics = OF_MODALITY[self.modality]
        return digest(
            {
                "version": EVALUATE_VERSION,
                "sample": self.sample_key(device),
                "evaluation": self.evaluation.model_dump(),
                "metrics": {name: info.version for name, info in metrics.items()},
                "spaces": [
                    space_info(space, self.data.name).sha256
                    for space in self.evaluation.spaces
                    if space != "inception"  # of whose weights the protocol itself holds the hash
                ],
            }
        )


class Scale(Spec):
    """What a profile says of one modality.

    models: each model's sizes, and settings chosen by the pilot runs. leave_out: models that are
    not run at this scale. speed: the fields of `train` that a model has otherwise, as measured to
    be fastest on the profile's kind of device.
    """

    datasets: tuple[str, ...]
    budget: Budget
    train: TrainSpec = TrainSpec()
    sample: SampleSpec = SampleSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    models: dict[str, dict[str, Scalar]] = {}
    leave_out: tuple[str, ...] = ()
    speed: dict[str, dict[str, Scalar]] = {}

    @field_validator("speed")
    @classmethod
    def _of_training(cls, speed: dict[str, dict[str, Scalar]]) -> dict[str, dict[str, Scalar]]:
        for fields in speed.values():
            changes(TrainSpec, fields)
        return speed

    def train_of(self, model: str, changed: Mapping[str, Scalar]) -> TrainSpec:
        """How a model is trained, with what a suite changes."""
        fields = self.train.model_dump() | self.speed.get(model, {}) | dict(changed)
        return TrainSpec.model_validate(fields)


class Profile(Spec):
    """A scale at which suites run. leave_out: suites that have no cell at it."""

    title: str
    device: Literal["auto", "cuda"] = "auto"
    seeds: int = Field(gt=0)
    leave_out: tuple[str, ...] = ()
    images: Scale
    text: Scale | None = None
    music: Scale | None = None


class Grid(Spec):
    """Every model of the list on every data set of the list. `seeds`: how many in place of the
    profile's; `budget`: the part of the profile's that is spent; `train`: fields of its training
    that are changed. The last two show in the cells' names."""

    datasets: tuple[DataSpec, ...] = Field(min_length=1)
    models: tuple[ModelSpec, ...] = Field(min_length=1)
    seeds: int | None = Field(None, gt=0)
    budget: Fraction = 1.0
    train: dict[str, Scalar] = {}

    @field_validator("train")
    @classmethod
    def _of_training(cls, train: dict[str, Scalar]) -> Mapping[str, Scalar]:
        return changes(TrainSpec, train)

    @property
    def changed(self) -> dict[str, Scalar]:
        return {**({"budget": self.budget} if self.budget < 1 else {}), **self.train}

    def cells(self, modality: str, scale: Scale, seeds: int) -> list[Cell]:
        """The grid's cells at a scale, in the order of the file, seeds innermost."""
        budget = scale.budget.model_copy(
            update={"train_flops": scale.budget.train_flops * self.budget}
        )
        return [
            Cell(
                modality=modality,
                data=data,
                model=model.model_copy(update={"tuned": scale.models.get(model.name, {})}),
                budget=budget,
                train=scale.train_of(model.name, self.train),
                sample=scale.sample,
                evaluation=scale.evaluation,
                changed=self.changed,
                seed=seed,
            )
            for data in self.datasets
            if data.name in scale.datasets or is_path(data.name)
            for model in self.models
            if model.name not in scale.leave_out
            for seed in range(seeds)
        ]


class Endpoint(Spec):
    """The primary endpoint: a metric in a feature space, on a split, at a part of the budget."""

    metric: str
    space: SpaceName = "classifier"
    split: Literal["validation", "test"] = "test"
    fraction: Fraction = 1.0

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        from genbench.metrics import METRICS

        if metric not in METRICS:
            raise ValueError(unknown("metric", metric, METRICS))
        return metric


class Protocol(Spec):
    """What a suite changes of the profile's protocol: the fractions of the budget that are
    evaluated, and fields of how many samples are drawn and how they are evaluated."""

    fractions: Annotated[tuple[Fraction, ...], AfterValidator(_ends_at_one)] | None = None
    sample: dict[str, Scalar] = {}
    evaluation: dict[str, Scalar | list[str]] = {}

    @field_validator("sample")
    @classmethod
    def _of_sampling(cls, sample: dict[str, Scalar]) -> Mapping[str, Scalar]:
        return changes(SampleSpec, sample)

    @field_validator("evaluation")
    @classmethod
    def _of_evaluation(cls, evaluation: dict[str, Any]) -> Mapping[str, Any]:
        return changes(EvaluationSpec, evaluation)

    def of(self, scale: Scale) -> Scale:
        """The scale with these changes."""
        fractions = scale.budget.fractions if self.fractions is None else self.fractions
        content = scale.model_dump()
        content["budget"] |= {"fractions": fractions}
        content["sample"] |= self.sample
        content["evaluation"] |= self.evaluation
        return Scale.model_validate(content)


class Suite(Spec):
    """A named list of grids over one modality. `seeds`: no more than these, for a study that needs
    few; `protocol`: what it changes of the profile's; `endpoint`: by what its models are compared
    first, declared before they are run."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    title: str
    modality: Literal["images", "text", "music"]
    grids: tuple[Grid, ...] = Field(min_length=1)
    seeds: int | None = Field(None, gt=0)
    protocol: Protocol = Protocol()
    endpoint: Endpoint | None = None

    @field_validator("grids")
    @classmethod
    def _of_one_modality(cls, grids: tuple[Grid, ...], context: ValidationInfo) -> tuple[Grid, ...]:
        modality = context.data.get("modality")
        for name in (data.name for grid in grids for data in grid.datasets):
            if modality and info(name).modality != modality:
                raise ValueError(
                    f"data set '{name}' is {info(name).modality}, and the suite's modality is "
                    f"{modality}"
                )
        return grids

    def cells(self, profile: Profile, seeds: int | None = None) -> list[Cell]:
        """The suite's cells at a profile's scale, in the order of the file, seeds innermost; none
        where the profile says nothing of the modality or leaves the suite out."""
        scale = getattr(profile, self.modality)
        if scale is None or self.name in profile.leave_out:
            return []
        scale = self.protocol.of(scale)
        most = self.seeds or sys.maxsize
        return [
            cell
            for grid in self.grids
            for cell in grid.cells(
                self.modality,
                scale,
                min(seeds or grid.seeds or profile.seeds, most),
            )
        ]


def spelt(settings: Mapping[str, Scalar]) -> str:
    """Settings as a cell's name has them, in the order of their names."""
    return ",".join(
        f"{k}={_short(v) if isinstance(v, float) else v}" for k, v in sorted(settings.items())
    )


def _short(x: float) -> str:
    """`x` in six digits, or in as many as tell it apart."""
    return f"{x:g}" if float(f"{x:g}") == x else repr(x)


def unknown(kind: str, name: str, choices: Iterable[str]) -> str:
    """One line for a name that is not among the choices, with the nearest right one."""
    choices = sorted(choices)
    near = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"unknown {kind} '{name}'; {hint}known: {', '.join(choices)}"


def digest(content: Any) -> str:
    """sha256 (hex) of a JSON-like value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


T = TypeVar("T", bound=Spec)


def validate(cls: type[T], content: Any, where: str) -> T:
    """`cls` from parsed YAML. Raises UserError, in one line, with the place and the remedy."""
    try:
        return cls.model_validate(content)
    except ValidationError as error:
        # A misspelt key comes first: the key that is missing for it is only what follows.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        loc, message = first["loc"], first["msg"].removeprefix("Value error, ")
        if loc and loc[-1] == "bool":
            # The first of a Scalar's four types, all of which failed.
            loc, message = loc[:-1], "expected a finite number, a word, true or false"
        place = ".".join(str(part) for part in loc) or "top level"
        if first["type"] == "extra_forbidden":
            what = unknown("key", str(loc[-1]), _fields_at(cls, loc[:-1]))
        else:
            what = "is missing" if first["type"] == "missing" else message
            if first["type"] not in ("missing", "value_error"):
                what += f" (found {first['input']!r})"
        raise UserError(f"{where}: at {place}: {what}") from None


def _fields_at(cls: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """Names of the fields of the specification that `loc` leads to."""
    for part in loc:
        if not isinstance(part, str) or part not in cls.model_fields:
            continue
        pending: list[Any] = [cls.model_fields[part].annotation]
        while pending:
            annotation = pending.pop()
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                cls = annotation
                break
            pending.extend(getattr(annotation, "__args__", ()))
    return list(cls.model_fields)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, but a key given twice is an error instead of silently the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key '{key.value}' is given twice", problem_mark=key.start_mark
                )
            seen.add(getattr(key, "value", None) if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


def read_yaml(text: str, where: str) -> Any:
    """The content of YAML text. Raises UserError that names the line."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise UserError(f"{where}{line}: not valid YAML: {problem}") from None
    except (ValueError, RecursionError) as error:
        # A date such as 2024-13-45, or brackets nested by the hundred.
        raise UserError(f"{where}: not valid YAML: {error}") from None


def _entries(entry: Any, params: bool) -> list[Any]:
    """What an entry of a grid's list stands for: a bare name; or a mapping with `name` and, for a
    model, its parameters, of which those that are lists take each of their values in turn."""
    if isinstance(entry, str):
        return [{"name": entry}]
    if not (params and isinstance(entry, Mapping) and "name" in entry):
        return [entry]
    axes = [
        [(key, each) for each in (value if isinstance(value, list) else [value])]
        for key, value in entry.items()
        if key != "name"
    ]
    return [{"name": entry["name"], "params": dict(chosen)} for chosen in itertools.product(*axes)]


def _grid(grid: Any) -> Any:
    """A grid with its entries written out; what is no grid or no list is left to be refused."""
    if not isinstance(grid, dict):
        return grid
    entries = {
        key: [each for entry in grid[key] for each in _entries(entry, params)]
        for key, params in (("datasets", False), ("models", True))
        if isinstance(grid.get(key), list)
    }
    return {**grid, **entries}


def _check_spaces(suite: Suite, where: str) -> None:
    """Raises UserError where a suite names spaces that are not for its modality."""
    can, spaces = SPACES_OF[suite.modality], suite.protocol.evaluation.get("spaces", [])
    named = [*spaces] if isinstance(spaces, list) else [str(spaces)]
    for space in [*named, *([suite.endpoint.space] if suite.endpoint else [])]:
        if space not in can:
            raise UserError(
                f"{where}: space '{space}' is not for {suite.modality}; those that are: "
                f"{', '.join(can)}"
            )
    if suite.modality == "images" and named and named[0] != "classifier":
        raise UserError(
            f"{where}: at protocol.evaluation.spaces: the first for images must be 'classifier', "
            "by whose classes a collapse is seen"
        )


def parse_suite(text: str, where: str) -> Suite:
    """A suite from YAML text; models and their parameters are checked too."""
    from genbench.models import MODELS, resolve

    content = read_yaml(text, where)
    if not isinstance(content, dict):
        raise UserError(f"{where}: a suite is a mapping with name, title, modality and grids")
    grids = content.get("grids")
    if isinstance(grids, list):
        content["grids"] = [_grid(grid) for grid in grids]
    suite = validate(Suite, content, where)
    _check_spaces(suite, where)
    if suite.name in (*COMMANDS, *RESERVED):
        raise UserError(f"{where}: at name: '{suite.name}' is a command's name; choose another")
    for grid in suite.grids:
        augmentation = str(grid.train.get("augmentation", "none"))
        if AUGMENTATIONS.get(augmentation, suite.modality) != suite.modality:
            raise UserError(
                f"{where}: augmentation '{augmentation}' is for {AUGMENTATIONS[augmentation]}, and "
                f"the suite's modality is {suite.modality}"
            )
        for model in grid.models:
            resolve(model, where=where)
            if suite.modality not in (can := MODELS[model.name].modalities):
                raise UserError(
                    f"{where}: model '{model.name}' is for {' and '.join(can)}, and the suite's "
                    f"modality is {suite.modality}"
                )
    return suite


def suite_names() -> list[str]:
    """Names of the suites that ship with genbench."""
    folder = files("genbench") / "suites"
    names = (path.name for path in folder.iterdir())
    return sorted(n.removesuffix(".yaml") for n in names
                  if n.endswith(".yaml") and n != "profiles.yaml")  # fmt: skip


def load_suites(name: str) -> list[Suite]:
    """The suites that a word of the command line means: `all`, a name, or a YAML file's path."""
    folder = files("genbench") / "suites"
    if name == "all":
        return [suite for each in suite_names() for suite in load_suites(each)]
    if name in suite_names():
        file = folder / f"{name}.yaml"
        return [parse_suite(file.read_text("utf-8"), f"suites/{name}.yaml")]
    if name.endswith((".yaml", ".yml")):
        try:
            return [parse_suite(Path(name).read_text("utf-8"), name)]
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise UserError(f"cannot read the suite file {name}: {reason}") from None
    raise UserError(unknown("command or suite", name, (*COMMANDS, *suite_names())))


def load_profiles() -> dict[str, Profile]:
    where = "suites/profiles.yaml"
    content = read_yaml((files("genbench") / "suites" / "profiles.yaml").read_text("utf-8"), where)
    return {name: validate(Profile, body, f"{where}: {name}") for name, body in content.items()}


def select(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """The cells whose name matches any of the glob patterns; all of them without patterns.

    `[` and `]` are literal here, since variants are written in them; `*` and `?` are wild.
    """
    if not only:
        return list(cells)
    chosen: list[Cell] = []
    escaped = [(pattern, pattern.replace("[", "[[]")) for pattern in only]
    for pattern, glob in escaped:
        if not any(fnmatch.fnmatchcase(cell.name, glob) for cell in cells):
            near = difflib.get_close_matches(pattern, [c.name for c in cells], n=1, cutoff=0.3)
            hint = f"; the nearest is '{near[0]}'" if near else ""
            raise UserError(f"--only '{pattern}' matches none of the {len(cells)} cells{hint}")
    for cell in cells:
        if any(fnmatch.fnmatchcase(cell.name, glob) for _, glob in escaped):
            chosen.append(cell)
    return chosen
