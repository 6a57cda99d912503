"""A task of your own, from its environment to an evaluated policy: python examples/own_task.py [RUN_FOLDER [UPDATES]]

The settings are tiny: it shows the calls and learns little. The command line knows the task where PWM_TASKS names this
file: PWM_TASKS=examples/own_task.py pwm evaluate RUN_FOLDER
"""

import sys
from pathlib import Path

import gymnasium
import numpy as np

import pwm
from pwm.data.writer import StoreWriter
from pwm.tasks.gymnasium_env import task_from_factory


class Puck(gymnasium.Env):
    """A puck on ice, pushed along a line with up to 2 newtons: bring it to rest at the origin."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))  # position, speed
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,))
    render_mode = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.array([self.np_random.uniform(-1, 1), 0.0], np.float32)
        return self.state.copy(), {}

    def step(self, action):
        self.state[1] += 0.1 * action[0]
        self.state[0] += 0.1 * self.state[1]
        distance = np.abs(self.state).sum()
        return self.state.copy(), float(np.exp(-distance)), False, False, {"success": float(distance < 0.1)}


TASK = pwm.register_task(task_from_factory(Puck, task_id="puck", episode_length=50, score="success"))


def record(path, episodes=40):
    """Episodes of a clumsy driver: it pushes towards the origin, brakes, and is not quite sober."""
    env, random = TASK.make(), np.random.default_rng(0)
    with StoreWriter(path) as writer:
        writer.add_task(TASK.id, TASK.observation_dim, TASK.action_dim, TASK.episode_length, TASK.action_repeat)
        for episode in range(episodes):
            observations, actions, rewards, ended = [env.reset(seed=episode)[0]], [], [], False
            while not ended:
                push = -0.5 * observations[-1].sum(keepdims=True) + random.normal(0.0, 0.3, 1)
                actions.append(push.clip(-1.0, 1.0))  # as the task takes them, not in newtons
                observation, reward, _, ended, _ = env.step(actions[-1])
                observations.append(observation), rewards.append(reward)
            writer.add_episode(TASK.id, np.array(observations), np.array(actions), np.array(rewards))


if __name__ == "__main__":
    run, updates = (sys.argv[1:] + ["runs/own-task", "200"][len(sys.argv) - 1 :])[:2]
    data = Path(run) / "data"
    if not data.exists():
        record(data)
    store = pwm.open_dataset(data, verify=True)
    model = pwm.pretrain(store, run, "tiny", pwm.PretrainConfig(updates=int(updates), batch_size=64, horizon=8))
    pwm.learn(model, store, run, config=pwm.PolicyConfig(updates=int(updates), batch_size=16, horizon=8))
    result = pwm.evaluate(run, episodes=5, film_seconds=0)["tasks"][TASK.id]
    print({name: result[name] for name in ("data_mean", "random_mean", "policy_mean")})
