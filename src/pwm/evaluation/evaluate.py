"""Evaluates all policies of a run in the simulator, next to random actions and the data that they learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from pwm.acting.policy_file import DeployedPolicy, act_together, find_policies, load_policy
from pwm.acting.random_policy import random_policy
from pwm.acting.rollout import Act, EpisodeResults, run_episodes
from pwm.acting.workers import Workers, open_workers
from pwm.data.store import open_store
from pwm.evaluation.aggregate import aggregate
from pwm.evaluation.film import write_film
from pwm.evaluation.results import Scores, read_results, results_path, task_entry
from pwm.runtime.config import from_dict
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, sha256, write_json
from pwm.runtime.metrics import MetricsLog
from pwm.runtime.progress import Progress, progress
from pwm.runtime.run_folder import read_run_file
from pwm.runtime.stopwatch import Stopwatch
from pwm.tasks.environment_config import EnvironmentConfig
from pwm.tasks.registry import get_task
from pwm.tasks.spec import TaskSpec
from pwm.tasks.vector import in_simulator

Simulator = Literal["task", "trained"]
"""Whether policies are evaluated with the task's own simulator settings, or with those that they were trained with."""
PHASE = "evaluation"
MAX_ENVIRONMENTS = 64
"""Most environments alive at the same time; each takes some megabytes."""


@dataclass(frozen=True)
class _Member:
    """One policy of the run, and its task."""

    policy: DeployedPolicy
    digest: str
    spec: TaskSpec


def evaluate_run(
    run: PathLike,
    episodes: int = 10,
    seed: int = 0,
    film_seconds: float = 6.0,
    device: torch.device | str = "cpu",
    clock: Stopwatch | None = None,
    workers: int | None = None,
    return_ranges: Mapping[str, tuple[float, float]] | None = None,
    simulator: Simulator = "task",
) -> dict[str, Any]:
    """As `pwm.evaluate`, but does not write run.json; arguments, result and errors are the same.

    Policies of different tasks are evaluated in parallel. Data means come from the store named in run.json, and are
    null if it is missing or has changed.

    Writes `results.json` after each group of policies (and skips those already in it with the same policy file,
    episodes, seed and simulator), lines of phase "evaluation" to `metrics.jsonl`, and `films/<task>.webp`, or the
    reason why there is none as "film_note".
    """
    run = Path(run)
    if episodes < 1 or seed < 0:
        raise PWMError(f"episodes is {episodes} and seed {seed}: they must be at least 1 and 0")
    if not run.is_dir():
        raise PWMError(f"{run}: no such run folder; check the path")
    read_results(run, episodes, seed)  # a damaged file is named before anything is loaded
    members = [_member(path, device, return_ranges or {}) for path in find_policies(run)]
    simulators = _simulators(members, simulator)
    members = [replace(m, spec=in_simulator(m.spec, simulators[m.spec.id])) for m in members]
    results = read_results(run, episodes, seed, {t: s.given() for t, s in simulators.items() if s.given()})
    for task in set(return_ranges or {}) - {member.spec.id for member in members}:
        raise PWMError(f"return range of {task}: this run has no policy of that task")
    clock = clock or Stopwatch(run)
    evaluation = _Evaluation(run, members, results, clock)
    evaluation.measure(workers)
    if film_seconds > 0:
        evaluation.film(film_seconds)
    evaluation.save(finished=True)
    return evaluation.results


def evaluation_seeds(seed: int, episodes: int) -> list[int]:
    """Seeds of the episodes of an evaluation; a longer list begins with the same ones."""
    return [int(x) for x in np.random.SeedSequence(seed).generate_state(episodes)]


class _Evaluation:
    """An evaluation in progress; `results` is the content of results.json."""

    def __init__(self, run: Path, members: Sequence[_Member], results: dict[str, Any], clock: Stopwatch) -> None:
        self.run, self.members, self.results, self.clock = run, members, results, clock
        self.seeds = evaluation_seeds(results["seed"], results["episodes"])
        self.specs = {member.spec.id: member.spec for member in members}
        self.data = {task: _data_means(run, task) for task in self.specs}
        self.random: dict[str, Scores] = {t: x for t, x in results["random"].items() if t in self.specs}
        self.scores: dict[tuple[str, int], Scores] = {}
        for member in members:
            before = results["tasks"].get(member.spec.id, {}).get("policies", {}).get(str(member.policy.seed))
            if before is not None and before.get("sha256") == member.digest:
                self.scores[member.spec.id, member.policy.seed] = before

    def measure(self, workers: int | None = None) -> None:
        """Play the episodes that are not in results.json yet, in that many processes."""
        known = [m for m in self.members if (m.spec.id, m.policy.seed) in self.scores]
        todo = [m for m in self.members if m not in known]
        tasks = [spec for spec in self.specs.values() if spec.id not in self.random]
        if known:
            names = ", ".join(f"{m.spec.id} seed {m.policy.seed}" for m in known)
            print(f"Evaluation: skipped {len(known)} of {len(self.members)} policies, measured before ({names})")
        if not todo and not tasks:
            return
        size = max(1, MAX_ENVIRONMENTS // len(self.seeds))
        own = [member.spec for member in todo]
        steps = sum(self._steps(group) for group in [*_split(tasks, size), *_split(own, size)])
        agent_steps = len(self.seeds) * sum(spec.episode_length for spec in [*tasks, *own])
        with (
            self.clock.stage("evaluate"),
            progress("Evaluation", steps) as bar,
            MetricsLog(self.run) as log,
            open_workers(workers, list(self.specs.values()), MAX_ENVIRONMENTS, agent_steps) as pool,
        ):
            for updates in {_updates(member) for member in todo}:  # lines whose results a killed evaluation never saved
                same = [(m.spec.id, m.policy.seed) for m in todo if _updates(m) == updates]
                log.truncate(PHASE, updates - 1, same)
            for group in _split(tasks, size):
                scores = self._play(group, lambda seeds, first, g=group: random_policy(g, seeds), bar, pool)
                self.random |= {spec.id: own for spec, own in zip(group, scores)}
            for group in _split(todo, size):
                policies = [member.policy for member in group]
                specs = [member.spec for member in group]
                played = self._play(specs, lambda seeds, first, p=policies: act_together(p, first), bar, pool)
                for member, scores in zip(group, played):
                    self._keep(member, scores, log)
                self.save()

    def film(self, seconds: float) -> None:
        """Film the first policy of each task unless there is a film of it; `seconds` are in simulator time."""
        first = {m.spec.id: m for m in reversed(self.members)}
        first = {task: first[task] for task in self.specs}
        todo = [task for task, m in first.items() if not self._filmed(m)]
        if len(todo) < len(first):
            print(f"Films: skipped {len(first) - len(todo)} of {len(first)}, made before")
        if not todo:
            return
        without: dict[str, list[str]] = {}
        with self.clock.stage("films"), progress("Films", len(todo)) as bar:
            for task in todo:
                member = first[task]
                path, entry = self._film_path(task), self.results["tasks"][task]
                path.unlink(missing_ok=True)  # an existing film shows another policy
                note = write_film(path, member.spec, member.policy.act, self.seeds[0], seconds)
                entry |= {"film": None if note else {"sha256": member.digest}, "film_note": note}
                self.save()
                if note:
                    without.setdefault(note, []).append(task)
                    bar.drop(1)
                else:
                    bar.advance(1)
        for note, missing in without.items():
            print(f"No film of {', '.join(missing)}: {note}")

    def save(self, finished: bool = False) -> None:
        """Write results.json with the results so far; the aggregate over tasks is added when all are there."""
        tasks, played = {}, {}
        for task in self.specs:
            policies = {str(s): self.scores[t, s] for t, s in sorted(self.scores) if t == task}
            if policies:
                before = self.results["tasks"].get(task, {})
                film = {name: before[name] for name in ("film", "film_note") if before.get(name)}
                facts = {"episodes": len(self.seeds), "seed": self.results["seed"], "score": self.specs[task].score}
                tasks[task] = task_entry(policies, self.random[task], self.seeds) | self.data[task] | facts | film
                played[task] = policies
        self.results |= {"wall_seconds": self.clock.wall_seconds(), "random": self.random, "tasks": tasks}
        self.results.pop("aggregate", None)
        if finished:
            self.results["aggregate"] = aggregate(self.specs, played)
        write_json(results_path(self.run), self.results)

    def _play(
        self, specs: Sequence[TaskSpec], actor: Callable[[np.ndarray, int], Act], bar: Progress, pool: Workers
    ) -> list[Scores]:
        """Scores of each of `specs` over all episodes.

        `actor` makes a policy from the seeds [specs, episodes] of some episodes and the number of the first of them.
        """
        table = np.tile(np.array(self.seeds), (len(specs), 1))
        parts: list[EpisodeResults] = []
        begin, done, first = bar.done, 0, 0

        for seeds in np.array_split(table, self._parts(specs), axis=1):
            parts.append(run_episodes(specs, actor(seeds, first), seeds, lambda step: bar.advance(), None, pool))
            first += seeds.shape[1]
            done += max(spec.episode_length for spec in specs)
            bar.advance(begin + done - bar.done)  # if all episodes ended early
        returns, lengths = (np.concatenate([getattr(p, x) for p in parts], axis=1) for x in ("returns", "lengths"))
        scores: list[Scores] = [{"returns": a.tolist(), "lengths": b.tolist()} for a, b in zip(returns, lengths)]
        for name in ("success", "success_any"):
            for n, own in enumerate(scores):
                reported = [rows[n] for part in parts if (rows := getattr(part, name)) is not None]
                if reported and np.isfinite(values := np.concatenate(reported)).all():
                    own[name] = values.tolist()
        return scores

    def _parts(self, specs: Sequence[TaskSpec]) -> int:
        return -(-len(specs) * len(self.seeds) // MAX_ENVIRONMENTS)

    def _steps(self, specs: Sequence[TaskSpec]) -> int:
        return self._parts(specs) * max(spec.episode_length for spec in specs)

    def _keep(self, member: _Member, scores: Scores, log: MetricsLog) -> None:
        task, seed = member.spec.id, member.policy.seed
        self.scores[task, seed] = {"sha256": member.digest, "mean": float(np.mean(scores["returns"]))} | scores
        values = {"return": float(np.mean(scores["returns"]))}
        values["random_return"] = float(np.mean(self.random[task]["returns"]))
        values |= {name: float(np.mean(scores[name])) for name in ("success", "success_any") if name in scores}
        log.write(PHASE, _updates(member), values, task, seed)

    def _film_path(self, task: str) -> Path:
        return self.run / "films" / f"{task}.webp"

    def _filmed(self, member: _Member) -> bool:
        film = self.results["tasks"].get(member.spec.id, {}).get("film")
        return film == {"sha256": member.digest} and self._film_path(member.spec.id).is_file()


def _member(path: Path, device: torch.device | str, ranges: Mapping[str, tuple[float, float]]) -> _Member:
    policy = load_policy(path, device)
    spec = get_task(policy.task)
    if spec.id in ranges:
        spec = replace(spec, return_range=ranges[spec.id])
    ours, theirs = (policy.observation_dim, policy.action_dim), (spec.observation_dim, spec.action_dim)
    if ours != theirs:
        raise PWMError(f"{path}: made for (observation, action) sizes {ours}, but task {spec.id} has {theirs}")
    return _Member(policy, sha256(path), spec)


def _updates(member: _Member) -> int:
    return member.policy.about.get("updates", 0)


def _simulators(members: Sequence[_Member], simulator: Simulator) -> dict[str, EnvironmentConfig]:
    """The settings of each task's simulator."""
    if simulator not in get_args(Simulator):
        raise PWMError(f"simulator is {simulator!r}, must be one of {', '.join(get_args(Simulator))}")
    found: dict[str, EnvironmentConfig] = {}
    for member in members:
        trained = member.policy.about.get("simulator") if simulator == "trained" else None
        own = from_dict(EnvironmentConfig, trained or {}, f"policy of {member.spec.id}")
        if found.setdefault(member.spec.id, own) != own:
            raise PWMError(f"policies of {member.spec.id} were trained in different simulators; use a run for each")
    return found


def _data_means(run: Path, task: str) -> dict[str, float | None]:
    """Mean return of the data and of its ten best episodes; null if the data are missing or have changed."""
    data = read_run_file(run).get("data", {})
    try:
        store = open_store(str(data.get("path")), [task])
        if store.fingerprint() == data.get("fingerprint"):
            returns = np.sort(store.returns(task)).astype(np.float64)
            return {"data_mean": float(returns.mean()), "data_best10_mean": float(returns[-10:].mean())}
        print(f"Evaluation: the data at {data['path']} have changed since; their means are left out")
    except PWMError:
        pass
    return {"data_mean": None, "data_best10_mean": None}


def _split(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
