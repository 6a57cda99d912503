"""Policies measured in the simulator that they were trained in."""

import json
import sys
import types

import gymnasium
import numpy as np
import pytest
import torch

from pwm.acting.policy_file import policy_path
from pwm.agents.perceptron_policy import KIND, BaselinePolicy
from pwm.cli.main import main
from pwm.evaluation.evaluate import evaluate_run
from pwm.pipeline.evaluate import evaluate
from pwm.runtime.errors import PWMError
from pwm.runtime.files import write_json
from pwm.runtime.run_folder import read_run_file, run_file
from pwm.tasks.environment_config import EnvironmentConfig
from pwm.tasks.registry import get_task
from pwm.tasks.vector import in_simulator
from tests.toys import toy_task

TASK = "double-pendulum"


def save_policy(run, simulator, seed=0, task=TASK, sizes=(6, 1)):
    facts = {} if simulator is None else {"simulator": simulator}
    about = {"kind": KIND, "algorithm": "shac", "task": task, "seed": seed, "hidden": [8], "activation": "elu"}
    about |= {"observation_dim": sizes[0], "action_dim": sizes[1], "layer_norm": True, "squash": "tanh"} | facts
    policy = BaselinePolicy(about)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for tensor in policy.parameters():
            tensor.normal_()
    policy.save(policy_path(run, task, seed))
    return policy


class Pendulum(gymnasium.Env):
    """Stands for the locomotion environment: every step's reward is the setting that it was made with."""

    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (6,)), gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, task, render_mode=None, mass_files=None, mass_matrix_every=1):
        self.every = mass_matrix_every

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(6, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(6, np.float32), float(self.every), False, self.steps == 5, {}


def test_as_trained_and_as_registered(tmp_path, monkeypatch, capsys):
    views = types.SimpleNamespace(LocomotionTaskEnv=Pendulum)
    monkeypatch.setitem(sys.modules, "pwm.tasks.locomotion.gymnasium_views", views)
    save_policy(tmp_path, {"mass_matrix_every": 16, "contact_stiffness": None})
    write_json(run_file(tmp_path), {})
    for simulator, every in (("task", 1), ("trained", 16), ("task", 1)):
        results = evaluate(tmp_path, 2, film_seconds=0, simulator=simulator)
        assert results["tasks"][TASK]["policy_mean"] == results["tasks"][TASK]["random_mean"] == 5 * every
        assert results.get("simulators", {}) == ({} if every == 1 else {TASK: {"mass_matrix_every": 16}})
        assert json.loads((tmp_path / "results.json").read_text()) == results
        assert read_run_file(tmp_path)["config"]["evaluate"].get("simulator", "task") == simulator
    assert main(["evaluate", str(tmp_path), "--film-seconds", "0", "--simulator", "trained"]) == 0
    assert f"Simulator of {TASK}: mass_matrix_every 16" in capsys.readouterr().out


def test_settings_that_are_the_tasks_own_are_no_other_simulator(tmp_path, monkeypatch, capsys):
    from pwm.tasks import registry

    registry.list_tasks()
    spec = toy_task("toy", 3, 2, 6)
    monkeypatch.setattr(registry, "_tasks", registry._tasks | {"toy": spec})
    save_policy(tmp_path, None, 0, "toy", (3, 2))
    save_policy(tmp_path, {"mass_matrix_every": None, "contact_stiffness": None}, 1, "toy", (3, 2))
    results = evaluate_run(tmp_path, 2, 0, 0)
    assert "simulators" not in results
    assert evaluate_run(tmp_path, 2, 0, 0, simulator="trained") == results
    assert "skipped 2 of 2" in capsys.readouterr().out

    save_policy(tmp_path, {"mass_matrix_every": 4}, 1, "toy", (3, 2))
    with pytest.raises(PWMError, match="policies of toy were trained in different simulators"):
        evaluate_run(tmp_path, 2, 0, 0, simulator="trained")
    policy_path(tmp_path, "toy", 0).unlink()
    with pytest.raises(PWMError, match="toy: its simulator has no settings mass_matrix_every; evaluate it as reg"):
        evaluate_run(tmp_path, 2, 0, 0, simulator="trained")
    with pytest.raises(PWMError, match="simulator is 'moon', must be one of task, trained"):
        evaluate_run(tmp_path, 2, 0, 0, simulator="moon")
    save_policy(tmp_path, {"gravity": 1.6}, 1, "toy", (3, 2))
    with pytest.raises(PWMError, match="policy of toy: unknown field gravity"):
        evaluate_run(tmp_path, 2, 0, 0, simulator="trained")


def test_a_task_in_a_simulator():
    spec = in_simulator(get_task("ant"), EnvironmentConfig(contact_stiffness=5e3))
    assert spec == get_task("ant") and spec.make.settings == {"contact_stiffness": 5e3}
    assert get_task("ant").make.settings == {} and in_simulator(get_task("ant"), EnvironmentConfig()) is get_task("ant")
