"""What the chosen cells will cost: measured where they were run, estimated elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genbench.cost import matmul_peak
from genbench.suite import Cell
from genbench.training import new_model, parameters, plan_stages

# Without any record of a model: the share of the matrix peak that its training is taken to reach,
# and what evaluating 10,000 samples adds to it.
ASSUMED_UTILISATION = 0.3
EVALUATION_SECONDS = 20.0


def plan_rows(
    cells: Sequence[Cell], records: Mapping[str, Mapping[str, Any]], done: set[str], device: str
) -> list[dict[str, Any]]:
    """One row a cell: state, parameters, training FLOPs, steps, seconds, and their source.

    source: "measured" from the cell's own record; "estimated" from other records of the same model
    on the same kind of device: its training's speed, and the time for as many samples, measured as
    thoroughly where such a record exists; "guessed" from this machine's matrix-product rate.
    """
    speeds: dict[str, list[float]] = {}
    extras: dict[tuple[str, int], dict[bool, list[float]]] = {}
    for record in records.values():
        if record["status"] == "crashed" or record["provenance"]["device"] != device:
            continue
        cost = {row["cost"]: row["value"] for row in record["costs"]}
        if seconds := cost.get("train_seconds", 0.0):
            speeds.setdefault(record["model"], []).append(record["train_flops"] / seconds)
        asked = record["specification"]
        thorough = record["seed"] < asked["evaluation"]["thorough_seeds"]
        alike = extras.setdefault((record["model"], asked["sample"]["n"]), {})
        alike.setdefault(thorough, []).append(
            record["wall_seconds"] - cost.get("train_wall_seconds", seconds)
        )
    shapes: dict[str, tuple[int, int, int]] = {}
    rows = []
    for cell in cells:
        # Seeds share their shapes, so one of them is built.
        shape = cell.name.rpartition("/")[0]
        if shape not in shapes:
            model = new_model(cell, "cpu")
            plans = plan_stages(cell, model)
            shapes[shape] = (
                parameters(model),
                plans[-1].end_flops,
                sum(plan.steps for plan in plans),
            )
        count, flops, steps = shapes[shape]
        model_name = cell.model.name
        evaluation = EVALUATION_SECONDS * cell.sample.n / 10_000
        if cell.name in done:
            source, seconds = "measured", records[cell.name]["wall_seconds"]
        elif model_name in speeds or (model_name, cell.sample.n) in extras:
            source = "estimated"
            thorough = cell.seed < cell.evaluation.thorough_seeds
            alike = extras.get((model_name, cell.sample.n), {})
            known = alike.get(thorough) or alike.get(not thorough)
            seconds = max(0.0, sum(known) / len(known)) if known else evaluation
            if speed := speeds.get(model_name):
                seconds += flops / (sum(speed) / len(speed))
        else:
            rate = ASSUMED_UTILISATION * matmul_peak(device, cell.train.threads)
            source, seconds = "guessed", flops / rate + evaluation
        rows.append(
            {
                "cell": cell.name,
                "state": "done" if cell.name in done else "to do",
                "parameters": count,
                "steps": steps,
                "train_flops": float(flops),
                "seconds": round(seconds, 1),
                "source": source,
            }
        )
    return rows
