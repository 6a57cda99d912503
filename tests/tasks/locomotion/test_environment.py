"""The vector environment: its contract, its determinism, and robots that leave the domain of the simulator."""

import math

import pytest
import torch

from pwm.runtime.errors import PWMError
from pwm.tasks.locomotion.catalogue import find_task, task_names
from pwm.tasks.locomotion.environment import make_locomotion

NAMES = task_names()


def actions(env, steps, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * (2 * torch.rand(steps, env.num_envs, env.action_dim, generator=generator) - 1)


def play(env, steps, seed=0):
    with torch.no_grad():
        return [env.step(action) for action in actions(env, steps, seed)]


def same(first, second):
    return all(torch.equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_kinds(name):
    env = make_locomotion(name, 3)
    sizes = {"hopper": (11, 3), "ant": (37, 8), "anymal": (49, 12), "humanoid": (76, 21), "double-pendulum": (6, 1)}
    sizes["muscle-humanoid"] = (49, 152)
    assert (env.observation_dim, env.action_dim) == sizes[name]
    assert env.episode_length == (240 if name == "double-pendulum" else 1000) and env.device.type == "cpu"
    obs = env.reset()
    step = play(env, 1)[0]
    for array in (obs, step.obs, step.final_obs):
        assert array.shape == (3, env.observation_dim) and array.dtype == torch.float32
    assert step.reward.shape == step.terminated.shape == step.truncated.shape == (3,)
    assert step.terminated.dtype == step.truncated.dtype == torch.bool
    assert torch.isfinite(step.reward).all() and env.bad_rows == 0


def test_same_seed_same_bits_and_another_seed_another_start():
    first, second = (play(make_locomotion("ant", 4, seed=7), 60) for _ in range(2))
    assert same(first, second) and any(step.terminated.any() for step in first)
    assert not same(first, play(make_locomotion("ant", 4, seed=8), 60))


def test_shards_do_not_change_the_bits():
    def gradients(shards):
        env = make_locomotion("ant", 5, shards=shards)
        leaf = actions(env, 6).requires_grad_(True)
        steps = [env.step(action) for action in leaf]
        sum(step.reward for step in steps).sum().backward()
        return [*[step.obs for step in steps], leaf.grad]

    assert all(torch.equal(a, b) for a, b in zip(gradients(1), gradients(3), strict=True))


def test_a_row_does_not_depend_on_the_others():
    few, many = make_locomotion("hopper", 2, seed=1), make_locomotion("hopper", 6, seed=1)
    chosen = actions(many, 30)
    with torch.no_grad():
        for action in chosen:
            torch.testing.assert_close(few.step(action[:2]).obs, many.step(action).obs[:2])


def test_state_continues_to_the_same_bits():
    env = make_locomotion("ant", 4, episode_length=25)
    play(env, 20)
    state = env.get_state()
    ahead = play(env, 40, seed=1)
    other = make_locomotion("ant", 4, seed=99, episode_length=25)
    other.set_state(state)
    assert same(ahead, play(other, 40, seed=1))
    with pytest.raises(PWMError, match="'qd' is missing"):
        env.set_state({k: v for k, v in state.items() if k != "qd"})
    with pytest.raises(PWMError, match=r"'q' has shape \(3, 15\), expected \(4, 15\)"):
        env.set_state(state | {"q": state["q"][:3]})


def test_get_state_is_a_copy():
    env = make_locomotion("hopper", 2)
    state = env.get_state()
    kept = {name: value.clone() for name, value in state.items()}
    play(env, 3)
    assert all(torch.equal(state[name], kept[name]) for name in kept)


def test_truncation_and_termination():
    env = make_locomotion("hopper", 4, episode_length=5, early_termination=False)
    for k, step in enumerate(play(env, 10)):
        assert not step.terminated.any() and bool(step.truncated.all()) == (k % 5 == 4)
        # After a reset the observation is the new episode's; the old one's is kept.
        assert torch.equal(step.obs, step.final_obs) != bool(step.truncated.all())
    env = make_locomotion("hopper", 4)
    fallen = [step for step in play(env, 120) if step.terminated.any()][0]
    assert (fallen.final_obs[fallen.terminated, 0] < -0.45).all() and (fallen.obs[fallen.terminated, 0] > -0.1).all()
    assert not (fallen.terminated & fallen.truncated).any()


def test_starts_are_scattered_or_not():
    obs = make_locomotion("ant", 8).reset()
    assert obs.std(dim=0)[:13].min() > 0
    obs = make_locomotion("ant", 8, stochastic_reset=False).reset()
    expected = torch.zeros(37)
    expected[0], expected[4], expected[11:19] = 0.75, 1.0, torch.tensor([0.0, 1, 0, -1, 0, -1, 0, 1])
    expected[27], expected[28] = 1.0, 1.0
    torch.testing.assert_close(obs, expected.expand(8, -1))


def test_gradients_stop_at_a_reset_and_pass_elsewhere():
    env = make_locomotion("hopper", 2, episode_length=3)
    state = env.get_state()
    state["progress"] = torch.tensor([0, 1])  # row 1 is reset after two steps, row 0 after three
    env.set_state(state)
    leaf = actions(env, 3).requires_grad_(True)
    steps = [env.step(action) for action in leaf]
    assert steps[1].truncated.tolist() == [False, True]
    grad = torch.autograd.grad(steps[2].reward.sum(), leaf, retain_graph=True)[0]
    assert (grad[:2, 0] != 0).any() and (grad[:2, 1] == 0).all() and (grad[2] != 0).any()
    # The bootstrap's observation comes from before the reset.
    grad = torch.autograd.grad(steps[1].final_obs[1].sum(), leaf)[0]
    assert (grad[:2, 1] != 0).any()


def test_detach_cuts_the_graph_and_keeps_the_state():
    env = make_locomotion("ant", 2)
    leaf = actions(env, 2).requires_grad_(True)
    before = env.step(leaf[0]).obs
    obs = env.detach()
    assert torch.equal(obs, before.detach()) and not obs.requires_grad
    grad = torch.autograd.grad(env.step(leaf[1]).reward.sum(), leaf)[0]
    assert (grad[0] == 0).all() and (grad[1] != 0).any()


def test_actions_are_clipped_and_keep_their_gradient_inside():
    env = make_locomotion("hopper", 2)
    state = env.get_state()
    bound = env.step(torch.ones(2, 3)).obs
    env.set_state(state)
    leaf = torch.tensor([[2.0, 2.0, 2.0], [0.99, 0.5, -0.5]], requires_grad=True)
    step = env.step(leaf)
    torch.testing.assert_close(step.obs[0], bound[0], rtol=0, atol=0)
    grad = torch.autograd.grad(step.final_obs.square().sum(), leaf)[0]
    assert (grad[0] == 0).all() and (grad[1] != 0).all()


@pytest.mark.parametrize("poison", [math.nan, math.inf, 2e3])
def test_a_bad_row_is_reset_counted_and_poisons_nobody(poison):
    env = make_locomotion("ant", 3)
    state = env.get_state()
    state["qd"][1, 7] = poison
    env.set_state(state)
    leaf = actions(env, 3).requires_grad_(True)
    steps = [env.step(action) for action in leaf]
    assert env.bad_rows == 1
    assert steps[0].terminated.tolist() == [False, True, False] and steps[0].reward[1] == 0.0
    assert all(torch.isfinite(part).all() for step in steps for part in (step.obs, step.reward, step.final_obs))
    sum(step.reward for step in steps).sum().backward()
    assert torch.isfinite(leaf.grad).all() and (leaf.grad[0, 1] == 0).all()
    assert (leaf.grad[0, [0, 2]] != 0).any() and (leaf.grad[1, 1] != 0).any()


def test_memory_does_not_hold_the_substeps():
    env = make_locomotion("ant", 8)
    leaf = actions(env, 50).requires_grad_(True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.untyped_storage()) or x, lambda x: x):
        total = sum(env.step(action).reward for action in leaf).sum()
    bytes_per_step = sum(storage.nbytes() for storage in {s.data_ptr(): s for s in kept}.values()) / 50 / 8
    total.backward()
    state = 4 * (15 + 14 + 14 + 37)
    assert bytes_per_step < 20 * state  # the buffers of one step of one ant take 100 kB


def test_wrong_settings_are_refused():
    for kwargs, message in [
        ({"task": "aunt"}, "unknown locomotion task 'aunt'; known are hopper"),
        ({"preset": "fast"}, "unknown preset 'fast'; known are exact, paper"),
        ({"num_envs": 0}, "num_envs is 0"),
        ({"shards": 9}, r"shards is 9; it must lie in 1\.\.8"),
        ({"mass_matrix_every": 17}, r"mass_matrix_every is 17; it must lie in 1\.\.16"),
        ({"mass_matrix_every": 0}, "mass_matrix_every is 0"),
        ({"contact_stiffness": -1.0}, "contact_stiffness is -1.0"),
        ({"contact_stiffness": math.nan}, "contact_stiffness is nan"),
        ({"task": "double-pendulum", "contact_stiffness": 1.0}, "nothing touches the ground"),
        ({"substeps": 0}, "substeps is 0"),
        ({"episode_length": 0}, "episode_length is 0"),
        ({"device": "tpu"}, "device 'tpu'"),
    ]:
        with pytest.raises(PWMError, match=message):
            make_locomotion(**({"task": "ant", "num_envs": 8} | kwargs))
    env = make_locomotion("hopper", 2)
    with pytest.raises(PWMError, match=r"actions have shape \(2, 4\), expected \(2, 3\)"):
        env.step(torch.zeros(2, 4))


def test_presets_and_single_settings():
    assert [find_task(name, "paper")[1].mass_matrix_every for name in NAMES] == [16, 16, 16, 48, 8, 16]
    assert all(find_task(name)[1].mass_matrix_every == 1 for name in NAMES)
    env = make_locomotion("hopper", 2, preset="paper", contact_stiffness=2e5)
    assert env.physics.mass_matrix_every == 16 and env.physics.contact.stiffness == 2e5
    assert make_locomotion("hopper", 2, substeps=4, preset="paper").physics.mass_matrix_every == 4
