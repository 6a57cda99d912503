"""Learning on line: scores of single tasks and of four at once, what they are owed to, and a peer on the same core."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pwm.agents.online.config import LEARNING, MODEL, TRAINING, OnlineConfig
from pwm.experiments.page import origins, run_facts, table
from pwm.runtime.config import to_dict
from pwm.runtime.metrics import read_metrics

COMMAND = "pwm reproduce online"
EPISODES = 20
"""Episodes of the evaluation at the end, by mean actions."""
FOUR = ("cup-catch", "reacher-easy", "walker-walk", "cartpole-swingup")


class Run(NamedTuple):
    """One on-line run from nothing."""

    tasks: tuple[str, ...]
    episodes: int
    marks: tuple[float, ...] = ()
    """The mean return to reach, per task."""
    minutes: float | None = None
    """CPU minutes to reach it in."""
    training: Mapping[str, Any] = {}
    """Settings of the world model's updates other than the defaults."""
    learning: Mapping[str, Any] = {}
    """Settings of the policies other than the defaults."""
    rounds: Mapping[str, Any] = {}
    """Settings of the rounds other than the defaults."""


RUNS = {
    "cup-catch": Run(("cup-catch",), 100, (950,), 15),
    "reacher-easy": Run(("reacher-easy",), 120, (900,), 20),
    "walker-walk": Run(("walker-walk",), 150, (900,), 30),
    "cartpole-swingup": Run(("cartpole-swingup",), 150, (800,), 30),
    "four tasks": Run(FOUR, 150, (902.5, 855, 855, 760), 100),
    "walker-walk, larger batches": Run(
        ("walker-walk",), 150, (900,), 30, training={"batch_size": 256}, learning={"critic_passes": 2}
    ),
    "walker-walk, falling steps": Run(
        ("walker-walk",),
        150,
        (900,),
        30,
        training={"batch_size": 256},
        learning={"critic_passes": 2},
        rounds={"falling_rates": True},
    ),
    "walker-walk, rollouts of 16": Run(("walker-walk",), 60, learning={"horizon": 16}),
    "walker-walk, newest kept": Run(("walker-walk",), 150, rounds={"gate": 1.0}),
    "cheetah-run": Run(("cheetah-run",), 200),
    "finger-spin": Run(("finger-spin",), 200),
    "walker-run": Run(("walker-run",), 200),
    "pendulum-swingup": Run(("pendulum-swingup",), 200),
    "hopper-hop": Run(("hopper-hop",), 200),
}
"""Name -> settings. Those with marks have three seeds, the others one."""
PUBLISHED = {
    "cup-catch": {"TD-MPC2": 981},
    "reacher-easy": {"TD-MPC2": 937, "DreamerV3": 872, "SAC": 540},
    "walker-walk": {"TD-MPC2": 962, "DreamerV3": 630, "SAC": 708},
    "cartpole-swingup": {"TD-MPC2": 839},
    "cheetah-run": {"TD-MPC2": 519},
    "finger-spin": {"TD-MPC2": 948},
    "walker-run": {"TD-MPC2": 723},
    "pendulum-swingup": {"TD-MPC2": 724},
    "hopper-hop": {"TD-MPC2": 14},
}
"""Published mean returns after 100,000 steps of their axis, which are 100 episodes: three seeds each."""
PARTS = tuple(f"{name}/{seed}" for name, run in RUNS.items() for seed in ((0, 1, 2) if run.marks else (0,)))
"""Name and seed of each run."""
TOY = (
    {"episodes": 4, "episodes_per_round": 2, "random_episodes": 2, "evaluate_every": 2, "evaluation_episodes": 2}
    | {"first_model_updates": 2, "first_policy_updates": 2, "model_updates": 0.002, "policy_updates": 0.002},
    {"batch_size": 8},
    {"batch_size": 4},
)


def missing(record: dict[str, Any]) -> list[str]:
    """The parts that `record` does not have."""
    have = {f"{name}/{entry['seed']}" for name, entries in record.get("runs", {}).items() for entry in entries}
    return [part for part in PARTS if part not in have]


def add(record: dict[str, Any], part: str, found: dict[str, Any]) -> dict[str, Any]:
    """`record` with the numbers of a part, in place of those it had.

    "tasks" has the runs of one task with default settings by task, "runs" the facts and scores of all.
    """
    name, seed = part.split("/")
    record = {"tasks": {}, "runs": {}} | record
    _insert(record["runs"].setdefault(name, []), found)
    if name in found["tasks"]:
        _insert(record["tasks"].setdefault(name, []), found["tasks"][name])
    order = list(RUNS)
    return record | {
        key: dict(sorted(record[key].items(), key=lambda x: order.index(x[0]))) for key in ("tasks", "runs")
    }


def _insert(entries: list[dict[str, Any]], new: dict[str, Any]) -> None:
    """Put an entry in the place of its seed."""
    entries[:] = sorted([*(x for x in entries if x["seed"] != new["seed"]), new], key=lambda x: x["seed"])


def run_part(part: str, runs: Path, tiny: bool) -> dict[str, Any]:
    """Learn and evaluate one of `PARTS`; returns its facts and, per task, what was reached and the curve."""
    from pwm.pipeline.evaluate import evaluate
    from pwm.pipeline.online import online

    name, seed = part.split("/")
    own, out = RUNS[name], runs / f"online-{name.replace(', ', '-').replace(' ', '-')}-seed{seed}"
    config = OnlineConfig(episodes=own.episodes, evaluate_every=10, **own.rounds)
    training, learning = replace(TRAINING, **own.training), replace(LEARNING, **own.learning)
    if tiny:
        config, training, learning = (replace(c, **toy) for c, toy in zip((config, training, learning), TOY))
    command = f"{COMMAND} --only '{part}'"
    settings = {"training": training, "learning": learning}
    online(own.tasks, out, config, MODEL, None, (int(seed),), "cpu", **settings, command=command)
    results = evaluate(out, 2 if tiny else EPISODES, film_seconds=0, command=command)
    found = {task: _reached(out, task, int(seed), results) for task in own.tasks}
    facts = run_facts(out) | {"seed": int(seed), "command": command, "rounds": to_dict(config)}
    return facts | {
        "training": to_dict(training),
        "learning": to_dict(learning),
        "model": to_dict(MODEL),
        "tasks": found,
    }


def _reached(out: Path, task: str, seed: int, results: dict[str, Any]) -> dict[str, Any]:
    """Scores, CPU minutes and curve of one task: points of (episodes, CPU minutes, mean return of the kept policy)."""
    lines = [x for x in read_metrics(out) if (x["phase"], x.get("task"), x.get("seed")) == ("online", task, seed)]
    curve = [
        [x["step"], round(x["cpu_seconds"] / 60, 2), round(x["evaluation_return"], 1), round(x["evaluation_worst"], 1)]
        for x in lines
        if "evaluation_return" in x
    ]
    played = [[x["step"], round(x["return"], 1), round(x["worst_return"], 1)] for x in lines if "return" in x]
    returns = results["tasks"][task]["policy_returns"]
    own = {"seed": seed, "episodes": lines[-1]["step"], "cpu_minutes": round(lines[-1]["cpu_seconds"] / 60, 2)}
    scores = {"mean": round(sum(returns) / len(returns), 1), "worst": round(min(returns), 1)}
    return own | scores | {"curve": curve, "played": played}


def render(record: dict[str, Any]) -> str:
    """A table of scores with marks and published figures, one of steadiness, and the settings that differ."""
    single = [
        _row(name, task, entry)
        for name, entries in record["runs"].items()
        for entry in entries
        for task in entry["tasks"]
    ]
    heads = [
        "run",
        "task",
        "seed",
        "episodes",
        "CPU min",
        "minutes wanted",
        "mean",
        "worst",
        "mean wanted",
        "last five evaluations",
        "published, 100k steps",
    ]
    runs = [entry for entries in record["runs"].values() for entry in entries]
    return f"""# Learning on line

![Mean return against real episodes](online.png)

{table(heads, single)}

Every run begins with nothing but four episodes of random actions. Mean and worst return over {EPISODES} new episodes by
mean actions of the kept policy, the last one that passed the gate ([online.md](../online.md)). CPU minutes: of one
thread, with acting and the evaluations on the way. No seed was left out. Last five evaluations: the worst as a share of
the best. Published: means of three seeds after 100,000 steps, which are 100 episodes, from the authors' own results.

{origins(runs)}
"""


def _row(name: str, task: str, entry: dict[str, Any]) -> list[str]:
    """One task of one run."""
    x, own = entry["tasks"][task], RUNS[name]
    marks = ["-", "-"]
    if own.marks:
        wanted = own.marks[own.tasks.index(task)]
        marks[0] = f"{wanted:g}: {'yes' if x['mean'] >= wanted else 'no'}"
    if own.minutes:
        marks[1] = f"{own.minutes:g}: {'yes' if x['cpu_minutes'] <= own.minutes else 'no'}"
    last = [point[2] for point in x["curve"]][-5:]
    published = ", ".join(f"{who} {score}" for who, score in PUBLISHED.get(task, {}).items())
    scores = [
        f"{x['mean']:.0f}",
        f"{x['worst']:.0f}",
        marks[0],
        f"{100 * min(last) / max(last):.0f} %" if max(last) > 0 else "-",
    ]
    return [name, task, str(x["seed"]), str(x["episodes"]), f"{x['cpu_minutes']:.1f}", marks[1], *scores, published]


def draw(record: dict[str, Any]) -> bytes:
    """Mean return of the kept policy against real episodes as PNG: a panel per task, a line per run and seed."""
    from matplotlib.figure import Figure

    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for name, entries in record["runs"].items():
        for entry in entries:
            for task, x in entry["tasks"].items():
                found.setdefault(task, []).append((name, x))
    columns = min(len(found), 3)
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(4.4 * columns, 3.0 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel in panels[len(found) :]:
        panel.set_axis_off()
    for panel, (task, lines) in zip(panels, found.items()):
        names = list(dict.fromkeys(name for name, _ in lines))
        seeds = {name: ", ".join(str(x["seed"]) for own, x in lines if own == name) for name in names}
        for name, x in lines:
            label = f"{name}, seed{'s' * (',' in seeds[name])} {seeds[name]}"
            label = None if label in [line.get_label() for line in panel.lines] else label
            colour = f"C{names.index(name)}"
            panel.plot([p[0] for p in x["curve"]], [p[2] for p in x["curve"]], label=label, color=colour, linewidth=1.2)
        if "TD-MPC2" in PUBLISHED.get(task, {}):
            panel.axhline(
                PUBLISHED[task]["TD-MPC2"], color="grey", linestyle="--", linewidth=1, label="TD-MPC2, 100k steps"
            )
        panel.set(title=task, xlabel="real episodes", ylabel="return", ylim=(0, 1000))
        panel.legend(frameon=False, fontsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()
