"""A locomotion task as a vector environment of PyTorch tensors, differentiable through time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pwm.runtime.device import resolve_device
from pwm.runtime.errors import PWMError
from pwm.runtime.random import key_of, uniform
from pwm.tasks.locomotion.catalogue import find_task
from pwm.tasks.locomotion.mass_files import read_mass
from pwm.tasks.locomotion.settings import adapt
from pwm.tasks.locomotion.task import Task
from pwm.tasks.step import Step

if TYPE_CHECKING:
    from pwm.tasks.locomotion.engine import Engine
    from pwm.tasks.locomotion.robot import Robot


class LocomotionEnv:
    """n robots of one task, stepped in parallel; built by `make_locomotion`.

    Attributes: `task`, `physics`, `num_envs`, `observation_dim`, `action_dim`, `episode_length`, `device`.
    """

    def __init__(
        self, task: Task, engine: Engine, robot: Robot, seed: int, early_termination: bool, stochastic_reset: bool
    ) -> None:
        self.task, self.physics, self.device = task, engine.physics, torch.device(engine.device)
        self.num_envs, self.episode_length = engine.worlds, task.episode_length
        self.observation_dim, self.action_dim = task.observation_dim, task.action_dim
        self._engine, self._robot, self._renderer = engine, robot, None
        self._gear = torch.as_tensor(robot.gear, device=self.device)
        self._early_termination, self._stochastic_reset = early_termination, stochastic_reset
        self._bad = torch.zeros((), dtype=torch.int64, device=self.device)
        self.reset(seed)

    @property
    def bad_rows(self) -> int:
        """Number of rows so far whose state became non-finite or faster than 1e3; they were reset, with reward 0."""
        return int(self._bad)

    def render(self) -> np.ndarray:
        """A picture of the first robot, uint8 [240, 320, 3]; needs neither OpenGL nor a display.

        If its episode has just ended, shows the final state.
        """
        poses = self._engine.first_poses(self._shown)
        if self._renderer is None:
            from pwm.tasks.locomotion.renderer import Renderer

            middle = torch.full((1, self.task.draws), 0.5, device=self.device)
            seen = [self._engine.first_poses(self.task.start(middle)[0])]
            if self._engine.q_size == self._engine.qd_size:  # it stays where it is: show room for the file's pose too
                seen.append(self._engine.first_poses(torch.zeros_like(self._q)))
            self._renderer = Renderer(self._robot, seen)
        return self._renderer.draw(poses)

    def reset(self, seed: int | Sequence[int] | None = None) -> Tensor:
        """Start the next episode of every environment; returns the observations [n, o].

        The start of row i's k-th episode after a reset with a seed depends on the seed, i and k only. With a sequence
        of seeds, one per row, row i plays the episodes of a single environment with that seed.
        """
        if seed is not None:
            pairs = [(seed, row) for row in range(self.num_envs)] if isinstance(seed, int) else [(s, 0) for s in seed]
            keys = [key_of("locomotion", self.task.name, int(number), row) for number, row in pairs]
            self._keys = torch.tensor(keys, device=self.device)
            self._episode = torch.full((self.num_envs,), -1, device=self.device)
        self._episode = self._episode + 1
        self._progress = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        self._q, self._qd = self._starts()
        self._shown = self._q
        self._action = torch.zeros(self.num_envs, self.action_dim, device=self.device)
        return self._observe()

    def step(self, actions: Tensor) -> Step:
        """One step of all environments with actions [n, a], which are clipped to [-1, 1].

        `terminated` marks robots that have fallen and bad rows (`bad_rows`). Rows whose episode ends are reset at once.
        Raises PWMError for actions of the wrong shape.
        """
        if actions.shape != (self.num_envs, self.action_dim):
            raise PWMError(f"actions have shape {tuple(actions.shape)}, expected ({self.num_envs}, {self.action_dim})")
        action = actions.clamp(-1.0, 1.0)
        q, qd, bad = self._engine.step(self._q, self._qd, self._control(action))
        if self._may_hold(bad):
            self._bad = self._bad + bad.sum()
            q, qd, action = self._restarted(bad, q, qd, action)
        self._progress = self._progress + 1
        final_obs = self.task.observe(q, qd, action)
        reward = self.task.reward(final_obs, action).masked_fill(bad, 0.0)
        terminated = bad | self.task.terminated(final_obs) if self._early_termination else bad
        truncated = (self._progress >= self.episode_length) & ~terminated
        done = terminated | truncated
        obs, self._shown = final_obs, q.detach()
        if self._may_hold(done):
            self._episode = self._episode + done
            self._progress = self._progress.masked_fill(done, 0)
            q, qd, action = self._restarted(done, q, qd, action)
            obs = self.task.observe(q, qd, action)
        self._q, self._qd, self._action = q, qd, action
        return Step(obs, reward, terminated, truncated, final_obs)

    def detach(self) -> Tensor:
        """Detach the state from the graph; returns the current observations [n, o]."""
        self._q, self._qd, self._action = self._q.detach(), self._qd.detach(), self._action.detach()
        return self._observe()

    def get_state(self) -> dict[str, Tensor]:
        """The complete state as detached copies, from which `set_state` continues to the same bits."""
        return {name: value.detach().clone() for name, value in self._state().items()}

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a state of an environment with the same task and size.

        Raises PWMError, naming the entry, if something is missing or of the wrong shape.
        """
        for name, mine in self._state().items():
            if name not in state:
                raise PWMError(f"state of the {self.task.name} environment: '{name}' is missing")
            given = torch.as_tensor(state[name])
            if given.shape != mine.shape:
                shapes = f"{tuple(given.shape)}, expected {tuple(mine.shape)}"
                raise PWMError(f"state of the {self.task.name} environment: '{name}' has shape {shapes}")
            setattr(self, f"_{name}", given.detach().to(device=self.device, dtype=mine.dtype, copy=True))
        self._shown = self._q

    def _control(self, action: Tensor) -> Tensor:
        """Activations of muscles, or forces on all degrees of freedom, the last of which have motors."""
        if self._robot.muscles is not None:
            return 0.5 * (action + 1.0)
        return functional.pad(action * self._gear, (self._engine.qd_size - self.action_dim, 0))

    def _state(self) -> dict[str, Tensor]:
        names = ("q", "qd", "action", "progress", "episode", "keys", "bad")
        return {name: getattr(self, f"_{name}") for name in names}

    def _observe(self) -> Tensor:
        return self.task.observe(self._q, self._qd, self._action)

    def _starts(self) -> tuple[Tensor, Tensor]:
        if self._stochastic_reset:
            draws = uniform(self._keys, self._episode, (self.task.draws,))
        else:
            draws = torch.full((self.num_envs, self.task.draws), 0.5, device=self.device)
        return self.task.start(draws)

    def _restarted(self, rows: Tensor, q: Tensor, qd: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The state with the rows in the mask reset to the start of their current episode, where gradients stop."""
        q_start, qd_start = self._starts()
        mask = rows[:, None]
        return torch.where(mask, q_start, q), torch.where(mask, qd_start, qd), action.masked_fill(mask, 0.0)

    def _may_hold(self, rows: Tensor) -> bool:
        """Whether a mask may have true entries: checked on a CPU to save work, not on a GPU, where it would sync."""
        return self.device.type != "cpu" or bool(rows.any())


def make_locomotion(
    task: str,
    num_envs: int = 64,
    device: str | torch.device = "cpu",
    seed: int = 0,
    *,
    preset: str = "exact",
    mass_matrix_every: int | None = None,
    contact_stiffness: float | None = None,
    substeps: int | None = None,
    episode_length: int | None = None,
    early_termination: bool = True,
    stochastic_reset: bool = True,
    shards: int = 1,
    mass_files: tuple[str | Path, str | Path] | None = None,
) -> LocomotionEnv:
    """A differentiable vector environment of a locomotion task (`catalogue.task_names()`).

    preset             "exact" or "paper": how often the mass matrix is updated (`catalogue.find_task`)
    mass_matrix_every  substeps between its updates, overriding the preset
    contact_stiffness  N/m, overriding the task's (the paper's Figure 7 varies Hopper's)
    substeps           per environment step of 1/60 s, overriding the task's; with few, gradients explode
    episode_length     steps until truncation, overriding the task's
    early_termination  False: a fallen robot continues until truncation
    stochastic_reset   False: every episode starts in the same pose, at rest
    shards             threads that share the environments on a CPU; results do not depend on it
    mass_files         for "muscle-humanoid": MASS's skeleton and muscle files, instead of the bundled legs

    Raises PWMError for an unknown name, a value out of range or invalid files, or if Newton is not installed.
    """
    found, physics = find_task(task, preset)
    physics = adapt(physics, substeps, mass_matrix_every, contact_stiffness)
    if num_envs < 1:
        raise PWMError(f"num_envs is {num_envs}; it must be at least 1")
    if not 1 <= shards <= num_envs:
        raise PWMError(f"shards is {shards}; it must lie in 1..{num_envs} (num_envs)")
    if episode_length is not None and episode_length < 1:
        raise PWMError(f"episode_length is {episode_length}; it must be at least 1")
    if mass_files is not None and task != "muscle-humanoid":
        raise PWMError(f"mass_files are for the task muscle-humanoid, not for {task}; leave them out")
    device = resolve_device(device)
    if shards > 1 and device.type != "cpu":
        raise PWMError("shards is for the CPU; leave it out on a GPU")
    from pwm.tasks.locomotion.engine import Engine
    from pwm.tasks.locomotion.mass_task import fit_runner
    from pwm.tasks.locomotion.robot import build_robot, load_robot

    if mass_files is None:
        robot = load_robot(found.name, physics.limit_stiffness, str(device))
    else:
        made = read_mass(*mass_files)
        robot = build_robot(made.mjcf, made.units, physics.limit_stiffness, str(device))
    engine = Engine(robot, num_envs, physics, str(device), shards)
    if mass_files is not None:
        found = fit_runner(found, robot, engine, mass_files[0])
    if episode_length is not None:
        found = replace(found, episode_length=episode_length)
    return LocomotionEnv(found, engine, robot, seed, early_termination, stochastic_reset)
