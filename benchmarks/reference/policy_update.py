"""One update of one policy (paper Algorithm 1, inner loop): actor step, TD(lambda) targets, critic steps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.reference.networks import Actor, WorldModel
from pwm.agents.pwm.config import PolicyConfig


class PolicyTrainer:
    """A policy and its critics in training. The world model is not frozen: its gradients are thrown away.

    Args:
        model: a trained world model.
        actor, critics: the networks to train.
        task: the policy's row in the world model's embedding.
        config: settings; anchors and averages, which the paper does not have, are not known here.
    """

    def __init__(self, model: WorldModel, actor: Actor, critics: nn.ModuleList, task: int, config: PolicyConfig):
        self.model, self.actor, self.critics, self.config = model, actor, critics, config
        device = next(model.parameters()).device
        self.task = torch.full((config.batch_size,), task, device=device)
        self.actor_optimiser = torch.optim.Adam(actor.parameters(), lr=config.actor_learning_rate, betas=config.betas)
        self.critic_optimiser = torch.optim.Adam(
            critics.parameters(), lr=config.critic_learning_rate, betas=config.betas
        )
        self.updates = 0
        self.moments = torch.zeros(3, device=device)  # weight, mean and mean square of the returns so far

    def value(self, latent: Tensor) -> Tensor:
        """The least of the critics' values [...]."""
        return torch.stack([critic(latent).squeeze(-1) for critic in self.critics]).min(dim=0).values

    def imagine(self, observations: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Roll the actor out in the model from observations [B, O] with noise [H, B, A].

        Returns:
            discounted returns [B] with gradients; latents z_0 .. z_{H-1} [H, B, z], rewards [H, B] and values of
            z_1 .. z_H [H, B] without.
        """
        config = self.config
        z = self.model.encode(observations, self.task)
        total = 0.0
        latents, rewards, values = [], [], []
        for h in range(config.horizon):
            action = self.actor(z, noise[h])
            reward = self.model.decode_reward(self.model.reward_logits(z, action, self.task), config.reward_space)
            latents.append(z.detach())
            rewards.append(reward.detach())
            z = self.model.next(z, action, self.task)
            with torch.no_grad():
                values.append(self.value(z))
            total = total + config.gamma**h * reward
        total = total + config.gamma ** (config.horizon + config.bootstrap_exponent) * self.value(z)
        return total, torch.stack(latents), torch.stack(rewards), torch.stack(values)

    def lambda_returns(self, rewards: Tensor, values: Tensor) -> Tensor:
        """TD(lambda) targets [H, B] (Eqs. 7-8) of rewards [H, B] and following values [H, B]."""
        gamma, lam = self.config.gamma, self.config.td_lambda
        targets, following = [], values[-1]
        for h in reversed(range(len(rewards))):
            following = rewards[h] + gamma * ((1 - lam) * values[h] + lam * following)
            targets.append(following)
        return torch.stack(targets[::-1])

    def critic_loss(self, latents: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error, summed over critics: latents [rows, z], targets [rows]."""
        return sum(F.mse_loss(critic(latents).squeeze(-1), targets) for critic in self.critics)

    def return_scale(self) -> float | Tensor:
        """Running standard deviation of the returns; 1 before the first."""
        weight, mean, square = self.moments
        if self.config.return_scale == "none" or weight == 0:
            return 1.0
        return (square / weight - (mean / weight) ** 2).clamp(min=1e-6).sqrt()

    def update_return_scale(self, returns: Tensor) -> None:
        new = torch.stack([torch.ones_like(returns[0]), returns.mean(), returns.square().mean()])
        if self.config.return_scale == "exponential":
            decay = self.config.return_scale_decay
            self.moments = decay * self.moments + (1 - decay) * new
        else:
            self.moments = self.moments + new

    def update(self, observations: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        """One actor step and `critic_passes * critic_splits` critic steps from start states [B, O]."""
        config = self.config
        if noise is None:
            actions = self.model.action_masks.shape[1]
            noise = torch.randn(config.horizon, config.batch_size, actions, device=observations.device)
        self.decay_learning_rates()

        returns, latents, rewards, values = self.imagine(observations, noise)
        loss = -(returns / self.return_scale()).mean()
        self.actor_optimiser.zero_grad()
        self.model.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.actor.parameters(), config.actor_grad_norm)
        self.actor_optimiser.step()
        self.update_return_scale(returns.detach())

        targets = self.lambda_returns(rewards, values)
        x, y = latents.flatten(0, 1), targets.flatten(0, 1)
        for _ in range(config.critic_passes):
            for rows in torch.randperm(len(x), device=x.device).chunk(config.critic_splits):
                critic_loss = self.critic_loss(x[rows], y[rows])
                self.critic_optimiser.zero_grad()
                critic_loss.backward()
                nn.utils.clip_grad_norm_(self.critics.parameters(), config.critic_grad_norm)
                self.critic_optimiser.step()
        self.updates += 1
        return {
            "imagined_return": returns.detach().mean(),
            "value": targets.mean(),
            "actor_grad_norm": norm,
            "critic_loss": critic_loss.detach(),
        }

    def decay_learning_rates(self) -> None:
        config = self.config
        done = min(self.updates / max(config.updates - 1, 1), 1.0)
        for optimiser, start in (
            (self.actor_optimiser, config.actor_learning_rate),
            (self.critic_optimiser, config.critic_learning_rate),
        ):
            for group in optimiser.param_groups:
                group["lr"] = start + (config.final_learning_rate - start) * done
