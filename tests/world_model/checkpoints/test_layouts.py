"""Names of published checkpoints: what is understood, what is left out, what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pwm.runtime.errors import PWMError
from pwm.world_model.checkpoints.files import read_checkpoint
from pwm.world_model.checkpoints.layouts import read_agent, write_state
from tests.world_model.checkpoints.published import Published

TASKS = ["walker-run", "cup-catch", "cartpole-swingup"]


def flat() -> dict:
    return dict(Published("flat", 3, 24, 6).state_dict())


def same(a, b) -> bool:
    return all(torch.equal(x, b.model.state_dict()[name]) for name, x in a.model.state_dict().items())


def test_the_names_of_the_first_era_are_those_of_its_files():
    """Names and shapes that users of those files have reported."""
    state = Published("sequential", 0, 67, 24, latent=512, encoder=(256,), units=(512, 512)).state_dict()
    assert state["_encoder.state.1.weight"].shape == (256, 67)
    assert [state[f"_{name}.1.weight"].shape for name in ("dynamics", "reward", "pi")] == [(512,)] * 3
    assert {"_encoder.state.2.bias", "_encoder.state.4.weight", "_encoder.state.5.weight"} <= set(state)
    assert {"_dynamics.0.0.weight", "_dynamics.0.1.weight", "_dynamics.0.3.weight"} <= set(state)


def test_bare_wrapped_and_bookkept(saved):
    """A bare state dict, compiled or parallel names, and the entries that old versions of tensordict add."""
    plain = read_checkpoint(saved({"model": flat()}), TASKS)
    assert same(plain, read_checkpoint(saved(flat(), "bare.pt"), TASKS))
    for prefix in ("module.", "_orig_mod.", "module._orig_mod."):
        assert same(plain, read_checkpoint(saved({prefix + k: v for k, v in flat().items()}, "w.pt"), TASKS))
    named = Published("named", 3, 24, 6).state_dict()
    for name in ("_Qs.params", "_detach_Qs_params", "_target_Qs_params", "_Qs.params.0", "_Qs.params.0.ln"):
        named[f"{name}.__batch_size"] = torch.Size([3])
        named[f"{name}.__device"] = torch.device("cpu")
    assert same(plain, read_checkpoint(saved({"model": named}, "named.pt"), TASKS))


EPISODIC_2024 = """
_encoder.state.0.weight 20,24
_encoder.state.0.bias 20
_encoder.state.0.ln.weight 20
_encoder.state.0.ln.bias 20
_encoder.state.1.weight 24,20
_encoder.state.1.bias 24
_encoder.state.1.ln.weight 24
_encoder.state.1.ln.bias 24
_dynamics.0.weight 28,30
_dynamics.0.bias 28
_dynamics.0.ln.weight 28
_dynamics.0.ln.bias 28
_dynamics.1.weight 28,28
_dynamics.1.bias 28
_dynamics.1.ln.weight 28
_dynamics.1.ln.bias 28
_dynamics.2.weight 24,28
_dynamics.2.bias 24
_dynamics.2.ln.weight 24
_dynamics.2.ln.bias 24
_reward.0.weight 28,30
_reward.0.bias 28
_reward.0.ln.weight 28
_reward.0.ln.bias 28
_reward.1.weight 28,28
_reward.1.bias 28
_reward.1.ln.weight 28
_reward.1.ln.bias 28
_reward.2.weight 101,28
_reward.2.bias 101
_terminated.0.weight 28,24
_terminated.0.bias 28
_terminated.0.ln.weight 28
_terminated.0.ln.bias 28
_terminated.1.weight 28,28
_terminated.1.bias 28
_terminated.1.ln.weight 28
_terminated.1.ln.bias 28
_terminated.2.weight 1,28
_terminated.2.bias 1
_pi.0.weight 28,24
_pi.0.bias 28
_pi.0.ln.weight 28
_pi.0.ln.bias 28
_pi.1.weight 28,28
_pi.1.bias 28
_pi.1.ln.weight 28
_pi.1.ln.bias 28
_pi.2.weight 12,28
_pi.2.bias 12
_Qs.params.0 3,28,30
_Qs.params.1 3,28
_Qs.params.2 3,28
_Qs.params.3 3,28
_Qs.params.4 3,28,28
_Qs.params.5 3,28
_Qs.params.6 3,28
_Qs.params.7 3,28
_Qs.params.8 3,101,28
_Qs.params.9 3,101
"""
"""Names and shapes of an episodic single-task agent of early 2024, whose termination head has its first name."""


def test_the_first_name_of_the_termination_head(saved):
    lines = [line.split() for line in EPISODIC_2024.split("\n") if line]
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn([int(n) for n in shape.split(",")], generator=generator) for name, shape in lines}
    state |= {name.replace("_Qs", "_target_Qs"): value for name, value in state.items() if "_Qs" in name}
    found = read_checkpoint(saved({"model": state}), TASKS[:1])
    assert found.about["layout"] == "flat" and found.model.config.episodic
    today = {name.replace("_terminated", "_termination"): value for name, value in state.items()}
    assert same(found, read_checkpoint(saved({"model": today}, "today.pt"), TASKS[:1]))
    with pytest.raises(PWMError, match=r"_terminat\w+.0.weight is there twice"):
        read_checkpoint(saved({"model": state | today}, "both.pt"), TASKS[:1])


def test_a_file_of_pwm(saved):
    """No policy, no critics, an encoder without `state.`, and an optimiser beside the model."""
    state = {k.replace("state.", ""): v for k, v in flat().items() if "_pi" not in k and "Qs" not in k}
    moments = {i: {"exp_avg": torch.zeros_like(v), "step": torch.tensor(5.0)} for i, v in enumerate(state.values())}
    optimiser = {"state": moments, "param_groups": [{"lr": 3e-4, "betas": (0.9, 0.999), "params": [0]}]}
    for place, extra in (("model", "optim"), ("world_model", "world_model_opt")):
        checkpoint = read_checkpoint(saved({place: state, extra: optimiser}, f"{place}.pt"), TASKS)
        assert same(checkpoint, read_checkpoint(saved({"model": flat()}), TASKS))
        assert checkpoint.about["layout"] == "world-model" and checkpoint.about["ignored"] == [extra]
        assert checkpoint.heads == {} and checkpoint.about["heads"] == []


def test_no_target_critics(saved):
    state = {k: v for k, v in flat().items() if "_target" not in k}
    checkpoint = read_checkpoint(saved({"model": state}), TASKS)
    assert checkpoint.about["heads"] == ["policy", "critics"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update({"_encoder.rgb.2.weight": torch.zeros(8, 3, 7, 7)}), "its encoder reads pictures"),
        (lambda s: s.update({"_curl.0.weight": torch.zeros(2, 2)}), "unknown entry _curl.0.weight; known are"),
        (lambda s: s.pop("_reward.0.ln.weight"), "_reward.0.ln lacks its weight or its bias"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("_reward.")], "has no _reward.*"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("_reward.1.")], "_reward.2"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("_dynamics.2.ln")], "_dynamics does not end as in"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("_reward.1.ln")], "_reward.2 does not follow"),
        (lambda s: s.update({"_dynamics.1.bias": torch.zeros(3)}), "_dynamics.1 has the shape [28, 28]"),
        (lambda s: s["_dynamics.1.bias"].fill_(float("nan")), "_dynamics.1 holds NaN or infinity"),
        (lambda s: s["_task_emb.weight"].fill_(float("inf")), "_task_emb.weight is no finite matrix"),
        (lambda s: s.update({"_dynamics.1.bias": [1.0]}), "entry _dynamics.1.bias is no tensor of real numbers"),
        (lambda s: s.update({"_dynamics.1.bias": torch.zeros(28).long()}), "_dynamics.1.bias is no tensor of real"),
        (lambda s: s.update({"_pi.2.weight": torch.zeros(5, 28), "_pi.2.bias": torch.zeros(5)}), "policy maps 30 to 5"),
        (lambda s: s.update({"_task_emb.weight": torch.zeros(3, 7)}), "policy maps 30 to 12, expected 31 to 10"),
    ],
)
def test_refusals(saved, change, message):
    state = flat()
    change(state)
    file = saved({"model": state})
    with pytest.raises(PWMError) as error:
        read_checkpoint(file, TASKS)
    assert str(error.value).startswith(str(file)) and message in str(error.value)


def test_content_that_is_no_model(saved):
    for content, message in (
        ({"weights": torch.zeros(2)}, "no model of TD-MPC2 or PWM in it (it has weights)"),
        ([1, 2], "(it has a list)"),
        ({"model": {}}, "(it has model)"),
    ):
        with pytest.raises(PWMError) as error:
            read_checkpoint(saved(content), TASKS)
        assert message in str(error.value)


def test_critics_of_a_real_tensordict(saved):
    """The names of the third era as the package tensordict makes them."""
    tensordict = pytest.importorskip("tensordict")
    params = pytest.importorskip("tensordict.nn").TensorDictParams
    plain = Published("named", 3, 24, 6)
    expected = read_checkpoint(saved(plain), TASKS)
    members = [nn.Module() for _ in range(3)]
    for k, member in enumerate(members):
        fill(member, plain._Qs.params, k)

    real = nn.Module()
    real._Qs = nn.Module()
    real._Qs.params = tensordict.from_modules(*members, as_module=True)
    with real._Qs.params[0].data.to("meta").to_module(members[0]):
        real._Qs.module = copy.deepcopy(members[0])
    real._detach_Qs_params = params(real._Qs.params.data, no_convert=True)
    real._target_Qs_params = params(real._Qs.params.data.clone(), no_convert=True)
    state = {k: v for k, v in plain.state_dict().items() if "Qs" not in k} | dict(real.state_dict())
    assert any("_Qs.params.0.ln.weight" in name for name in state)
    found = read_checkpoint(saved({"model": state}, "real.pt"), TASKS)
    assert found.about["layout"] == "named"
    for name, value in expected.heads.items():
        if name.startswith("critics"):
            assert torch.equal(value, found.heads[name]), name


def fill(target: nn.Module, stack: nn.Module, k: int) -> None:
    """Member k of stacked parameters, as a module of its own."""
    for name, parameter in stack.named_parameters(recurse=False):
        target.register_parameter(name, nn.Parameter(parameter[k].detach().clone()))
    for name, child in stack.named_children():
        target.add_module(name, nn.Module())
        fill(getattr(target, name), child, k)


@pytest.mark.parametrize("era", ["flat", "named"])
def test_written_names_are_the_eras_own(era):
    state = dict(Published(era, 3, 24, 6).state_dict())
    written = write_state(read_agent(state, "x"), era)
    assert set(written) == set(state)
    assert all(torch.equal(written[name], value) for name, value in state.items())


@pytest.mark.parametrize("layout", ["flat", "named"])
def test_critics_without_targets_are_written_as_their_own(layout):
    state = {k: v for k, v in flat().items() if "_target" not in k}
    written = write_state(read_agent(state, "x"), layout)
    targets = {k: v for k, v in written.items() if k.startswith("_target_Qs")}
    assert len(targets) == 10
    for name, value in targets.items():
        assert torch.equal(
            value, written[name.replace("_target_Qs.", "_Qs.").replace("_target_Qs_params", "_Qs.params")]
        )
