"""The 50 tasks of Meta-World (version 3), played the way the multi-task set MT80 plays them.

An agent step is two control steps with the same action, and an episode is 100 agent steps. Meta-World itself is
imported only when an environment or a scripted policy is made.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from pwm.runtime.errors import PWMError
from pwm.tasks.gymnasium_env import GymnasiumTaskEnv, MujocoEnv, Start
from pwm.tasks.mt30_custom import MT30
from pwm.tasks.spec import TaskSpec

ACTION_REPEAT = 2
EPISODE_LENGTH = 100  # agent steps
OBSERVATION_DIM = 39  # 18 of this control step, 18 of the previous one, 3 of the goal
ACTION_DIM = 4  # a shift of the hand along x, y, z, and the gripper's effort
CAMERA = "corner4"  # close to the table, and upside down in the model

# Meta-World's names without their "-v3", in the order of MT80.
_NAMES = (
    *("assembly", "basketball", "button-press-topdown", "button-press-topdown-wall", "button-press"),
    *("button-press-wall", "coffee-button", "coffee-pull", "coffee-push", "dial-turn"),
    *("disassemble", "door-open", "door-close", "drawer-close", "drawer-open"),
    *("faucet-open", "faucet-close", "hammer", "handle-press-side", "handle-press"),
    *("handle-pull-side", "handle-pull", "lever-pull", "peg-insert-side", "peg-unplug-side"),
    *("pick-out-of-hole", "pick-place", "pick-place-wall", "plate-slide", "plate-slide-side"),
    *("plate-slide-back", "plate-slide-back-side", "push-back", "push", "push-wall"),
    *("reach", "reach-wall", "shelf-place", "soccer", "stick-push"),
    *("stick-pull", "sweep-into", "sweep", "window-open", "window-close"),
    *("bin-picking", "box-close", "door-lock", "door-unlock", "hand-insert"),
)


class MetaWorldEnv(MujocoEnv):
    """One Meta-World task without action repeat; object and goal are sampled at every reset.

    Observation: float64 [39], including the goal. Action: [4] in [-1, 1]. Reward: 0 to 10 per control step.
    After `reset(seed=s)`, s >= 0, the episode is a function of s and the actions; without a seed the random state
    continues. A reset takes one control step with a zero action and returns the observation before it.

    `name` is Meta-World's without "-v3"; `render_size` is (height, width) in pixels.
    """

    def __init__(self, name: str, render_mode: str | None = None, render_size: tuple[int, int] = (240, 320)) -> None:
        kinds = _import_metaworld("metaworld.env_dict").ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
        if f"{name}-v3-goal-observable" not in kinds:
            raise PWMError(f"Meta-World has no task {name}-v3")
        _fit_to_mujoco()
        # With a seed, the constructor does not touch NumPy's global generator. It also freezes object and goal.
        environment = kinds[f"{name}-v3-goal-observable"](seed=0)
        environment._freeze_rand_vec = False
        environment.seeded_rand_vec = True
        environment.np_random = np.random.default_rng()
        super().__init__(environment, environment.dt, render_mode, render_size)
        self.observation_space, self.action_space = environment.observation_space, environment.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Starts an episode. Raises PWMError for a negative seed."""
        if seed is not None:
            if seed < 0:
                raise PWMError(f"episode seed {seed}: must be zero or more")
            self._environment.np_random = np.random.default_rng(seed)
        observation, _ = self._environment.reset()
        self._environment.step(np.zeros(ACTION_DIM, np.float32))
        return observation, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control step; `info["success"]` is Meta-World's own, 0.0 or 1.0."""
        observation, reward, terminated, truncated, info = self._environment.step(action)
        return observation, float(reward), bool(terminated), bool(truncated), info

    def render(self) -> np.ndarray | None:
        """The current state as uint8 [H, W, 3], None without a render mode. Raises PWMError if OpenGL fails."""
        model, data = self._environment.model, self._environment.data
        picture = self._picture(model, data, model.camera(CAMERA).id)
        return None if picture is None else picture[::-1, ::-1].copy()


def make_metaworld(
    name: str, render_mode: str | None = None, render_size: tuple[int, int] = (240, 320)
) -> GymnasiumTaskEnv:
    """A Meta-World task by its name without "-v3", e.g. `make_metaworld("door-open")`, with action repeat.

    Raises PWMError if metaworld cannot be imported or has no such task.
    """
    env = MetaWorldEnv(name, render_mode, render_size)
    return GymnasiumTaskEnv(env, EPISODE_LENGTH, ACTION_REPEAT, "success")


def scripted_policy(task_id: str) -> Callable[[np.ndarray], np.ndarray]:
    """Meta-World's scripted policy for a task: observation [39] -> action float32 [4] in [-1, 1].

    It is stateless, so one may act in many episodes. Raises PWMError if `task_id` is not a Meta-World task.
    """
    name = task_id.removeprefix("mw-")
    if not task_id.startswith("mw-") or name not in _NAMES:
        raise PWMError(f"task {task_id}: only the tasks of Meta-World (mw-...) have a scripted policy")
    policy = _import_metaworld("metaworld.policies").ENV_POLICY_MAP[f"{name}-v3"]()

    def act(observation: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():  # it warns of actions beyond [-1, 1], which are clipped here
            warnings.simplefilter("ignore")
            action = policy.get_action(np.asarray(observation, dtype=np.float64))
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    return act


def _fit_to_mujoco() -> None:
    """Work around metaworld 3.1.1, which writes 11 numbers per equality constraint: all that MuJoCo 3.16 had."""
    import mujoco

    if mujoco.mjNEQDATA > 11:
        _import_metaworld("metaworld.sawyer_xyz_env").SawyerMocapBase.reset_mocap_welds = reset_mocap_welds


def reset_mocap_welds(environment: Any) -> None:
    """As the method of that name, but leaves the numbers that MuJoCo has added since at their defaults."""
    import mujoco

    model = environment.model
    for weld in np.flatnonzero(model.eq_type == mujoco.mjtEq.mjEQ_WELD) if model.nmocap else ():
        # No offset or rotation between the hand and its mocap body (-1 ... 0 is a quaternion); torque scale 5.
        model.eq_data[weld, :11] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0)


def _import_metaworld(module: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except Exception as error:  # OpenGL bindings fail in many ways if MUJOCO_GL names a missing backend
        raise PWMError(
            f"metaworld could not be imported ({type(error).__name__}: {error}); "
            "install it with 'pip install metaworld==3.1.1', and if MUJOCO_GL is set, unset it"
        ) from error


def _spec(name: str) -> TaskSpec:
    make = partial(make_metaworld, name)
    make.packages = ("metaworld",)  # type: ignore[attr-defined]
    return TaskSpec(f"mw-{name}", OBSERVATION_DIM, ACTION_DIM, EPISODE_LENGTH, ACTION_REPEAT, "success", make)


TASKS: tuple[TaskSpec, ...] = tuple(_spec(name) for name in _NAMES)
_IDS = tuple(spec.id for spec in TASKS)
TASK_SETS: dict[str, tuple[str, ...]] = {"metaworld-50": _IDS, "mt80": (*MT30, *_IDS)}
