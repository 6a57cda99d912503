"""The page about memory: `python -m benchmarks.large_models --out docs/results/large_models.json`."""

from __future__ import annotations

HEAD = """# Memory of large world models

Gradient steps on random data of MT30's shape. "One update" counts gradients, activations and all else that is alive at
the worst moment of an update; "process" is the largest resident set, a checkpoint written included. Small parts are
slow: every part and every block of recomputed steps adds a gradient for all weights, which at 317M costs more than the
arithmetic of a few slices. And with so few slices the weights take most of the memory: parts pay at large batches,
which the second table is about.
"""
MIDDLE = """
What the paper's batch of 1,024 slices of 16 steps needs: weights, Adam's moments, gradients and activations together,
by a rehearsal on PyTorch's meta device (tests compare it with real updates).
"""


def gib(count: float) -> str:
    return f"{count / 2**30:.2f} GiB"


def measured(case: dict) -> str:
    """One row of the first table."""
    sizes = [gib(case[name]) for name in ("state_bytes", "update_bytes", "process_bytes_with_checkpoint")]
    settings = [str(case.get(name, "")) for name in ("batch_size", "micro_batch", "recompute_steps")]
    cells = [case["size"], f"{case['parameters'] / 1e6:.0f} M", *settings, *sizes, f"{case['seconds_per_update']:.1f}"]
    return f"| {' | '.join(cells)} |"


def rehearsed(row: dict) -> str:
    """One row of the second table."""
    sizes = [gib(row[name]) for name in ("whole", "parts", "recompute", "both")]
    return f"| {' | '.join([row['size'], row['precision'], *sizes])} |"


def page(found: dict) -> str:
    """The page for the numbers of the benchmark."""
    heads = ("model | parameters | slices | `micro_batch` | `recompute_steps` | weights, moments | one update | process"
             " | s per update")  # fmt: skip
    lines = [HEAD, f"| {heads} |", "|---" * 9 + "|", *map(measured, found["cases"].values()), MIDDLE]
    lines += ["| model | precision | all at once | `micro_batch` 128 | `recompute_steps` 4 | both |", "|---" * 6 + "|"]
    lines += map(rehearsed, found["rehearsed"])
    where = f"{found['machine']}, threads: {found['threads']}, torch {found['versions']['torch']}, {found['date'][:10]}"
    return "\n".join([*lines, "", f"Command: `{found['command']}`. {where}.", ""])
