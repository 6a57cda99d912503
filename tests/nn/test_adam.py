"""Clipping and Adam in one pass: PyTorch's own step on the same gradients, per member, and safe at the edges."""

import copy

import pytest
import torch

from pwm.learning.optimiser import adam
from pwm.nn.adam import _served, clip_per_member, clipped_step
from pwm.nn.native import kernels


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_broken_member_does_not_spoil_the_others():
    grads = [torch.tensor([[3.0, 4.0], [float("nan"), 1.0], [0.0, 0.0]])]
    norms = clip_per_member(grads, 3, 1.0)
    assert norms[0] == 5.0 and norms[1].isnan() and norms[2] == 0.0
    torch.testing.assert_close(grads[0][[0, 2]], torch.tensor([[0.6, 0.8], [0.0, 0.0]]), rtol=1e-5, atol=0)


def test_an_ensemble_is_clipped_as_one():
    grads = [torch.tensor([[3.0], [4.0], [0.3], [0.4]])]  # two members of two critics
    torch.testing.assert_close(clip_per_member(grads, 2, 1.0), torch.tensor([5.0, 0.5]))
    torch.testing.assert_close(grads[0], torch.tensor([[0.6], [0.8], [0.3], [0.4]]), rtol=1e-5, atol=0)


def test_clip_per_member():
    grads = [torch.tensor([[3.0, 0.0], [0.3, 0.0]]), torch.tensor([[[4.0]], [[0.4]]])]
    norms = clip_per_member(grads, 2, 1.0)
    torch.testing.assert_close(norms, torch.tensor([5.0, 0.5]))
    torch.testing.assert_close(grads[0], torch.tensor([[0.6, 0.0], [0.3, 0.0]]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grads[1], torch.tensor([[[0.8]], [[0.4]]]), rtol=1e-5, atol=1e-6)


SHAPES = [(6, 37, 19), (6, 1, 300), (6, 1), (6, 5000)]


def fleet(rates):
    """Parameters in two groups, and an optimiser that steps them."""
    parameters = [torch.nn.Parameter(draw(*shape, seed=i)) for i, shape in enumerate(SHAPES)]
    groups = [{"params": parameters[:3]}, {"params": parameters[3:]}]
    optimiser = adam(groups, "cpu", 0.1, betas=(0.7, 0.95))
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate
    return parameters, optimiser


def gradients(step):
    return [10.0**step * draw(*shape, seed=100 * step + i) for i, shape in enumerate(SHAPES)]


@pytest.mark.parametrize("members", [1, 2, 6])
@pytest.mark.parametrize("kernel", [True, False])
def test_a_step_equals_clipping_and_then_adam(members, kernel, monkeypatch):
    if not kernel:
        monkeypatch.setattr("pwm.nn.native.kernels", lambda: None)
    elif kernels() is None:
        pytest.skip("no compiled kernels here")
    (ours, optimiser), (theirs, _) = fleet((0.01, 0.03)), fleet((0.01, 0.03))
    plain = torch.optim.Adam([{"params": theirs[:3]}, {"params": theirs[3:], "lr": 0.03}], lr=0.01, betas=(0.7, 0.95))
    for step in range(4):
        norms = clipped_step(optimiser, gradients(step), members, 40.0)
        flat = [grad.view(members, -1) for grad in gradients(step)]
        exact = torch.cat(flat, dim=1).double().norm(dim=1)
        torch.testing.assert_close(norms.double(), exact, rtol=1e-6, atol=0)
        factor = (40.0 / exact).clamp(max=1.0).float()
        assert step < 2 or (factor < 1.0).all()
        for parameter, grad in zip(theirs, flat, strict=True):
            parameter.grad = (grad * factor[:, None]).view_as(parameter)
        plain.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
            for name, value in plain.state[b].items():
                torch.testing.assert_close(optimiser.state[a][name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kernel", [True, False])
def test_gradients_may_come_in_bfloat16(kernel, monkeypatch):
    if not kernel:
        monkeypatch.setattr("pwm.nn.native.kernels", lambda: None)
    (ours, optimiser), (theirs, other) = fleet((0.01, 0.03)), fleet((0.01, 0.03))
    low = [grad.bfloat16() if i != 1 else grad for i, grad in enumerate(gradients(1))]
    norms = clipped_step(optimiser, [grad.clone() for grad in low], 2, 40.0)
    assert torch.equal(norms, clipped_step(other, [grad.float() for grad in low], 2, 40.0))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_kernels_and_pytorch_continue_each_other(monkeypatch):
    """Their state is the same, as a run needs that resumes on a machine without a compiler."""
    parameters, optimiser = fleet((0.01, 0.03))
    others, other = copy.deepcopy(parameters), None
    for step in range(4):
        clipped_step(optimiser, gradients(step), 2, 40.0)
    monkeypatch.setattr("pwm.nn.native.kernels", lambda: None)
    other = torch.optim.Adam([{"params": others[:3]}, {"params": others[3:], "lr": 0.03}], lr=0.01, betas=(0.7, 0.95))
    for step in range(2):
        clipped_step(other, gradients(step), 2, 40.0)
    monkeypatch.undo()
    for step in range(2, 4):
        clipped_step(other, gradients(step), 2, 40.0)
    for a, b in zip(parameters, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_threads_change_no_bit(monkeypatch):
    results = []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        parameters, optimiser = fleet((0.01, 0.03))
        results.append([clipped_step(optimiser, gradients(1), 2, 1.0), *parameters])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_member_that_is_not_a_number_stays_so_and_spoils_no_other():
    parameters, optimiser = fleet((0.01, 0.03))
    grads = gradients(0)
    grads[1][1] = float("nan")
    norms = clipped_step(optimiser, grads, 6, 1.0)
    assert norms.isnan().tolist() == [False, True, False, False, False, False]
    for parameter in parameters:
        assert parameter[1].isnan().all() and not parameter[[0, 2, 3, 4, 5]].isnan().any()


def test_on_a_device_nothing_is_read_back(monkeypatch):
    """The step size is a tensor there; to read it would wait, and could not be recorded."""
    parameter = torch.nn.Parameter(torch.ones(2, 3, device="meta"))
    optimiser = torch.optim.Adam([parameter], lr=torch.tensor(0.1), capturable=True)
    optimiser.param_groups[0]["lr"] = torch.tensor(0.1, device="meta")
    stepped = []
    monkeypatch.setattr(optimiser, "step", lambda: stepped.append(parameter.grad))
    norms = clipped_step(optimiser, [torch.ones(2, 3, device="meta")], 2, 1.0)
    assert norms.is_meta and stepped[0].is_meta and parameter.grad is None


@pytest.mark.parametrize("kernel", [True, False])
def test_whoever_prepared_something_from_the_weights_is_told(kernel, monkeypatch):
    if not kernel:
        monkeypatch.setattr("pwm.nn.native.kernels", lambda: None)
    parameters, optimiser = fleet((0.01, 0.03))
    before = [p._version for p in parameters]
    clipped_step(optimiser, gradients(0), 2, 1.0)
    assert all(p.grad is None for p in parameters)
    assert all(p._version > b for p, b in zip(parameters, before, strict=True))


@pytest.mark.parametrize("kernel", [True, False])
def test_settings_are_those_of_the_groups_and_missing_gradients_are_left_out(kernel, monkeypatch):
    if not kernel:
        monkeypatch.setattr("pwm.nn.native.kernels", lambda: None)
    (ours, optimiser), (theirs, plain) = fleet((0.01, 0.03)), fleet((0.01, 0.03))
    for group in (*optimiser.param_groups, *plain.param_groups):
        group["betas"], group["eps"] = (0.5, 0.6), 1e-3
    for _ in range(3):
        grads = gradients(1)
        for parameter, grad in zip(theirs, grads, strict=True):
            parameter.grad = grad.clone() if grad is not grads[1] else None
        plain.step()
        clipped_step(optimiser, [grad if grad is not grads[1] else None for grad in grads], 2, 1e9)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_other_forms_of_adam_are_pytorchs(monkeypatch):
    (ours, optimiser), (theirs, plain) = fleet((0.01, 0.03)), fleet((0.01, 0.03))
    for one in (optimiser, plain):
        one.param_groups[1]["weight_decay"] = 0.3
    clipped_step(optimiser, gradients(0), 2, 1e9)
    for parameter, grad in zip(theirs, gradients(0), strict=True):
        parameter.grad = grad
    plain.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_the_process_own_defaults_do_not_matter():
    (ours, optimiser), (theirs, other) = fleet((0.01, 0.03)), fleet((0.01, 0.03))
    expected = clipped_step(other, gradients(0), 2, 1.0)
    grads = gradients(0)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            norms = clipped_step(optimiser, grads, 2, 1.0)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(norms, expected) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_step_that_pytorch_takes_finds_the_state_that_pytorch_makes():
    """Its counter belongs on the device of the parameter, where a graph is recorded."""
    parameter = torch.nn.Parameter(torch.zeros(3, 4, device="meta"))
    optimiser = torch.optim.Adam([parameter], lr=0.1)
    assert not _served(optimiser, [parameter], optimiser.param_groups)
    assert not optimiser.state[parameter]


@pytest.mark.skipif(kernels() is None, reason="no compiled kernels here")
@pytest.mark.parametrize("spoil", ["exp_avg", "exp_avg_sq", "step"])
@pytest.mark.parametrize("how", [torch.Tensor.double, lambda x: x.new_zeros(*x.shape, 2)])
def test_a_state_of_another_kind_is_not_for_the_kernel(spoil, how):
    parameters, optimiser = fleet((0.1, 0.1))
    clipped_step(optimiser, gradients(0), 2, 1.0)
    assert _served(optimiser, parameters, [optimiser.param_groups[0]] * 4)
    state = optimiser.state[parameters[2]]
    state[spoil] = how(state[spoil])
    assert not _served(optimiser, parameters, [optimiser.param_groups[0]] * 4)


@pytest.mark.parametrize("which", [0, 2])
def test_no_parameter_keeps_a_gradient(which):
    parameters, optimiser = fleet((0.1, 0.1))
    parameters[which].grad = torch.ones_like(parameters[which])
    clipped_step(optimiser, gradients(0), 2, 1.0)
    assert all(parameter.grad is None for parameter in parameters)
