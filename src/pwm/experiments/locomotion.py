"""SHAC, PPO and SAC on Ant and Hopper: hours of training, evaluated with mean actions."""

from __future__ import annotations

import datetime
import io
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from pwm.agents.sb3.config import PPOConfig, SACConfig
from pwm.agents.shac.config import shac_preset
from pwm.experiments.page import run_facts, table
from pwm.runtime.config import machine
from pwm.runtime.device import set_threads
from pwm.runtime.files import read_json, write_json
from pwm.runtime.metrics import read_metrics

EPISODES, EVALUATION_SEED = 64, 1000
CACHED = 16
"""Substeps between two updates of the mass matrix in the paper's simulator, for these tasks all substeps of a step."""
TARGETS = {"ant": 6800, "hopper": 4837}
PACKAGES = ("torch", "newton", "warp-lang", "stable-baselines3")
PAPER = {
    "ant": "SHAC 7662 ± 859, PPO 6605 ± 793, SAC 6275 ± 528",
    "hopper": "SHAC 4837 ± 142, PPO 4742 ± 521, SAC 4126 ± 759",
}


class Training(NamedTuple):
    """One run folder: an algorithm, its task and seeds, and minutes per policy if they are limited."""

    algorithm: str
    task: str
    seeds: tuple[int, ...] = (0,)
    minutes: float | None = None

    def config(self, tiny: bool) -> Any:
        """The algorithm's settings."""
        config = {"shac": shac_preset(self.task), "ppo": PPOConfig(), "sac": SACConfig()}[self.algorithm]
        return replace(config, **TOY[self.algorithm]) if tiny else config


TRAININGS = (
    Training("shac", "ant", (0, 1, 2)),
    Training("shac", "hopper", (0, 1, 2)),
    Training("ppo", "ant"),
    Training("ppo", "hopper", (0, 1, 2)),
    Training("sac", "ant", minutes=60),
    Training("sac", "hopper", minutes=60),
)
TOY: dict[str, dict[str, Any]] = {
    "shac": {"updates": 8, "num_envs": 8, "horizon": 8, "log_every": 1},
    "ppo": {"steps": 1024, "num_envs": 8, "horizon": 32, "batch_size": 128, "log_every": 256},
    "sac": {"steps": 512, "num_envs": 8, "batch_size": 32, "buffer_size": 1024, "random_steps": 128, "log_every": 128},
}


def run(runs: Path, tiny: bool) -> dict[str, Any]:
    """Train and evaluate one policy after the other, on one thread."""
    from pwm.acting.policy_file import policy_path
    from pwm.pipeline.train import train

    set_threads(1)
    entries, episodes = [], 2 if tiny else EPISODES
    for training in TRAININGS:
        out, seeds = runs / f"{training.algorithm}-{training.task}", training.seeds[:1] if tiny else training.seeds
        command, config = "pwm reproduce locomotion", training.config(tiny)
        train(training.task, out, config, seeds, time_budget=training.minutes, command=command)
        for path in (policy_path(out, training.task, seed) for seed in seeds):
            judged = out / f"judged-{path.stem}.json"
            if not judged.exists():
                write_json(judged, _entry(out, path, episodes))
            entries.append(read_json(judged))
    facts = {"date": datetime.date.today().isoformat(), "machine": machine()}
    facts |= {"packages": {name: version(name) for name in PACKAGES}}
    facts |= {"episodes": episodes, "evaluation_seed": EVALUATION_SEED, "cached": CACHED, "targets": TARGETS}
    return facts | {"policies": entries}


def _entry(run: Path, path: Path, episodes: int) -> dict[str, Any]:
    """One policy's training curve and its returns with mean actions."""
    from pwm.acting.policy_file import load_policy
    from pwm.tasks.vector import EnvironmentConfig

    policy: Any = load_policy(path)
    own = ("train", policy.task, policy.seed)
    lines = [line for line in read_metrics(run) if (line["phase"], line.get("task"), line.get("seed")) == own]
    curve = [[x["step"], round(x["cpu_seconds"], 1), round(x["return"], 1)] for x in lines if "return" in x]
    trained = EnvironmentConfig(**policy.about["simulator"])
    simulators = {"trained": trained, "cached": replace(trained, mass_matrix_every=CACHED)}
    judged = {name: _judge(policy, simulator, episodes) for name, simulator in simulators.items()}
    print(run, policy.seed, {name: round(result["mean"]) for name, result in judged.items()}, flush=True)
    about, last = policy.about, lines[-1]
    facts = run_facts(run) | {"task": policy.task, "algorithm": about["algorithm"], "seed": policy.seed}
    facts |= {"steps": about["environment_steps"], "updates": about["updates"]}
    facts |= {"train_seconds": last["train_seconds"], "cpu_seconds": last["cpu_seconds"]}
    facts |= {"settings": about["config"], "simulator": about["simulator"], "deterministic": judged}
    points = [*curve[:-1][:: -(-len(curve) // 100)], curve[-1]]  # about a hundred, the last among them
    return facts | {"last_training_return": curve[-1][2], "curve": points}


def _judge(policy: Any, simulator: Any, episodes: int) -> dict[str, Any]:
    """Returns of as many parallel episodes, in a simulator with these settings."""
    from pwm.acting.vector_episodes import play_episodes
    from pwm.tasks.vector import make_environment

    environment: Any = make_environment(policy.task, episodes, EVALUATION_SEED, simulator)
    returns, lengths = play_episodes(policy, environment)
    return {
        "mass_matrix_every": environment.physics.mass_matrix_every,
        "mean": float(returns.mean()),
        "std": float(returns.std()),
        "full_episodes": float((lengths == environment.episode_length).double().mean()),
        "returns": [round(x, 1) for x in returns.tolist()],
    }


def render(record: dict[str, Any]) -> str:
    """A table of policies, and which of them reach the target."""
    rows, reached = [], []
    for x in record["policies"]:
        trained, cached = (x["deterministic"][name] for name in ("trained", "cached"))
        minutes = [f"{x[name] / 60:.1f}" for name in ("cpu_seconds", "train_seconds")]
        returns = [f"{own['mean']:.0f} ± {own['std']:.0f}" for own in (trained, cached)]
        facts = [x["task"], x["algorithm"].upper(), str(x["seed"]), f"{x['steps'] / 1e6:.2f} M", *minutes]
        full = f"{100 * trained['full_episodes']:.0f} %"
        rows.append([*facts, f"{x['last_training_return']:.0f}", returns[0], full, returns[1]])
    for task, target in record["targets"].items():
        own = [x for x in record["policies"] if (x["task"], x["algorithm"]) == (task, "shac")]
        scores = [x["deterministic"]["trained"]["mean"] for x in own]
        count, shown = sum(score >= target for score in scores), ", ".join(f"{score:.0f}" for score in scores)
        reached.append(f"* {task}: target {target}, reached by {count} of {len(scores)} seeds of SHAC ({shown}).")
        reached.append(f"  The paper, after training to convergence in its own simulator: {PAPER[task]}.")
    heads = ["task", "algorithm", "seed", "steps", "CPU min", "wall min", "in training"]
    heads += ["mean actions", "full episodes", "mean actions, cached"]
    packages = ", ".join(f"{name} {number}" for name, number in record["packages"].items())
    return f"""# Baselines on locomotion

The algorithms and what did not work: [baselines.md](../baselines.md).

![Return in training against processor time](locomotion.png)

{table(heads, rows)}

Mean actions: mean ± standard deviation of the return over {record["episodes"]} episodes (environment seed
{record["evaluation_seed"]}) by the policy's mean actions, in the simulator that it was trained in, which updates the
mass matrix at every substep. Cached: the same with one update in {record["cached"]} substeps, as in the paper's
simulator: a policy has to be judged where it learned. Last iterates; no seed was left out. In training: mean return of
the last 64 episodes, with the actor's noise.

PPO and SAC show that they learn here, not what they can reach: few seeds, settings that were not tuned, 20 M steps of
PPO and an hour of SAC, which was still improving. The paper trains them for up to 100 M steps.

{chr(10).join(reached)}

Machine: {record["machine"]}; {packages}; {record["date"]}.
"""


def draw(record: dict[str, Any]) -> bytes:
    """Return in training against CPU minutes as PNG: one panel per task, one line per policy."""
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(x["task"] for x in record["policies"]))
    figure = Figure(figsize=(4.6 * len(tasks), 3.2))
    colours = {"shac": "tab:blue", "ppo": "tab:orange", "sac": "tab:green"}
    for panel, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks):
        for x in (x for x in record["policies"] if x["task"] == task):
            label = x["algorithm"].upper() if x["seed"] == 0 else None
            minutes, returns = [point[1] / 60 for point in x["curve"]], [point[2] for point in x["curve"]]
            panel.plot(minutes, returns, label=label, linewidth=1.2, color=colours[x["algorithm"]])
        panel.axhline(record["targets"][task], color="grey", linestyle="--", linewidth=1, label="target")
        panel.set(title=task, xlabel="CPU minutes (one thread)", ylabel="return in training")
        panel.legend(frameon=False, fontsize=8, loc="lower right")
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()
