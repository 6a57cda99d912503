import numpy as np
import pytest

from pwm.data.preflight import Assumptions, Finding, Grid, against_task, as_lines, preflight, reward_scale
from pwm.data.store import open_store
from pwm.data.writer import StoreWriter

STEPS, EPISODES = 20, 12
PLAIN = Assumptions()


@pytest.fixture
def found(tmp_path):
    """The findings of a store of plain episodes, some of whose arrays are changed."""
    rng = np.random.default_rng(0)

    def check(assumed=PLAIN, task="mine", repeat=1, lengths=None, **change):
        path = tmp_path / f"store{len(list(tmp_path.iterdir()))}"
        with StoreWriter(path) as writer:
            writer.add_task(task, 2, 1, STEPS, repeat)
            for steps in lengths or [STEPS] * EPISODES:
                episode = {
                    "observations": rng.normal(size=(steps + 1, 2)),
                    "actions": rng.uniform(-1, 1, (steps, 1)),
                    "rewards": rng.uniform(0, 1, steps),
                }
                writer.add_episode(
                    task,
                    **{n: change[n](x) if n in change else x for n, x in episode.items()},
                    terminations=change.get("terminations"),
                )
        return [(finding.about, finding.text) for finding in preflight(open_store(path), assumed=assumed)]

    return check


def one(findings, about):
    assert [x for x, _ in findings] == [about], findings
    return findings[0][1]


def test_nothing_is_said_of_data_that_fit(found):
    assert found() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda r: 1e6 * r,
            "go beyond 22,025, where the model's reward code ends: the model learns them divided",
        ),
        (lambda r: 1e-4 * r, "are finer than 0.22, the innermost step of the model's reward code"),
        (lambda r: 0 * r + 3, "every reward is 3: there is nothing to improve"),
        (lambda r: 1000 + 0.01 * r, "hardly any of it is learned; subtract a constant"),
    ],
)
def test_rewards(found, change, words):
    assert words in one(found(rewards=change), "rewards")


def test_rewards_of_other_data_in_a_model_that_is_there(found):
    text = one(found(Assumptions(scales={"mine": 1.0}), rewards=lambda r: 1e6 * r), "rewards")
    assert "do not fit this world model's reward code" in text and "pre-train one on these data" in text


@pytest.mark.parametrize(
    ("rewards", "scale"),
    [([0.0], 1.0), ([0.3, -22000.0], 1.0), ([22100.0], 1e4), ([2e30], 1e30), ([0.15], 0.1), ([-2e-6], 1e-6)],
)
def test_the_factor_is_a_power_of_ten_and_one_where_rewards_fit(rewards, scale):
    class Data:
        pass

    Data.rewards = np.array(rewards, np.float32)
    assert reward_scale(Data) == pytest.approx(scale)
    assert abs(max(rewards, key=abs)) / scale <= Grid().end


def test_small_rewards_of_the_first_episodes_are_kept():
    """On line, later rewards are larger: only rewards far below the innermost step are scaled."""

    class Data:
        rewards = np.array([0.1], np.float32)

    assert reward_scale(Data, least=0.01) == 1.0


def test_observations(found):
    assert found(observations=lambda x: 1e-6 * x) == []
    text = one(found(Assumptions(normalised=False), observations=lambda x: x * [1.0, 1e-5]), "observations")
    assert "pre-train with --normalise-observations" in text
    text = one(found(observations=lambda x: x * [1.0, 1e-3] + [0.0, 5e3]), "observations")
    assert "observation 1: 5000" in text and "float32's resolution" in text and "subtract the offset" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: 0 * a, "action 0 never changes"),
        (lambda a: 0.4 * a, "action 0 stays within half of [-1, 1], from -0.38 to 0.396"),
        (lambda a: np.sign(a), "action 0 lies at -1 or 1 in 100% of the steps"),
    ],
)
def test_actions(found, change, words):
    assert words in one(found(actions=change), "actions")


def test_terminations(found):
    ends = np.arange(STEPS) == STEPS - 1
    assert "12 of 12 episodes terminate: the world model learns" in one(found(terminations=ends), "terminations")
    text = one(found(Assumptions(terminations=False), terminations=ends), "terminations")
    assert "does not learn terminations" in text and "--episodic" in text


def test_episodes_shorter_than_the_horizon(found):
    text = one(found(lengths=[20, 5, 4]), "horizon")
    assert "2 of 3 episodes (31.0% of the steps) are shorter than the horizon of 16" in text and "--horizon 4" in text
    assert found(Assumptions(horizon=4), lengths=[20, 5, 4]) == []


def test_data_are_compared_with_the_registered_task(found):
    findings = found(task="walker-walk", repeat=1)
    assert {about for about, _ in findings} == {"task"}
    words = " ".join(text for _, text in findings)
    assert "action repeat 1, the registered task 2" in words and "observation_dim is 2 in the data and 24" in words
    assert against_task({"id": "nobody-knows"}) == []
    facts = {"id": "walker-walk", "observation_dim": 24, "action_dim": 6, "episode_length": 500, "action_repeat": 2}
    assert against_task(facts) == []
    assert "episodes have up to 250 steps" in against_task(facts | {"episode_length": 250})[0].text


def test_of_many_findings_the_first_are_shown():
    lines = as_lines([Finding(f"t{k}", "rewards", "x") for k in range(40)])
    assert lines[0] == "note: t0: x" and lines[-1] == "note: and 28 more; run.json and the report have all"


def test_returns_that_depend_on_the_start(tmp_path):
    """A cart that starts near its goal or far from it: whatever it does, its return says where it started."""
    rng = np.random.default_rng(0)
    path = tmp_path / "store"
    with StoreWriter(path) as writer:
        writer.add_task("cart", 1, 1, STEPS, 1)
        for k in range(40):
            x = [rng.uniform(-0.2, 0.2) if k % 2 else rng.choice([-1, 1]) * rng.uniform(2, 3)]
            actions = rng.uniform(-1, 1, STEPS)
            for action in actions:
                x.append(x[-1] + 0.1 * action)
            writer.add_episode("cart", np.array(x)[:, None], actions[:, None], -np.abs(x[1:]))
    [finding] = [f for f in preflight(open_store(path)) if f.about == "starts"]
    assert (
        "where an episode starts explains 9" in finding.text and "ten best episodes had the best starts" in finding.text
    )
