"""How much the start explains: known answers, and the closed form against fits that really leave an episode out."""

import numpy as np
import pytest

from pwm.data.lucky_starts import _left_out, explained_by_start
from pwm.data.store import open_store
from pwm.data.writer import StoreWriter


@pytest.fixture
def share(tmp_path):
    def explained(starts, returns):
        path = tmp_path / f"store{len(list(tmp_path.iterdir()))}"
        with StoreWriter(path) as writer:
            writer.add_task("mine", starts.shape[1], 1, 1, 1)
            for start, total in zip(starts, returns):
                writer.add_episode("mine", np.stack([start, start]), np.zeros((1, 1)), np.array([total]))
        return explained_by_start(open_store(path), "mine")

    return explained


def test_known_shares(share):
    rng = np.random.default_rng(0)
    starts = rng.normal(size=(200, 3))
    starts[:, 2] = 7.0  # constant entries do not matter
    noise = rng.normal(size=200)
    assert share(starts, starts[:, 0] ** 2) > 0.9
    assert share(1e-6 * starts + 1e-3, starts[:, 0] ** 2) > 0.9  # in any units
    assert share(starts, starts[:, 1] + noise) == pytest.approx(0.5, abs=0.12)
    assert share(starts, noise) < 0.05


def test_where_nothing_is_known(share):
    rng = np.random.default_rng(0)
    starts = rng.normal(size=(30, 1))
    assert share(starts[:19], starts[:19, 0]) == 0.0
    assert share(starts, np.ones(30)) == 0.0
    assert share(np.ones((30, 1)), starts[:, 0]) == 0.0


def test_leaving_out_in_closed_form():
    rng = np.random.default_rng(0)
    x, y, ridge = rng.normal(size=12), rng.normal(size=12) + 5, 0.3
    kernel = np.exp(-((x[:, None] - x) ** 2))
    errors = []
    for k in range(12):
        rest = np.arange(12) != k
        inverse = np.linalg.inv(kernel[np.ix_(rest, rest)] + ridge * np.eye(11))
        mean = inverse.sum(axis=0) @ y[rest] / inverse.sum()
        errors.append(y[k] - mean - kernel[k, rest] @ inverse @ (y[rest] - mean))
    assert _left_out(kernel, y, ridge) == pytest.approx(np.mean(np.square(errors)))
