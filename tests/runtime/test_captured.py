"""Recorded updates, as far as a CPU can test them: the inputs' places, and that a step is run for what it is given."""

import pytest
import torch

from pwm.learning.optimiser import adam, set_rate
from pwm.runtime.captured import CapturedStep


def test_inputs_are_copied_to_places_of_their_own():
    seen = []

    def step(kind, x, missing, y):
        seen.append((kind, x, missing, y))
        return {"sum": x.sum() + y.sum()}

    run = CapturedStep(step, "cpu")
    batches = [torch.full((3,), float(i)) for i in range(4)]
    sums = [float(run("a", x, None, 2 * x)["sum"]) for x in batches]
    assert sums == [0.0, 9.0, 18.0, 27.0]
    places = {(x.data_ptr(), y.data_ptr()) for _, x, _, y in seen}
    assert len(places) == 1 and all(missing is None for _, _, missing, _ in seen)
    assert not places & {(x.data_ptr(), x.data_ptr()) for x in batches}
    run("a", torch.ones(5), None, torch.ones(5))  # other shapes and other kinds get other places
    assert float(run("b", torch.ones(5), None, torch.ones(5))["sum"]) == 10.0
    assert [kind for kind, *_ in seen] == ["a"] * 5 + ["b"] and seen[4][1].shape == (5,)


def test_disabled_it_stays_out_of_the_way():
    x = torch.ones(2)
    assert CapturedStep(lambda kind, y: {"same": y}, "cpu", enabled=False)("a", x)["same"] is x


@pytest.mark.parametrize("grouped", [False, True])
def test_adam_and_its_step_size(grouped):
    ours, theirs = (torch.linspace(-1, 1, 5).requires_grad_() for _ in "ab")
    mine = adam([{"params": [ours]}] if grouped else [ours], "cpu", 0.1, betas=(0.7, 0.95))
    plain = torch.optim.Adam([theirs], lr=0.1, betas=(0.7, 0.95))
    for rate in (0.1, 0.05):
        set_rate(mine.param_groups[0], rate)
        plain.param_groups[0]["lr"] = rate
        for parameter, optimiser in ((ours, mine), (theirs, plain)):
            optimiser.zero_grad()
            parameter.square().sum().backward()
            optimiser.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    group = {"lr": torch.tensor(0.5)}
    place = group["lr"]
    set_rate(group, 0.25)
    assert group["lr"] is place and place.item() == 0.25


@pytest.mark.gpu
def test_a_recorded_step_equals_the_step():
    """Parameters, step sizes, batches and shapes change; a recorded update has to follow all of them."""
    runs = []
    for enabled in (False, True):
        torch.manual_seed(0)
        weight = torch.randn(6, 4, device="cuda", requires_grad=True)
        optimiser = adam([weight], "cuda", 0.1)

        def step(kind, x, weight=weight, optimiser=optimiser):
            loss = (x @ weight).square().mean() * (2.0 if kind == "double" else 1.0)
            (weight.grad,) = torch.autograd.grad(loss, [weight])
            optimiser.step()
            return {"loss": loss.detach()}

        run, losses = CapturedStep(step, "cuda", enabled), []
        for i in range(20):
            set_rate(optimiser.param_groups[0], 0.1 / (i + 1))
            x = torch.randn(3 if i < 14 else 5, 6, generator=torch.Generator().manual_seed(i)).cuda()
            losses.append(float(run("double" if i > 7 else "single", x)["loss"]))
        runs.append((losses, weight.detach().cpu()))
    assert runs[0][0] == pytest.approx(runs[1][0], rel=1e-5)
    torch.testing.assert_close(runs[0][1], runs[1][1], rtol=1e-5, atol=1e-6)
