from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Sequence

from pwm.runtime.errors import PWMError
from pwm.tasks.gymnasium_env import task_from_factory, task_from_gymnasium


class Walk(gymnasium.Env):
    """A point on a line; actions [2, 1] in [0, 10]; reward 1 a step; terminates beyond `wall`."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}
    observation_space = Dict({"b": Box(-9, 9, (2, 1)), "a": Box(-9, 9, (1,))})
    action_space = Box(0.0, 10.0, (2, 1))

    def __init__(self, wall=100.0, render_mode=None):
        self.wall, self.render_mode = wall, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = self.np_random.uniform()
        self.actions = []
        return self._observe(), {}

    def step(self, action):
        assert action in self.action_space, action
        self.actions.append(action)
        self.position += float(action[0, 0])
        return self._observe(), 1.0, self.position > self.wall, False, {"success": self.position > self.wall}

    def render(self):
        return np.zeros((4, 6, 3), np.uint8)

    def _observe(self):
        part = np.array([self.position], np.float32)
        return {"b": np.stack([part, -part]), "a": 2 * part}


def walk_task(**kwargs):
    return task_from_factory(**dict(make=Walk, task_id="walk", episode_length=5, action_repeat=3) | kwargs)


def test_sizes_repeat_and_truncation():
    spec = walk_task()
    assert (spec.observation_dim, spec.action_dim, spec.episode_length, spec.action_repeat) == (3, 2, 5, 3)
    env = spec.make()
    observation, _ = env.reset(seed=0)
    assert observation.shape == (3,) and observation.dtype == np.float32
    assert sorted(observation.tolist()) == sorted([observation.max(), -observation.max() / 2, observation.max() / 2])
    for step in range(1, 6):
        _, reward, terminated, truncated, _ = env.step(np.array([-1.0, -1.0]))
        assert (reward, terminated, truncated) == (3.0, False, step == 5)


@pytest.mark.parametrize(("action", "native"), [(-1.0, 0.0), (0.0, 5.0), (1.0, 10.0), (7.0, 10.0)])
def test_actions_are_mapped_to_the_native_range(action, native):
    env = walk_task().make()
    env.reset(seed=0)
    env.step(np.array([action, -1.0], np.float32))
    np.testing.assert_allclose(env._env.actions[0], [[native], [0.0]])


def test_a_termination_ends_the_repeat():
    env = walk_task(make=lambda **kwargs: Walk(wall=15.0, **kwargs)).make()
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(np.ones(2))
    assert (reward, terminated, truncated, info["success"]) == (2.0, True, False, True)


def test_render_mode_reaches_the_environment():
    env = walk_task().make(render_mode="rgb_array")
    assert env.render_mode == "rgb_array" and env.render().shape == (4, 6, 3)
    assert env.metadata["render_fps"] == pytest.approx(50 / 3)


class Unseeded(Walk):
    def reset(self, *, seed=None, options=None):
        return super().reset()


def test_an_environment_that_ignores_its_seed_is_named(capsys):
    assert walk_task() and capsys.readouterr().err == ""
    walk_task(make=Unseeded)
    assert "note: walk: two resets with the same seed begin differently (by up to" in capsys.readouterr().err


class ResetsItself(Walk):
    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        if terminated:
            info |= {"final_observation": observation}
            observation, _ = self.reset()
        return observation, reward, terminated, truncated, info


def test_the_last_observation_of_an_environment_that_resets_itself_is_its_own():
    env = walk_task(make=partial(ResetsItself, wall=4.0)).make()
    env.reset(seed=0)
    flat, _, terminated, _, _ = env.step(np.ones(2))
    assert terminated and flat[0] > 8.0


def test_any_gymnasium_id():
    spec = task_from_gymnasium("Pendulum-v1", action_repeat=3, g=9.0)
    assert (spec.id, spec.observation_dim, spec.action_dim, spec.episode_length) == ("Pendulum-v1", 3, 1, 67)
    env = spec.make()
    assert env._env.unwrapped.g == 9.0
    reference = gymnasium.make("Pendulum-v1", g=9.0)
    observation, reference_observation = env.reset(seed=4)[0], reference.reset(seed=4)[0]
    np.testing.assert_array_equal(observation, reference_observation)
    total = sum(reference.step(np.array([1.0], np.float32))[1] for _ in range(3))
    assert env.step(np.array([0.5]))[1] == pytest.approx(total, rel=1e-6)
    ends = [env.step(np.array([0.0]))[3] for _ in range(66)]
    assert ends == [False] * 65 + [True]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"action_space": Discrete(3)}, "continuous.*wrap the environment"),
        ({"action_space": Box(0, 9, (1,), int)}, "continuous"),
        ({"action_space": Box(-np.inf, np.inf, (1,))}, "bounds"),
        ({"observation_space": Sequence(Box(0, 1, (1,)))}, "flat form.*gives a Box"),
    ],
)
def test_spaces_that_do_not_fit_are_named(space, message):
    with pytest.raises(PWMError, match=f"task walk: .*{message}"):
        walk_task(make=type("Odd", (Walk,), space))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (({"b": np.zeros((2, 1)), "a": np.array([np.nan])}, 1.0, False, False, {}), "observation .* at agent step 1"),
        (({"b": np.zeros((2, 1)), "a": np.zeros(1)}, np.inf, False, False, {}), "reward inf at agent step 1"),
        (({"b": np.zeros((2, 1)), "a": np.zeros(1)}, 1.0, True, False, {}), "no 'success'"),
    ],
)
def test_an_environment_that_breaks_its_promise_is_named(result, message):
    env = walk_task(make=type("Odd", (Walk,), {"step": lambda self, action: result}), score="success").make()
    env.reset(seed=0)
    with pytest.raises(PWMError, match=message):
        env.step(np.zeros(2))


def test_ids_that_do_not_work_are_named():
    with pytest.raises(PWMError, match="Nothing-v0"):
        task_from_gymnasium("Nothing-v0")
    with pytest.raises(PWMError, match="continuous"):
        task_from_gymnasium("CartPole-v1")
    with pytest.raises(PWMError, match="task walk: .*no engine"):
        walk_task(make=lambda: (_ for _ in ()).throw(RuntimeError("no engine")))


def test_a_step_outside_an_episode_is_refused():
    env = walk_task().make()
    with pytest.raises(PWMError, match="reset"):
        env.step(np.zeros(2))
    env.reset(seed=0)
    for _ in range(5):
        env.step(-np.ones(2))
    with pytest.raises(PWMError, match="reset"):
        env.step(-np.ones(2))


def test_a_bad_action_is_refused():
    env = walk_task().make()
    env.reset(seed=0)
    for action in ([np.nan, 0.0], [0.0]):
        with pytest.raises(PWMError, match="action"):
            env.step(np.array(action))


def test_the_scale_of_returns_is_handed_on():
    assert walk_task(return_range=(0, 15)).return_range == (0, 15) and walk_task().return_range is None
    spec = task_from_gymnasium("Pendulum-v1", return_range=(-1600.0, 0.0))
    assert spec.return_range == (-1600.0, 0.0)
