"""Ablations of the quickstart's recipe, with one seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pwm.data.store import open_store, sample_store_path
from pwm.experiments.page import made_by, mean_interval, origins, table
from pwm.experiments.quickstart import quickstart_run
from pwm.pipeline.evaluate import evaluate
from pwm.pipeline.learn import learn
from pwm.pipeline.pretrain import pretrain
from pwm.pipeline.recipe import Recipe, recipe
from pwm.runtime.files import read_json
from pwm.runtime.metrics import read_metrics
from pwm.world_model.files import load_world_model

COMMAND = "pwm reproduce recipe"
MODEL_UPDATES = 800
KEPT = ("policy_mean", "policy_ci", "data_mean", "data_best10_mean")
IMAGINATION_ALONE = {"behaviour_updates": 0, "behaviour_weight": 0.0, "critic_warmup": 0, "actor_learning_rate": 1e-3}


def run(runs: Path, tiny: bool) -> dict[str, Any]:
    """Train and evaluate every variant on the bundled sample, each in its own run folder."""
    base = recipe("tiny" if tiny else "quickstart")
    updates = base.pretrain.updates if tiny else MODEL_UPDATES
    returns = {
        name: {task: {key: row[key] for key in KEPT} for task, row in results["tasks"].items()}
        for name, results in _policies(runs, tiny, base).items()
    }
    found = {"models": _models(runs, base, updates), "policies": returns}
    return made_by("recipe") | {"seed": 0, "episodes": base.episodes, "model_updates": updates} | found


def _models(runs: Path, base: Recipe, updates: int) -> dict[str, dict[str, float]]:
    """How well briefly trained world models predict rewards, by variant and task."""
    short = replace(base.pretrain, updates=updates)
    variants = {
        "short horizons first, as shipped": short,
        "full horizon from the start": replace(short, short_horizons=()),
    }
    store, found = open_store(sample_store_path()), {}
    for number, (name, config) in enumerate(variants.items()):
        out = runs / f"recipe-model{number}"
        pretrain(store, out, base.model, config, command=COMMAND)
        last = [line for line in read_metrics(out) if "held_out_latent_loss" in line][-1]
        found[name] = {key.split("/")[1]: value for key, value in last.items() if key.startswith("foresight/")}
    return found


def _policies(runs: Path, tiny: bool, base: Recipe) -> dict[str, dict[str, Any]]:
    """Results of the quickstart and of other policies in its world model, by variant."""
    quickstart = quickstart_run(runs, tiny)
    alone = replace(base.policy, **IMAGINATION_ALONE, updates=base.policy.updates * 3 // 2)
    variants = {"imitation alone": replace(base.policy, updates=0), "imagination alone": alone}
    store, found = open_store(sample_store_path()), {"as shipped": read_json(quickstart / "results.json")}
    for number, (name, config) in enumerate(variants.items()):
        out = runs / f"recipe-policy{number}"
        learn(load_world_model(quickstart), store, out, config=config, command=COMMAND)
        found[name] = evaluate(out, base.episodes, film_seconds=0, command=COMMAND)
    return found


def render(record: dict[str, Any]) -> str:
    """A table of world models and one of policies."""
    first = next(iter(record["policies"].values()))
    tasks = list(first)
    models = [
        [name, *(f"{row[task]:.3f}" if task in row else "-" for task in tasks)]
        for name, row in record["models"].items()
    ]
    policies = [
        [name, *(mean_interval(row[task]["policy_mean"], row[task]["policy_ci"]) for task in tasks)]
        for name, row in record["policies"].items()
    ]
    for name, key in (("*data: mean*", "data_mean"), ("*data: ten best*", "data_best10_mean")):
        policies.append([name, *(f"{first[task][key]:.0f}" for task in tasks)])
    return f"""# What the parts of the recipe are worth

One seed: a hint, not a proof.

## World model, {record["model_updates"]:,} updates

Correlation of the reward and its prediction, 16 steps ahead by the model alone, on held-out episodes.

{table(["variant", *tasks], models)}

## Policies, in the quickstart's world model

Mean return over {record["episodes"]} episodes, 95 % bootstrap interval over episodes.

{table(["variant", *tasks], policies)}

{origins([record])}
"""
