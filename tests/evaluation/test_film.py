import numpy as np
import pytest
from PIL import Image, features

from pwm.evaluation.film import write_film
from pwm.runtime.errors import PWMError
from pwm.tasks.registry import get_task
from pwm.tasks.rendering import probe_rendering
from tests.toys import toy_task

needs_webp = pytest.mark.skipif(not features.check("webp"), reason="Pillow without WebP")


def still(observation):
    return np.zeros(2)


def greys(path):
    """Grey level in the middle of each picture; the toy's level is 20 times its step."""
    film = Image.open(path)
    levels = []
    for frame in range(film.n_frames):
        film.seek(frame)
        levels.append(round(float(np.asarray(film.convert("RGB"))[60, 80, 0]) / 20))
    return levels


@needs_webp
def test_a_film_is_evenly_spaced_from_first_to_last(tmp_path):
    assert write_film(tmp_path / "film.webp", toy_task(length=10), still, seed=0) is None
    assert greys(tmp_path / "film.webp") == [0, 2, 4, 6, 8, 10]


@needs_webp
def test_a_short_episode_ends_with_its_last_state(tmp_path):
    assert write_film(tmp_path / "film.webp", toy_task(length=10, terminate_at=5), still, seed=0) is None
    assert greys(tmp_path / "film.webp") == [0, 2, 4, 5]


@needs_webp
def test_the_policy_sees_the_observations_of_that_seed(tmp_path):
    spec, seen = toy_task(length=4), []

    def act(observation):
        seen.append(observation.copy())
        return np.array([0.1, 0.2, np.nan])  # entries beyond the task's actions do not count

    assert write_film(tmp_path / "film.webp", spec, act, seed=11) is None
    env = spec.make()
    expected = [env.reset(seed=11)[0].copy()] + [env.step(np.float32([0.1, 0.2]))[0].copy() for _ in range(3)]
    np.testing.assert_array_equal(seen, expected)


@needs_webp
def test_a_film_is_a_small_looping_webp_in_real_time(tmp_path):
    path = tmp_path / "film.webp"
    made = []
    assert write_film(path, toy_task(length=12, made=made), still, seed=0) is None
    film = Image.open(path)
    assert (film.format, film.size, film.n_frames) == ("WEBP", (160, 120), 7)
    assert film.info["loop"] == 0
    film.seek(1)
    film.load()
    assert film.info["duration"] == 40  # every second of 50 steps a second
    assert [p.name for p in tmp_path.iterdir()] == ["film.webp"] and all(env.closed for env in made)
    assert write_film(path, toy_task(length=12), still, seed=0, seconds=0.1) is None
    assert Image.open(path).n_frames == 3


@needs_webp
def test_a_film_keeps_to_its_size(tmp_path):
    spec, path = toy_task(length=100), tmp_path / "film.webp"
    assert write_film(path, spec, still, seed=0) is None
    full = path.stat().st_size
    assert Image.open(path).n_frames == 51
    assert write_film(path, spec, still, seed=0, max_bytes=full // 3) is None
    assert path.stat().st_size <= full // 3
    small = Image.open(path)
    small.seek(1)
    small.load()
    # Fewer frames, each shown for longer.
    assert (small.n_frames, small.info["duration"]) in [(26, 80), (13, 160), (7, 320)]
    path.unlink()
    assert "does not fit" in write_film(path, spec, still, seed=0, max_bytes=50)
    assert not path.exists()


def test_a_non_finite_action_is_an_error(tmp_path):
    for act in (lambda _: np.array([np.nan, 0.0]), lambda _: np.zeros(1)):
        with pytest.raises(PWMError, match="toy: the policy must give 2 finite"):
            write_film(tmp_path / "f.webp", toy_task(), act, seed=0)


def test_without_rendering_the_reason_comes_back(tmp_path, monkeypatch):
    path = tmp_path / "film.webp"
    # Importing the simulator obeys MUJOCO_GL too, so let it come first.
    spec = get_task("cartpole-swingup")
    spec.make().close()
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    reason = "cannot render: MUJOCO_GL=disabled switches rendering off; unset it"
    assert write_film(path, spec, still, 0) == reason
    broken = toy_task()
    object.__setattr__(broken, "make", lambda render_mode=None: 1 / 0)
    assert "toy: no environment that renders" in write_film(path, broken, still, 0)
    assert not path.exists()


@needs_webp
def test_a_film_of_the_simulator(tmp_path):
    if reason := probe_rendering().reason:
        pytest.skip(reason)
    path = tmp_path / "film.webp"
    assert write_film(path, get_task("cartpole-swingup"), lambda _: np.ones(1), 0, seconds=0.4) is None
    assert Image.open(path).n_frames == 11 and path.stat().st_size < 400_000
