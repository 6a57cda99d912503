"""`pwm.online`: rounds of acting and learning in a run folder, resumable to the same bits."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pwm.acting.policy_file import DeployedPolicy, load_policy, policy_path
from pwm.acting.random_policy import random_policy
from pwm.acting.record import record_episodes
from pwm.acting.side_by_side import SideBySide
from pwm.agents.online.config import LEARNING, MODEL, TRAINING, OnlineConfig
from pwm.agents.online.explore import ExploringPolicy, mean_actions, noisy_actions
from pwm.agents.online.gate import Gate
from pwm.agents.online.gauge import gauge
from pwm.agents.online.learner import OnlineLearner
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.deployed import export_policies
from pwm.agents.pwm.resume import Weights, start_from
from pwm.data.growing import GrowingStore
from pwm.data.preflight import Assumptions, as_facts, preflight
from pwm.data.store import Episode, EpisodeStore
from pwm.learning.budget import Budget
from pwm.nn.native import description
from pwm.pipeline.checks import show
from pwm.runtime.checkpoint import check_same, digest, peek_description
from pwm.runtime.config import to_dict
from pwm.runtime.device import resolve_device
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike
from pwm.runtime.lock import alone
from pwm.runtime.metrics import MetricsLog
from pwm.runtime.progress import Progress, progress
from pwm.runtime.run_folder import record_step
from pwm.runtime.stopwatch import Stopwatch
from pwm.tasks.registry import get_task
from pwm.tasks.spec import TaskSpec
from pwm.tasks.vector import is_differentiable
from pwm.world_model.config import PretrainConfig, WorldModelConfig
from pwm.world_model.files import describe, save_world_model, world_model_path
from pwm.world_model.model import WorldModel
from pwm.world_model.pretrain import adapt

PHASE = "online"
ENDLESS = 10**12
"""Planned updates of policies whose step sizes stay constant."""


@dataclass(frozen=True)
class Start:
    """What an on-line run goes on from."""

    model: WorldModel
    """World model of all the run's tasks."""
    new: tuple[str, ...] = ()
    """Tasks that the model has never been trained on."""
    policies: Mapping[tuple[str, int], Weights] = field(default_factory=dict)
    """Actors and critics by task and seed."""


Play = Callable[[ExploringPolicy, int], Sequence[Episode]]
"""Plays so many episodes with a policy, and returns them."""


@alone("out")
def online(
    tasks: Sequence[str],
    out: PathLike,
    config: OnlineConfig | None = None,
    model: WorldModelConfig = MODEL,
    data: EpisodeStore | None = None,
    seeds: Sequence[int] = (0,),
    device: torch.device | str = "auto",
    *,
    training: PretrainConfig = TRAINING,
    learning: PolicyConfig = LEARNING,
    start: Start | None = None,
    play: Play | None = None,
    command: str | None = None,
    clock: Stopwatch | None = None,
) -> list[DeployedPolicy]:
    """Learn policies of `tasks` on line, from nothing or from logs, and leave them in the run folder `out`.

    A round plays some real episodes with every policy's noise, appends them to `out/data`, and trains the world model
    and then the policies on all episodes so far (paper Section 5.1). The same call resumes after the last whole round,
    to the same bits on a CPU; episodes that were played are not played again.

    Args:
        config, training, learning: settings of rounds, world-model updates and policy updates.
        model: architecture of a new world model.
        data: logs to begin with; without logs of all tasks, random episodes come first.
        seeds: one policy per task and seed, all in one fleet and one model. The first also seeds the model.
        start: model and policies to go on from, in place of `model`; see `pwm.finetune`.
        play: `play(policy, episodes)` plays episodes and returns them, in place of the tasks' simulators. It is called
            once per policy and round; see docs/online.md for a robot.

    Returns:
        one policy per task and seed.

    Raises:
        PWMError: unknown tasks, data or episodes that do not fit them, or `out` holds a run of other settings.
    """
    device = resolve_device(device) if isinstance(device, str) else device
    run = _Run(
        tasks, Path(out), (config or OnlineConfig(), training, learning), model, start, data, seeds, device, play
    )
    facts: dict[str, Any] = {"seed": run.seeds[0], "tasks": [spec.as_dict() for spec in run.specs]}
    packages = dict.fromkeys(package for spec in run.specs for package in spec.packages)
    if found := peek_description(run.checkpoint):
        check_same(run.checkpoint, found, run.about)  # before run.json says that they belong together
    if data is not None:
        logged = [spec.id for spec in run.specs if spec.id in data.tasks]
        facts["findings"] = as_facts(show(preflight(data, logged, Assumptions(horizon=training.horizon))))
    record_step(out, PHASE, run.about, command=command, packages=packages, parts=description(device), **facts)
    with (clock or Stopwatch(out)).stage(PHASE):
        return run.run()


class _Run:
    """The rounds of an on-line run."""

    def __init__(
        self,
        tasks: Sequence[str],
        out: Path,
        settings: tuple[OnlineConfig, PretrainConfig, PolicyConfig],
        model: WorldModelConfig,
        start: Start | None,
        data: EpisodeStore | None,
        seeds: Sequence[int],
        device: torch.device,
        play: Play | None,
    ) -> None:
        self.specs, self.seeds = [get_task(task) for task in dict.fromkeys(tasks)], list(dict.fromkeys(seeds))
        if not self.specs or not self.seeds:
            raise PWMError("online: name at least one task and one seed")
        self.out, self.device, self.play = out, device, play
        self.config, self.training, self.learning = settings
        self.members = [(spec, seed) for spec in self.specs for seed in self.seeds]
        self.fresh = [spec for spec in self.specs if data is None or spec.id not in data.tasks]
        """tasks without logs, which begin with random episodes"""
        if self.fresh and not self.config.random_episodes:
            raise PWMError(f"random_episodes is 0, but {self.fresh[0].id} has no logs to begin with")
        self.store = GrowingStore(out / "data", self.specs, data)
        self.checkpoint, self.robots = out / "online.safetensors", SideBySide()
        self.gate = Gate(self.config.gate)
        origin = describe(start.model) | {"weights": digest(start.model.state_dict())} if start else to_dict(model)
        self.about = {
            "online": {name: value for name, value in to_dict(self.config).items() if name != "episodes"},
            "training": to_dict(self.training),
            "learning": to_dict(self.learning),
            "model": origin,
            "members": {"policies": [[spec.id, seed] for spec, seed in self.members]},
            "logs": {"data": None if data is None else data.fingerprint()},
        }
        self.model, self.start = model, start

    def run(self) -> list[DeployedPolicy]:
        """Go on from the last whole round to the last one."""
        learner, done, before = None, 0, {}
        if self.checkpoint.exists():
            learner = self._learner()
            found = learner.load(self.checkpoint)
            done, before = found["rounds"], found["used"]
            self.gate = Gate(self.config.gate, found["returns"])
        budget, rounds = Budget(None, before), self._rounds()
        total = sum(self._updates(number) for number in range(rounds))
        finished = sum(self._updates(number) for number in range(done))
        with MetricsLog(self.out) as log, progress("On line", total, finished) as bar:
            log.truncate(PHASE, self._episodes(done - 1) if done else -1)
            for number in range(done, rounds):
                if number or self.fresh:
                    self._act(learner, number)
                learner = learner or self._learner()
                self._learn(learner, number, budget, log, bar)
        return self._kept()

    def _learner(self) -> OnlineLearner:
        """A new learner on the first episodes, or on the logs."""
        seed, first, start = self.seeds[0], self.store.upto(1 if self.fresh else 0), self.start
        if start is None:
            new = [spec.id for spec in self.specs]
            sizes = [[spec.observation_dim for spec in self.specs], [spec.action_dim for spec in self.specs]]
            ends = any(first[task].terminations.any() for task in new)
            model = WorldModel(replace(self.model, episodic=self.model.episodic or bool(ends)), new, *sizes, seed)
        else:
            model, new = deepcopy(start.model), start.new
        for task in new:
            everything = np.arange(len(first[task].lengths))
            adapt(model, first, task, everything, self.training.normalise_observations, early=True)
        members = [(spec.id, seed) for spec, seed in self.members]
        planned = sum(self._counts(number, self._full(number))[1] for number in range(self._rounds()))
        learning = replace(self.learning, updates=planned if self.config.falling_rates else ENDLESS)
        learner = OnlineLearner(model, self.store, members, self.config, self.training, learning, seed, self.device)
        if start is not None:
            for task in new:
                learner.adopt(task)
            for number, member in enumerate(members):
                if member in start.policies:
                    start_from(learner.fleet, number, start.policies[member])
        return learner

    def _rounds(self) -> int:
        """Rounds in all: the first one on random episodes or logs, the others after episodes of the policies."""
        left = self.config.episodes - self._episodes(0)
        return 1 + max(-(-left // self.config.episodes_per_round), 0)

    def _episodes(self, number: int) -> int:
        """Real episodes per policy up to a round and with it."""
        first = self.config.random_episodes if self.fresh else 0
        return first + number * self.config.episodes_per_round

    def _updates(self, number: int) -> int:
        """Updates of a round, of model and policies, where its episodes have their full length."""
        return sum(self._counts(number, self._full(number)))

    def _full(self, number: int) -> int:
        """Steps per policy of a round whose episodes have their full length."""
        return self._new(number) * max(spec.episode_length for spec in self.specs)

    def _new(self, number: int) -> int:
        """New real episodes per policy of a round."""
        return self._episodes(number) - (self._episodes(number - 1) if number else 0)

    def _counts(self, number: int, steps: float) -> tuple[int, int]:
        """Updates of model and of policies in a round of so many new steps per policy."""
        config = self.config
        if number == 0:
            return config.first_model_updates, config.first_policy_updates
        return max(round(config.model_updates * steps), 1), max(round(config.policy_updates * steps), 1)

    def _segments(self, number: int) -> int:
        """Segments of the store before a round's own episodes are in it."""
        return number - (not self.fresh)

    def _act(self, learner: OnlineLearner | None, number: int) -> None:
        """Play a round's episodes, unless they are there from before."""
        if self.store.segments > self._segments(number):
            return
        count, first = self._new(number), self._episodes(number) - self._new(number)
        fleet = learner.fleet if learner and number else None
        members = [(k, *member) for k, member in enumerate(self.members) if number or member[0] in self.fresh]
        if self.play is not None:
            played = [list(self.play(self._policy(k, number, fleet), count)) for k, _, _ in members]
            for (_, spec, seed), own in zip(members, played, strict=True):
                if len(own) != count:
                    raise PWMError(f"task {spec.id}, seed {seed}: `play` returned {len(own)} episodes, not {count}")
        else:
            act = noisy_actions(fleet, number) if fleet else None
            played = self._simulate([(spec, seed) for _, spec, seed in members], act, first, count, "act")
        by_task: dict[str, list[Episode]] = {}
        for (_, spec, _), own in zip(members, played, strict=True):
            by_task.setdefault(spec.id, []).extend(own)
        self.store.append(by_task, "random actions" if fleet is None else f"round {number} of learning on line")

    def _policy(self, member: int, number: int, fleet: Any) -> ExploringPolicy:
        spec, seed = self.members[member]
        return ExploringPolicy(spec.id, seed, (spec.observation_dim, spec.action_dim), number, fleet)

    def _simulate(
        self,
        members: Sequence[tuple[TaskSpec, int]],
        act: Callable[[np.ndarray], np.ndarray] | None,
        first: int,
        count: int,
        purpose: str,
    ) -> list[list[Episode]]:
        """Episodes of some members in their simulators; random actions where there is no `act`."""
        specs = [spec for spec, _ in members]
        words = [[seed, zlib.crc32(f"{spec.id} {purpose}".encode())] for spec, seed in members]
        seeds = np.array([np.random.SeedSequence(w).generate_state(first + count)[first:] for w in words], np.int64)
        act = act or random_policy(specs, seeds)
        return record_episodes(
            specs, act, seeds, self.robots if all(is_differentiable(spec.id) for spec in specs) else None
        )

    def _newest(self, number: int) -> list[list[Episode]]:
        """A round's episodes of each member, out of the store."""
        played, count = {}, self._new(number)
        for spec in self.specs:
            played[spec.id] = self.store.newest(spec.id, self._segments(number) + 1, count * len(self.seeds))
        return [played[spec.id][self.seeds.index(seed) * count :][:count] for spec, seed in self.members]

    def _learn(self, learner: OnlineLearner, number: int, budget: Budget, log: MetricsLog, bar: Progress) -> None:
        """Learn from what was played, measure, write the lines and the checkpoint of a round."""
        values: dict[str, Any] = {}
        steps = 0.0
        if number:
            episodes = self._newest(number)
            returns = torch.tensor([[float(e.rewards.sum()) for e in own] for own in episodes])
            steps = float(np.mean([sum(len(e.rewards) for e in own) for own in episodes]))
            values = {"return": returns.mean(dim=1), "worst_return": returns.min(dim=1).values}
            values |= gauge(learner.fleet, episodes, number)
            values["kept"] = self._keep(learner, self.gate.judge(values["return"]))
        counts, before = self._counts(number, steps), bar.done
        values |= learner.learn(*counts, bar.advance)
        bar.advance(self._updates(number) + before - bar.done)  # where episodes ended early
        if not number:
            self._keep(learner, torch.ones(len(self.members), dtype=torch.bool))
        values |= self._evaluate(number)
        self._write(learner, number, values, budget, log, bar)
        about = {"rounds": number + 1, "used": budget.used(), "returns": self.gate.rounds}
        learner.save(self.checkpoint, self.about | about)
        save_world_model(world_model_path(self.out), learner.trainer.model)

    def _keep(self, learner: OnlineLearner, good: Tensor) -> Tensor:
        """Write the policy files of those members, with encoder and actor as they act now."""
        for policy, wanted in zip(export_policies(learner.fleet), good.tolist(), strict=True):
            if wanted:
                policy.save(policy_path(self.out, policy.task, policy.seed))
        return good.float()

    def _kept(self) -> list[DeployedPolicy]:
        return [load_policy(policy_path(self.out, spec.id, seed), self.device) for spec, seed in self.members]

    def _evaluate(self, number: int) -> dict[str, Any]:
        """Mean and worst return of the kept policies by mean actions, where an evaluation is due."""
        every, count = self.config.evaluate_every, self.config.evaluation_episodes
        due = (
            every
            and self.play is None
            and (number == self._rounds() - 1 or self._episodes(number) // every > self._episodes(number - 1) // every)
        )
        if not number or not due:
            return {}
        played = self._simulate(self.members, mean_actions(self._kept()), 0, count, "evaluate")
        returns = torch.tensor([[float(e.rewards.sum()) for e in own] for own in played])
        return {"evaluation_return": returns.mean(dim=1), "evaluation_worst": returns.min(dim=1).values}

    def _write(
        self,
        learner: OnlineLearner,
        number: int,
        values: dict[str, Any],
        budget: Budget,
        log: MetricsLog,
        bar: Progress,
    ) -> None:
        """The round's lines of metrics, one per member."""
        used, episodes = budget.used(), self._episodes(number)
        for k, (spec, seed) in enumerate(self.members):
            line = {name: float(x[k] if x.ndim else x) for name, x in values.items()}
            if bad := [name for name, x in line.items() if x != x or abs(x) == float("inf")]:
                raise PWMError(
                    f"{spec.id}, seed {seed}: {bad[0]} is not finite in round {number}; start again with lower "
                    f"learning rates and another --out ({self.checkpoint} is of the round before)"
                )
            log.write(PHASE, episodes, line | used | {"updates": float(learner.fleet.updates)}, spec.id, seed)
        shown = next((name for name in ("evaluation_return", "return") if name in values), None)
        bar.advance(0, episodes=episodes, **({shown: float(values[shown].mean())} if shown else {}))
