"""A world model bound to tasks: what it computes, how it follows weights that move, and heads that are added."""

import pytest
import torch

from pwm.learning.optimiser import adam
from pwm.nn.perceptron import ConditionedMLP, init_truncated_normal
from pwm.runtime.errors import PWMError
from pwm.world_model.config import world_model_size
from pwm.world_model.model import WorldModel


def make(episodic=True):
    """A random model of two tasks, one of which sees its observations normalised."""
    model = WorldModel(world_model_size("tiny", episodic=episodic), ["a", "b"], [4, 2], [1, 3], seed=0)
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.normalise_observations("b", torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.1]))
    return model


def by_hand(model, task, observation, action):
    """Latent, next latent, reward logits and termination logit of one row, by networks that read [x, e]."""
    row, e = model.index(task), model.embedding[model.index(task)]
    observation = observation * model.observation_scale[row] - model.observation_shift[row]
    z = model.encoder(observation, model.encoder.context(e))
    za = torch.cat((z, action * model.action_mask[row]))
    following = model.dynamics(za, model.dynamics.context(e))
    ended = model.termination(z, model.termination.context(e))
    return z, following, model.reward(za, model.reward.context(e)), ended[0]


def outputs(bound, observation, action):
    z = bound.encode(observation)
    return z, bound.step(z, action), bound.reward_logits(z, action), bound.termination_logit(z)


def test_it_computes_what_the_networks_do_for_each_rows_task():
    model, tasks = make(), ["b", "a", "b"]
    observation, action = torch.randn(3, 5, 4), torch.randn(3, 5, 3)
    found = outputs(model.bind(tasks), observation, action)
    flat = outputs(model.bind(torch.tensor([1, 0, 1])), observation[:, 2], action[:, 2])
    for k, task in enumerate(tasks):
        for ours, own, theirs in zip(found, flat, by_hand(model, task, observation[k, 2], action[k, 2]), strict=True):
            torch.testing.assert_close(ours[k, 2], theirs, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(own[k], theirs, rtol=1e-4, atol=1e-5)


def test_a_rollout_is_its_steps_and_rewards_are_decoded():
    bound = make().freeze().bind(["a", "b"])
    actions, latents = torch.rand(3, 2, 5, 3), [bound.encode(torch.randn(2, 5, 4))]
    for action in actions:
        latents.append(bound.step(latents[-1], action))
    for ours, theirs in zip(bound.rollout(latents[0], actions), latents, strict=True):
        assert torch.equal(ours, theirs)
    z = torch.stack(latents)
    logits = bound.reward_logits(z[:-1], actions)
    for space in ("true", "symlog"):
        assert torch.equal(bound.reward(z[:-1], actions, space), bound.model.two_hot.decode(logits, space))
    bound.model.termination.linears[-1].bias.data -= bound.termination_logit(z).median()
    ended = torch.sigmoid(bound.termination_logit(z)) > 0.5
    assert ended.any() and not ended.all() and torch.equal(bound.continues(z), 1.0 - ended.float())
    assert make(episodic=False).bind(["a"]).continues(z) is None


def test_padding_means_nothing_until_it_is_unmasked():
    bound = make().freeze().bind(["a", "b"])
    observation, action = torch.randn(2, 5, 4), torch.randn(2, 5, 3)
    clean = outputs(bound, observation, action)
    observation[1, :, 2:], action[0, :, 1:] = 1e6, -1e6
    for before, after in zip(clean, outputs(bound, observation, action), strict=True):
        assert torch.equal(before, after)
    z = bound.encode(observation)
    assert not torch.equal(bound.unmasked().step(z, action)[0], clean[1][0])
    assert torch.equal(bound.unmasked().step(z, action)[1], clean[1][1])


def train(model, steps=3):
    """Some steps of fused Adam on every weight, which raise no version counter."""
    model.requires_grad_(True)
    optimiser = adam(model.parameters(), "cpu", 0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        bound = model.bind(["a", "b"])
        sum(x.square().sum() for x in outputs(bound, torch.ones(2, 3, 4), torch.ones(2, 3, 3))).backward()
        optimiser.step()
    model.freeze()


def test_weights_that_move_are_taken_over_by_refresh_and_by_nothing_else():
    model = make().freeze()
    bound = model.bind(["b", "a"])
    free, observation = bound.unmasked(), torch.randn(2, 3, 4)
    before = {name: (x.clone(), x.data_ptr()) for name, x in bound.contexts.items()}
    train(model)
    model.normalise_observations("a", torch.full((4,), 0.1), torch.full((4,), 3.0))
    fresh = model.bind(["b", "a"])
    assert all(torch.equal(bound.contexts[name], x) for name, (x, _) in before.items())
    assert not torch.allclose(bound.encode(observation), fresh.encode(observation), atol=1e-3)
    bound.refresh()
    for name, (x, place) in before.items():
        assert torch.equal(bound.contexts[name], fresh.contexts[name]) and bound.contexts[name].data_ptr() == place
        assert not torch.equal(bound.contexts[name], x), name
    assert torch.equal(bound.encode(observation), fresh.encode(observation))
    assert torch.equal(free.encode(observation), fresh.encode(observation)) and free.action_mask.all()


def test_bound_for_a_backward_pass_it_carries_the_gradient_and_is_not_refreshed():
    model = make()
    bound = model.bind(torch.tensor([1, 1]))
    bound.encode(torch.randn(2, 4)).square().sum().backward()
    assert model.embedding.grad[1].abs().sum() > 0 and not model.embedding.grad[0].any()
    with pytest.raises(PWMError, match=r"call bind\(\) again"):
        bound.refresh()


def test_names_and_order_of_tensors_are_those_of_files():
    """Checkpoints keep Adam's moments by a parameter's place, and digests read the names."""
    names = ["embedding", "observation_scale", "observation_shift"]
    for network, norms in (("encoder", 2), ("dynamics", 3), ("reward", 2), ("termination", 2)):
        layers = 2 if network == "encoder" else 3
        names += [f"{network}.linears.{i}.{kind}" for i in range(layers) for kind in ("weight", "bias")]
        names += [f"{network}.norms.{i}.{kind}" for i in range(norms) for kind in ("weight", "bias")]
    model = make()
    assert list(model.state_dict()) == names
    assert [name for name, _ in model.named_parameters()] == [name for name in names if "observation" not in name]
    assert list(make(episodic=False).state_dict()) == [name for name in names if "termination" not in name]


def q_head(model):
    config = model.config
    head = ConditionedMLP(config.latent_dim + model.action_dim, config.task_dim, config.units, 1)
    init_truncated_normal(head, 0.3, torch.Generator().manual_seed(1))
    return head


def test_a_head_is_added_in_one_call_and_trained():
    model = make().freeze()
    before, early = {name: x.clone() for name, x in model.state_dict().items()}, model.bind(["a", "b"])
    model.add_head("q", q_head(model))
    assert list(model.heads) == ["reward", "termination", "q"]
    assert list(model.state_dict())[: len(before)] == list(before) and "q.linears.0.weight" in model.state_dict()
    z, action, target = torch.rand(2, 8, 32), torch.randn(2, 8, 3), torch.randn(2, 8)
    optimiser, losses = adam(model.heads["q"].parameters(), "cpu", 3e-3), []
    for _ in range(60):
        loss = (model.bind(["a", "b"]).head("q", z, action).squeeze(-1) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert all(torch.equal(model.state_dict()[name], x) for name, x in before.items())
    bound = model.freeze().bind(["a", "b"])
    found = bound.head("q", z, action)
    action[0, :, 1:] = 1e6
    assert torch.equal(bound.head("q", z, action), found)
    with pytest.raises(PWMError, match="no q head.*bind it after"):
        early.head("q", z, action)
    again = make()
    again.add_head("q", q_head(again))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.bind(["a", "b"]).head("q", z, action), found)


@pytest.mark.parametrize("name", ["reward", "encoder", "embedding", "bind"])
def test_a_heads_name_must_be_free(name):
    model = make()
    with pytest.raises(PWMError, match=f"head {name}"):
        model.add_head(name, q_head(model))
