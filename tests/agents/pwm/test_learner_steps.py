"""What one update does, against the same update written out for one member; which numbers it draws; what it refuses."""

from dataclasses import replace

import pytest
import torch

from pwm.agents.pwm.actor import FleetActor
from pwm.agents.pwm.config import PolicyConfig
from pwm.agents.pwm.critic import FleetCritic
from pwm.agents.pwm.imagination import ImaginedRollout, imagine
from pwm.agents.pwm.learn import learn
from pwm.agents.pwm.learner import FleetLearner
from pwm.nn.perceptron import FleetMLP
from pwm.runtime.errors import PWMError
from pwm.runtime.metrics import read_metrics
from pwm.runtime.random import key_of, normal, uniform
from pwm.world_model.config import world_model_size
from pwm.world_model.model import WorldModel
from tests.interrupt import updates_of

CONFIG = PolicyConfig(
    updates=4,
    batch_size=4,
    horizon=3,
    gamma=0.9,
    td_lambda=0.6,
    bootstrap_exponent=1,
    return_scale_decay=0.8,
    actor_units=(8, 6),
    critic_units=(10,),
    actor_output_gain=1.0,
    actor_learning_rate=2e-3,
    critic_learning_rate=1e-3,
    betas=(0.6, 0.9),
    actor_grad_norm=0.05,
    critic_grad_norm=2.0,
    critic_passes=2,
    critic_splits=3,
    behaviour_weight=0.3,
    behaviour_batch=8,
    actor_average=0.05,
    critic_average=0.8,
)
MEMBERS = [("wide", 0), ("narrow", 3)]


def fleet(model, store, members=MEMBERS, config=CONFIG):
    return FleetLearner(model, store, *zip(*members, strict=True), config)


class Alone:
    """One member of a fleet, its update written out with loops, plain Adam and PyTorch's own clipping."""

    def __init__(self, model, task, seed, config):
        self.model, self.name, self.config, self.done, self.returns = model, (seed, task), config, 0, []
        self.bound, self.width = model.bind([task]), model.action_dims[model.index(task)]
        z = model.config.latent_dim
        self.actor, self.saved = (FleetActor(z, model.action_dim, config, [key_of(seed, task, "actor")]) for _ in "12")
        self.critic, self.target = (FleetCritic(z, config, [key_of(seed, task, "critic")]) for _ in "12")
        self.adams = [torch.optim.Adam(net.parameters(), betas=config.betas) for net in (self.actor, self.critic)]

    def step(self, which, net, loss, start, norm):
        adam = self.adams[which]
        adam.param_groups[0]["lr"] = start + (1e-5 - start) * self.done / (self.config.updates - 1)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), norm)
        adam.step()

    def update(self, observations, noise, good_observations, good_actions):
        c, bound = self.config, self.bound
        z, r, go = [bound.encode(observations[None])], [], []
        for eps in noise:
            action = self.actor(z[-1].detach(), eps[None])
            r.append(bound.reward(z[-1], action, "symlog"))
            z.append(bound.step(z[-1], action))
            ended = bound.terminates and bound.termination_logit(z[-1]) > 0
            go.append(torch.ones_like(r[-1]) * ~torch.as_tensor(ended))
        lives = [torch.ones_like(r[0])]  # 1 until the episode has ended
        for still in go:
            lives.append(lives[-1] * still)
        total = sum(c.gamma**h * reward * lives[h] for h, reward in enumerate(r))
        total = total + c.gamma ** (c.horizon + 1) * self.value(z[-1]) * lives[-1]
        mean = self.actor.mean(bound.encode(good_observations[None]))
        anchor = ((mean[0] - good_actions)[:, : self.width] ** 2).mean()
        loss = -total.mean() / self.scale() + c.behaviour_weight * anchor
        self.step(0, self.actor, loss, c.actor_learning_rate, c.actor_grad_norm)
        self.returns.append(total.detach().flatten().double())
        with torch.no_grad():
            future, targets = self.value(z[-1]), [None] * c.horizon
            for h in reversed(range(c.horizon)):
                future = (1 - c.td_lambda) * self.value(z[h + 1]) + c.td_lambda * future
                future = r[h] + c.gamma * go[h] * future
                targets[h] = future
        latents, targets = torch.cat(z[:-1], dim=1).detach(), torch.cat(targets, dim=1)
        self.fit(latents[0], targets[0], torch.cat(lives[:-1], dim=1)[0])
        keep = min(c.actor_average, self.done / (self.done + 10))
        with torch.no_grad():
            for mine, now in zip(self.saved.parameters(), self.actor.parameters(), strict=True):
                mine.mul_(keep).add_((1 - keep) * now)
        self.done += 1

    def fit(self, latents, targets, counts):
        c = self.config
        rows = len(targets)
        for i in range(c.critic_passes):
            number = self.done * c.critic_passes + i
            order = uniform(torch.tensor([key_of(*self.name, "shuffle")]), number, (rows,))[0].argsort()
            for part in order.view(c.critic_splits, -1):
                loss = sum(
                    (counts[part] * (v - targets[part]) ** 2).mean() for v in self.critic(latents[None, part])[0]
                )
                self.step(1, self.critic, loss, c.critic_learning_rate, c.critic_grad_norm)
                with torch.no_grad():
                    for old, new in zip(self.target.parameters(), self.critic.parameters(), strict=True):
                        old.mul_(c.critic_average).add_((1 - c.critic_average) * new)

    def value(self, latent):
        return (self.target if self.config.critic_average else self.critic)(latent).min(dim=1).values

    def scale(self):
        """Weighted deviation of all returns so far, a batch's weight falling by the decay with each later one."""
        if not self.returns:
            return 1.0
        weights = self.config.return_scale_decay ** torch.arange(len(self.returns) - 1, -1, -1).double()
        weights = (weights / weights.sum()).repeat_interleave(self.config.batch_size) / self.config.batch_size
        x = torch.cat(self.returns)
        return float((weights * (x - (weights * x).sum()) ** 2).sum().sqrt())


def episodic_model(store):
    """A model that ends about a fifth of its imagined steps."""
    model = WorldModel(world_model_size("tiny", episodic=True), store.tasks, [5, 2], [3, 1], seed=0)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=1.5 / parameter.shape[1] ** 0.5)
    learner = fleet(model.freeze(), store)
    bound = learner.bound
    start = bound.encode(learner.batch().observations)
    z = imagine(bound, learner.actor, start, learner.batch().noise, "symlog").latents[1:]
    model.termination.linears[-1].bias.data -= bound.termination_logit(z).quantile(0.8)
    return model


@pytest.mark.parametrize(
    ("critic_average", "actor_average", "episodic"), [(0.8, 0.9, True), (0.0, 0.05, False)], ids=["all", "least"]
)
def test_updates_equal_the_plain_form(model, store, critic_average, actor_average, episodic):
    model = episodic_model(store) if episodic else model
    config = replace(CONFIG, critic_average=critic_average, actor_average=actor_average)
    learner = fleet(model, store, config=config)
    members = [Alone(model, task, seed, config) for task, seed in MEMBERS]
    for _ in range(4):
        batch = learner.batch()
        for k, alone in enumerate(members):
            good = batch.good_observations[k], batch.good_actions[k]
            alone.update(batch.observations[k], batch.noise[:, k], *good)
        learner.update()
    for k, alone in enumerate(members):
        networks = [(learner.actor, alone.actor), (learner.averaged_actor, alone.saved), (learner.critic, alone.critic)]
        for fleets, own in networks + ([(learner.target_critic, alone.target)] if critic_average else []):
            for (name, a), b in zip(fleets.named_parameters(), own.parameters(), strict=True):
                torch.testing.assert_close(a.view(2, *b.shape)[k], b, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: n + m)


def test_every_draw_has_its_own_stream(model, store):
    members = [("wide", 0), ("narrow", 0), ("wide", 1)]
    learner = fleet(model, store, members)
    streams = [learner.noise_keys, learner.start_keys, learner.shuffle_keys, learner.good_keys]
    assert len(torch.cat(streams).unique()) == 4 * len(members)
    first = learner.batch()
    for k, (task, seed) in enumerate(members):
        key = torch.tensor([key_of(seed, task, "noise")])
        assert torch.equal(first.noise[:, k], normal(key, 0, (3, 4, 3))[0])
    assert torch.equal(first.noise, learner.batch().noise)
    learner.update()
    for before, after in zip(first, learner.batch(), strict=True):
        assert not torch.equal(before, after)


def test_the_shuffle_differs_from_pass_to_pass_and_covers_every_row(model, store, monkeypatch):
    learner, seen = fleet(model, store), []

    def gradients(net, x, *_):
        seen.append(x)
        return torch.zeros(2), [torch.zeros_like(p) for p in net.parameters()]

    monkeypatch.setattr("pwm.agents.pwm.learner.critic_gradients", gradients)
    latents = torch.arange(16.0).view(4, 1, 4, 1).expand(4, 2, 4, 32).contiguous()
    learner._fit_critic(ImaginedRollout(latents, None, None, None), torch.zeros(3, 2, 4))
    rows = torch.cat(seen, dim=1)[:, :, 0].view(2, 2, 12)  # member, pass, row
    assert len(seen) == 6 and torch.equal(rows.sort(dim=-1).values, torch.arange(12.0).expand(2, 2, 12))
    assert len({tuple(row) for row in rows.flatten(0, 1).tolist()}) == 4


def test_settings_reach_the_sources_of_states(model, store):
    config = replace(CONFIG, early_starts=1.0, behaviour_sharpness=1e4, batch_size=64, behaviour_batch=64)
    batch = fleet(model, store, config=config).batch()
    for k, (task, _) in enumerate(MEMBERS):
        data, width = store[task], store[task].observation_dim
        early = {tuple(data.observations[e * 13 + t]) for e in range(4) for t in (0, 1)}
        assert {tuple(row) for row in batch.observations[k, :, :width].numpy()} <= early
        best = int(store.returns(task).argmax())
        good = {tuple(row) for row in data.observations[best * 13 : best * 13 + 12]}
        assert {tuple(row) for row in batch.good_observations[k, :, :width].numpy()} <= good


def test_bfloat16_reaches_every_network_and_resumes_to_the_same_bits(model, store, tmp_path):
    exact = fleet(model, store)
    exact_metrics = exact.update()
    low = fleet(model, store, config=replace(CONFIG, precision="bfloat16"))
    for network in (model, low.actor, low.critic, low.averaged_actor, low.target_critic):
        parts = [part for part in network.modules() if hasattr(part, "precision")]
        assert parts and all(part.precision == "bfloat16" for part in parts)
    assert any(isinstance(part, FleetMLP) for part in low.critic.modules())
    metrics = low.update()
    for name in ("imagined_return", "value", "critic_loss"):
        torch.testing.assert_close(metrics[name], exact_metrics[name], rtol=0.1, atol=0.05, msg=name)
    low.save(tmp_path / "checkpoint")
    second = fleet(model, store, config=replace(CONFIG, precision="bfloat16"))
    second.load(tmp_path / "checkpoint")
    low.update(), second.update()
    for a, b in zip(low.critic.parameters(), second.critic.parameters(), strict=True):
        assert a.dtype == torch.float32 and torch.equal(a, b)


def test_another_world_model_is_refused(model, store, tmp_path):
    fleet(model, store).save(tmp_path / "checkpoint")
    with torch.no_grad():
        model.reward.linears[-1].bias[0] += 1e-3
    with pytest.raises(PWMError, match="world model"):
        fleet(model, store).load(tmp_path / "checkpoint")


def test_learn_freezes_the_model_and_a_resumed_run_logs_no_line_twice(model, store, tmp_path):
    model.requires_grad_(True)
    config = replace(CONFIG, updates=6, checkpoint_every=4, log_every=1)
    with pytest.raises(KeyboardInterrupt), updates_of(FleetLearner, stop=5):
        learn(model, store, tmp_path, ["wide"], config)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 4, 5]
    with updates_of(FleetLearner) as again:
        learn(model, store, tmp_path, ["wide"], config)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert again == [4, 5]


def test_step_sizes_fall_on_a_line_of_their_own_in_each_phase(model, store):
    config = replace(CONFIG, behaviour_updates=3, behaviour_learning_rate=7e-3, final_learning_rate=1e-3, updates=5)
    config = replace(config, critic_learning_rate=3e-3)
    learner, rates = fleet(model, store, config=config), []
    for _ in range(8):
        learner.update()
        rates.append([adam.param_groups[0]["lr"] for adam in (learner.actor_optimiser, learner.critic_optimiser)])
    actor, critic = zip(*rates, strict=True)
    assert actor == pytest.approx([7e-3, 4e-3, 1e-3, 2e-3, 1.75e-3, 1.5e-3, 1.25e-3, 1e-3])
    assert critic[3:] == pytest.approx([3e-3, 2.5e-3, 2e-3, 1.5e-3, 1e-3])
