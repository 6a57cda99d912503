"""Writes docs/results/large_models.md from large_models.json: `python docs/results/large_models.py`."""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent


def page(found: dict) -> str:
    """The Markdown page for the numbers of `python -m benchmarks.large_models`."""
    rows = [
        "| model | parameters | slices | micro-batch | recompute | weights, moments | one update | process | s/update |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in found["cases"].values():
        sizes = [case[name] / 2**30 for name in ("state_bytes", "update_bytes", "process_bytes_with_checkpoint")]
        rows.append(
            f"| {case['size']} | {case['parameters'] / 1e6:.0f} M | {case['batch_size']} "
            f"| {case.get('micro_batch', '')} | {case.get('recompute_steps', '')} | {sizes[0]:.2f} GiB | {sizes[1]:.2f} GiB | {sizes[2]:.2f} GiB "
            f"| {case['seconds_per_update']:.1f} |"
        )
    full = [
        "| model | precision | all at once | micro-batch 128 | recompute 4 | both |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rehearsed"]:
        numbers = " | ".join(f"{row[name] / 2**30:.2f} GiB" for name in ("whole", "parts", "recompute", "both"))
        full.append(f"| {row['size']} | {row['precision']} | {numbers} |")
    return "\n".join(
        [
            "# Memory of large world models",
            "",
            "Gradient steps on random data of MT30's shape. `one update` counts gradients, activations and all else alive at",
            "the worst moment of an update; `process` is the largest resident set, a checkpoint written included.",
            "Times are of a machine that other programs shared: good for orders of magnitude only.",
            "",
            *rows,
            "",
            "What the paper's batch of 1,024 slices of 16 steps needs: weights, Adam's moments, gradients and activations",
            "together, by a rehearsal on PyTorch's meta device (tests compare it with real updates).",
            "",
            *full,
            "",
            f"Command: `{found['command']}`. {found['machine']}, {found['threads']} thread, "
            f"torch {found['versions']['torch']}, {found['date'][:10]}.",
            "",
        ]
    )


if __name__ == "__main__":
    (HERE / "large_models.md").write_text(page(json.loads((HERE / "large_models.json").read_text())))
