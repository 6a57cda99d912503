"""bfloat16 products stay close to float32 ones in value and gradient, cost nothing that is not needed, and repeat."""

import copy
import time
from dataclasses import replace

import pytest
import torch
import torch.utils.checkpoint

from pwm.nn.native import multiplies_bfloat16
from pwm.nn.perceptron import ConditionedMLP, FleetMLP
from pwm.nn.products import Factor, has_onednn, product, resolve_precision, set_precision

MULTIPLIES = multiplies_bfloat16()


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0)


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


SHAPES = {"plain": [(40, 48), (48, 32)], "large": [(300, 96), (96, 64)], "stack": [(3, 200, 48), (3, 48, 160)]}
SHAPES |= {"column": [(3, 256, 50), (3, 50, 1)]}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("transposed", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("name", SHAPES)
def test_products_of_any_layout(name, transposed, dtype):
    factors = [draw(*shape).to(dtype) for shape in SHAPES[name]]
    for i in transposed:
        factors[i] = factors[i].mT.contiguous().mT
    out = product(*factors)
    exact = factors[0].double() @ factors[1].double()
    assert out.dtype == dtype
    error = (out.double() - exact).norm() / exact.norm()
    assert float(error) < {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 4e-3}[dtype]


def test_small_and_large_float32_products_agree(monkeypatch):
    a, b = draw(300, 96), draw(96, 64)
    large = product(a, b)
    monkeypatch.setattr("pwm.nn.products._SMALL", 1 << 60)
    torch.testing.assert_close(large, product(a, b), rtol=1e-5, atol=1e-5)


def test_a_machine_without_avx512_multiplies_float32_with_what_torch_has(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: False)
    has_onednn.cache_clear()
    try:
        assert not has_onednn()
        a, b = draw(300, 96), draw(96, 64)
        assert torch.equal(product(a, b), a @ b)
    finally:
        has_onednn.cache_clear()


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


def test_matrices_with_gaps_between_their_rows_are_left_to_torch(monkeypatch):
    """oneDNN takes a thousand times as long for them."""
    wide = draw(300, 200)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", None)
    monkeypatch.setattr("pwm.nn.products._SMALL", 1)
    for a, b in ((wide[:, :96], draw(96, 64)), (draw(5, 300), wide[:, :96]), (draw(5, 96), wide[:, :96].T)):
        assert torch.equal(product(a, b), a @ b)
    weights = ConditionedMLP(96, 104, (300,), 8).share().factors
    assert all(weight.matrix.T.is_contiguous() for weight in weights)


@pytest.fixture
def frozen():
    """A network large enough that its weights are kept in oneDNN's order."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConditionedMLP(300, 4, (256, 260), 304, 8).requires_grad_(False)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("rows", [1, 3, 4, 16, 64, 300])
def test_weights_that_last_give_the_same(frozen, rows, precision):
    set_precision(frozen, precision)
    x, context = draw(rows, 300).requires_grad_(True), draw(256)
    shared = frozen.share()
    assert shared.factors is frozen.share().factors
    fresh = replace(shared, factors=[Factor(factor.matrix, precision) for factor in shared.factors])
    results = []
    for weights in (shared, fresh):
        out = frozen(x, context, weights)
        results.append((out.detach(), *torch.autograd.grad((out * draw(*out.shape)).sum(), x)))
    ordered = [{who for who, _ in weights.factors[1]._ready} for weights in (shared, fresh)]
    if precision == "bfloat16" and MULTIPLIES and rows >= 8:
        assert ordered == [{"ours"}, {"ours"}]
    else:
        assert ordered == [{"oneDNN"} if has_onednn() and rows >= 4 else set(), set()]
    for a, b in zip(*results, strict=True):
        tolerance = 1e-5 if precision == "float32" else 1e-2
        assert float((a - b).norm() / b.norm()) < tolerance


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("members", [(), (3,)])
@pytest.mark.parametrize("rows", [1, 8, 13, 70])
@pytest.mark.parametrize(("k", "n"), [(1, 1), (6, 16), (7, 40), (97, 50), (260, 300), (16, 1)])
def test_a_factor_multiplies_as_its_matrix_does(k, n, rows, members, lasting):
    matrix, x, grad = (draw(*members, *shape).bfloat16() for shape in ((k, n), (rows, k), (rows, n)))
    for given in (matrix, matrix.mT.contiguous().mT):
        factor = Factor(given, "bfloat16", lasting)
        for ours, exact in (
            (factor.times(x), x.double() @ matrix.double()),
            (factor.back(grad), grad.double() @ matrix.double().mT),
        ):
            assert ours.shape == exact.shape and ours.dtype == torch.bfloat16
            assert float((ours.double() - exact).norm() / exact.norm()) < 4e-3
        if MULTIPLIES and rows >= 8:
            assert set(factor._ready) == {("ours", False), ("ours", True)}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("order", [(64, 5, 2), (5, 64, 2), (2, 64, 5)])
def test_any_number_of_rows_may_follow_any_other(frozen, order, precision):
    set_precision(frozen, precision)
    context, fresh = draw(256), copy.deepcopy(frozen).requires_grad_(True)
    for rows in order:
        x = draw(rows, 300)
        torch.testing.assert_close(frozen(x, context), fresh(x, context).detach(), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_input_of_another_shape_is_refused(frozen, precision):
    fleet = FleetMLP(6, 12, (40, 20), 1)
    for net in (frozen, fleet):
        set_precision(net, precision)
    for width in (200, 299, 301, 600):
        with pytest.raises(RuntimeError):
            frozen(draw(30, width), draw(256))
    for shape in ((2, 30, 10), (2, 30, 14), (2, 30, 40), (4, 30, 12), (7, 30, 12)):
        with pytest.raises(RuntimeError):
            fleet(draw(*shape))
        with pytest.raises(RuntimeError):
            fleet.squared_errors(draw(*shape), torch.zeros(shape[:2]))
    for targets in (torch.zeros(2, 20), torch.zeros(3, 30)):
        with pytest.raises(RuntimeError):
            fleet.squared_errors(draw(2, 30, 12), targets)
    with pytest.raises(RuntimeError):
        fleet.squared_errors(draw(2, 30, 12), torch.zeros(2, 30), torch.zeros(2, 20))


@pytest.mark.parametrize("frozen_too", [False, True])
def test_weights_that_change_before_the_way_back_are_noticed(frozen_too):
    """float32 factors are the weights themselves."""
    conditioned, fleet = ConditionedMLP(20, 4, (32, 24), 8), FleetMLP(2, 20, (8,), 3)
    x = draw(2, 30, 20).requires_grad_(True)
    for net, weight, out in (
        (conditioned, conditioned.linears[1].weight, lambda: conditioned(x, draw(32))),
        (fleet, fleet.weights[0], lambda: fleet(x)),
    ):
        net.requires_grad_(not frozen_too)
        result = out()
        with torch.no_grad():
            weight.mul_(2.0)
        with pytest.raises(RuntimeError, match="inplace"):
            torch.autograd.grad(result.sum(), x)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_fleet_can_be_computed_again_on_the_way_back(precision):
    fleet, x = FleetMLP(2, 20, (16,), 3), draw(2, 30, 20).requires_grad_(True)
    for member in range(2):
        fleet.init_orthogonal(member, 1.0, 1.0, torch.Generator().manual_seed(member))
    set_precision(fleet, precision)
    leaves = [x, *fleet.parameters()]
    plain = torch.autograd.grad(fleet(x).sum(), leaves)
    again = torch.autograd.grad(torch.utils.checkpoint.checkpoint(fleet, x, use_reentrant=False).sum(), leaves)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


@pytest.mark.skipif(not MULTIPLIES, reason="this processor does not multiply bfloat16, or has tiles for it")
def test_gaps_between_rows_are_read_over():
    matrix, wide = draw(40, 48).bfloat16(), draw(20, 96).bfloat16()
    ours, exact = Factor(matrix, "bfloat16").times(wide[:, :80:2]), wide[:, :80:2].double() @ matrix.double()
    assert float((ours.double() - exact).norm() / exact.norm()) < 4e-3


@pytest.mark.skipif(not MULTIPLIES, reason="this processor does not multiply bfloat16, or has tiles for it")
def test_packed_products_repeat_whatever_the_threads_and_keep_what_is_not_finite_in_its_row(monkeypatch):
    factor, x = Factor(draw(31, 100).bfloat16(), "bfloat16"), draw(70, 31).bfloat16()
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr("pwm.nn.native.products.threads_for", lambda _, threads=threads: threads)
        results.append(factor.times(x))
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
    x[13] = float("nan")  # of an odd width, so that its last entry shares a word with the next row's first
    out = factor.times(x)
    assert out[13].isnan().all()
    out[13] = results[0][13]
    assert torch.equal(out, results[0])


def test_weights_that_last_are_made_anew_when_they_change(frozen):
    x, context = draw(64, 300), draw(256)
    before, factors = frozen(x, context), frozen.share().factors
    with torch.no_grad():
        frozen.linears[1].weight.mul_(2.0)
    assert frozen.share().factors is not factors and not torch.equal(frozen(x, context), before)
    factors = frozen.share().factors
    set_precision(frozen, "bfloat16")
    assert frozen.share().factors is not factors
    frozen.requires_grad_(True)
    assert not any(factor.lasting for factor in frozen.share().factors)


def test_a_network_that_was_used_can_be_copied(frozen):
    x, context = draw(64, 300), draw(256)
    expected = frozen(x, context)
    twin = copy.deepcopy(frozen)
    assert torch.equal(twin(x, context), expected)
    assert twin.to("meta")(x.to("meta"), context.to("meta")).is_meta
