"""What imitation prefers: returns to go by hand, values fitted without the episode itself, no lucky starts."""

from dataclasses import replace

import numpy as np
import pytest

from pwm.agents.pwm import imitation
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.imitation import advantages, imitation_weights, returns_to_go
from pwm.data.states import rank_weights
from pwm.data.store import open_store
from pwm.data.writer import StoreWriter
from pwm.world_model.config import world_model_size
from pwm.world_model.model import WorldModel

STEPS = 40
CONFIG = PolicyConfig(behaviour_weight=1.0, behaviour_sharpness=8.0)


@pytest.fixture(scope="module")
def cart(tmp_path_factory):
    """Half of the episodes start next to the goal and act at random, half start far from it and go there."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("cart") / "store"
    with StoreWriter(path) as writer:
        writer.add_task("cart", 1, 1, STEPS, 1)
        for k in range(100):
            lucky = k % 2 == 0
            x = [rng.uniform(-0.2, 0.2) if lucky else rng.choice([-1, 1]) * rng.uniform(2, 3)]
            actions = []
            for _ in range(STEPS):
                good = float(np.clip(-2 * x[-1] + rng.normal(0, 0.1), -1, 1))
                actions.append(rng.uniform(-1, 1) if lucky else good)
                x.append(x[-1] + 0.1 * actions[-1])
            writer.add_episode("cart", np.array(x)[:, None], np.array(actions)[:, None], -np.abs(x[1:]))
    return open_store(path)


@pytest.fixture(scope="module")
def model():
    config = world_model_size("tiny", bias_init=0.3)
    return WorldModel(config, ["cart"], [1], [1], seed=0).freeze()


def test_returns_to_go_by_hand():
    class Data:
        rewards = np.array([1, 2, 4, 10, 20], np.float32)
        offsets = np.array([0, 3, 5])
        lengths = np.array([3, 2])

    assert returns_to_go(Data, 0.5).tolist() == [3, 4, 4, 20, 20]
    assert returns_to_go(Data, 0.0).tolist() == Data.rewards.tolist()


def test_the_advantage_is_of_the_action_and_not_of_the_start(cart, model):
    found, data = advantages(model, cart, "cart", 0.97), cart["cart"]
    x = data.observations[np.arange(len(found)) + np.repeat(np.arange(100), STEPS), 0]
    lucky = np.repeat(np.arange(100) % 2 == 0, STEPS)
    near = (np.abs(x) > 0.1) & (np.abs(x) < 0.5)
    assert found[near & ~lucky].mean() > found[near & lucky].mean() + 0.5 * found.std()
    assert abs(found.mean()) < 0.1 * found.std()
    assert found.std() < 0.6 * returns_to_go(data, 0.97).std()


def test_auto_imitates_good_actions_where_starts_are_lucky(cart, model):
    data, weights = cart["cart"], imitation_weights(model, cart, "cart", CONFIG)
    assert weights.shape == data.rewards.shape and weights.max() <= np.exp(5) + 1e-9
    lucky = np.repeat(np.arange(100) % 2 == 0, STEPS)
    x = data.observations[np.arange(len(weights)) + np.repeat(np.arange(100), STEPS), 0]
    near = (np.abs(x) > 0.1) & (np.abs(x) < 0.5)
    towards = -np.sign(x) * data.actions[:, 0]
    assert np.average(towards[near], weights=weights[near]) > 2 * towards[near].mean()
    by_return = imitation_weights(model, cart, "cart", replace(CONFIG, behaviour_by="return"))
    np.testing.assert_array_equal(by_return, rank_weights(cart, "cart", 8.0))
    share = lambda w: w[lucky].sum() / w.sum()  # noqa: E731
    assert share(np.repeat(by_return, STEPS)) > 0.95 and share(weights) < 0.8


def test_auto_goes_by_return_where_starts_do_not_matter(cart, model, monkeypatch):
    monkeypatch.setattr(imitation, "explained_by_start", lambda *_: 0.49)
    np.testing.assert_array_equal(imitation_weights(model, cart, "cart", CONFIG), rank_weights(cart, "cart", 8.0))


def test_no_episode_explains_its_own_luck(cart, model, monkeypatch):
    """One episode has other rewards: its values, from the others, do not notice, however it is cut into parts."""
    before = advantages(model, cart, "cart", 0.9)
    monkeypatch.setattr(imitation, "_ROWS", 37)
    np.testing.assert_allclose(advantages(model, cart, "cart", 0.9), before, atol=1e-6)
    data = cart["cart"]
    rewards = np.array(data.rewards)
    rewards[:STEPS] += 1.0
    monkeypatch.setattr(cart, "_episodes", {"cart": replace(data, rewards=rewards)})
    monkeypatch.setattr(imitation, "_RIDGES", (1e-3,))
    one = advantages(model, cart, "cart", 0.9)
    bonus = (1 - 0.9 ** np.arange(STEPS, 0, -1)) / (1 - 0.9)
    monkeypatch.setattr(cart, "_episodes", {"cart": data})
    np.testing.assert_allclose(one[:STEPS] - advantages(model, cart, "cart", 0.9)[:STEPS], bonus, atol=1e-5)


def test_a_single_episode_and_rows_left_out_of_the_fit(cart, model, monkeypatch):
    monkeypatch.setattr(imitation, "_FITTED", 500)
    assert np.isfinite(advantages(model, cart, "cart", 0.9)).all()
    data = cart["cart"]
    single = replace(
        data,
        offsets=data.offsets[:2],
        **{n: getattr(data, n)[: STEPS + (n == "observations")] for n in ("observations", "actions", "rewards")},
    )
    monkeypatch.setattr(cart, "_episodes", {"cart": single})
    np.testing.assert_allclose(advantages(model, cart, "cart", 0.9), returns_to_go(single, 0.9), atol=1e-6)
