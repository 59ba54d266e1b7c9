"""The command line: python -m genbench.run all | SUITE | plan | status | tables | data | evaluate |
compare.

Exit codes: 0 done; 1 a cell crashed; 2 the user's mistake, in one line; 130 interrupted, with a
line that says what is kept. Progress goes to stderr; the summary, or JSON with --json, to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from genbench.errors import UserError

# What needs torch, pydantic or pandas is imported where it is used: --help answers at once.
if TYPE_CHECKING:
    from genbench.suite import Cell, Profile

DESCRIPTION = """\
Train and benchmark GAN, VAE and Transformer baselines on one compute budget.

commands:
  all            run every suite and rebuild the results tables
  SUITE          run one suite: its name (images) or a YAML file of your own
  plan [SUITE]   list the cells with measured or estimated cost; run nothing
  status [SUITE] say which cells are done, to do or failed
  tables         rebuild a profile's tables from its records
  data [NAME..]  fetch and check data sets, of images, text and music
  evaluate PATH --against DATASET
                 score samples that genbench did not make: PNGs, .npy, .npz or a text file;
                 with --results DIR keep a record of it in DIR/external
  compare A B    two results folders side by side, with intervals of the differences
"""
EPILOG = """\
examples:
  python -m genbench.run all --profile smoke
  python -m genbench.run plan images --profile cpu
  python -m genbench.run all --only 'images/fashion-mnist/dcgan/*' --seeds 5
  python -m genbench.run all --profile smoke --jobs 2
  python -m genbench.run evaluate my-samples.npz --against mnist --json

exit codes: 0 done, 1 a cell crashed, 2 a mistake in the call, 130 interrupted (all and SUITE keep
finished cells and go on from the last checkpoint; evaluate begins again)
"""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see python -m genbench.run --help")


def parser() -> Parser:
    p = Parser(
        prog="python -m genbench.run",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument("command", help="one of the commands, or a suite's name or file")
    # A default, or argparse takes a call without a command to lack these as well.
    p.add_argument("names", nargs="*", default=[], help="a suite, data sets, a path or two folders")
    p.add_argument("--profile", default="auto", help="smoke, cpu, gpu, or auto: gpu only on CUDA")
    p.add_argument(
        "--only", action="append", default=[], metavar="GLOB", help="cells by name; repeatable"
    )
    p.add_argument(
        "--seeds", type=int, metavar="N", help="the first N seeds, or all of a suite that has fewer"
    )
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    p.add_argument("--runs", type=Path, metavar="DIR", help="where checkpoints and samples live")
    p.add_argument("--results", type=Path, metavar="DIR", help="where records and tables go")
    p.add_argument(
        "--jobs", type=int, default=1, metavar="N",
        help="cells at once, each in a process of its own; timings are clean with 1, the default",
    )  # fmt: skip
    p.add_argument("--force", action="store_true", help="compute the chosen cells again")
    p.add_argument("--dry-run", action="store_true", help="the same as plan")
    p.add_argument(
        "--inception", metavar="FILE", help="torch-fidelity's weights, for FID; or: download"
    )
    p.add_argument("--against", metavar="DATASET", help="for evaluate: what to compare with")
    p.add_argument("--name", help="for evaluate --results: the generator's name, else the path's")
    p.add_argument("--seed", type=int, metavar="N", help="for evaluate --results: its training run")
    p.add_argument("--tensorboard", action="store_true", help="event files beside each run")
    p.add_argument("--wandb", action="store_true", help="log to Weights & Biases, or offline")
    p.add_argument("--json", action="store_true", help="a JSON summary on stdout")
    return p


def choose_device(wanted: str) -> str:
    """ "cpu", "cuda" or "mps". Raises UserError for one that is unknown or not there."""
    from genbench.suite import unknown

    known = ("auto", "cpu", "cuda", "mps")
    if wanted not in known:
        raise UserError(f"--device: {unknown('device', wanted, known)}")
    import torch

    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if wanted == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if not there[wanted]:
        raise UserError(f"--device {wanted}: torch finds none on this machine; use --device cpu")
    return wanted


def choose_profile(wanted: str, device_option: str, device: str) -> tuple[str, Profile]:
    """The profile's name and content. Raises UserError for an unknown one, or one that needs CUDA
    where there is none and no device was named."""
    from genbench.suite import load_profiles, unknown

    profiles = load_profiles()
    name = ("gpu" if device == "cuda" else "cpu") if wanted == "auto" else wanted
    if name not in profiles:
        raise UserError(f"--profile: {unknown('profile', name, [*profiles, 'auto'])}")
    if profiles[name].device == "cuda" and device != "cuda" and device_option == "auto":
        raise UserError(
            f"profile {name} is meant for CUDA and torch finds none here; use --profile cpu, or "
            f"name the device (--device cpu) if days of computing are what you want"
        )
    return name, profiles[name]


def choose_results(option: Path | None, profile: str) -> Path:
    """The profile's results folder, shown to be writable."""
    from genbench.tables import results_root

    return writable((option or results_root()) / profile, "--results")


def choose_runs(option: Path | None) -> Path:
    """Where runs live: --runs, else GENBENCH_RUNS, else a folder of the user's data."""
    import platformdirs

    default = os.environ.get("GENBENCH_RUNS") or platformdirs.user_data_path("genbench") / "runs"
    return writable(Path(option or default), "--runs")


def writable(folder: Path, option: str) -> Path:
    """The folder, made if need be. Raises UserError, naming the option, if it takes no files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"{option}: cannot write to {folder} ({error.strerror}); name a writable folder"
        ) from None
    return folder


def choose_cells(args: argparse.Namespace, target: str, profile: Profile) -> dict[str, Any]:
    """Cell name -> (cell, names of its suites), as chosen by the suite, --seeds and --only."""
    from genbench.suite import load_suites, select

    if args.seeds is not None and args.seeds < 1:
        raise UserError(f"--seeds {args.seeds}: at least 1 seed is needed")
    work: dict[str, tuple[Cell, list[str]]] = {}
    inception = inception_sha256(inception_weights(args.inception))
    for suite in load_suites(target):
        for cell in suite.cells(profile, args.seeds):
            protocol = cell.evaluation.model_copy(update={"inception_sha256": inception})
            cell = cell.model_copy(update={"evaluation": protocol})
            known = work.setdefault(cell.name, (cell, []))
            if known[0] != cell:
                raise UserError(f"suite {suite.name}: {cell.name} differs from another suite's")
            if suite.name not in known[1]:
                known[1].append(suite.name)
    if not work:
        raise UserError(f"{target} has no cell at this profile: none of its data sets is in it")
    chosen = select([cell for cell, _ in work.values()], args.only)
    return {cell.name: work[cell.name] for cell in chosen}


def inception_weights(option: str | None) -> Path | None:
    """The user's Inception weights: the file that --inception names, what `--inception download`
    fetches, or what torch-fidelity fetched before; None without any. Raises UserError for a file
    that is not there and for a failed download."""
    from genbench.data.sources import Unavailable
    from genbench.features import inception

    try:
        if option == "download":
            return inception.download()
        return inception.find(Path(option) if option else None)
    except Unavailable as error:
        if option is None:
            return None
        raise UserError(f"--inception: {error}") from None


def inception_sha256(weights: Path | None) -> str:
    from genbench.features.inception import weights_sha256

    return weights_sha256(weights) if weights else ""


def is_done(record: dict[str, Any] | None, cell: Cell, device: str) -> bool:
    """Whether a record is of this very cell, and not of a crash."""
    from genbench.records import RECORD_VERSION

    return (
        record is not None
        and record["record_version"] == RECORD_VERSION
        and record["status"] != "crashed"
        and record["keys"]["evaluate_key"] == cell.evaluate_key(device)
    )


def run_cells(args: argparse.Namespace, target: str) -> int:
    """`all` and suites: run what is not done yet, rebuild the tables, say what came of it."""
    check_jobs(args.jobs)
    device = choose_device(args.device)
    profile_name, profile = choose_profile(args.profile, args.device, device)
    work = choose_cells(args, target, profile)
    if args.dry_run:
        return show_plan(args, target)
    results = choose_results(args.results, profile_name)
    runs = choose_runs(args.runs)
    records = existing_records(results)
    todo = {
        name: (cell, sorted({*suites, *(records.get(name) or {}).get("suites", [])}))
        for name, (cell, suites) in work.items()
        if args.force or not is_done(records.get(name), cell, device)
    }
    for name, (_, suites) in work.items():
        if name not in todo:
            join_suites(results, records[name], suites)
    made: dict[str, Any] = {}
    if todo:
        from genbench.data import fetch
        from genbench.engines import local
        from genbench.features import spaces
        from genbench.progress import Display
        from genbench.training import check_budget, check_dtype

        check_dtype([cell for cell, _ in todo.values()], device)
        check_budget([cell for cell, _ in todo.values()])
        wanted = sorted({cell.data.name for cell, _ in todo.values()})
        fetch(wanted)
        # What cannot be judged is refused now, not after hours of training.
        for space, name in sorted(
            {(c.evaluation.spaces[0], c.data.name) for c, _ in todo.values()}
        ):
            spaces.load(space, name)
        # A control has no training: it takes about a tenth of a trained cell's time.
        display = Display([0.1 if cell.is_control else 1.0 for cell, _ in todo.values()])
        try:
            setting = local.Setting(
                profile=profile_name,
                results=results,
                runs=runs,
                device=device,
                force=args.force,
                inception=inception_weights(args.inception),
                trackers=tuple(name for name in TRACKERS if getattr(args, name)),
            )
            made = local.run(list(todo.values()), setting, display, min(args.jobs, len(todo)))
        finally:
            display.close()
    else:
        build_tables(results)
    rows = [summary_row(name, made.get(name) or records[name], name in made) for name in work]
    every = argparse.Namespace(seeds=args.seeds, only=[], inception=args.inception)
    stale = [
        name
        for name, (cell, _) in choose_cells(every, target, profile).items()
        if name not in work and name in records and not is_done(records[name], cell, device)
    ]
    closing = (
        f"{len(made)} cells computed, {len(rows) - len(made)} were up to date; tables in {results}"
    )
    if stale:
        closing += (
            f"\n{len(stale)} other cells in the tables, such as {stale[0]}, were made with another "
            "specification or version: run them again before you compare"
        )
    head = {"profile": profile_name, "results": str(results), "computed": len(made)}
    show(args, rows, head | {"stale": stale}, closing)
    return 1 if any(row["status"] == "crashed" for row in rows) else 0


def check_jobs(jobs: int) -> None:
    if jobs < 1:
        raise UserError(f"--jobs {jobs}: at least 1 cell is run at a time")


def join_suites(results: Path, record: dict[str, Any], suites: Sequence[str]) -> None:
    """Note in the record of a cell that was run for other suites that it belongs to these, too."""
    from genbench.records import write_record

    if not set(suites) <= set(record["suites"]):
        record["suites"] = sorted({*suites, *record["suites"]})
        write_record(results, record)


def existing_records(results: Path) -> dict[str, Any]:
    from genbench.records import load_records

    return {record["cell"]: record for record in load_records(results)}


def build_tables(results: Path) -> None:
    from genbench import tables

    tables.build(results)


def summary_row(name: str, record: dict[str, Any], computed: bool) -> dict[str, Any]:
    """What the summary says of a cell: its outcome, and its FD against the test split, in the space
    that comes first in its protocol."""
    fd = [
        row["value"]
        for row in record["metrics"]
        if (row["metric"], row["split"], row["fraction"], row["draw"]) == ("fd", "test", 1.0, 0)
    ]
    return {
        "cell": name,
        "status": record["status"],
        "reason": record["reason"],
        "computed": computed,
        "fd": fd[0] if fd else None,
        "seconds": record["wall_seconds"],
    }


def show(
    args: argparse.Namespace, rows: list[dict[str, Any]], head: dict[str, Any], closing: str
) -> None:
    """Rows as a table with a closing line, or everything as JSON."""
    if args.json:
        print(json.dumps(head | {"cells": rows}, indent=1))
        return
    from tabulate import tabulate

    columns = [key for key in rows[0] if any(row[key] not in ("", None) for row in rows)]
    table = [[row[key] for key in columns] for row in rows]
    print(tabulate(table, headers=columns, floatfmt=".4g", missingval="-"))
    print(closing)


def show_plan(args: argparse.Namespace, target: str) -> int:
    """`plan`: every chosen cell with its cost, measured where it was run, else estimated."""
    from genbench.plan import plan_rows
    from genbench.progress import duration

    device = choose_device(args.device)
    profile_name, profile = choose_profile(args.profile, args.device, device)
    work = choose_cells(args, target, profile)
    results = planned_results(args, profile_name)
    records = existing_records(results)
    done = {name for name, (cell, _) in work.items() if is_done(records.get(name), cell, device)}
    rows = plan_rows([cell for cell, _ in work.values()], records, done, device)
    check_jobs(args.jobs)
    left = sum(row["seconds"] for row in rows if row["state"] == "to do") / args.jobs
    total = sum(row["seconds"] for row in rows) / args.jobs
    at_once = f", {args.jobs} at once" if args.jobs > 1 else ""
    show(
        args,
        rows,
        {"profile": profile_name, "results": str(results), "seconds_left": left},
        f"profile {profile_name} on {device}: {len(rows)} cells, {len(rows) - len(done)} to do, "
        f"about {duration(left)} left of {duration(total)} in all{at_once}; nothing was run",
    )
    return 0


def planned_results(args: argparse.Namespace, profile: str) -> Path:
    """The profile's results folder, which need not exist."""
    from genbench.tables import results_root

    folder: Path = (args.results or results_root()) / profile
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        raise UserError(f"--results: {nearest} is a file; name a folder")
    return folder


def show_status(args: argparse.Namespace, target: str) -> int:
    """`status`: the state of every chosen cell."""
    device = choose_device(args.device)
    profile_name, profile = choose_profile(args.profile, args.device, device)
    work = choose_cells(args, target, profile)
    results = planned_results(args, profile_name)
    records = existing_records(results)
    rows = []
    for name, (cell, _) in work.items():
        record = records.get(name)
        if record is None:
            state, reason = "to do", ""
        elif not is_done(record, cell, device):
            state = "to do again"
            reason = record["reason"] or "its specification or the code has changed since"
        else:
            state, reason = record["status"], record["reason"]
        rows.append({"cell": name, "state": state, "reason": reason})
    states = [row["state"] for row in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    show(
        args, rows, {"profile": profile_name, "results": str(results)}, f"{profile_name}: {counts}"
    )
    return 0


def rebuild_tables(args: argparse.Namespace) -> int:
    """`tables`: build them again from the records of one profile, or of every one there is."""
    from genbench.suite import load_profiles, unknown
    from genbench.tables import EXTERNAL, SUPERSEDED, results_root

    root: Path = args.results or results_root()
    # Others' samples, and runs in settings given up, are kept beside the profiles.
    known = [*load_profiles(), EXTERNAL, SUPERSEDED]
    if args.profile != "auto" and args.profile not in known:
        raise UserError(f"--profile: {unknown('profile', args.profile, [*known, 'auto'])}")
    wanted = known if args.profile == "auto" else [args.profile]
    folders = [root / name for name in wanted if (root / name / "records").is_dir()]
    if not folders and (root / "records").is_dir():
        above = root.resolve().parent if root.name in ("", "..") else root.parent
        raise UserError(
            f"--results {root}: is itself the folder of a profile; --results names the folder "
            f"above it: --results {above}"
        )
    if not folders:
        raise UserError(f"no records under {root}; make some with: python -m genbench.run all")
    rows = []
    for folder in folders:
        build_tables(choose_results(root, folder.name))
        rows.append({"profile": folder.name, "records": len(existing_records(folder))})
    show(args, rows, {"results": str(root)}, f"tables rebuilt in {root}")
    return 0


def get_data(args: argparse.Namespace) -> int:
    """`data`: fetch and check the named data sets, or whatever can be had of all."""
    from genbench.data import fetch

    rows = fetch(args.names or None)
    absent = [row["reason"] for row in rows if row["status"] != "ok"]
    closing = "\n".join([f"{len(rows) - len(absent)} data sets checked", *absent])
    if not args.json:  # a reason is too long for a table
        rows = [{key: value for key, value in row.items() if key != "reason"} for row in rows]
    show(args, rows, {}, closing)
    return 0


def evaluate_samples(args: argparse.Namespace) -> int:
    """`evaluate`: score a path's samples; with --results, keep the outcome among the tables."""
    from genbench.appraise import appraise, choose_protocol, default_name, keep, reserve
    from genbench.tables import EXTERNAL

    check_evaluation(args)
    protocol = choose_protocol(args.against, args.profile)
    path, device, seed = Path(args.names[0]), choose_device(args.device), args.seed or 0
    name = default_name(path) if args.name is None else args.name
    results = None
    if args.results is not None:
        # Before the work, not after it.
        results = choose_results(args.results, EXTERNAL)
        reserve(results, protocol.modality, args.against, name, seed, replace=args.force)
    done = appraise(
        path, args.against, profile=args.profile, device=device,
        inception=inception_weights(args.inception) if args.inception else None,
        report=lambda line: print(f"{path}: {line}", file=sys.stderr, flush=True),
    )  # fmt: skip
    for note in done.notes:
        print(f"genbench: {path}: {note}", file=sys.stderr)
    if results is not None:
        keep(done, results, name=name, seed=seed, device=device, replace=args.force)
        build_tables(results)
    if args.json:
        head = {
            "path": done.path, "against": done.dataset, "profile": done.profile, "n": done.n,
            "sha256": done.sha256, "notes": done.notes, "status": done.status,
            "reason": done.reason, "protocol": done.spec.model_dump(mode="json"),
            "metrics": done.rows,
        }  # fmt: skip
        print(json.dumps(head, indent=1, allow_nan=False))
        return 0
    print(done.printed())
    if results is not None:
        print(f"kept in {results}")
    return 0


def check_evaluation(args: argparse.Namespace) -> None:
    """Raises UserError for a call that does not say what to evaluate, or is of no use."""
    if len(args.names) != 1 or args.against is None:
        raise UserError("evaluate takes one path and --against DATASET, such as: "
                        "evaluate samples.npz --against mnist")  # fmt: skip
    if args.results is None and (args.name or args.force or args.seed is not None):
        raise UserError("--name, --seed and --force are for the record that --results DIR keeps")
    if args.seed is not None and args.seed < 0:
        raise UserError(f"--seed {args.seed}: seeds are numbers from 0 up")


def compare_results(args: argparse.Namespace) -> int:
    """`compare`: two results folders side by side."""
    if len(args.names) != 2:
        raise UserError(
            "compare takes two results folders, such as: compare old/external new/external"
        )
    from genbench import compare

    a, b = (compare.load_folder(Path(name)) for name in args.names)
    table = compare.compare(a, b)
    if args.json:
        rows = compare.to_records(table)
        print(json.dumps({"a": args.names[0], "b": args.names[1], "rows": rows}, indent=1))
    else:
        print(compare.format_table(table))
    return 0


TRACKERS = ("tensorboard", "wandb")

# Options that a command would pass over in silence.
WITHOUT_USE = {
    "plan": ("runs", "force", "dry_run", *TRACKERS),
    "status": ("runs", "force", "dry_run", "jobs", *TRACKERS),
    "tables": ("only", "seeds", "device", "runs", "force", "dry_run", "inception", "jobs",
               *TRACKERS),
    "data": ("profile", "only", "seeds", "device", "runs", "results", "force", "dry_run",
             "inception", "jobs", *TRACKERS),
    "evaluate": ("only", "seeds", "runs", "dry_run", "jobs", *TRACKERS),
    "compare": ("profile", "only", "seeds", "device", "runs", "results", "force", "dry_run",
                "inception", "jobs", *TRACKERS),
}  # fmt: skip


def refuse_options(args: argparse.Namespace) -> None:
    """Raises UserError for an option that the command has no use for."""
    without = WITHOUT_USE.get(args.command, ())
    if args.command != "evaluate":
        without += ("against", "name", "seed")
    defaults = parser().parse_args(["all"])
    for option in without:
        if getattr(args, option) != getattr(defaults, option):
            name = f"--{option.replace('_', '-')}"
            raise UserError(f"'{args.command}' has no use for {name}; see --help")


def dispatch(args: argparse.Namespace) -> int:
    from genbench.suite import RESERVED, suite_names, unknown

    command, names = args.command, args.names
    refuse_options(args)
    if command in RESERVED:
        raise UserError(f"'{command}' is a name kept for a later version of genbench")
    if command == "data":
        return get_data(args)
    if command == "evaluate":
        return evaluate_samples(args)
    if command == "compare":
        return compare_results(args)
    if command not in ("plan", "status") and names:
        raise UserError(f"'{command}' takes no further name, and '{names[0]}' was given")
    if len(names) > 1:
        raise UserError(f"'{command}' takes one suite, and {len(names)} were given")
    if command == "tables":
        return rebuild_tables(args)
    target = names[0] if names else "all"
    # Of the second word: a command, which `load_suites` takes the first for, it cannot be.
    of_suites = command in ("plan", "status") and not target.endswith((".yaml", ".yml"))
    if of_suites and target not in (suites := ["all", *suite_names()]):
        raise UserError(unknown("suite", target, suites))
    if command == "plan":
        return show_plan(args, target)
    if command == "status":
        return show_status(args, target)
    return run_cells(args, command)


# What is true of a command that did not come to its end; of `all` and suites, the last.
UNFINISHED = {
    "plan": "nothing was run or recorded",
    "status": "nothing was run or recorded",
    "tables": "records are as they were, and the same command builds the tables again",
    "data": "what was fetched whole is kept, and the same command fetches the rest",
    "evaluate": "samples are recorded at the end alone, so the same command measures them again",
    "compare": "nothing was run or recorded",
    "": "finished cells are recorded, and the same command goes on from the last checkpoint of the "
    "current one",
}


def _terminated(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    # Both, since a shell starts its background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, _terminated)
    signal.signal(signal.SIGTERM, _terminated)
    unfinished = UNFINISHED[""]
    try:
        args = parser().parse_intermixed_args(argv)
        unfinished = UNFINISHED.get(args.command, unfinished)
        return dispatch(args)
    except UserError as error:
        print(f"genbench: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        print(f"genbench: {error.strerror or error}{where}; {unfinished}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"genbench: interrupted; {unfinished}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
