"""bfloat16 products stay close to float32 ones in value and gradient, cost nothing that is not needed, and repeat."""

import time

import pytest
import torch

from pwm.nn.fleet_mlp import FleetMLP
from pwm.nn.mlp import ConditionedMLP
from pwm.nn.products import batched_linear, linear, resolve_precision, set_precision


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0)


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


LINEAR = [draw(5, 7, 48), draw(32, 48), draw(32)]
CONTEXT = [draw(5, 7, 48), draw(32, 48), draw(7, 32)]  # a bias for every row, as the task term is
BATCHED = [draw(3, 1, 32), draw(3, 21, 48), draw(3, 48, 32)]


@pytest.mark.parametrize(
    ("product", "tensors"),
    [(linear, LINEAR), (linear, CONTEXT), (batched_linear, BATCHED)],
    ids=["plain", "rows", "bmm"],
)
def test_values_and_gradients_are_close_to_float32(product, tensors):
    results = {}
    for precision in ("float32", "bfloat16"):
        leaves = [tensor.clone().requires_grad_(True) for tensor in tensors]
        out = product(*leaves, precision)
        weights = draw(*out.shape)
        results[precision] = [out.detach(), *torch.autograd.grad((out * weights).sum(), leaves)]
    if product is linear:
        exact = tensors[0].double() @ tensors[1].double().T + tensors[2].double()
    else:
        exact = tensors[1].double() @ tensors[2].double() + tensors[0].double()
    torch.testing.assert_close(results["float32"][0].double(), exact, rtol=1e-5, atol=1e-4)
    for a, b in zip(*results.values(), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype == torch.float32
        assert cosine(a, b) > 0.999
        assert float(b.norm() / a.norm()) == pytest.approx(1.0, abs=5e-3)
    assert not torch.equal(results["float32"][0], results["bfloat16"][0])  # the low path was taken


def test_the_bias_is_added_in_float32():
    bias = torch.tensor([1000.0])
    out = linear(torch.tensor([[0.5]]), torch.tensor([[0.5]]), bias, "bfloat16")
    assert out.item() == 1000.25
    assert batched_linear(bias.view(1, 1, 1), torch.full((1, 1, 1), 0.5), torch.full((1, 1, 1), 0.5), "bfloat16") == out


@pytest.mark.parametrize(("product", "x", "weight"), [(linear, 0, 1), (batched_linear, 1, 2)])
def test_gradients_that_nobody_needs_are_not_computed(product, x, weight):
    tensors = [tensor.clone() for tensor in (LINEAR if product is linear else BATCHED)]

    def saved_and_grads(wanted):
        saved = []
        leaves = [tensor.clone().requires_grad_(i == wanted) for i, tensor in enumerate(tensors)]
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.shape) or t, lambda t: t):
            product(*leaves, "bfloat16").sum().backward()
        return saved, [leaf.grad is not None for leaf in leaves]

    saved, present = saved_and_grads(x)
    assert present == [i == x for i in range(3)]
    assert tensors[x].shape not in saved  # a frozen weight needs no activations
    saved, present = saved_and_grads(weight)
    assert present == [i == weight for i in range(3)]
    assert tensors[x].shape in saved


def test_set_precision_reaches_every_perceptron():
    pair = torch.nn.ModuleList([ConditionedMLP(6, 2, (8,), 4, simnorm_group=2), FleetMLP(2, 6, (8,), 3)])
    torch.nn.init.normal_(pair[1].weights[0])
    torch.nn.init.normal_(pair[1].weights[1])
    x, context = draw(2, 5, 6), draw(8)
    before = [pair[0](x, context), pair[1](x)]
    set_precision(pair, "bfloat16")
    low = [pair[0](x, context), pair[1](x)]
    for a, b in zip(before, low, strict=True):
        assert not torch.equal(a, b) and cosine(a, b) > 0.999
    set_precision(pair, "float32")
    assert torch.equal(pair[0](x, context), before[0]) and torch.equal(pair[1](x), before[1])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_named_precision_is_taken_as_it_is(precision, monkeypatch):
    for supported in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda answer=supported: answer)
        assert resolve_precision(precision, "cpu") == precision


@pytest.mark.parametrize(("supported", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_asks_the_device_and_never_measures_time(supported, expected, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("a measurement would not repeat")

    for clock in ("time", "perf_counter", "perf_counter_ns", "monotonic", "process_time"):
        monkeypatch.setattr(time, clock, forbidden)
    monkeypatch.setattr(torch, "matmul", forbidden)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    assert resolve_precision("auto", "cpu") == expected
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: supported)
    assert resolve_precision("auto", "cuda") == expected


def test_auto_on_an_older_torch_is_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert resolve_precision("auto", torch.device("cpu")) == "float32"


def fleet(precision):
    net = FleetMLP(2, 24, (64, 200), 3)
    for member in range(2):
        net.init_orthogonal(member, 2**0.5, 1.0, torch.Generator().manual_seed(member))
    torch.nn.init.constant_(net.shifts[-1], 1.0)
    net.weights[-1].data = 0.3 + 0.1 * draw(2, 200, 3)
    set_precision(net, precision)
    return net(draw(2, 300, 24)).detach()


def conditioned(precision):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ConditionedMLP(24, 4, (64, 200), 3)
    torch.nn.init.constant_(net.norms[-1].bias, 8.0)
    net.linears[-1].weight.data = 0.04 + 0.02 * draw(3, 200)
    set_precision(net, precision)
    return net(draw(300, 24), draw(64)).detach()


@pytest.mark.parametrize("network", [fleet, conditioned])
def test_the_last_layer_delivers_float32(network):
    exact, low = network("float32"), network("bfloat16")
    assert 40 < float(exact.abs().mean()) < 90  # where bfloat16 knows no numbers between quarters
    assert 0 < float((low - exact).square().mean().sqrt()) < 5e-4 * float(exact.abs().mean())
    assert not torch.equal(low, low.bfloat16().float())
