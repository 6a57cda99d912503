"""A run folder made of plausible numbers, for the report's tests and for looking at the page.

Look at it:  PYTHONPATH=src:. python -m tests.report.fake_run FOLDER [SEEDS [wide | trained]]
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pwm.evaluation.aggregate import aggregate
from pwm.evaluation.results import task_entry
from pwm.tasks.registry import get_task

# task: (random, data mean, data best ten, policy mean, half the interval, observation, action)
TASKS = {
    "cartpole-swingup": (29.4, 512.3, 861.9, 857.2, 6.1, 5, 1),
    "cup-catch": (61.0, 688.4, 984.6, 971.3, 11.5, 8, 2),
    "reacher-easy": (88.1, 604.7, 987.0, 902.6, 74.0, 6, 2),
    "walker-walk": (42.2, 431.8, 942.1, 731.5, 40.3, 24, 6),
}


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1))


def make_run(folder: Path, stage: str = "evaluated", seeds: int = 1, films: bool = True) -> Path:
    """Write a run that got as far as `stage`: "started", "pretrained", "learned" or "evaluated"."""
    reached = ("started", "pretrained", "learned", "evaluated").index(stage)
    names = ("id", "observation_dim", "action_dim", "episode_length", "action_repeat", "score")
    rows = [(task, entry[5], entry[6], 500, 2, "return") for task, entry in TASKS.items()]
    run = {
        "command": "pwm quickstart --seed 0",
        "created": "2026-03-14T09:26:53+00:00",
        "versions": {"python": "3.11.7", "pwm": "0.1.0", "torch": "2.15.0", "numpy": "2.4.6", "mujoco": "3.3.0"},
        "machine": "x86_64, 2 cores, no GPU",
        "seed": 0,
        "data": {"path": "sample", "fingerprint": "9f2c" * 16, "episodes": 400, "transitions": 200_000},
        "tasks": [dict(zip(names, row)) for row in rows],
        "config": {"pretrain": {"horizon": 8}, "policy": {"horizon": 16, "reward_space": "symlog"}},
    }
    write(folder / "run.json", run)
    lines = [*(model_lines() if reached >= 1 else []), *(policy_lines(seeds) if reached >= 2 else [])]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if reached >= 1:
        from safetensors.numpy import save_file

        (folder / "world_model").mkdir()
        weights = {"weight": np.zeros((1234, 1000), np.float32), "mask": np.zeros(7, bool)}
        save_file(weights, folder / "world_model" / "weights.safetensors")
    if reached >= 3:
        write(folder / "results.json", results())
        if films:
            draw_films(folder / "films")
    return folder


def model_lines() -> list[dict]:
    noise = np.random.default_rng(0)
    lines = []
    for step in range(10, 4001, 10):
        shape = float(np.exp(-step / 500) + 0.03 * (1 + 4000 / (step + 500)))
        line = {"phase": "world_model", "step": step, "wall_seconds": step * 0.07, "grad_norm": 1.0}
        line |= {
            "latent_loss": 0.02 * shape * noise.lognormal(0, 0.08),
            "reward_loss": 3.1 * shape * noise.lognormal(0, 0.1),
        }
        if step % 250 == 0:
            line |= {"held_out_latent_loss": 0.0235 * shape + 3e-4, "held_out_reward_loss": 3.3 * shape + 0.1}
        lines.append(line)
    return lines


def policy_lines(seeds: int) -> list[dict]:
    noise = np.random.default_rng(1)
    lines = []
    for step in range(25, 1501, 25):
        for k, (task, entry) in enumerate(TASKS.items()):
            for seed in range(seeds):
                value = 11 * entry[3] / 1000 * (1 - np.exp(-step / (250 + 90 * k))) + noise.normal(0, 0.12) - 0.3 * seed
                lines.append(
                    {"phase": "policy", "step": step, "wall_seconds": 280 + step * 0.12, "task": task, "seed": seed}
                )
                lines[-1] |= {"imagined_return": float(value), "critic_loss": 0.1}
    return lines


def results() -> dict:
    tasks = {}
    for task, (low, mean, best, policy, half, *_) in TASKS.items():
        means = {"policy_mean": policy, "policy_ci": [policy - half, policy + half * 0.7], "data_mean": mean}
        means |= {"data_best10_mean": best, "random_mean": low, "episodes": 10, "seed": 0}
        tasks[task] = means | {"policy_returns": [policy] * 10, "episode_seeds": list(range(10))}
    tasks["walker-walk"]["film_note"] = "rendering needs EGL or OSMesa, and neither was found"
    clock = {"pretrain": 281.4, "learn": 192.8, "evaluate": 61.0, "films": 11.2, "total": 552.1}
    return {"wall_seconds": clock, "episodes": 10, "tasks": tasks}


# task of the wide run: (normalised score, spread between seeds)
WIDE = {
    "cartpole-swingup": (0.897, 0.01),
    "cup-catch": (0.472, 0.2),
    "reacher-easy": (0.992, 0.004),
    "walker-walk": (0.986, 0.006),
    "acrobot-swingup": (0.116, 0.03),
    "hopper-hop": (0.162, 0.05),
    "cartpole-balance-sparse": (1.0, 0.0),
    "reacher-three-hard": (0.975, 0.02),
    "mw-door-open": (0.7, 0.15),
    "mw-handle-press-side": (1.0, 0.0),
}


def make_wide_run(folder: Path, seeds: int = 3, scale: bool = True) -> Path:
    """A run of ten tasks on one scale and (unless `scale`) one without, with success, aggregates and no data."""
    make_run(folder, films=False)
    run = json.loads((folder / "run.json").read_text())
    run |= {"tasks": [{"id": task} for task in WIDE], "data": {}}
    write(folder / "run.json", run)
    write(folder / "results.json", wide_results(seeds, scale))
    return folder


def wide_results(seeds: int = 3, scale: bool = True) -> dict:
    noise = np.random.default_rng(2)
    specs = {task: get_task(task) for task in WIDE}
    specs["stiff-pendulum"] = replace(specs["hopper-hop"], id="stiff-pendulum", return_range=None)
    tasks, policies = {}, {}
    for task, (level, spread) in (WIDE | ({} if scale else {"stiff-pendulum": (-0.4, 0.1)})).items():
        success, policies[task] = specs[task].score == "success", {}
        for seed in range(seeds):
            score = level + spread * noise.uniform(-1, 1)
            own = np.clip(score + 0.02 * noise.normal(size=10), -1, 1) * (1500 if success else 1000)
            last = (noise.uniform(size=10) < score).astype(float)
            reached = {"success": last.tolist(), "success_any": np.maximum(last, [1.0, 0.0] * 5).tolist()}
            policies[task][str(seed)] = {"returns": own.tolist()} | (reached if success else {})
        tasks[task] = task_entry(policies[task], {"returns": [30.0] * 10}, range(10))
        tasks[task] |= {"data_mean": None, "data_best10_mean": None, "episodes": 10, "seed": 0}
    return {"wall_seconds": {}, "episodes": 10, "tasks": tasks, "aggregate": aggregate(specs, policies)}


def make_trained_run(folder: Path, seeds: int = 2) -> Path:
    """A run of `pwm train`: no data, no world model, curves of phase "train"."""
    make_wide_run(folder, seeds)
    run = json.loads((folder / "run.json").read_text())
    run |= {"tasks": [{"id": "walker-walk"}], "command": "pwm train --algo sac --task walker-walk"}
    write(folder / "run.json", run | {"config": {"train": {"algorithm": "sac", "task": "walker-walk"}}})
    results = wide_results(seeds)
    results |= {"tasks": {"walker-walk": results["tasks"]["walker-walk"]}}
    policies = {"walker-walk": results["tasks"]["walker-walk"]["policies"]}
    write(
        folder / "results.json", results | {"aggregate": aggregate({"walker-walk": get_task("walker-walk")}, policies)}
    )
    noise, lines = np.random.default_rng(3), []
    for step in range(5000, 1_000_001, 5000):
        for seed in range(seeds):
            value = 930 * (1 - np.exp(-step / 250_000)) + 25 * noise.normal() - 60 * seed
            line = {"phase": "train", "step": step, "wall_seconds": step / 900, "task": "walker-walk", "seed": seed}
            lines.append(line | {"return": value, "episode_length": 500.0, "critic_loss": 0.3})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "world_model" / "weights.safetensors").unlink()
    return folder


def draw_films(folder: Path) -> None:
    """Two animations and a strip of a swinging pole; the last task has none."""
    folder.mkdir(exist_ok=True)
    frames = [draw_pole(angle) for angle in np.linspace(2.6, 0.0, 12)]
    for task in ("cartpole-swingup", "cup-catch"):
        frames[0].save(folder / f"{task}.webp", save_all=True, append_images=frames[1:], duration=80, loop=0)
    strip = Image.new("RGB", (8 * 160, 160), "white")
    for k in range(8):
        strip.paste(frames[k], (160 * k, 0))
    strip.save(folder / "reacher-easy.png")


def draw_pole(angle: float) -> Image.Image:
    image = Image.new("RGB", (160, 160), (38, 62, 92))
    tip = (80 + 55 * np.sin(angle), 95 - 55 * np.cos(angle))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 105, 160, 160), fill=(56, 84, 118))
    draw.line([(80, 95), tip], fill=(235, 190, 90), width=7)
    draw.rectangle((62, 88, 98, 104), fill=(205, 140, 60))
    return image


if __name__ == "__main__":
    from pwm.report.page import write_report

    place, many, kind = [*sys.argv[1:], "1", "plain"][:3] if len(sys.argv) < 4 else sys.argv[1:4]
    make = {"plain": make_run, "wide": make_wide_run, "trained": make_trained_run}[kind]
    print(write_report(make(Path(place), seeds=int(many))))
