"""The Gymnasium views: the checker's word, and the vector view beside single environments."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from pwm.acting.rollout import run_episodes
from pwm.evaluation.film import write_film
from pwm.runtime.errors import PWMError
from pwm.tasks.locomotion.family import TASK_SETS, TASKS
from pwm.tasks.locomotion.gymnasium_views import LocomotionTaskEnv, LocomotionVectorEnv
from pwm.tasks.registry import get_task, task_set


@pytest.mark.filterwarnings("ignore:.*infinity")
@pytest.mark.filterwarnings("ignore:.*spec")
def test_gymnasium_checks_the_single_environment():
    check_env(LocomotionTaskEnv("hopper", render_mode="rgb_array"), skip_close_check=True)


@pytest.mark.parametrize("spec", TASKS, ids=lambda spec: spec.id)
def test_registered_tasks_are_what_they_say(spec):
    assert get_task(spec.id) is spec
    with spec.make() as env:
        assert env.observation_space.shape == (spec.observation_dim,)
        assert env.action_space == gymnasium.spaces.Box(-1.0, 1.0, (spec.action_dim,), np.float32)
        observation, info = env.reset(seed=3)
        assert observation.dtype == np.float32 and observation in env.observation_space and info == {}
        assert env._env.episode_length == spec.episode_length
        np.testing.assert_array_equal(env.reset(seed=3)[0], observation)
        assert env.render() is None


def test_the_task_set():
    assert [task.id for task in task_set("locomotion")] == list(TASK_SETS["locomotion"])


def test_an_episode_ends_and_goes_on_as_gymnasium_wants():
    env = LocomotionTaskEnv("hopper", episode_length=4, early_termination=False)
    with pytest.raises(PWMError, match="call reset"):
        env.step(np.zeros(3))
    first = env.reset(seed=1)[0]
    steps = [env.step(np.full(3, 0.1)) for _ in range(4)]
    assert [step[3] for step in steps] == [False, False, False, True] and not any(step[2] for step in steps)
    assert isinstance(steps[0][1], float)
    with pytest.raises(PWMError, match="call reset"):
        env.step(np.zeros(3))
    second = env.reset()[0]
    assert not np.array_equal(first, second)
    env.reset(seed=1)
    np.testing.assert_array_equal(env.reset()[0], second)
    for wrong in (np.zeros(4), np.full(3, np.nan)):
        with pytest.raises(PWMError, match="action must be finite and of shape"):
            env.step(wrong)
    with pytest.raises(PWMError, match="render_mode"):
        LocomotionTaskEnv("hopper", render_mode="human")


@pytest.mark.parametrize("seed", [5, [9, 4, 2]])
def test_the_vector_view_equals_single_environments(seed):
    ours = LocomotionVectorEnv("hopper", 3, episode_length=30)
    single = lambda: LocomotionTaskEnv("hopper", episode_length=30)  # noqa: E731
    theirs = SyncVectorEnv([single] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"]
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    np.testing.assert_allclose(ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0], atol=1e-6)
    random, ends = np.random.default_rng(0), 0
    for _ in range(70):
        actions = random.uniform(-1, 1, (3, 3)).astype(np.float32)
        mine, other = ours.step(actions), theirs.step(actions)
        for a, b in zip(mine[:4], other[:4], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
        assert mine[4].keys() == other[4].keys()
        if "final_obs" in mine[4]:
            ended = other[4]["_final_obs"]
            ends += ended.sum()
            np.testing.assert_array_equal(mine[4]["_final_obs"], ended)
            for row in range(3):
                a, b = mine[4]["final_obs"][row], other[4]["final_obs"][row]
                assert (a is None) == (b is None) == (not ended[row])
                if ended[row]:
                    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert ends >= 6


def test_wrappers_of_gymnasium_take_the_vector_view():
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(LocomotionVectorEnv("hopper", 2, episode_length=5))
    env.reset(seed=0)
    for _ in range(5):
        *_, truncated, infos = env.step(np.zeros((2, 3), np.float32))
    assert truncated.all() and infos["episode"]["l"].tolist() == [5, 5]


def test_episodes_are_evaluated_and_filmed_like_any_task(tmp_path):
    spec = get_task("hopper")
    act = lambda x: np.zeros((*x.shape[:-1], 3), np.float32)  # noqa: E731
    episodes = run_episodes([spec], act, [[1, 2]])
    assert (episodes.lengths > 5).all() and np.isfinite(episodes.returns).all()
    again = run_episodes([spec], act, [[2]])
    assert again.returns[0, 0] == episodes.returns[0, 1]
    assert write_film(tmp_path / "hopper.webp", spec, lambda x: np.ones(3), seed=0) is None
