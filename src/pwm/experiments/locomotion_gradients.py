"""Accuracy and size of the gradients of the locomotion tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pwm.experiments.page import made_by, origins, table
from pwm.runtime.device import set_threads
from pwm.runtime.files import read_json, write_json

SEED, EPSILON, MUSCLE_EPSILON = 0, 5e-3, 1e-2
STIFFER = {"stiffness x 10": 10.0, "stiffness x 100": 100.0}


class Size(NamedTuple):
    """How much is measured; field names as in the record."""

    rows: int = 8
    norm_rows: int = 64
    horizon: int = 32


def run(runs: Path, tiny: bool) -> dict[str, Any]:
    """Measure one task after the other, on one thread."""
    from pwm.tasks.locomotion.catalogue import task_names

    set_threads(1)
    found, size = [], Size(rows=1, norm_rows=2, horizon=2) if tiny else Size()
    for task in task_names()[: 1 if tiny else None]:
        path = runs / "locomotion_gradients" / f"{task}.json"
        if not path.exists():
            print(f"Gradients of {task}", flush=True)
            write_json(path, _measure(task, size))
        found.append(read_json(path))
    return {"runs": found}


def _measure(task: str, size: Size) -> dict[str, Any]:
    """All numbers of one task."""
    from importlib.metadata import version

    settings = {"epsilon": EPSILON, "muscle_epsilon": MUSCLE_EPSILON} | size._asdict()
    found = {"errors": _errors(task, size.rows), "norms": _norms(task, size)}
    simulator = {"newton": version("newton"), "warp": version("warp-lang")}
    return made_by("locomotion_gradients") | {"seed": SEED, "simulator": simulator} | settings | found


def _errors(task: str, rows: int) -> list[dict[str, Any]]:
    """Errors of gradients with respect to difference quotients, by preset and length."""
    from torch.nn.functional import cosine_similarity

    from pwm.tasks.locomotion.catalogue import PRESETS, find_task
    from pwm.tasks.locomotion.gradient_check import gradients_and_differences, relative_errors, slopes_and_differences

    muscles = getattr(find_task(task)[0], "muscles", 0)
    compare, epsilon = (slopes_and_differences, MUSCLE_EPSILON) if muscles else (gradients_and_differences, EPSILON)
    out = []
    for preset in PRESETS:
        for steps in (1, 8):
            ours, expected = compare(task, steps, rows, epsilon, SEED, preset=preset)
            errors = relative_errors(ours, expected)
            row = {"task": task, "preset": preset, "steps": steps, "median": errors.median(), "worst": errors.max()}
            row |= {"cosine": cosine_similarity(ours, expected).min(), "norm": expected.norm(dim=1).median()}
            out.append({key: value.item() if hasattr(value, "item") else value for key, value in row.items()})
    return out


def _norms(task: str, size: Size) -> list[dict[str, Any]]:
    """Gradient norms over a long horizon, with the default simulator and with stiffer or coarser ones."""
    from pwm.tasks.locomotion.catalogue import find_task
    from pwm.tasks.locomotion.gradient_check import gradient_norms

    physics = find_task(task)[1]
    cases: dict[str, dict[str, Any]] = {"as shipped": {}, "paper's mass matrix": {"preset": "paper"}}
    if physics.contact is not None:
        cases |= {name: {"contact_stiffness": x * physics.contact.stiffness} for name, x in STIFFER.items()}
    cases["a quarter of the substeps"] = {"substeps": physics.substeps // 4}
    out = []
    for case, settings in cases.items():
        found = gradient_norms(task, size.horizon, size.norm_rows, SEED, **settings)
        out.append({"task": task, "case": case, "median": found.median().item(), "largest": found.max().item()})
    return out


def render(record: dict[str, Any]) -> str:
    """A table of errors and one of norms."""
    runs = record["runs"]
    about = runs[-1]
    errors = [
        [row["task"], row["preset"], str(row["steps"]), f"{row['median']:.2e}", f"{row['worst']:.2e}"]
        + [f"{row['cosine']:.5f}", f"{row['norm']:.3g}"]
        for run in runs
        for row in run["errors"]
    ]
    norms = [
        [row["task"], row["case"], f"{row['median']:.3g}", f"{row['largest']:.3g}"]
        for run in runs
        for row in run["norms"]
    ]
    heads = ["task", "mass matrix", "steps", "median error", "worst error", "smallest cosine", "size of the gradient"]
    simulators = "; ".join(
        dict.fromkeys(", ".join(f"{name} {version}" for name, version in run["simulator"].items()) for run in runs)
    )
    return f"""# Gradients of the locomotion tasks

## Compared with finite differences

Gradient of a return with respect to its actions, compared with central differences of step {about["epsilon"]:g}, from
{about["rows"]} states on the ground: relative error of the median and of the worst state, and the smallest cosine. In
float32 a smaller step is noise, and a larger one spans contacts that begin or end. For the muscle-driven humanoid:
slopes along 8 random directions, averaged over the {about["muscle_epsilon"]:g} either way that a difference quotient
spans (`gradient_check.slopes_and_differences`).

{table(heads, errors)}

## How large they grow

Norm of the gradient of a {about["horizon"]}-step return with respect to its actions, over {about["norm_rows"]} states.
The states themselves stay finite in all of these: it is the gradients that explode where contact is too stiff for the
substep.

{table(["task", "simulator", "median", "largest"], norms)}

{origins(runs)}

Simulator: {simulators}; seed {about["seed"]}.
"""
