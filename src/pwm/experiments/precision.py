"""bfloat16 and float32 in the quickstart: final scores over three seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pwm.experiments.page import origins, run_facts, table
from pwm.pipeline.quickstart import run_quickstart
from pwm.pipeline.recipe import recipe
from pwm.runtime.device import set_threads
from pwm.runtime.files import read_json

PRECISIONS = ("float32", "bfloat16")
SEEDS = (0, 1, 2)
STEPS = ("pretrain", "learn")


def run(runs: Path, tiny: bool) -> dict[str, Any]:
    """Run the quickstart on one thread, with all matrix products in one precision, per precision and seed."""
    set_threads(1)
    base = recipe("tiny" if tiny else "quickstart")
    entries = []
    for precision in PRECISIONS:
        pretrain, policy = (replace(config, precision=precision) for config in (base.pretrain, base.policy))
        own = replace(base, pretrain=pretrain, policy=policy, film_seconds=0.0)
        for seed in SEEDS:
            out = runs / f"precision-{precision}-seed{seed}"
            run_quickstart(out, own, seed, command="pwm reproduce precision")
            results = read_json(out / "results.json")
            seconds = {step: results["wall_seconds"][step] for step in STEPS}
            returns = {task: row["policy_returns"] for task, row in results["tasks"].items()}
            entries.append(run_facts(out) | {"precision": precision, "seconds": seconds, "returns": returns})
    return {"runs": entries}


def render(record: dict[str, Any]) -> str:
    """A table of returns and their differences, and one of seconds."""
    by_precision = [[run for run in record["runs"] if run["precision"] == name] for name in PRECISIONS]
    generator = np.random.default_rng(0)
    rows = []
    for task in record["runs"][0]["returns"]:
        scores = [np.array([run["returns"][task] for run in runs]) for runs in by_precision]
        draws = [[_draw(generator, table) for table in scores] for _ in range(5000)]
        low, high = np.percentile([b - a for a, b in draws], [2.5, 97.5])
        difference = scores[1].mean() - scores[0].mean()
        cells = [", ".join(f"{seed.mean():.0f}" for seed in table) for table in scores]
        rows.append([task, *cells, f"{difference:+.0f} [{low:+.0f}, {high:+.0f}]"])
    seconds = [
        [name, *(f"{np.mean([run['seconds'][step] for run in runs]):.0f} s" for step in STEPS)]
        for name, runs in zip(PRECISIONS, by_precision)
    ]
    return f"""# bfloat16 and float32: final scores of the quickstart

Same data, seeds and settings; the precision is that of all matrix products, in the world model's training and in the
policies'. {scores[0].shape[1]} episodes per policy, one thread. Mean return per seed, and the difference of the means
over all seeds with a 95 % bootstrap interval (over seeds, then over episodes).

{table(["task", "float32, by seed", "bfloat16, by seed", "bfloat16 - float32"], rows)}

{table(["precision", "pre-training", "learning"], seconds)}

{origins(record["runs"])}
"""


def _draw(generator: np.random.Generator, scores: np.ndarray) -> float:
    """The mean of seeds drawn with replacement, and of episodes drawn from each; `scores` is [seeds, episodes]."""
    seeds = generator.integers(len(scores), size=len(scores))
    episodes = generator.integers(scores.shape[1], size=scores.shape)
    return float(scores[seeds[:, None], episodes].mean())
