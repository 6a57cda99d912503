"""The engine's gradients, by central finite differences through the public environment; and how large they get."""

import pytest
import torch

from pwm.tasks.locomotion.catalogue import find_task, task_names
from pwm.tasks.locomotion.gradient_check import (
    gradient_norms,
    gradients_and_differences,
    relative_errors,
    slopes_and_differences,
)

# Per number of steps: the largest relative error of the median and of the worst row. The finite-difference step is
# 5e-3: in float32 a smaller one is noise, and a larger one spans contacts that begin or end.
LIMITS = {1: (0.01, 0.05), 8: (0.02, 0.15)}


def check(name, steps, rows, **settings):
    if name == "muscle-humanoid":
        ours, expected = slopes_and_differences(name, steps, rows, 1e-2, **settings)
    else:
        ours, expected = gradients_and_differences(name, steps, rows, 5e-3, **settings)
    assert expected.norm(dim=1).min() > 1e-3
    errors, (median, worst) = relative_errors(ours, expected), LIMITS[steps]
    assert errors.median() < median and errors.max() < worst
    assert torch.nn.functional.cosine_similarity(ours, expected).min() > 0.99


@pytest.mark.parametrize("name", task_names())
def test_gradients_of_one_step(name):
    check(name, 1, 4)


@pytest.mark.parametrize("name", ["hopper", "ant", "anymal", "muscle-humanoid", "double-pendulum"])
def test_gradients_of_eight_steps(name):
    check(name, 8, 3)


def test_gradients_with_a_cached_mass_matrix():
    check("ant", 8, 3, preset="paper")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["exact", "paper"])
@pytest.mark.parametrize("name", task_names())
def test_gradients_of_eight_steps_everywhere(name, preset):
    check(name, 8, 8, preset=preset)


# The largest norm over 32 steps, a few times what was measured (docs/results/locomotion_gradients.md).
BOUNDS = {
    "hopper": 6e3,
    "ant": 100.0,
    "anymal": 300.0,
    "humanoid": 8e3,
    "muscle-humanoid": 200.0,
    "double-pendulum": 1e3,
}


@pytest.mark.parametrize("name", task_names())
def test_gradients_stay_bounded_over_32_steps(name):
    norms = gradient_norms(name, 32, rows=8)
    assert torch.isfinite(norms).all() and norms.max() < BOUNDS[name]


def test_gradients_explode_where_contact_is_too_stiff():
    """What the bounds above would see. States stay finite even here."""
    stiff = 100 * find_task("ant")[1].contact.stiffness
    assert gradient_norms("ant", 32, rows=8, contact_stiffness=stiff).median() > BOUNDS["ant"]
