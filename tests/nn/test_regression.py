"""The gradient of squared errors without autograd: against autograd on the plain form; the kernel against PyTorch."""

import platform

import pytest
import torch

from pwm.nn.native import build, kernels, multiplies_bfloat16, regress, regressible
from pwm.nn.perceptron import FleetMLP
from tests.nn.test_gradients import noise, plain_fleet, randomised

needs_kernels = pytest.mark.skipif(kernels() is None, reason="no compiled kernels here")
CASES = {  # networks, groups, rows, inputs, hidden
    "critics": (3, 1, 64, 96, (400, 200)),
    "fleet": (24, 8, 33, 24, (40, 17, 9)),
    "few rows": (2, 2, 7, 6, (5,)),
    "one row": (3, 1, 1, 8, (16,)),
    "block and one": (4, 2, 33, 10, (48, 130)),
}


def drawn(case, counts):
    networks, groups, rows, inputs, hidden = CASES[case]
    net = FleetMLP(networks, inputs, hidden, 1)
    for i, parameter in enumerate(net.parameters()):
        scale = parameter.shape[1] ** -0.5 if parameter.ndim == 3 and parameter.shape[1] > 1 else 0.3
        parameter.data = (scale * noise(*parameter.shape, seed=i)).float()
    for gain in net.gains:
        gain.data += 1.0
    x, targets = noise(groups, rows, inputs, seed=50).float(), 3.0 * noise(groups, rows, seed=51).float()
    return net, x, targets, (noise(groups, rows, seed=52) > -0.5).float() if counts else None


def plainly(net, x, targets, counts):
    """By autograd, in the number format of the network."""
    net = net.requires_grad_(True)
    out = plain_fleet(net, x).view(len(x), -1, x.shape[1])
    squares = (out - targets.unsqueeze(1)).square()
    errors = (squares if counts is None else squares * counts.unsqueeze(1)).mean(dim=-1).flatten()
    return errors.detach(), torch.autograd.grad(errors.sum(), net.listed())


def exactly(net, x, targets, counts):
    double = FleetMLP(net.members, x.shape[-1], [w.shape[-1] for w in net.weights[:-1]], 1).double()
    double.load_state_dict({name: tensor.double() for name, tensor in net.state_dict().items()})
    return plainly(double, x.double(), targets.double(), None if counts is None else counts.double())


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a.flatten().double(), b.flatten(), dim=0))


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("groups", [6, 2, 1])
@pytest.mark.parametrize("hidden", [(10, 8), (10,), ()])
def test_the_gradient_is_that_of_autograd(hidden, groups, counts):
    net = randomised(FleetMLP(6, 5, hidden, 1).double())
    x, targets = noise(groups, 7, 5, seed=20), noise(groups, 7, seed=21)
    weights = (noise(groups, 7, seed=22) > 0).double() if counts else None
    ours, theirs = net.squared_errors(x, targets, weights), plainly(net, x, targets, weights)
    for a, b in zip((ours[0], *ours[1]), (theirs[0], *theirs[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)
        assert not a.requires_grad


@needs_kernels
@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_kernel_is_as_close_to_float64_as_pytorch(case, counts, monkeypatch):
    net, x, targets, weights = drawn(case, counts)
    net.precision = "bfloat16"
    assert regressible(net.listed(), x.bfloat16()) == multiplies_bfloat16()
    kernel = regress(net.listed(), x.bfloat16(), targets, weights)
    chosen = net.squared_errors(x, targets, weights)
    if multiplies_bfloat16():
        assert all(torch.equal(a, b) for a, b in zip((chosen[0], *chosen[1]), (kernel[0], *kernel[1]), strict=True))
    monkeypatch.setattr("pwm.nn.native.regressible", lambda *_: False)
    operations, exact = net.squared_errors(x, targets, weights), exactly(net, x, targets, weights)
    torch.testing.assert_close(kernel[0].double(), exact[0], rtol=1e-2, atol=2e-3)
    for ours, theirs, true, parameter in zip(kernel[1], operations[1], exact[1], net.listed(), strict=True):
        assert ours.shape == parameter.shape and ours.dtype == theirs.dtype
        assert cosine(ours, true) > 0.9999
        assert (ours - true).norm() < 1.5 * (theirs - true).norm() + 1e-3 * true.norm()


@needs_kernels
@pytest.mark.parametrize("case", ["critics", "fleet", "block and one"])
def test_threads_change_no_bit(case, monkeypatch):
    net, x, targets, weights = drawn(case, True)
    results = []
    for threads in (1, 2, 3, 16):  # together and one network after the other
        monkeypatch.setattr("pwm.nn.native.regression.threads_for", lambda _, threads=threads: threads)
        errors, grads = regress(net.listed(), x.bfloat16(), targets, weights)
        results.append([errors, *grads])
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others, strict=True))


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.bool])
def test_targets_and_counts_may_have_any_format_and_gaps(dtype):
    net, x, targets, counts = drawn("fleet", True)
    targets = targets.round()
    expected = regress(net.listed(), x.bfloat16(), targets, counts)
    wide = torch.stack((x, x), dim=-1).flatten(-2).bfloat16()[..., ::2]
    spaced = [parameter.detach().mT.contiguous().mT for parameter in net.listed()]
    given = targets.T.contiguous().T.to(torch.float64 if dtype == torch.bool else dtype)
    found = regress(spaced, wide, given, counts.T.contiguous().T.to(dtype))
    for a, b in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
        assert torch.equal(a, b) and a.dtype == b.dtype
    one = regress(net.listed(), x.bfloat16(), targets[:1], None)
    assert torch.equal(one[0], regress(net.listed(), x.bfloat16(), targets[:1].expand(8, -1), None)[0])


@needs_kernels
def test_only_float32_networks_on_a_cpu_go_to_the_kernel(monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr("pwm.nn.native.regress", never)
    monkeypatch.setattr("pwm.nn.native.regressible", lambda *_: True)
    for net in (FleetMLP(2, 4, (3,), 1).double(), FleetMLP(2, 4, (3,), 1).to("meta"), FleetMLP(2, 4, (5000,), 1)):
        net.precision = "bfloat16"
        x = torch.zeros(2, 5, 4, dtype=net.weights[0].dtype, device=net.weights[0].device)
        net.squared_errors(x, x[:, :, 0])


@needs_kernels
def test_a_group_that_is_not_finite_leaves_the_others_alone():
    net, x, targets, _ = drawn("fleet", False)
    before = regress(net.listed(), x.bfloat16(), targets, None)
    x[2, 5] = float("nan")
    errors, grads = regress(net.listed(), x.bfloat16(), targets, None)
    bad = torch.arange(24) // 3 == 2
    for a, b in zip((errors, *grads), (before[0], *before[1]), strict=True):
        assert torch.equal(a[~bad], b[~bad]) and a[bad].flatten(1 if a.ndim > 1 else 0).isnan().any()


@needs_kernels
def test_rows_that_do_not_count_change_nothing():
    net, x, targets, counts = drawn("critics", True)
    before = regress(net.listed(), x.bfloat16(), targets, counts)
    x[counts == 0], targets[counts == 0] = 3.0, 1e6
    after = regress(net.listed(), x.bfloat16(), targets, counts)
    assert all(torch.equal(a, b) for a, b in zip((after[0], *after[1]), (before[0], *before[1]), strict=True))


@pytest.mark.skipif(not multiplies_bfloat16(), reason="this processor does not multiply bfloat16, or has tiles for it")
def test_what_the_kernel_does_not_take_goes_to_pytorch():
    x = torch.zeros(2, 5, 4).bfloat16()
    assert regressible(FleetMLP(2, 4, (3,), 1).listed(), x)
    assert not regressible(FleetMLP(2, 4, (3,), 2).listed(), x)
    assert not regressible(FleetMLP(2, 4, (), 1).listed(), x)
    assert not regressible(FleetMLP(2, 5, (3,), 1).listed(), torch.zeros(2, 5, 5).bfloat16())
    assert not regressible(FleetMLP(2, 4, (3,) * 16, 1).listed(), x)
    assert not regressible(FleetMLP(2, 4, (3,), 1).listed(), x[:, :0])
    assert not regressible(FleetMLP(2, 4, (3,), 1).listed(), x.float())


@needs_kernels
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names instruction sets of x86-64")
@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_every_instruction_set_gives_the_same_gradient(target, monkeypatch, tmp_path):
    """Those that do not multiply bfloat16 themselves, too."""
    net, x, targets, counts = drawn("block and one", True)
    ours = regress(net.listed(), x.bfloat16(), targets, counts)
    if target == "x86-64-v4" and not getattr(torch.cpu, "_is_avx512_supported", lambda: False)():
        pytest.skip("no AVX-512 here")
    monkeypatch.setattr(build, "_TARGET", (f"-march={target}",))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    other, reason = build._load.__wrapped__()
    assert other is not None, reason
    assert not other.multiplies_bfloat16()
    for module in ("regression", "calls"):
        monkeypatch.setattr(f"pwm.nn.native.{module}.kernels", lambda: other)
    theirs = regress(net.listed(), x.bfloat16(), targets, counts)
    torch.testing.assert_close(theirs[0], ours[0], rtol=1e-3, atol=1e-4)
    for a, b in zip(theirs[1], ours[1], strict=True):
        assert cosine(a, b.double()) > 0.9999
