"""Learning on line, from nothing, from logs and from another run: rounds, resuming, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import pwm
from pwm.agents.online.config import LEARNING, TRAINING
from pwm.agents.pwm.learner import FleetLearner
from pwm.data.growing import GrowingStore
from pwm.data.store import open_store
from pwm.runtime.metrics import read_metrics
from pwm.tasks import registry
from pwm.tasks.registry import get_task
from pwm.world_model.config import world_model_size
from pwm.world_model.files import load_world_model
from pwm.world_model.pretrain import Pretrainer
from tests.commands import contents
from tests.interrupt import updates_of
from tests.toys import LENGTH, toy_task

TASKS = ("toy-a", "toy-b")
CONFIG = pwm.OnlineConfig(
    episodes=8,
    episodes_per_round=2,
    random_episodes=2,
    model_updates=0.25,
    policy_updates=0.125,
    first_model_updates=4,
    first_policy_updates=3,
    recent_episodes=4,
    evaluate_every=4,
    evaluation_episodes=2,
)
SMALL = {
    "model": world_model_size("tiny"),
    "training": replace(TRAINING, batch_size=8, horizon=4),
    "learning": replace(LEARNING, batch_size=4, horizon=3, actor_units=(8,), critic_units=(8,)),
}
START = {name: SMALL[name] for name in ("training", "learning")}


def run(out="run", tasks=TASKS, config=CONFIG, **more):
    return pwm.online(tasks, out, config, device="cpu", **(SMALL | more))


def lines(out="run", **wanted):
    return [x for x in read_metrics(out) if x["phase"] == "online" and wanted.items() <= x.items()]


def test_rounds_from_nothing(toys, tmp_path):
    policies = run(seeds=(0, 3))
    assert [(p.task, p.seed) for p in policies] == [(task, seed) for task in TASKS for seed in (0, 3)]
    own = lines(task="toy-b", seed=3)
    assert [x["step"] for x in own] == [2, 4, 6, 8]
    # 2 episodes of 12 steps: 6 model updates and 3 policy updates per round, after 4 and 3
    assert [x["updates"] for x in own] == [3, 6, 9, 12]
    assert ["real_discounted" in x and x["latent_error_h"] > 0 for x in own] == [False, True, True, True]
    assert ["evaluation_worst" in x for x in own] == [False, True, False, True]
    store = GrowingStore(tmp_path / "run" / "data", [get_task(task) for task in TASKS])
    assert store.segments == 4 and store.episodes("toy-a") == 16  # of both seeds
    newest = store.newest("toy-b", 4, 2)  # the last two are those of seed 3
    assert np.mean([e.rewards.sum() for e in newest]) == pytest.approx(own[-1]["return"], rel=1e-5)
    assert policies[0].act(np.zeros(3)).shape == (2,)
    results = pwm.evaluate("run", episodes=2, film_seconds=0)
    assert set(results["tasks"]) == set(TASKS)
    page = pwm.write_report("run").read_text()
    assert "four policies for toy-a, toy-b learned together, from eight real episodes each" in page
    assert "<h2>Learning on line</h2>" in page and "8 in all" in page and "Learning in imagination" not in page


@pytest.mark.parametrize("trainer, stop", [(Pretrainer, 0), (Pretrainer, 13), (FleetLearner, 7)])
def test_an_interrupted_run_resumes_to_the_same_bits(toys, trainer, stop):
    run("whole")
    with updates_of(trainer, stop), pytest.raises(KeyboardInterrupt):
        run("cut")
    with updates_of(FleetLearner) as begun:
        run("cut")
    assert begun[0] == (0 if stop == 0 else 6)  # policy updates at the last whole round
    for pattern in ("policies/**/*.safetensors", "world_model/*", "data/*/*/*.npy", "data/*/manifest.json"):
        assert contents_of("cut", pattern) == contents_of("whole", pattern) != {}
    timeless = [{k: v for k, v in x.items() if "seconds" not in k} for x in lines("cut")]
    assert timeless == [{k: v for k, v in x.items() if "seconds" not in k} for x in lines("whole")]


def contents_of(run, pattern):
    return contents(Path(run), pattern)


def test_a_finished_run_is_not_touched_and_goes_on_with_more_episodes(toys):
    run()
    with updates_of(FleetLearner) as begun:
        run()
    assert begun == []
    run(config=replace(CONFIG, episodes=11))
    assert [x["step"] for x in lines(task="toy-a")] == [2, 4, 6, 8, 10, 12]
    with pytest.raises(pwm.PWMError, match="online.recent_share = 0.3, now it is 0.1"):
        run(config=replace(CONFIG, recent_share=0.1))
    with pytest.raises(pwm.PWMError, match="learning.horizon = 3, now it is 2"):
        run(learning=replace(SMALL["learning"], horizon=2))


def logs(*tasks):
    """Random episodes of these tasks."""
    run("logs", tasks=tasks, config=replace(CONFIG, random_episodes=6, episodes=6))
    return GrowingStore("logs/data", [get_task(task) for task in tasks]).upto()


def test_step_sizes_are_constant_unless_they_are_to_fall(toys):
    rates = {}
    for falling in (False, True):
        with mock.patch("pwm.agents.pwm.learner.set_rate") as set_rate:
            run(f"run{falling}", tasks=["toy-a"], config=replace(CONFIG, falling_rates=falling))
        rates[falling] = [call.args[1] for call in set_rate.call_args_list][::2]  # of the actor
    assert rates[False] == pytest.approx([3e-4] * 12, rel=1e-6)
    assert rates[True] == pytest.approx(np.linspace(3e-4, 1e-5, 12))


def test_logs_take_the_place_of_random_episodes(toys):
    data = logs(*TASKS)
    run(data=data, config=replace(CONFIG, episodes=4))
    own = lines(task="toy-a")
    assert [x["step"] for x in own] == [0, 2, 4] and "return" not in own[0]
    grown = GrowingStore("run/data", [get_task(task) for task in TASKS], data)
    assert grown.segments == 2 and grown.episodes("toy-a", 0) == 6


def test_only_tasks_without_logs_begin_with_random_episodes(toys):
    run(data=logs("toy-a"), config=replace(CONFIG, episodes=4))
    assert open_store("run/data/segment-000000").tasks == ("toy-b",)
    assert open_store("run/data/segment-000001").tasks == TASKS


class Robot:
    """Plays episodes somewhere else; the observation tells how many actions it has seen."""

    def __init__(self, short=0, rewards=None):
        self.calls, self.short, self.rewards = [], short, rewards

    def __call__(self, policy, episodes):
        self.calls.append((policy.task, policy.seed, episodes))
        return [self.episode(policy) for _ in range(episodes - self.short)]

    def episode(self, policy):
        observations, actions = [np.zeros(policy.observation_dim, np.float32)], []
        for _ in range(LENGTH):
            actions.append(policy.act(observations[-1]))
            observations.append(observations[-1] + actions[-1].mean())
        rewards = np.array([a.mean() for a in actions])
        if self.rewards is not None:
            rewards[:] = self.rewards[len(self.calls) - 1]
        return pwm.Episode(np.stack(observations), np.stack(actions), rewards, np.zeros(LENGTH, bool))


def test_something_must_come_first(toys):
    with pytest.raises(pwm.PWMError, match="random_episodes is 0, but toy-a has no logs"):
        run(config=replace(CONFIG, random_episodes=0))


def test_a_robot_plays_in_place_of_the_simulator(toys):
    robot = Robot()
    run(play=robot, config=replace(CONFIG, episodes=4))
    assert robot.calls == [("toy-a", 0, 2), ("toy-b", 0, 2)] * 2
    actions = open_store("run/data/segment-000001")["toy-a"].actions
    assert len(np.unique(actions)) == actions.size and np.abs(actions).max() <= 1
    assert [x["return"] for x in lines(task="toy-a")[1:]] == pytest.approx(
        [float(open_store("run/data/segment-000001").returns("toy-a").mean())]
    )
    with pytest.raises(pwm.PWMError, match="task toy-a, seed 0: `play` returned 1 episodes, not 2"):
        run("other", play=Robot(short=1))


def test_the_kept_policy_is_the_newest_that_did_about_as_well_as_the_best(toys):
    robot = Robot(rewards=[0.0, 0.2, 1.0, 0.97, 0.5])  # the first are of random actions
    few = replace(CONFIG, episodes=4)
    (policy,) = run(tasks=["toy-a"], play=robot, config=few)  # the first of the rounds passes
    assert policy.about["updates"] == 3
    (policy,) = run(tasks=["toy-a"], play=robot, config=replace(few, episodes=10))
    assert [x.get("kept") for x in lines()] == [None, 1.0, 1.0, 1.0, 0.0]
    # the policy that played the fourth round had learned in the three before
    assert policy.about["updates"] == lines()[2]["updates"] == 9
    assert pwm.load_policy("run/policies/toy-a/seed0.safetensors").about == policy.about


def test_what_was_played_is_not_played_again(toys):
    robot = Robot()
    with updates_of(Pretrainer, 4), pytest.raises(KeyboardInterrupt):
        run(play=robot)
    played = len(robot.calls)
    run(play=robot, config=replace(CONFIG, episodes=4))
    assert played == len(robot.calls) == 4


def test_terminations_are_learned_where_there_are_any(toys, monkeypatch):
    run(tasks=["toy-a"], config=replace(CONFIG, episodes=2))
    assert not load_world_model("run").config.episodic
    monkeypatch.setitem(registry._tasks, "toy-c", toy_task("toy-c", 3, 2, LENGTH, terminate_at=8))
    run("ends", tasks=["toy-c"], config=replace(CONFIG, episodes=4))
    assert load_world_model("ends").config.episodic
    assert open_store("ends/data/segment-000001")["toy-c"].lengths.tolist() == [8, 8]


def test_finetuning_goes_on_from_model_and_policies_and_adds_a_task(toys):
    run("first", tasks=["toy-b"], config=replace(CONFIG, episodes=2))
    before = load_world_model("first")
    config = replace(CONFIG, episodes=4, first_model_updates=0, first_policy_updates=0, episodes_per_round=1)
    nothing = replace(config, model_updates=1e-9, policy_updates=1e-9, episodes=2)
    policies = pwm.finetune("first", "second", TASKS, nothing, device="cpu", **START)
    after = load_world_model("second")
    assert after.tasks == ("toy-b", "toy-a") and after.observation_dim == 3
    assert after.embedding[0].equal(before.embedding[0])
    assert after.embedding[1].equal(before.embedding[0])  # of the only known task; nothing was learned yet
    assert after.observation_scale[1, :3].max() != 1.0  # normalised by its own first episodes
    old, new = pwm.load_policy("first/policies/toy-b/seed0.safetensors"), {p.task: p for p in policies}["toy-b"]
    seen = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    np.testing.assert_allclose(new.act(seen), old.act(seen), atol=1e-6)
    pwm.finetune("first", "third", TASKS, config, device="cpu", **START)
    assert open_store("third/data/segment-000000").tasks == ("toy-a",)  # the first run's own episodes are its logs
    learned = load_world_model("third")
    assert not learned.embedding[1].equal(before.embedding[0])  # a new task's embedding learns too
    with pytest.raises(pwm.PWMError, match="is the run itself"):
        pwm.finetune("first", "first")


def test_the_commands(pwm):
    flags = "--episodes 4 --episodes-per-round 2 --random-episodes 2 --first-model-updates 2 --first-policy-updates 2"
    flags += " --model-updates 0.1 --policy-updates 0.1 --training.batch-size 8 --training.horizon 4"
    flags += " --learning.batch-size 4 --learning.horizon 2 --learning.actor-units 8 --learning.critic-units 8"
    outcome = pwm("online", "--tasks", "toy-a", "--out", "run", *flags.split(), "--model.units", 16, 16)
    assert (outcome.code, outcome.err) == (0, "") and "Next: pwm evaluate run" in outcome.out
    outcome = pwm("finetune", "run", "--out", "more", "--tasks", "toy-a", "toy-b", *flags.split())
    assert (outcome.code, outcome.err) == (0, "")
    assert sorted(contents_of("more", "policies/*/seed0.safetensors")) == [
        f"policies/{t}/seed0.safetensors" for t in TASKS
    ]
    outcome = pwm("online", "--tasks", "nowhere", "--out", "run")
    assert outcome.code == 2 and "nowhere" in outcome.err
    outcome = pwm("online", "--tasks", "toy-a", "--out", "bad", "--recent-share", 1)
    assert outcome.code == 2 and "recent_share is 1" in outcome.err
