"""The page about the speed of the locomotion tasks. The numbers come from

python -m benchmarks --threads 1 --device cpu --only locomotion --out docs/results/locomotion_speed.json

and narrower, such as --only locomotion/ant, measures and replaces the rows of one task.
"""

from __future__ import annotations

from typing import Any


def page(found: dict[str, Any]) -> str:
    """The page for the numbers of the locomotion benchmarks."""
    records = found["benchmarks"]
    rows: dict[tuple[str, str], dict[str, dict]] = {}
    for name, record in records.items():
        _, task, preset, direction = name.split("/")
        rows.setdefault((task, preset), {})[direction] = record
    lines = ["# Speed of the locomotion tasks", ""]
    lines += [
        "Steps of one robot (1/60 s) per CPU-second on one thread: ours, Newton's stock Featherstone solver",
        "on the same robots with as many substeps and mass-matrix updates, and the ratio. Timed in turns; medians.",
        "Backward is a return of 16 steps and its gradient, with the recomputation that keeps memory constant.",
        "",
        "| task | mass matrix every | forward | stock | ratio | forward + backward | stock | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (task, _), both in sorted(rows.items(), key=lambda row: (row[0][0], row[0][1])):
        cells = []
        for direction in ("forward", "backward"):
            record = both[direction]
            rates = (record["steps_per_s"], record["reference_steps_per_s"])
            cells += [*(f"{rate:,.0f}" for rate in rates), f"{record['ratio']:.1f}x"]
        shapes = both["forward"]["shapes"]
        lines.append(f"| {task} | {shapes['mass_matrix_every']} of {shapes['substeps']} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "The stock solver has no muscles: it moves the muscle-driven humanoid's legs without their forces.",
        "",
        *_origins(records),
        "",
        "64 robots side by side. Other programs ran on the machine's other core, so rates are low; ratios are less",
        "touched.",
        "",
    ]
    return "\n".join(lines)


def _origins(records: dict[str, dict]) -> list[str]:
    """Which rows come from which command, machine and day."""
    tasks: dict[str, list[str]] = {}
    for name, record in records.items():
        origin = (
            f"`{record['command']}`, {record['machine']}, torch {record['versions']['torch']}, {record['date'][:10]}"
        )
        tasks.setdefault(origin, []).append(name.split("/")[1])
    return [f"* {', '.join(dict.fromkeys(found))}: {origin}" for origin, found in tasks.items()]
