"""The engine's gradients, by central finite differences through the public environment."""

import pytest
import torch

from tests.tasks.locomotion.finite_differences import compare, relative_errors

# Steps of the return, finite-difference step, and the largest relative error of the median and of the worst row. In
# float32 a smaller step is noise; a larger one spans contacts that begin or end.
CASES = {1: (5e-3, 0.005, 0.03), 8: (5e-3, 0.015, 0.15)}


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("steps", CASES)
@pytest.mark.parametrize("name", ["ant", "hopper"])
def test_gradients_of_returns(name, steps, every):
    epsilon, median, worst = CASES[steps]
    ours, expected = compare(name, steps, epsilon=epsilon, mass_matrix_every=every)
    assert expected.norm(dim=1).min() > 1e-3
    errors = relative_errors(ours, expected)
    assert errors.median() < median and errors.max() < worst
    assert torch.nn.functional.cosine_similarity(ours, expected).min() > 0.99
