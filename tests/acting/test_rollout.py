import numpy as np
import pytest

from pwm.acting.rollout import run_episodes
from pwm.runtime.errors import PWMError
from pwm.tasks.registry import get_task
from tests.toys import toy_task


def linear_policy(width, action_dim, padding=0.0):
    """A fixed policy that treats rows separately; `padding` fills the entries beyond `action_dim`."""
    weights = np.random.default_rng(0).normal(size=(width, action_dim))

    def act(observations):
        own = np.tanh(np.einsum("neo,oa->nea", observations, weights[: observations.shape[-1]]))
        return np.concatenate([own, np.full((*own.shape[:2], 2), padding)], axis=-1)

    return act


def plain_loop(spec, act, seed, width):
    """One environment, one episode, nothing shared with the code under test."""
    env = spec.make()
    observation, _ = env.reset(seed=seed)
    total, length, over = 0.0, 0, False
    while not over:
        padded = np.zeros((1, 1, width), np.float32)
        padded[0, 0, : spec.observation_dim] = observation
        observation, reward, terminated, truncated, _ = env.step(np.float32(act(padded)[0, 0, : spec.action_dim]))
        total, length, over = total + reward, length + 1, terminated or truncated
    return total, length


@pytest.fixture
def specs():
    return [toy_task("a", 3, 2, 6), toy_task("b", 5, 1, 9, terminate_at=4), toy_task("c", 4, 3, 8)]


SEEDS = np.array([[3, 4, 5, 6], [3, 1, 2, 0], [9, 8, 7, 6]])


def test_equals_a_plain_loop_over_single_environments(specs):
    act = linear_policy(5, 3)
    episodes = run_episodes(specs, act, SEEDS)
    expected = [[plain_loop(spec, act, int(seed), 5) for seed in row] for spec, row in zip(specs, SEEDS)]
    np.testing.assert_array_equal(episodes.returns, np.array(expected)[..., 0])
    np.testing.assert_array_equal(episodes.lengths, np.array(expected)[..., 1])
    assert episodes.lengths.tolist() == [[6] * 4, [4] * 4, [8] * 4]
    assert episodes.seeds.tolist() == SEEDS.tolist()
    assert len(np.unique(episodes.returns)) == 12
    assert episodes.success is None and episodes.success_any is None


def test_equals_a_plain_loop_in_the_simulator():
    specs = [get_task("cartpole-swingup"), get_task("reacher-easy")]
    act = linear_policy(6, 2)
    episodes = run_episodes(specs, act, [[5], [5]])
    assert [plain_loop(spec, act, 5, 6) for spec in specs] == [(total, 500) for total in episodes.returns[:, 0]]


def test_grouping_does_not_matter(specs):
    act = linear_policy(5, 3)
    together = run_episodes(specs, act, SEEDS)
    for n, spec in enumerate(specs):
        alone = run_episodes([spec], act, SEEDS[n : n + 1, :2], observation_dim=5)
        rest = run_episodes([spec], act, SEEDS[n : n + 1, 2:], observation_dim=5)
        returns = np.concatenate([alone.returns, rest.returns], axis=1)
        assert returns[0].tobytes() == together.returns[n].tobytes()
    backwards = run_episodes(specs[::-1], act, SEEDS[::-1, ::-1])
    assert backwards.returns[::-1, ::-1].tobytes() == together.returns.tobytes()


def test_the_policy_sees_padded_float32_and_is_called_once_a_step(specs):
    seen, steps = [], []

    def act(observations):
        seen.append(observations)
        return np.zeros((3, 4, 3))

    run_episodes(specs, act, SEEDS, on_step=steps.append, observation_dim=7)
    assert len(seen) == 8 and steps == list(range(1, 9))
    for observations in seen:
        assert observations.shape == (3, 4, 7) and observations.dtype == np.float32
        for n, spec in enumerate(specs):
            assert (observations[n, :, spec.observation_dim :] == 0).all()
            assert (observations[n, :, : spec.observation_dim] != 0).all()
    assert not np.array_equal(seen[0], seen[1])


@pytest.mark.parametrize("garbage", [123.0, np.nan, -np.inf])
def test_padded_actions_change_nothing(specs, garbage):
    clean, act = run_episodes(specs, linear_policy(5, 3), SEEDS), linear_policy(5, 3, padding=garbage)

    def dirty(observations):
        actions = act(observations)
        for n, spec in enumerate(specs):
            actions[n, :, spec.action_dim :] = garbage
        return actions

    assert run_episodes(specs, dirty, SEEDS).returns.tobytes() == clean.returns.tobytes()


def test_actions_for_ended_episodes_change_nothing(specs):
    calls = []

    def act(observations):
        calls.append(1)
        actions = np.full((3, 4, 3), 0.5)
        if len(calls) > 4:
            actions[1] = np.nan
        return actions

    calm = run_episodes(specs, lambda _: np.full((3, 4, 3), 0.5), SEEDS)
    assert run_episodes(specs, act, SEEDS).returns.tobytes() == calm.returns.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_non_finite_action_names_task_step_and_seed(specs, value):
    calls = []

    def act(_):
        calls.append(1)
        actions = np.zeros((3, 4, 3))
        if len(calls) == 3:
            actions[1, 2, 0] = value
        return actions

    with pytest.raises(PWMError, match="b: .*non-finite action at step 2 of the episode with seed 2"):
        run_episodes(specs, act, SEEDS)


def test_success_of_the_last_step_and_of_any_step():
    specs = [toy_task("a", length=6, reports_success=True), toy_task("b", length=5, reports_success=True)]
    specs.append(toy_task("c"))
    episodes = run_episodes(specs, lambda _: np.zeros((3, 2, 2)), [[0, 1]] * 3)
    np.testing.assert_array_equal(episodes.success, [[0, 0], [1, 1], [np.nan, np.nan]])
    np.testing.assert_array_equal(episodes.success_any, [[1, 1], [1, 1], [np.nan, np.nan]])


def test_environments_are_closed_also_after_an_error():
    made = []
    specs = [toy_task(made=made)]
    run_episodes(specs, lambda _: np.zeros((1, 2, 2)), [[0, 1]])
    with pytest.raises(ZeroDivisionError):
        run_episodes(specs, lambda _: 1 / 0, [[0, 1]])
    assert len(made) == 4 and all(env.closed for env in made)


@pytest.mark.parametrize(
    ("seeds", "shape", "message"),
    [
        ([[0, 1]], (3, 2, 3), "seeds must have shape"),
        ([0, 1, 2], (3, 1, 3), "seeds must have shape"),
        ([[0.5], [1], [2]], (3, 1, 3), "whole numbers"),
        ([[-1], [1], [2]], (3, 1, 3), "whole numbers"),
        ([[0], [1], [2]], (3, 1, 2), "policy gave actions of shape"),
        ([[0], [1], [2]], (3, 3), "policy gave actions of shape"),
        ([[0], [1], [2]], (3, 2, 3), "policy gave actions of shape"),
    ],
)
def test_wrong_shapes_are_named(specs, seeds, shape, message):
    with pytest.raises(PWMError, match=message):
        run_episodes(specs, lambda _: np.zeros(shape), seeds)


def test_a_policy_narrower_than_the_tasks_is_named(specs):
    with pytest.raises(PWMError, match="observation_dim is 4, but a task needs 5"):
        run_episodes(specs, linear_policy(5, 3), SEEDS, observation_dim=4)
